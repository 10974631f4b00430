"""A group's mean curve: what ran with a network and recipe moves the rule's choice, the more the more there is."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.points import Point
from scalepred.predictor.search import LEVEL, LEVEL_SPREAD, LUCK, Prior
from scalepred.predictor.targets import accuracy_noise

OCTAVES = np.arange(-8.0, 8.25, 0.25)
"""Octaves from the rule's scale at which a group's curve is kept, and the choice is looked for."""

LEARNT_OVER: Mapping[str, tuple[float, ...]] = {
    "group": (0.02, 0.04, 0.08, 0.16),
    "task": (0.02, 0.04, 0.08, 0.16),
    "length": (1.0, 2.0, 3.0),
    "kept": (0.0, 0.5, 1.0),
}
"""Values of a ``Shrinkage`` among which the most likely is taken."""


@dataclass(frozen=True, kw_only=True)
class TaskRuns:
    """A task of a group, with whatever scales it ran at.

    Attributes:
        place: log2 of the rule's scale for it.
        log2_scales: (s,) float64.
        accuracies: (s,) float64, fractions; chance where a run diverged.
        errors: (s,) float64, their standard errors by images and by luck.
    """

    place: float
    log2_scales: np.ndarray
    accuracies: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Shrinkage:
    """How far groups lie from harvested curves, and tasks from their group.

    Attributes:
        group: standard deviation of a group's mean curve around a harvested one, a fraction.
        task: that of a task's curve around its group's, beside its level.
        length: octaves over which both vary.
        kept: which share of the differences between tasks' places the curve follows; 1 is the rule's scale for each
            task, 0 one scale for all tasks.
    """

    group: float
    task: float
    length: float
    kept: float


@dataclass(frozen=True, kw_only=True)
class GroupCurve:
    """What is expected of a new task of a group.

    Attributes:
        mean: (m,) expected accuracies at ``OCTAVES`` from where the group's tasks are placed.
        centre: mean place of its tasks; None where there are none.
        kept: as ``Shrinkage`` has it.
        reach: the octaves between which half of its tasks ran; all where there are none.
    """

    mean: np.ndarray
    centre: float | None
    kept: float
    reach: tuple[float, float]

    @property
    def best_octave(self) -> float:
        """The octaves of the highest expected accuracy, of those between which half of the tasks ran.

        Harvests go on beyond an edge where that is best, so further out are cliffs, and few tasks, which are not as
        the others.
        """
        low, high = self.reach
        inside = np.where((low <= OCTAVES) & (high >= OCTAVES), self.mean, -math.inf)
        return float(OCTAVES[int(inside.argmax())])

    def log2_scale(self, place: float) -> float:
        """Return log2 of the scale of the highest expected accuracy for a new task with this place."""
        return _moved(place, self.centre, self.kept) + self.best_octave


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What tasks say of their group's curve: a Gaussian in information form.

    Attributes:
        precision: (m, m).
        pull: (m,), precision times what was seen.
        log_density: of what was seen, were the curve 0 everywhere.
    """

    precision: np.ndarray
    pull: np.ndarray
    log_density: float


def task_runs(point: Point, place: float) -> TaskRuns:
    """Return a harvested point as a task of its group, placed by the rule."""
    images = accuracy_noise(point.accuracies, point.n_images)
    errors: np.ndarray = np.sqrt(images**2 + LUCK**2 / point.n_seeds)
    return TaskRuns(place=place, log2_scales=point.log2_scales, accuracies=point.accuracies, errors=errors)


def group_curve(prior: Prior, tasks: Sequence[TaskRuns], shrinkage: Shrinkage) -> GroupCurve:
    """Return a group's mean curve after its tasks; without tasks that of the harvested curves.

    A task's accuracies are a level, plus the group's curve, plus a deviation of the task that varies smoothly, plus
    noise; the group's curve is one of the harvested ones plus a deviation of its own. All but which curve it is are
    Gaussian.

    Source: Gelman et al. 2013 (Bayesian data analysis), section 5.4, for the hierarchy; Rasmussen and Williams 2006,
    section 2.2, for curves.

    Args:
        prior: harvested curves of other groups at ``OCTAVES``.
        tasks: of the group.
        shrinkage: learnt on other groups.
    """
    expected = _expected(prior)
    if not tasks:
        everywhere = (float(OCTAVES[0]), float(OCTAVES[-1]))
        return GroupCurve(mean=LEVEL + prior.weights @ expected, centre=None, kept=shrinkage.kept, reach=everywhere)
    seen, covariance = _evidence(tasks, shrinkage), _group_covariance(shrinkage)
    left = seen.pull - expected @ seen.precision
    moved = np.linalg.solve(np.eye(len(OCTAVES)) + covariance @ seen.precision, covariance @ left.T).T
    fits = _log_fits(seen, expected, left, moved) + np.log(prior.weights)
    likely = np.exp(fits - fits.max())
    mean: np.ndarray = LEVEL + likely @ (expected + moved) / likely.sum()
    ran = [_octaves(task, _centre(tasks), shrinkage.kept) for task in tasks]
    reach = (float(np.median([each.min() for each in ran])), float(np.median([each.max() for each in ran])))
    return GroupCurve(mean=mean, centre=_centre(tasks), kept=shrinkage.kept, reach=reach)


