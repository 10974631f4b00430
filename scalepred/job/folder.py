"""The folder that holds a finetuned classifier: written whole, read back without running anyone's code."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from scalepred.errors import ScalepredError, UsageError, VersionError
from scalepred.files import filling, sha256
from scalepred.job import learnt
from scalepred.job.card import card, squares_of
from scalepred.job.none_of_these import NoneOfThese, from_tensors
from scalepred.job.probe import ProbeRun
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import Source
from scalepred.networks.staged import build_any
from scalepred.networks.timm_config import timm_config
from scalepred.networks.weights import load_weights, read_weights
from scalepred.recipe import RESIZES, STAGES, Recipe, content_id
from scalepred.records import RunRecord
from scalepred.training.rates import stage_rates

SCHEMA = 4

READS = (1, 2, 3, 4)
"""Schemas that a model can have; the first two differ in words alone, and squash all images."""

WEIGHTS, CONFIG, CLASSES, FACTS = "model.safetensors", "config.json", "classes.json", "scalepred.json"

NONE_OF_THESE = "none_of_these.safetensors"
"""Of models that can tell that an image shows none of their classes; others have no such file."""

TRAINING_IMAGES = "training_images.safetensors"
"""Of models that know which images they were trained on; those that were saved before that have no such file."""

FILES = (FACTS, CLASSES, CONFIG, NONE_OF_THESE, TRAINING_IMAGES, "metrics.json", "run.json", "README.md", WEIGHTS)
"""What a model's folder holds, in the order in which a save puts them there: the first one tells whose they are."""

_PROBE_CONFIG = {"recipe": None, "scale": None, "rates": None}

_MARKS = (b'"config_id"', b'"architecture"', b'"pixel_range"')
"""What the facts of a model name, even if they are damaged, and the config of another program does not."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A finetuned classifier, ready to classify.

    ``trained_on`` has the sorted ``learnt.numbers_of`` the images that it was trained on, (n,) int64; None where it
    does not know them.
    """

    architecture: Architecture
    classes: tuple[str, ...]
    image_px: int
    resize: str = "squash"
    temperature: float = 1.0
    none_of_these: NoneOfThese | None = None
    trained_on: np.ndarray | None = None


def is_model(folder: Path) -> bool:
    """Say whether a folder has the facts of a model, be they damaged or not."""
    try:
        facts = _facts_file(folder).read_bytes() if _facts_file(folder).is_file() else b""
    except OSError:
        return False
    return all(mark in facts for mark in _MARKS)


def _facts_file(folder: Path) -> Path:
    """Return the file with a model's facts; in folders of schemas 1 to 3 it is ``config.json``, which is timm's now."""
    return folder / (CONFIG if (folder / CONFIG).is_file() and not (folder / FACTS).exists() else FACTS)


def save_model(
    folder: Path,
    network: nn.Module,
    *,
    source: Source,
    recipe: Recipe | None,
    classes: Sequence[str],
    run: RunRecord | ProbeRun,
    job: dict[str, Any],
    refit: RunRecord | ProbeRun | None = None,
    temperature: float = 1.0,
    none_of_these: NoneOfThese | None = None,
    hashes: Sequence[str] = (),
) -> None:
    """Write the model, its run and its card.

    Everything is written beside the folder's files first, so a save that fails leaves them as they were. Then the files
    take their places, the weights last; stopped in the middle of that, the folder is refused, for ``scalepred.json``
    names the hashes of weights, classes and ``config.json``. That is in timm's form, so timm reads the folder too.

    Args:
        folder: made if need be; its other files stay.
        network: the finetuned network.
        source: what it started from.
        recipe: how it was trained; None for a linear probe.
        classes: names in the order of the outputs.
        run: the whole record of the run that was measured.
        job: the JSON that ``scalepred finetune`` prints.
        refit: the record of the second run, on all images, where that made the network.
        temperature: what logits are divided by before they become probabilities.
        none_of_these: tells that an image shows none of the classes; None where that was not learned.
        hashes: of the contents of the images that the network was trained on; without any the folder keeps none.

    Raises:
        UsageError: if the folder can't be written.
    """
    left_out = {NONE_OF_THESE: none_of_these is None, TRAINING_IMAGES: not hashes}
    files = [name for name in FILES if not left_out.get(name)]
    try:
        with filling(folder, files) as scratch:
            state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
            save_file(state, scratch / WEIGHTS)
            _write_json(scratch / CLASSES, list(classes))
            config = _config(source, recipe, run) | {"temperature": temperature}
            config["none_of_these"] = None if none_of_these is None else none_of_these.facts()
            if none_of_these is not None:
                save_file(none_of_these.tensors(), scratch / NONE_OF_THESE)
            if hashes:
                config["n_training_images"] = len(hashes)
                save_file(learnt.tensors_of(hashes), scratch / TRAINING_IMAGES)
            squares = {"image_px": config["image_px"], "resize": config["resize"]}
            _write_json(scratch / CONFIG, timm_config(source.architecture, classes=classes, **squares))
            _write_json(scratch / FACTS, _sealed(config, scratch))
            _write_json(scratch / "metrics.json", job["metrics"] | {"probe": job["probe"]})
            second = {} if refit is None else {"refit": _run_json(refit)}
            _write_json(scratch / "run.json", _run_json(run) | second | {"job": job})
            (scratch / "README.md").write_text(card(source, recipe, classes, run, job), encoding="utf-8")
        for name in set(FILES) - set(files):  # that of a model before, which this one doesn't name
            (folder / name).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The model can't be saved to {folder}: {reason}. Give another folder with --output."
        ) from error


