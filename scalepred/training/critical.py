"""The critical rate: how far an optimizer's own next update can be stretched before the loss is back where it was."""

import copy
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scalepred.errors import StartError, UsageError
from scalepred.training.line import Line, search_line

FIRST_SHARE = 0.02
"""The first look moves the weights by this share of their norm."""


@dataclass(frozen=True, kw_only=True)
class CriticalRate:
    """How far an optimizer's update can be stretched, as a factor on all of its rates; medians over batches.

    Attributes:
        factor: the least one at which the loss of the batch is back where it started; 0 where it never falls, infinite
            where it never comes back.
        minimum: the factor at which the loss is lowest.
        depth: how far it falls there, as a share of the loss at the start.
        loss: at the start.
        spread: octaves between the highest and the lowest factor over the batches; 0 for a single batch, NaN where one
            of them is 0 or infinite.
        curve: (factor, loss) at every look of the batch whose factor is the median, factors ascending from 0.
        lines: every batch's.
    """

    factor: float
    minimum: float
    depth: float
    loss: float
    spread: float
    curve: tuple[tuple[float, float], ...]
    lines: tuple[Line, ...]


def critical_rate(
    network: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
) -> CriticalRate:
    """Measure how far an optimizer's next update can be stretched, before any training.

    For each batch it takes one gradient, has a copy of the optimizer make its update, and looks at the batch's loss
    along that update, in about seven forward passes. The network, its mode, statistics and gradients, the optimizer and
    torch's random state stay as they are; what is stepped is a copy.

    Args:
        network: any network, in the mode that it will be trained in, with weights of float32 or float64.
        loss: gives the mean loss of the network on a batch, a scalar tensor.
        batches: one or a few; 32 images each and three batches do well.
        optimizer: of the network's parameters, with any groups; their rates are the direction. SGD, Adam, AdamW and
            whatever else steps without a closure.

    Raises:
        UsageError: if there is no batch, a loss that is no scalar, or weights in half precision; ``StartError``, which
            is one too, if there is nothing to train, no rate above 0, no gradient, or a loss or gradient that is not
            finite.

    Source: Kalra et al. 2026 (arXiv 2601.16979), who measure 2 / critical rate along the update and call it the
    critical sharpness.
    """
    drawn = list(batches)
    if not drawn:
        raise UsageError("There is no batch to measure a critical rate on: give at least one.")
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if stepped.isdisjoint(id(p) for p in network.parameters()):
        raise UsageError("The optimizer holds none of the network's parameters: make it of network.parameters().")
    with torch.random.fork_rng(devices=_cuda_devices(network)):
        twin, own = copy.deepcopy((network, optimizer))
        return measure(own, lambda batch: loss(twin, batch), drawn)


