"""Builds networks by name, each with its stages, head and preprocessing."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import timm
import torch
from torch import nn
from torchvision import models

from scalepred.errors import UsageError, WeightsError
from scalepred.networks.constructor import canonical_name, split_name
from scalepred.networks.names import PACKAGED
from scalepred.networks.resnet27 import INPUT_PX, MEAN, STD, ResNet27
from scalepred.networks.stages import (
    assign_stages,
    five_stages,
    names_under,
    timm_stage_ends,
    timm_units,
    torchvision_units,
)
from scalepred.recipe import STAGES

WIDTHS = range(8, 513, 8)
"""Of a ResNet-27. Multiples of 8: at width 4, oneDNN's convolutions on a CPU corrupted memory (PyTorch 2.14.1)."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network as its library builds it, without a promise about its weights.

    Attributes:
        name: "efficientnet_lite0" or another of ``PACKAGED``, "timm/<name>" or "timm/<name>:<options>" in the one form
            that ``constructor.canonical_name`` gives, "torchvision/<name>" or "resnet27/<width>".
        network: the classifier, with random weights.
        head: dotted name of its last linear layer.
        stages: name of every parameter -> index into ``config.STAGES``.
        mean, std: per channel, of pixel values in 0..255.
        input_px: side of the images that the network was made for.
        parts: how many of the features that the head takes are of one kind, one number for each kind in their order;
            empty where all are.
    """

    name: str
    network: nn.Module
    head: str
    stages: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_px: int
    parts: tuple[int, ...] = ()

    @property
    def embedding_size(self) -> int:
        """Number of penultimate features, which are the last of what the head takes."""
        return self.parts[-1] if self.parts else cast("nn.Linear", self.network.get_submodule(self.head)).in_features

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Number of parameters in each of the six stages."""
        sizes = [0] * len(STAGES)
        for name, parameter in self.network.named_parameters():
            sizes[self.stages[name]] += parameter.numel()
        return tuple(sizes)


def build(name: str, *, n_classes: int | None = None) -> Architecture:
    """Build a network of this name with random weights and find its stages.

    A network of timm may have options of its constructor after a colon, such as
    "timm/vit_tiny_patch16_224:img_size=64,patch_size=8".

    Raises:
        UsageError: if there is no such network, or it has no five stages and linear head.
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


def build_pretrained(name: str) -> Architecture:
    """Build a network of timm or torchvision with its pretrained weights, which are downloaded if need be.

    Raises:
        UsageError: as ``build``.
        WeightsError: if the weights can't be fetched.
    """
    library, _, model_name = name.rpartition("/")
    build(name)  # unknown names and stages are refused before anything is fetched
    try:
        if library == "timm":
            return _timm_architecture(name, model_name, None, pretrained=True)
        return _torchvision_architecture(name, model_name, None, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # hub clients fail in many ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The pretrained weights of {name} could not be fetched: {reason}\n"
            f"Wanted: {_wanted(library, model_name)}.\n"
            "Fetch that file where there is a network, and hand it over with --weights FILE."
        ) from error


def check_takes(architecture: Architecture, *, image_px: int) -> None:
    """Raise UsageError unless the network can run on images of ``image_px``."""
    blank = torch.zeros(1, 3, image_px, image_px, device=next(architecture.network.parameters()).device)
    network = copy.deepcopy(architecture.network).eval()
    try:
        with torch.no_grad():
            network(blank)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"{architecture.name} can't take images of {image_px} px ({str(error).splitlines()[0]}); "
            f"it was made for {architecture.input_px}: give --image-px, or the recipe's image_px."
        ) from error


def _timm_architecture(
    name: str,
    model_name: str,
    n_classes: int | None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    pretrained: bool = False,
) -> Architecture:
    model_name, options = split_name(model_name)
    base = model_name.partition(".")[0]
    if not timm.is_model(base):
        raise UsageError(_unknown("timm", base, timm.list_models()))
    _check_tag(model_name)
    name = canonical_name(name.partition(":")[0], options)
    network: Any = _created(model_name, options, n_classes=n_classes, pretrained=pretrained)
    settings = network.pretrained_cfg
    head = settings.get("classifier")
    units = timm_units(network, _checked_head(network, head, name), name)
    return _architecture(
        name,
        network,
        head,
        five_stages(units, timm_stage_ends(network, units)),
        mean=mean or tuple(255 * value for value in settings["mean"]),
        std=std or tuple(255 * value for value in settings["std"]),
        input_px=options.get("img_size", settings["input_size"][-1]),
    )


def _created(model_name: str, options: Mapping[str, Any], *, n_classes: int | None, pretrained: bool) -> nn.Module:
    """Return timm's network, built with these options of its constructor."""
    settings: dict[str, Any] = dict(options) if n_classes is None else {**options, "num_classes": n_classes}
    try:
        return timm.create_model(model_name, pretrained=pretrained, **settings)
    except Exception as error:  # constructors check their options in many ways, or not at all
        if not options or pretrained:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"timm/{model_name} can't be built with {canonical_name('', options)[1:]}: {reason}. "
            "Give it options that it has, or none."
        ) from error


def _check_tag(model_name: str) -> None:
    """Raise UsageError where timm has the network but no weights of this tag, which follows a dot in the name."""
    try:
        timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        base, _, tag = model_name.partition(".")
        names = ", ".join(f"timm/{each}" for each in timm.list_pretrained(f"{base}.*")) or f"timm/{base}"
        raise UsageError(f"timm has no weights {tag!r} of {base}: give one of {names}.") from error


def _torchvision_architecture(
    name: str, model_name: str, n_classes: int | None, *, pretrained: bool = False
) -> Architecture:
    names = [m for m in models.list_models(module=models) if m not in ("googlenet", "inception_v3")]  # auxiliary heads
    if model_name not in names:
        raise UsageError(_unknown("torchvision", model_name, names))
    options = {} if n_classes is None else {"num_classes": n_classes}
    network = models.get_model(model_name, weights="DEFAULT" if pretrained else None, **options)
    linear = [module for module, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    head = _checked_head(network, linear[-1] if linear else None, name)
    wanted = models.get_model_weights(model_name)["DEFAULT"].transforms()
    return _architecture(
        name,
        network,
        head,
        five_stages(torchvision_units(network, head), None),
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
    five = [names_under(network, [f"conv{k}"]) for k in (1, 2, 3, 4, 5)]
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


def _unknown(library: str, name: str, names: Sequence[str]) -> str:
    near = ", ".join(f"{library}/{match}" for match in difflib.get_close_matches(name, names, n=4))
    return f"{library} has no classifier {name!r}" + (f"; did you mean {near}?" if near else ".")


def _wanted(library: str, model_name: str) -> str:
    if library == "timm":
        settings = timm.get_pretrained_cfg(model_name.partition(":")[0])
        return (
            f"{settings.hf_hub_id} from the Hugging Face hub" if settings and settings.hf_hub_id else "its checkpoint"
        )
    return str(models.get_model_weights(model_name)["DEFAULT"].url)
