"""Probes: rivals that run several scales for some epochs and go on with the one whose training loss is lowest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.points import Point

PROBE_EPOCHS = 2
RUNGS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the epochs after which successive halving keeps the better half."""

AROUND = 2.0
"""Octaves to the two scales that are tried besides the one that is given."""


@dataclass(frozen=True)
class Probed:
    """Which scale goes on, and what all of it cost.

    Attributes:
        log2_scale: of the one that goes on.
        jobs: epochs run in all, the rest of the chosen job among them, over those of one job.
    """

    log2_scale: float
    jobs: float


def has_losses(point: Point) -> bool:
    """Say whether a point's runs tell their training losses after the epochs that probes run."""
    return bool(point.epoch_losses.size) and point.epoch_losses.shape[1] >= PROBE_EPOCHS


def probe_all(point: Point, n_epochs: int, *, among: Sequence[int] | None = None) -> Probed:
    """Run all scales of a point, or those of these numbers, for some epochs, and go on with the best.

    Runs that have diverged by then are not gone on with, unless all have: then it is the lowest scale.

    Args:
        point: with its ``epoch_losses``.
        n_epochs: 1 to the job's.
        among: numbers of scales; by default all.
    """
    candidates = list(range(len(point.log2_scales)) if among is None else among)
    total = point.epoch_losses.shape[1]
    spent = (len(candidates) * n_epochs + total - n_epochs) / total
    return Probed(float(point.log2_scales[_best(point, candidates, n_epochs)[0]]), spent)


def two_epochs(point: Point) -> Probed:
    """Run all scales for two epochs."""
    return probe_all(point, PROBE_EPOCHS)


def half_of_epochs(point: Point) -> Probed:
    """Run all scales for half of the epochs."""
    return probe_all(point, max(1, point.epoch_losses.shape[1] // 2))


def halving(point: Point) -> Probed:
    """Run all scales for an eighth of the epochs, the better half of them to a quarter, and of these to a half.

    Source: Jamieson and Talwalkar 2016 (Non-stochastic best arm identification), successive halving.
    """
    alive, done, spent = list(range(len(point.log2_scales))), 0, 0
    total = point.epoch_losses.shape[1]
    for share in RUNGS:
        until = max(done, 1, round(share * total))
        spent, done = spent + len(alive) * (until - done), until
        alive = _best(point, alive, done)[: math.ceil(len(alive) / 2)]
    return Probed(float(point.log2_scales[alive[0]]), (spent + total - done) / total)


def three_around(point: Point, log2_scale: float) -> Probed:
    """Run the scale that is nearest to a given one, and those two octaves either side, for two epochs."""
    wanted = np.array([log2_scale, log2_scale - AROUND, log2_scale + AROUND])
    near = np.abs(point.log2_scales[None, :] - wanted[:, None]).argmin(axis=1)
    return probe_all(point, PROBE_EPOCHS, among=list(dict.fromkeys(near.tolist())))


def _best(point: Point, candidates: Sequence[int], n_epochs: int) -> list[int]:
    """Return the numbers of scales by their loss after so many epochs, those that have diverged last."""
    losses = np.nan_to_num(point.epoch_losses[:, n_epochs - 1], nan=math.inf)
    return sorted(candidates, key=lambda scale: (losses[scale], scale))


PROBES: dict[str, Callable[[Point], Probed]] = {
    "lowest training loss after two epochs, of all scales": two_epochs,
    "lowest training loss after half of the epochs, of all scales": half_of_epochs,
    "successive halving by training loss, of all scales": halving,
}
"""Name -> probe."""
