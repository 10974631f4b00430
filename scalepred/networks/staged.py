"""A network whose head takes what its earlier stages give too, pooled, beside the penultimate features."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import get_ident
from typing import cast

import torch
from torch import Tensor, nn

from scalepred.errors import UsageError
from scalepred.networks.architecture import Architecture, build
from scalepred.networks.names import STAGED, STAGED_MEANS
from scalepred.recipe import STAGES

HEAD = "head"
"""The name of a staged network's head."""

N_TAPPED = len(STAGES) - 2
"""Of the stages, the first: what the last one gives is what the penultimate features are pooled from."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """Where a stage ends.

    Attributes:
        module: dotted name of the module whose output it is.
        n_channels: of that output.
        pooled: the dimensions that are pooled away, those of space or of tokens.
    """

    module: str
    n_channels: int
    pooled: tuple[int, ...]

    def sizes(self, *, means_alone: bool) -> tuple[int, ...]:
        """Return how many features of each kind it gives; where nothing is pooled away there is one kind."""
        return (self.n_channels,) * (1 if means_alone or not self.pooled else 3)

    def pool(self, output: Tensor, *, means_alone: bool) -> tuple[Tensor, ...]:
        """Return an output's features of each kind, (n, n_channels): means, standard deviations and maxima."""
        if not self.pooled:
            return (output,)
        means = output.mean(self.pooled)
        if means_alone:
            return (means,)
        return means, output.std(self.pooled, correction=0), output.amax(self.pooled)


class StagedNetwork(nn.Module):
    """A network with a linear head on its stages' pooled outputs and on its own penultimate features, in order.

    Takes what the network takes; returns (n, n_outputs) logits.
    """

    def __init__(self, body: nn.Module, taps: Sequence[Tap], head: nn.Linear, *, means_alone: bool) -> None:
        """Keep a network that gives (n, d) penultimate features, where its stages end, and the head for all of them."""
        super().__init__()
        self.body = body
        self.taps = tuple(taps)
        self.head = head
        self.means_alone = means_alone

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        pooled: dict[str, tuple[Tensor, ...]] = {}
        thread = get_ident()

        def keep(tap: Tap, output: Tensor) -> None:
            if get_ident() == thread:  # another one may be running the same network
                pooled[tap.module] = tap.pool(output, means_alone=self.means_alone)

        # hooks that stay would still write to the original once a network is copied
        hooks = [
            self.body.get_submodule(tap.module).register_forward_hook(lambda _, __, output, tap=tap: keep(tap, output))
            for tap in self.taps
        ]
        try:
            last = self.body(images)
        finally:
            for hook in hooks:
                hook.remove()
        stages = [each for tap in self.taps for each in pooled[tap.module]]
        logits: Tensor = self.head(torch.cat([*stages, last], dim=1))
        return logits


def staged(architecture: Architecture, *, means_alone: bool = False) -> Architecture:
    """Return a network with the same weights whose head takes the pooled outputs of all stages.

    It computes what the network computes until its head is replaced: the weights of the further features are 0. The
    network that is given is left as it is.

    Args:
        architecture: of the network.
        means_alone: not the deviations and maxima of channels, which gain one to four points (log of 2026-12-01).

    Raises:
        UsageError: if the outputs of no stage can be read.

    Source: Evci et al. 2022 (Head2Toe: utilizing intermediate representations for better transfer learning). Departs:
    all channels of four stages are taken, by mean, deviation and maximum, and none are selected.
    """
    taps = find_taps(architecture)
    if not taps:
        raise UsageError(f"{architecture.name} has no stage whose output can be read; use the network as it is.")
    body = copy.deepcopy(architecture.network)
    old = cast("nn.Linear", body.get_submodule(architecture.head))
    body.set_submodule(architecture.head, nn.Identity())
    sizes = (*(size for tap in taps for size in tap.sizes(means_alone=means_alone)), old.in_features)
    head = nn.Linear(sum(sizes), old.out_features)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:, -old.in_features :] = old.weight
        head.bias.copy_(old.bias if old.bias is not None else torch.zeros(old.out_features))
    stages = {
        f"body.{name}": at for name, at in architecture.stages.items() if not name.startswith(f"{architecture.head}.")
    }
    return replace(
        architecture,
        name=f"{architecture.name}{STAGED_MEANS if means_alone else STAGED}",
        network=StagedNetwork(body, taps, head, means_alone=means_alone),
        head=HEAD,
        stages=stages | dict.fromkeys((f"{HEAD}.weight", f"{HEAD}.bias"), STAGES.index("head")),
        parts=sizes,
    )


def build_any(name: str, *, n_classes: int) -> Architecture:
    """Build a network of this name with random weights, be it a staged one or not.

    Raises:
        UsageError: if there is no such network, or it has no five stages and linear head.
    """
    for suffix in (STAGED, STAGED_MEANS):
        if name.endswith(suffix):
            return staged(build(name.removesuffix(suffix), n_classes=n_classes), means_alone=suffix == STAGED_MEANS)
    return build(name, n_classes=n_classes)


def find_taps(architecture: Architecture) -> list[Tap]:
    """Return where each of the first stages ends, in order, without those whose output has no dimension of channels.

    A stage ends with the last of its layers that runs, and with the largest module around that layer which holds
    nothing of a later stage: a block, with its shortcut, and not the block's last normalisation. Channels are the
    second dimension of maps, or the last one where the two before it are the sides of a square; of tokens they are the
    last.
    """
    network = copy.deepcopy(architecture.network).eval()
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: object) -> None:
        shapes.pop(name, None)  # so that what runs twice stands where it ran last
        shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else ()

    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
    side = architecture.input_px
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side, device=next(network.parameters()).device))
    taps: list[Tap] = []
    for stage in range(N_TAPPED):
        ends = [name for name in shapes if name and _own_stage(architecture, network, name) == stage]
        name = _around(architecture, ends[-1], stage) if ends else ""
        layout = _layout(shapes.get(name, ()))
        if layout is not None and all(name != tap.module for tap in taps):
            taps.append(Tap(module=name, n_channels=layout[0], pooled=layout[1]))
    return taps


def _own_stage(architecture: Architecture, network: nn.Module, name: str) -> int | None:
    """Return the stage of a layer with parameters of its own; None for what has none."""
    own = [each for each, _ in network.get_submodule(name).named_parameters(recurse=False)]
    return max((architecture.stages[f"{name}.{each}"] for each in own), default=None)


def _around(architecture: Architecture, layer: str, stage: int) -> str:
    """Return the largest module around a layer that holds no parameter of a later stage."""
    parts = layer.split(".")
    for n in range(1, len(parts) + 1):
        name = ".".join(parts[:n])
        if all(at <= stage for each, at in architecture.stages.items() if each.startswith(f"{name}.")):
            return name
    return layer


def _layout(shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Return the channels of an output for one image, and the dimensions to average away; None if it is none."""
    if shape[:1] != (1,) or not 2 <= len(shape) <= 4:
        return None
    if len(shape) == 2:
        return shape[1], ()
    if len(shape) == 3:
        return shape[2], (1,)
    if shape[2] != shape[3] and shape[1] == shape[2]:
        return shape[3], (1, 2)
    return shape[1], (2, 3)