def load_model(folder: Path) -> Model:
    """Read a saved model.

    Raises:
        VersionError: if the folder is no model, is damaged, or of another version.
    """
    try:
        config = _read_config(folder)
        classes = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        if not (isinstance(classes, list) and len(classes) >= 2 and all(isinstance(name, str) for name in classes)):
            raise ValueError(f"{CLASSES} is no list of names.")
        architecture = build_any(config["architecture"], n_classes=len(classes))
        if [list(architecture.mean), list(architecture.std)] != [config["mean"], config["std"]]:
            raise ValueError(f"{architecture.name} normalises images in another way here than where it was trained.")
        load_weights(architecture.network, read_weights(folder / WEIGHTS), origin=str(folder / WEIGHTS))
        return Model(
            architecture=architecture,
            classes=tuple(classes),
            image_px=config["image_px"],
            resize=_resize_of(config),
            temperature=_temperature_of(config),
            none_of_these=_none_of_these(folder, config, architecture),
            trained_on=_trained_on(folder, config),
        )
    except VersionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ScalepredError) as error:
        reason = f"{_facts_file(folder).name} has no {error}." if isinstance(error, KeyError) else str(error)
        raise VersionError(
            f"{folder} can't be read as a model: {reason} Give a folder that `scalepred finetune` has written."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the facts once they are known to be whole, and the other files to be those that they describe."""
    file = _facts_file(folder)
    needed = dict.fromkeys([file.name, CLASSES, CONFIG, WEIGHTS])
    _check_there(folder, list(needed))
    config = json.loads(file.read_text(encoding="utf-8"))
    if file.name == CONFIG and "schema" not in config:  # it is timm's
        raise ValueError(f"it has no {FACTS}.")
    schema = config["schema"]
    if schema not in READS:
        readable = f"{', '.join(map(str, READS[:-1]))} and {READS[-1]}"
        raise VersionError(
            f"The model at {folder} has schema {schema!r:.40}, and this scalepred reads {readable}: finetune again, or "
            "use the scalepred that wrote it."
        )
    _check_there(folder, _own_files(config))
    if config != _sealed(config, folder):
        names = ", ".join(each for each in needed if each != WEIGHTS)
        raise ValueError(f"{names} and {WEIGHTS} were damaged, changed, or not saved together.")
    image_px = config["image_px"]
    if not isinstance(config["architecture"], str) or type(image_px) is not int or not 16 <= image_px <= 1024:
        raise ValueError(f"{file.name} has no sound architecture or image_px.")
    if _resize_of(config) not in RESIZES:
        raise ValueError(f"{file.name} says that images are resized by {config['resize']!r:.40}: unknown here.")
    return dict(config)


def _check_there(folder: Path, names: Sequence[str]) -> None:
    """Raise ValueError naming the files that a folder lacks."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}.")


def _resize_of(config: Mapping[str, Any]) -> str:
    """Return how a model's images become squares; the first two schemas have it in words, always the same way."""
    return "squash" if config["schema"] < 3 else config["resize"]


def _temperature_of(config: Mapping[str, Any]) -> float:
    """Return what a model's logits are divided by: 1 for models that were saved before they had a temperature."""
    temperature = config.get("temperature", 1.0)
    if type(temperature) is not float or not 0 < temperature < math.inf:
        raise ValueError(f"{FACTS} has the temperature {temperature!r:.40}, which is no number above 0.")
    return temperature


def _none_of_these(folder: Path, config: Mapping[str, Any], architecture: Architecture) -> NoneOfThese | None:
    """Return what tells that an image shows none of the classes, where the model has it."""
    if config.get("none_of_these") is None:
        return None
    return from_tensors(read_weights(folder / NONE_OF_THESE), size=architecture.embedding_size)


def _trained_on(folder: Path, config: Mapping[str, Any]) -> np.ndarray | None:
    """Return the numbers of the images that a model was trained on, where it has them."""
    if config.get("n_training_images") is None:
        return None
    return learnt.from_tensors(read_weights(folder / TRAINING_IMAGES))


def _own_files(config: Mapping[str, Any]) -> list[str]:
    """Return the files that not every model has, and this one does."""
    kept = {NONE_OF_THESE: "none_of_these", TRAINING_IMAGES: "n_training_images"}
    return [file for file, key in kept.items() if config.get(key) is not None]


def _sealed(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the config with the hashes of the folder's other files that are read, and of itself."""
    files = [CLASSES, WEIGHTS] + ([] if config["schema"] < 4 else [CONFIG])
    files += _own_files(config)
    bare = {name: value for name, value in config.items() if name not in ("sha256", "config_id")}
    hashed = bare | {"sha256": {name: sha256(folder / name) for name in files}}
    return hashed | {"config_id": content_id("model", hashed)}


def _config(source: Source, recipe: Recipe | None, run: RunRecord | ProbeRun) -> dict[str, Any]:
    """Return what describes the weights; a linear probe has neither recipe nor scale nor rates."""
    architecture = source.architecture
    image_px, resize = squares_of(recipe, run)
    return {
        "schema": SCHEMA,
        "architecture": architecture.name,
        "head": architecture.head,
        "image_px": image_px,
        "resize": resize,
        "mean": list(architecture.mean),
        "std": list(architecture.std),
        "pixel_range": [0, 255],
        "source_id": source.source_id,
        **(_finetune_config(recipe, run) if recipe is not None and isinstance(run, RunRecord) else _PROBE_CONFIG),
    }


def _finetune_config(recipe: Recipe, run: RunRecord) -> dict[str, Any]:
    return {
        "recipe": dataclasses.asdict(recipe) | {"multipliers": list(recipe.multipliers)},
        "scale": run.scale,
        "rates": dict(zip(STAGES, stage_rates(recipe, run.scale), strict=True)),
    }


def _run_json(run: RunRecord | ProbeRun) -> dict[str, Any]:
    values = dataclasses.asdict(run)
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