def measure(
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Any], Tensor],
    batches: Sequence[Any],
    *,
    on_update: Callable[[list[Tensor], list[Tensor]], None] | None = None,
) -> CriticalRate:
    """Measure an optimizer's critical rate on its own parameters, which end as they were, as does its state.

    Args:
        optimizer: of parameters that nobody else uses meanwhile.
        loss_of: the mean loss of a batch, a scalar tensor that depends on them.
        batches: at least one.
        on_update: called for every batch with the gradients, and with what the step adds to each of the parameters that
            are trained.

    Raises:
        UsageError: as ``critical_rate``.
    """
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    _check_trainable(parameters)
    _check_rates(optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    lines: list[Line] = []
    for batch in batches:
        placed = [line.critical for line in lines if 0 < line.critical < math.inf]
        first = placed[-1] / 2 if placed else None
        lines.append(_line(optimizer, parameters, loss_of, batch, first=first, on_update=on_update))
        optimizer.load_state_dict(state)
    median = sorted(lines, key=lambda line: line.critical)[(len(lines) - 1) // 2]
    factors = [line.critical for line in lines]
    is_placed = all(0 < factor < math.inf for factor in factors)
    return CriticalRate(
        factor=_median(factors),
        minimum=_median([line.minimum for line in lines]),
        depth=statistics.median(line.depth for line in lines),
        loss=statistics.median(line.start for line in lines),
        spread=math.log2(max(factors) / min(factors)) if is_placed else 0.0 if len(factors) == 1 else math.nan,
        curve=median.curve,
        lines=tuple(lines),
    )


def _line(
    optimizer: torch.optim.Optimizer,
    parameters: list[Tensor],
    loss_of: Callable[[Any], Tensor],
    batch: Any,
    *,
    first: float | None,
    on_update: Callable[[list[Tensor], list[Tensor]], None] | None,
) -> Line:
    """Look along the optimizer's update on a batch; the parameters and their gradients end as they were."""
    gradients = [p.grad for p in parameters]
    before = [p.detach().clone() for p in parameters]
    try:
        start, updates = _updates(optimizer, parameters, before, loss_of, batch)
        if on_update:
            on_update([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters], updates)

        def loss_at(factor: float) -> float:
            with torch.no_grad(), _same_draws(parameters[0].device):
                torch._foreach_copy_(parameters, torch._foreach_add(before, updates, alpha=factor))
                return float(loss_of(batch))

        return search_line(loss_at, start=start, first=first or _first_factor(before, updates))
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, before)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def _updates(
    optimizer: torch.optim.Optimizer,
    parameters: list[Tensor],
    before: list[Tensor],
    loss_of: Callable[[Any], Tensor],
    batch: Any,
) -> tuple[float, list[Tensor]]:
    """Return a batch's loss, and what the optimizer's step adds to each parameter, which is left where that put it."""
    optimizer.zero_grad(set_to_none=True)
    with _same_draws(parameters[0].device):
        loss = loss_of(batch)
        _check_loss(loss)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has left it untyped
    optimizer.step()
    with torch.no_grad():
        updates = [parameter - old for parameter, old in zip(parameters, before, strict=True)]
    if not all(update.isfinite().all() for update in updates):
        raise StartError("The gradient is not finite at the start: check the images and the network's weights.")
    return float(loss.detach()), updates


def _first_factor(before: list[Tensor], updates: list[Tensor]) -> float:
    """Return the factor at which the weights move by ``FIRST_SHARE`` of their norm; 1 where nothing moves."""
    moved, size = (math.sqrt(sum(float(t.double().square().sum()) for t in each)) for each in (updates, before))
    return FIRST_SHARE * size / moved if moved > 0 and size > 0 else 1.0


@contextmanager
def _same_draws(device: torch.device) -> Iterator[None]:
    """Have what a network drops at random be the same at every look; the state of torch's generators is kept."""
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.default_generator.manual_seed(0)
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield


@contextmanager
def kept_as_they_are(network: nn.Module) -> Iterator[None]:
    """Put a network's buffers, such as running statistics, back as they were at the end of the block."""
    buffers = {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])


def _check_trainable(parameters: list[Tensor]) -> None:
    if not parameters:
        raise StartError("Nothing can be trained: every parameter of the optimizer is frozen.")
    kinds = {str(p.dtype).removeprefix("torch.") for p in parameters} - {"float32", "float64"}
    if kinds:
        raise UsageError(
            f"The weights are {', '.join(sorted(kinds))}, in which steps this small are lost: "
            "measure with network.float() and use the factor for both."
        )


def _check_rates(optimizer: torch.optim.Optimizer) -> None:
    groups = [group for group in optimizer.param_groups if any(p.requires_grad for p in group["params"])]
    if all(group.get("lr") == 0 for group in groups):
        raise StartError(
            "Nothing can be trained: the learning rate of the optimizer is 0, so it makes no update to stretch."
        )


def _check_loss(loss: Tensor) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise UsageError("The loss is no scalar tensor: return the mean over the batch.")
    if not loss.requires_grad:
        raise StartError("The loss does not depend on what the optimizer trains: is the network frozen?")
    if not bool(loss.detach().isfinite()):
        raise StartError(f"The loss is {loss.item()} at the start: check the images and the network's weights.")


def _cuda_devices(network: nn.Module) -> list[torch.device]:
    return list({p.device for p in network.parameters() if p.device.type == "cuda"})


def _median(values: list[float]) -> float:
    """Return the lower median, so that 0 and infinity stay values of their own."""
    return sorted(values)[(len(values) - 1) // 2]
