"""The course of a run: critical rates measured while it trains, where that costs next to nothing."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalepred.errors import UsageError
from scalepred.networks.architecture import Architecture
from scalepred.recipe import Recipe
from scalepred.training.critical import kept_as_they_are, measure
from scalepred.training.loss import Loss, mean_in_parts
from scalepred.training.optimizer import make_optimizer, set_mode
from scalepred.training.rates import stage_rates

IMAGES = 32
BACKWARD = 3
"""A step costs about so many forward passes."""

LOOKS = 10
SHARE = 0.1
"""Of a run's cost that measuring may take; at half of it 29 of 2,595 runs were measured, since most are short."""


def epochs_to_measure(*, n_train: int, epochs: float) -> tuple[int, ...]:
    """Return after which epochs to measure: the first, half of all, the second, as far as the cost allows.

    Args:
        n_train: training images.
        epochs: of the run; not whole where steps cut the last one short.
    """
    cost = min(n_train, IMAGES) * (BACKWARD + LOOKS)
    affordable = int(SHARE * BACKWARD * n_train * epochs / cost)
    wanted = dict.fromkeys(epoch for epoch in (1, int(epochs) // 2, 2) if 1 <= epoch < epochs)
    return tuple(sorted(list(wanted)[:affordable]))


def critical_scale(
    network: nn.Module,
    forward: nn.Module,
    architecture: Architecture,
    recipe: Recipe,
    *,
    loss_of: Loss,
    rows_of: Callable[[Tensor], Tensor],
    labels: Tensor,
    micro_batch: int | None = None,
) -> float | None:
    """Return the scale at which the recipe's update, from here, would bring the loss back to where it is.

    It is measured on the first ``IMAGES`` training images, whose order is that of their contents' hashes.

    The update is that of a first step: what the optimizer has gathered so far is not used. The network ends as it was,
    but for its mode. None where the loss never comes back, never falls, or is not finite.

    Args:
        network: in mid-training.
        forward: how it is run on what ``rows_of`` gives.
        architecture: its stages.
        recipe: of the run.
        loss_of: the recipe's loss.
        rows_of: gives the input for rows of the training images, not augmented.
        labels: of all training images.
        micro_batch: images that go through the network at once, at most, where memory is short; what a part has
            computed is then computed again for its gradient instead of kept.
    """
    sample = torch.arange(min(len(labels), IMAGES), device=labels.device)
    targets, inputs = labels[sample], rows_of(sample)
    set_mode(network, architecture, recipe)
    optimizer = make_optimizer(network, architecture, recipe, stage_rates(recipe, 1.0))
    at_once = min(recipe.batch_size, micro_batch or recipe.batch_size)

    def part_loss(part: Tensor) -> Tensor:
        return loss_of(forward(inputs[part]), targets[part])

    def mean_loss(rows: Tensor) -> Tensor:
        return mean_in_parts(part_loss, rows, at_once=at_once, saves_memory=micro_batch is not None)

    try:
        with kept_as_they_are(network):
            factor = measure(optimizer, mean_loss, [sample]).factor
    except UsageError:  # not finite, as the run's own next step will say
        return None
    return factor if 0 < factor < math.inf else None
