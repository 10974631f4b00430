"""A network's config in the form of timm and Hugging Face, from which timm builds it with its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from torch import nn

from scalepred.networks.architecture import Architecture
from scalepred.networks.constructor import split_name
from scalepred.networks.names import PACKAGED, STAGED, STAGED_MEANS

CROP_MODES = {"squash": "squash", "crop": "center", "pad": "border"}
"""How scalepred makes an image a square -> the nearest way of timm's transforms."""

KEPT = ("fixed_input_size", "pool_size", "first_conv", "classifier")
"""What timm's own settings say of a network whatever its weights; each is a field of ``timm.models.PretrainedCfg``."""


def is_of_timm(name: str) -> bool:
    """Say whether timm builds the network of this architecture's name: "timm/<name>", or one of ``PACKAGED``."""
    return name in PACKAGED or (name.startswith("timm/") and not name.endswith((STAGED, STAGED_MEANS)))


def timm_config(architecture: Architecture, *, classes: Sequence[str], image_px: int, resize: str) -> dict[str, Any]:
    """Return what ``config.json`` says of a network with these classes, in timm's form.

    The network is built by ``timm.create_model("local-dir:FOLDER", pretrained=True)``, which loads
    ``model.safetensors`` beside the config. Of a network that timm hasn't got, the config has the same form, and names
    the architecture as scalepred does: timm then says that it is unknown.

    Args:
        architecture: the network; its classifier may be that of other classes.
        classes: names in the order of the outputs.
        image_px: side of the squares that the network takes.
        resize: how an image becomes a square, one of ``recipe.RESIZES``.

    Source: ``save_config_for_hf`` and ``_parse_model_cfg`` of timm 1.0 (timm/models/_hub.py). Mean and std are of pixel
    values in 0..1 there.
    """
    preprocessing = {
        "input_size": [3, image_px, image_px],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": CROP_MODES[resize],
        "mean": [round(value / 255, 12) for value in architecture.mean],
        "std": [round(value / 255, 12) for value in architecture.std],
        "num_classes": len(classes),
    }
    labels = {"num_classes": len(classes), "label_names": list(classes)}
    if not is_of_timm(architecture.name):
        return {"architecture": architecture.name, **labels, "pretrained_cfg": preprocessing}
    settings: Any = architecture.network.pretrained_cfg
    _, options = split_name(architecture.name)
    return {
        "architecture": settings["architecture"],
        **labels,
        **({"model_args": options} if options else {}),
        "pretrained_cfg": {**preprocessing, **{name: settings[name] for name in KEPT if name in settings}},
    }


def load_timm(folder: Path) -> nn.Module:
    """Return the network that timm builds from a folder, in evaluation mode."""
    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.eval()
