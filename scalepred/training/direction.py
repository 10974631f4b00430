"""A recipe's own first update on a task: how far it can be stretched, and how it stands to weights and noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalepred.networks.source import on_device
from scalepred.recipe import STAGES, Recipe
from scalepred.training.bundle import Bundle
from scalepred.training.critical import CriticalRate, measure
from scalepred.training.front import inputs_of
from scalepred.training.loss import make_loss, mean_in_parts
from scalepred.training.optimizer import make_optimizer, set_mode
from scalepred.training.rates import stage_rates
from scalepred.training.start import half_way, start_network

HEADS = ("noise", "fitted", "half")
"""Heads to measure at: a new one, the linear probe, and that shrunk until its loss is half of ln k."""

IMAGES = 32
DRAWS = 3


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A recipe's first update on a task at one head.

    Attributes:
        critical: factors are scales: at ``critical.factor`` times the recipe's rates the loss is back where it started.
        update_shares: stage -> norm of the update at scale 1 over the norm of the weights, of the stages that learn.
        noise_images: how many images a batch must have for the gradient's noise to be as large as the gradient; None
            where the draws are too few or too alike to tell.
    """

    critical: CriticalRate
    update_shares: dict[str, float]
    noise_images: float | None


def measure_direction(
    bundle: Bundle,
    recipe: Recipe,
    *,
    head: str,
    n_draws: int = DRAWS,
    seed: int = 0,
    micro_batch: int | None = None,
) -> Direction:
    """Measure a recipe's first update: one gradient and about seven forward passes on 32 images for each draw.

    The mode is the recipe's: its multipliers, optimizer, weight decay, loss, and statistics of batches as large as its
    own. Images are not augmented, and what a frozen front gives is used where the bundle keeps it.

    Args:
        bundle: the task and the source.
        recipe: of the finetune.
        head: one of ``HEADS``.
        n_draws: of ``IMAGES`` training images each, different ones as far as there are.
        seed: of the draws and of a new head.
        micro_batch: images that go through the network at once, at most, where memory is short; what a part has
            computed is then computed again for its gradient instead of kept.

    Raises:
        StartError: if the loss or the gradient is not finite at the start, or nothing is trained.
    """
    train, n_classes = bundle.task.train, len(bundle.task.classes)
    architecture = bundle.source.architecture
    start = None if head == "noise" else bundle.start_of(recipe, micro_batch)
    network = start_network(
        bundle.source,
        n_classes=n_classes,
        generator=torch.Generator().manual_seed(seed),
        start=start,
        shrunk=half_way(start, train.labels) if start and head == "half" else 1.0,
    )
    network = on_device(network, bundle.device)
    optimizer = make_optimizer(network, architecture, recipe, stage_rates(recipe, 1.0))
    set_mode(network, architecture, recipe)
    prepared = bundle.prepared_for(recipe, micro_batch)
    forward, rows_of = prepared.cut.rest_of(network), inputs_of(train, prepared, architecture, device=bundle.device)
    loss_of = make_loss(recipe, train.labels, n_classes=n_classes, device=bundle.device)
    labels = torch.from_numpy(train.labels).to(bundle.device)

    at_once = min(recipe.batch_size, micro_batch or recipe.batch_size)

    def part_loss(part: Tensor) -> Tensor:
        return loss_of(forward(rows_of(part)), labels[part])

    def mean_loss(rows: Tensor) -> Tensor:
        return mean_in_parts(part_loss, rows, at_once=at_once, saves_memory=micro_batch is not None)

    stage_of = {id(parameter): architecture.stages[name] for name, parameter in network.named_parameters()}
    trained: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    stages = [stage_of[id(parameter)] for parameter in trained]
    gradients: list[list[Tensor]] = []
    shares: list[dict[str, float]] = []

    def keep(gradient: list[Tensor], update: list[Tensor]) -> None:
        gradients.append([each.clone() for each in gradient])
        shares.append(_shares(update, trained, stages))

    rows = draw_rows(len(labels), n_draws=n_draws, seed=seed)
    batches = [torch.from_numpy(each).to(bundle.device) for each in rows]
    critical = measure(optimizer, mean_loss, batches, on_update=keep)
    return Direction(
        critical=critical,
        update_shares={stage: float(np.median([each[stage] for each in shares])) for stage in shares[0]},
        noise_images=noise_images(gradients, n_images=len(rows[0])),
    )


def draw_rows(n: int, *, n_draws: int, seed: int) -> list[np.ndarray]:
    """Return rows of ``n_draws`` draws of at most ``IMAGES`` among n images; disjoint as far as there are enough."""
    rng = np.random.default_rng(seed)
    size = min(n, IMAGES)
    order = np.concatenate([rng.permutation(n) for _ in range(math.ceil(n_draws * size / n))])
    return [order[at * size : (at + 1) * size].astype(np.int64) for at in range(n_draws)]


def _shares(updates: Sequence[Tensor], parameters: Sequence[Tensor], stages: Sequence[int]) -> dict[str, float]:
    """Return stage -> norm of what a step adds over the norm of the weights before it; without stages of no weight.

    The parameters are where the step has put them.
    """
    moved, size = [0.0] * len(STAGES), [0.0] * len(STAGES)
    for update, parameter, stage in zip(updates, parameters, stages, strict=True):
        moved[stage] += float(update.double().square().sum())
        size[stage] += float((parameter.detach() - update).double().square().sum())
    return {STAGES[k]: math.sqrt(moved[k] / size[k]) for k in sorted(set(stages)) if size[k] > 0}


def noise_images(gradients: Sequence[Sequence[Tensor]], *, n_images: int) -> float | None:
    """Return the gradient's noise scale in images, from the gradients of several draws of ``n_images`` each.

    Source: McCandlish et al. 2018 (An empirical model of large-batch training), appendix A.1: trace of the covariance
    over the squared norm of the mean, from the squared norms at two batch sizes.
    """
    if len(gradients) < 2:
        return None
    small = float(np.mean([sum(float(g.double().square().sum()) for g in each) for each in gradients]))
    mean = [torch.stack(each).mean(dim=0) for each in zip(*gradients, strict=True)]
    big = sum(float(g.double().square().sum()) for g in mean)
    n_big = len(gradients) * n_images
    signal = (n_big * big - n_images * small) / (n_big - n_images)
    noise = (small - big) / (1 / n_images - 1 / n_big)
    return noise / signal if signal > 0 and noise > 0 else None