def log_likelihood(prior: Prior, tasks: Sequence[TaskRuns], shrinkage: Shrinkage) -> float:
    """Return the log density of what a group's tasks came to, over all curves that it may have.

    Source: Rasmussen and Williams 2006, section 5.4.1, with the matrix determinant lemma (section A.3).
    """
    expected, seen, covariance = _expected(prior), _evidence(tasks, shrinkage), _group_covariance(shrinkage)
    grown = np.eye(len(OCTAVES)) + covariance @ seen.precision
    left = seen.pull - expected @ seen.precision
    moved = np.linalg.solve(grown, covariance @ left.T).T
    fits = _log_fits(seen, expected, left, moved) + np.log(prior.weights)
    of_curves = float(fits.max() + np.log(np.exp(fits - fits.max()).sum()))
    return seen.log_density + of_curves - 0.5 * float(np.linalg.slogdet(grown)[1])


def learn_shrinkage(
    groups: Sequence[tuple[Prior, Sequence[TaskRuns]]], over: Mapping[str, Sequence[float]] = LEARNT_OVER
) -> Shrinkage:
    """Return the shrinkage under which groups are most likely, each with a prior that did not see it.

    Source: Rasmussen and Williams 2006, section 5.4.1 (type II maximum likelihood).

    Args:
        groups: one or more, with a task each at least.
        over: name of a field of ``Shrinkage`` -> values to choose from.
    """
    tried = [
        Shrinkage(**dict(zip(LEARNT_OVER, values, strict=True)))
        for values in itertools.product(*(over[name] for name in LEARNT_OVER))
    ]
    return max(tried, key=lambda each: sum(log_likelihood(prior, tasks, each) for prior, tasks in groups))


def _expected(prior: Prior) -> np.ndarray:
    """Return each curve's accuracies at places minus ``LEVEL``, (n, m), with chance where it diverged."""
    expected: np.ndarray = (1 - prior.diverged) * prior.relative + prior.diverged * (prior.chance - LEVEL)
    return expected


def _evidence(tasks: Sequence[TaskRuns], shrinkage: Shrinkage) -> _Evidence:
    centre, size = _centre(tasks), len(OCTAVES)
    precision, pull, log_density = np.zeros((size, size)), np.zeros(size), 0.0
    for task in tasks:
        octaves = _octaves(task, centre, shrinkage.kept)
        noise = _alike(octaves, shrinkage.task, shrinkage.length) + LEVEL_SPREAD**2 + np.diag(task.errors**2)
        at, seen = _between(octaves), task.accuracies - LEVEL
        solved = np.linalg.solve(noise, np.column_stack([at, seen]))
        precision += at.T @ solved[:, :-1]
        pull += at.T @ solved[:, -1]
        log_density -= 0.5 * float(seen @ solved[:, -1] + np.linalg.slogdet(2 * math.pi * noise)[1])
    return _Evidence(precision=precision, pull=pull, log_density=log_density)


def _log_fits(seen: _Evidence, expected: np.ndarray, left: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return (n,) log densities of what was seen under each curve, up to the same constant."""
    by_curve = expected @ seen.pull - 0.5 * ((expected @ seen.precision) * expected).sum(axis=1)
    fits: np.ndarray = by_curve + 0.5 * (left * moved).sum(axis=1)
    return fits


def _group_covariance(shrinkage: Shrinkage) -> np.ndarray:
    return _alike(OCTAVES, shrinkage.group, shrinkage.length)


def _alike(octaves: np.ndarray, deviation: float, length: float) -> np.ndarray:
    """Return the covariance of a curve of this standard deviation that varies over so many octaves, (s, s)."""
    apart = (octaves[:, None] - octaves[None, :]) / length
    alike: np.ndarray = deviation**2 * np.exp(-0.5 * apart**2)
    return alike


def _between(octaves: np.ndarray) -> np.ndarray:
    """Return (s, m) weights that interpolate a curve at octaves; beyond ``OCTAVES`` it is held."""
    steps = np.interp(octaves, OCTAVES, np.arange(len(OCTAVES)))
    rows, below = np.arange(len(octaves)), np.minimum(steps.astype(np.int64), len(OCTAVES) - 2)
    weights = np.zeros((len(octaves), len(OCTAVES)))
    weights[rows, below], weights[rows, below + 1] = below + 1 - steps, steps - below
    return weights


def _centre(tasks: Sequence[TaskRuns]) -> float:
    return float(np.mean([task.place for task in tasks]))


def _octaves(task: TaskRuns, centre: float, kept: float) -> np.ndarray:
    """Return the octaves that a task ran at, counted from its place, (s,); within ``OCTAVES``."""
    return np.clip(task.log2_scales - _moved(task.place, centre, kept), OCTAVES[0], OCTAVES[-1])


def _moved(place: float, centre: float | None, kept: float) -> float:
    """Return where octaves are counted from for a place: itself, the centre of the group, or between them."""
    return place if centre is None else kept * place + (1 - kept) * centre
