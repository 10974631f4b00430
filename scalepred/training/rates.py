"""Learning rates as pure functions of numbers: which stage learns how fast at which step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scalepred.recipe import Recipe


def stage_rates(recipe: Recipe, scale: float | None) -> tuple[float, ...]:
    """Return each stage's learning rate before the schedule: ``base_lr * multiplier * scale``.

    Args:
        recipe: gives the base rate and one multiplier for each of ``config.STAGES``.
        scale: the secondary multiplier; None, for a recipe without a scale, counts as 1.

    Source: Dube et al. 2018, section 4.3 ("the final learning rate at scale 0.5 for conv3 ... would be 0.5*2*0.001").
    """
    factor = 1.0 if scale is None else scale
    return tuple(recipe.base_lr * multiplier * factor for multiplier in recipe.multipliers)


def schedule_factor(schedule: str, *, step: int, n_steps: int, n_warmup: int = 0) -> float:
    """Return what the rates are multiplied by at a step in 0..n_steps-1.

    In the first ``n_warmup`` steps the schedule's factor is reached in even strides.

    Source: Dube et al. 2018, section 3: 900,000 iterations with a step size of 300,000; Caffe's step policy at its
    usual tenth. "cosine" falls from 1 towards 0 (Loshchilov and Hutter 2017, equation 5, one cycle). The warm-up is
    Goyal et al. 2017, section 2.2 ("gradual warmup"). Departs: it starts one stride above 0.
    """
    warmth = min(1.0, (step + 1) / n_warmup) if n_warmup else 1.0
    if schedule == "cosine":
        return warmth * 0.5 * (1 + math.cos(math.pi * step / n_steps))
    return warmth * float(10.0 ** -(3 * step // n_steps))


def steps_per_epoch(*, n_train: int, batch_size: int) -> int:
    """Return how many near-equal batches of at most ``batch_size`` an epoch is cut into.

    Departs: near-equal batches instead of a short last one, which batch normalisation suffers from.
    """
    return math.ceil(n_train / batch_size)


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a recipe trains on so many images.

    Attributes:
        per_epoch: steps of a whole epoch.
        n_steps: of the training.
        n_warmup: of these, the first in which the rates rise.
    """

    per_epoch: int
    n_steps: int
    n_warmup: int

    @property
    def n_epochs(self) -> int:
        """Epochs that are begun; steps may cut the last one short."""
        return math.ceil(self.n_steps / self.per_epoch)

    @property
    def passes(self) -> float:
        """Passes over the images, the part of the last one too."""
        return self.n_steps / self.per_epoch


def length_of(recipe: Recipe, *, n_train: int) -> Length:
    """Return how long a recipe trains on ``n_train`` images: as many epochs, or exactly as many steps, as it says.

    A warm-up in epochs ends before the last of the steps.
    """
    per_epoch = steps_per_epoch(n_train=n_train, batch_size=recipe.batch_size)
    n_steps = recipe.epochs * per_epoch if recipe.steps is None else recipe.steps
    return Length(per_epoch=per_epoch, n_steps=n_steps, n_warmup=min(recipe.warmup_epochs * per_epoch, n_steps - 1))


def epoch_rates(recipe: Recipe, scale: float | None, *, n_train: int) -> list[tuple[float, ...]]:
    """Return the rate of every stage at the first step of every epoch, shape (epochs, 6)."""
    length = length_of(recipe, n_train=n_train)
    rates: Sequence[float] = stage_rates(recipe, scale)
    factors = [
        schedule_factor(
            recipe.schedule,
            step=epoch * length.per_epoch,
            n_steps=length.n_steps,
            n_warmup=length.n_warmup,
        )
        for epoch in range(length.n_epochs)
    ]
    return [tuple(rate * factor for rate in rates) for factor in factors]
