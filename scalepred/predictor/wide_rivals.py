"""Rivals: what else would choose a scale for a design point, from leaving the rates alone to running all scales."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalepred.predictor.formulations import nearest_point
from scalepred.predictor.placing import Places, by_rule, placed_by
from scalepred.predictor.points import Point
from scalepred.predictor.probes import PROBES, has_losses, three_around
from scalepred.predictor.rule import DECLARED, kind_of
from scalepred.predictor.rule_choice import BASE, rule_of
from scalepred.predictor.wide_frame import Frame
from scalepred.predictor.wide_table import WideTable

FIXED = {"sgd": BASE, "adamw": BASE}

SCALE_1, RATE, DECLARED_RULE, SHIPPED = "scale 1", "best fixed rate", "the rule, declared", "the rule, as it ships"
NEAREST, AROUND = "best rate of the nearest point", "the rule and two octaves either side, two epochs each"
OWN, NAIVE = "own network's best fixed rate (naive)", "best of each curve (biased)"
HONEST = "best of each curve, chosen on half of the images"
SEARCH = "highest of all scales on the validation images"
PROBE = "linear probe, cross-validated on the training images"
RANGE_TESTS = {"valley": "range test, valley", "steepest": "range test, steepest"}


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of choosing, or of doing without.

    Attributes:
        log2_scales: (n,) of what it chooses; NaN for points that it says nothing of. None where it is no scale.
        accuracies: (n,) of what is no scale; else None.
        jobs: (n,) what it costs for each point, the job itself and facts included, in jobs.
    """

    log2_scales: np.ndarray | None = None
    accuracies: np.ndarray | None = None
    jobs: np.ndarray

    def reached(self, points: Sequence[Point]) -> np.ndarray:
        """Return the accuracy of each of n points, (n,); NaN where it says nothing."""
        if self.accuracies is not None:
            return self.accuracies
        assert self.log2_scales is not None  # noqa: S101 - it has either
        return np.array([p.accuracy_at(scale) for p, scale in zip(points, self.log2_scales, strict=True)])

    def diverged(self, points: Sequence[Point]) -> np.ndarray:
        """Return for which of n points the chosen scale diverges, (n,) bool."""
        if self.log2_scales is None:
            return np.zeros(len(points), bool)
        return np.array([p.diverges_at(scale) for p, scale in zip(points, self.log2_scales, strict=True)])


def with_facts(points: Sequence[Point]) -> np.ndarray:
    """Return the cost of one job after the facts of its start were measured, in jobs, (n,)."""
    return np.array([1 + point.facts_seconds / point.job_seconds for point in points])


def rivals_of(frame: Frame, tests: Mapping[str, Mapping[str, Any]]) -> dict[str, Way]:
    """Return name -> rival, those that the points can tell.

    Args:
        frame: the points, and what may not be learnt from.
        tests: point's key -> what range tests found (``valley``, ``steepest``, ``seconds``).
    """
    points = frame.points
    job, told = np.ones(len(points)), with_facts(points)
    ships = frame.outside(lambda table: _as_it_ships(table, frame.min_steps))
    return {
        SCALE_1: Way(log2_scales=np.zeros(len(points)), jobs=job),
        RATE: Way(log2_scales=frame.outside(by_rule(FIXED)), jobs=job),
        DECLARED_RULE: Way(log2_scales=frame.outside(by_rule(DECLARED)), jobs=told),
        SHIPPED: Way(log2_scales=ships, jobs=told),
        NEAREST: Way(log2_scales=frame.outside(lambda table: nearest_point(table, start=FIXED)), jobs=told),
        PROBE: _linear_probe(points),
        **_range_tests(points, tests),
        **_probes(points, ships, told),
        **_upper_marks(frame.table),
    }


def _linear_probe(points: Sequence[Point]) -> Way:
    """Return the linear probe, whose accuracy is a fact of the start where there were images enough to hold out."""
    accuracies = [point.facts.get("fitted_accuracy", math.nan) for point in points]
    seconds = [point.fact_seconds.get("fitted_accuracy", 0.0) / point.job_seconds for point in points]
    return Way(accuracies=np.array(accuracies), jobs=np.array(seconds))


def _as_it_ships(table: WideTable, min_steps: int) -> Places:
    return placed_by(rule_of(table.points, min_steps))


def own_rate(table: WideTable) -> np.ndarray:
    """Return the best fixed rate of each point's own network and kind of recipe, itself included, as log2 scales."""
    groups = np.array([f"{point.source_id} {kind_of(point.recipe)}" for point in table.points])
    places = np.zeros(len(groups))
    for group in set(groups):
        rows = np.flatnonzero(groups == group)
        places[rows] = by_rule(FIXED)(table.rows(rows))(table.rows(rows))
    return places


def _upper_marks(table: WideTable) -> dict[str, Way]:
    """Return what takes a harvest of the network, or all runs of the point."""
    points = table.points
    n_scales = np.array([float(len(point.log2_scales)) for point in points])
    found = {
        OWN: Way(log2_scales=own_rate(table), jobs=n_scales),
        HONEST: Way(accuracies=np.array([point.honest_best for point in points]), jobs=n_scales),
        NAIVE: Way(log2_scales=np.array([point.best_log2_scale for point in points]), jobs=n_scales),
    }
    if all(len(point.val_accuracies) and point.has_test for point in points):
        found[SEARCH] = Way(log2_scales=np.array([_searched(point) for point in points]), jobs=n_scales)
    return found


def _searched(point: Point) -> float:
    """Return log2 of the scale that is best on the validation images; the middle one of equals."""
    tied = np.flatnonzero(point.val_accuracies >= point.val_accuracies.max() - 1e-12)
    return float(point.log2_scales[tied[len(tied) // 2]])


def _probes(points: Sequence[Point], ships: np.ndarray, told: np.ndarray) -> dict[str, Way]:
    if not all(has_losses(point) for point in points):
        return {}
    probed = {name: [probe(point) for point in points] for name, probe in PROBES.items()}
    found = {name: _way(each, np.zeros(len(points))) for name, each in probed.items()}
    around = [three_around(point, scale) for point, scale in zip(points, ships, strict=True)]
    return found | {AROUND: _way(around, told - 1)}


def _way(probed: Sequence[Any], more: np.ndarray) -> Way:
    scales, jobs = (np.array([getattr(each, name) for each in probed]) for name in ("log2_scale", "jobs"))
    return Way(log2_scales=scales, jobs=jobs + more)


def _range_tests(points: Sequence[Point], tests: Mapping[str, Mapping[str, Any]]) -> dict[str, Way]:
    """Return both ways of reading a range test; scale 1 where its curve was too short to read."""
    if not any(point.key in tests for point in points):
        return {}
    of_points = [tests.get(point.key) for point in points]
    seconds = [math.nan if test is None else test["seconds"] for test in of_points]
    jobs = 1 + np.array(seconds) / np.array([point.job_seconds for point in points])
    scales = {
        way: [math.nan if test is None else math.log2(test[way] or 1.0) for test in of_points] for way in RANGE_TESTS
    }
    return {RANGE_TESTS[way]: Way(log2_scales=np.array(each), jobs=jobs) for way, each in scales.items()}
