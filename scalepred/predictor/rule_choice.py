"""Which coordinates and which points make the rule that ships: longer jobs where there are enough of them."""

import math
from collections.abc import Sequence

import numpy as np

from scalepred.predictor.coordinates import COORDINATES, coordinate
from scalepred.predictor.points import Point
from scalepred.predictor.rule import Rule, fit_rule, kind_of

MIN_STEPS = 64
"""A user's hundred images and twenty epochs in batches of 32 are about so many steps; most points are shorter."""

FEWEST = 16
"""A kind of recipe with fewer points of so many steps has a constant of all its points."""

SETTLED = {
    "adamw, fitted head": "both",
    "adamw, noise head": "noise",
    "sgd, fitted head": "both, damped",
    "sgd, noise head": "rate",
}
"""Kind of recipe -> the coordinate of its constant. All were settled before the last six networks were harvested:
by the pilot for SGD's fitted heads and AdamW's new ones, by the first six networks for the others. Selected anew by
accuracy, they lose with families held out (log of 2026-11-30)."""

NAMES = ["rate", "damped rate", *(f"{n}{d}" for n in list(COORDINATES)[2:] for d in ("", ", damped"))]
"""All coordinates that are judged."""

BASE = "rate"
"""A constant alone: the best fixed rate of the other points of the same kind."""


def is_long(point: Point, min_steps: int) -> bool:
    """Say whether a point's jobs take at least so many steps."""
    return point.facts["log2_steps"] >= math.log2(min_steps)


def for_constants(points: Sequence[Point], min_steps: int) -> list[Point]:
    """Return the points that constants are estimated from: those of so many steps, or all of a kind with few such."""
    chosen = []
    for kind in sorted({kind_of(point.recipe) for point in points}):
        members = [p for p in points if kind_of(p.recipe) == kind]
        longer = [p for p in whole(members) if is_long(p, min_steps)]
        chosen += longer if len(longer) >= FEWEST else members
    return chosen


def whole(points: Sequence[Point]) -> list[Point]:
    """Return the points whose coordinates can all be told."""
    return [p for p in points if all(coordinate(name, p.facts, p.recipe) is not None for name in NAMES)]


def reached(rule: Rule, points: Sequence[Point]) -> float:
    """Return the mean accuracy of points where a rule places them."""
    return float(np.mean([p.accuracy_at(rule.log2_scale(p.facts, p.recipe) or 0.0) for p in points]))


def rule_of(points: Sequence[Point], min_steps: int) -> Rule:
    """Return the rule that ships, with constants of these points."""
    return fit_rule(for_constants(points, min_steps), SETTLED)
