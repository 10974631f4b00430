"""Own runs: what ran with a network and recipe moves the rule's scale, the more the more tasks there are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.curves import Curves
from scalepred.predictor.points import Point
from scalepred.predictor.search import LEVEL, prior_of
from scalepred.predictor.threshold import same_around

LOG2_SCALES = np.arange(-10.0, 12.25, 0.25)
"""log2 of the scales at which a group's mean curve is kept, and a scale is looked for."""

OCTAVES = np.arange(-8.0, 8.25, 0.25)
"""Octaves from the rule's scale at which harvested curves are read; beyond them they are held."""

PRIOR_TASKS = 10.0
"""Harvested curves around the rule's scale weigh as much as so many own tasks: of 0.5 to 30 what gained most on all
groups that were harvested (log of 2026-12-01)."""

MOST_TASKS = 30
"""Of more tasks the best fixed scale is the group's own; of ten on harvested curves are not shown to add to it."""

DIGITS = 4
"""Of the accuracies that are kept."""


@dataclass(frozen=True, kw_only=True)
class OwnCurve:
    """The mean curve of a source and recipe over a few tasks.

    Attributes:
        source_id, recipe_id: of the group.
        n_tasks: behind it.
        relative: accuracies at ``LOG2_SCALES``, each task's minus its best, fractions; means over the tasks.
    """

    source_id: str
    recipe_id: str
    n_tasks: int
    relative: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Where own runs move the rule's scale to, and what is expected around it.

    Attributes:
        log2_scale: of the chosen scale.
        low, high: log2 of the scales between which the expected accuracy is within half a point of its.
        lost_half, lost_double: expected accuracy minus that at half of it, and at twice it; fractions.
    """

    log2_scale: float
    low: float
    high: float
    lost_half: float
    lost_double: float


def own_curves(points: Sequence[Point]) -> tuple[OwnCurve, ...]:
    """Return the mean curve of each source and recipe, without those of more than ``MOST_TASKS`` tasks.

    Curves are interpolated by log2 of scale. Below what ran a curve is held, and above it too, unless that diverged:
    then it is at chance.

    Args:
        points: of any groups, one for each task; facts of their starts are not needed.
    """
    members: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        members[point.source_id, point.recipe.recipe_id].append(point)
    return tuple(own_curve(some) for _, some in sorted(members.items()) if len(some) <= MOST_TASKS)


def own_curve(points: Sequence[Point]) -> OwnCurve:
    """Return the mean curve of one source and recipe."""
    curves = np.array([point.accuracies_at(LOG2_SCALES) for point in points])
    mean = (curves - curves.max(axis=1, keepdims=True)).mean(axis=0)
    return OwnCurve(
        source_id=points[0].source_id,
        recipe_id=points[0].recipe.recipe_id,
        n_tasks=len(points),
        relative=tuple(round(float(each), DIGITS) for each in mean),
    )


def expected_shape(curves: Curves, kind: str, *, chance: float) -> np.ndarray:
    """Return what harvested curves expect at ``OCTAVES`` from the rule's scale, relative to their best, (m,).

    Their mean is moved so that its best lies at the rule's scale, for without own runs that is the choice.

    Args:
        curves: harvested ones.
        kind: of the recipe, as ``rule.kind_of`` has it.
        chance: accuracy of guessing on the task, which is what a diverged job has.
    """
    prior = prior_of(curves, kind, octaves=OCTAVES, chance=chance, n_images=1)
    relative = (1 - prior.diverged) * prior.relative + prior.diverged * (chance - LEVEL)
    mean = prior.weights @ relative
    shape: np.ndarray = np.interp(OCTAVES + OCTAVES[mean.argmax()], OCTAVES, mean)
    return shape


def moved_by(own: OwnCurve, shape: np.ndarray, *, log2_scale: float, prior_tasks: float = PRIOR_TASKS) -> Moved:
    """Return where the mean of own tasks and harvested curves is highest.

    The harvested ones count as ``prior_tasks`` tasks more whose curve lies around the rule's scale. So it goes from the
    rule's scale to the best fixed scale of the own tasks.

    Source: Efron and Morris 1975 (Data analysis using Stein's estimator), the shrunk mean of a group; here of its
    curve, whose best place is taken.

    Args:
        own: mean curve of the own tasks.
        shape: as ``expected_shape`` gives it.
        log2_scale: of the rule's scale for the new task.
        prior_tasks: how much the harvested curves weigh.
    """
    around = np.interp(LOG2_SCALES - log2_scale, OCTAVES, shape)
    mean = (own.n_tasks * np.array(own.relative) + prior_tasks * around) / (own.n_tasks + prior_tasks)
    best = int(mean.argmax())
    low, high = same_around(mean, best)
    half, double = np.interp(LOG2_SCALES[best] + np.array([-1, 1]), LOG2_SCALES, mean)
    return Moved(
        log2_scale=float(LOG2_SCALES[best]),
        low=float(LOG2_SCALES[low]),
        high=float(LOG2_SCALES[high]),
        lost_half=float(mean[best] - half),
        lost_double=float(mean[best] - double),
    )
