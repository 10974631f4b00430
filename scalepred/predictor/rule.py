"""The rule: a scale for any network and recipe before any harvest of them, and never above the critical rate.

It is one constant times what is measured of the start. Where a kind of recipe is best served by a fixed rate, what is
measured is 1, and the critical rate alone bounds it: networks unlike all that were harvested may want a thousandth.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scalepred.predictor.coordinates import coordinate, plain_name
from scalepred.predictor.points import Point
from scalepred.predictor.sealed import are_numbers, is_finite, read_sealed, write_sealed
from scalepred.recipe import Recipe

SCHEMA = 1
FILE = "rule.json"
MAX_BYTES = 100_000
STEP = 0.25
"""Octaves between the constants to choose from."""

TIE = 1e-9
"""Mean accuracies that differ by no more are equal: what rounding makes of curves that are level."""

REACH = 16.0
"""Constants are looked for within so many octaves of the coordinate; the best rate of AdamW is about 2^-10."""

SAFE_SHARE = 0.8
"""Of harvested points with a scale about as good as their best within the factor that a user is told."""


DECLARED = {"sgd": "both, damped", "adamw": "noise"}
"""Optimizer -> the coordinate that a pilot of 96 points on six networks found; a rule is fitted to it."""


FIXED = ("rate", "damped rate")
"""Coordinates that nothing of the start is in."""


def kind_of(recipe: Recipe) -> str:
    """Return the kind of recipes that share a constant: by optimizer, and what the head starts from."""
    return f"{recipe.optimizer}, {recipe.head_start} head"


@dataclass(frozen=True, kw_only=True)
class Constant:
    """What a coordinate is multiplied by for one kind of recipe.

    Attributes:
        coordinate: a name that ``coordinates.coordinate`` takes.
        log2: of the constant.
        octaves: within so many octaves of the rule's scale, either way, lay a scale about as good as the best for
            ``SAFE_SHARE`` of points.
        n_points, n_origins, n_sources: that it was estimated from.
    """

    coordinate: str
    log2: float
    octaves: float
    n_points: int
    n_origins: int
    n_sources: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Constants by kind of recipe, as ``kind_of`` names it, and the evidence for them."""

    constants: Mapping[str, Constant]
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def log2_scale(self, facts: Mapping[str, float], recipe: Recipe) -> float | None:
        """Return log2 of a constant times what was measured of a start, or None where that can't be told."""
        constant = self.constants.get(kind_of(recipe))
        place = None if constant is None else coordinate(constant.coordinate, facts, recipe)
        if constant is None or place is None:
            return None
        return place + constant.log2 - math.log2(recipe.base_lr)

    def bounded_log2_scale(self, facts: Mapping[str, float], recipe: Recipe) -> float | None:
        """Return the same, but at most the critical scale; None where that can't be told."""
        place, critical = self.log2_scale(facts, recipe), self.log2_critical_scale(facts, recipe)
        return None if place is None or critical is None else min(place, critical)

    def log2_critical_scale(self, facts: Mapping[str, float], recipe: Recipe) -> float | None:
        """Return log2 of the critical scale at the head that a kind's coordinate is of, or of both; None if unknown."""
        constant = self.constants.get(kind_of(recipe))
        critical = None if constant is None else coordinate(critical_name(constant), facts, recipe)
        return None if critical is None else critical - math.log2(recipe.base_lr)

    def is_damped(self, recipe: Recipe) -> bool:
        """Say whether a recipe's scale has (1 - momentum) in it."""
        constant = self.constants.get(kind_of(recipe))
        return constant is not None and constant.coordinate != plain_name(constant.coordinate)


def critical_name(constant: Constant) -> str:
    """Return the coordinate that is the critical rate beside a constant's own: at the same head, or of both."""
    name = plain_name(constant.coordinate).removesuffix(" minimum")
    return "both" if name in FIXED else name


@dataclass(frozen=True, kw_only=True)
class RuleAnswer:
    """What the rule says of a start.

    Attributes:
        scale: constant times the critical rate, or a fixed rate that lies below it, as a factor on the recipe's rates.
        critical_scale: the critical rate itself; above it the loss ends higher than it began along the first update.
        is_fixed: it is the rate that harvested recipes of this kind have in common, whatever was measured.
        safe_factor: within this factor of the scale, either way, lay a scale about as good as the best (within two
            points of accuracy) for 8 in 10 harvested points.
        n_points, n_origins, n_sources: harvested points behind the constant.
    """

    scale: float
    critical_scale: float
    safe_factor: float
    n_points: int
    n_origins: int
    n_sources: int
    is_fixed: bool = False


def answer(rule: Rule, facts: Mapping[str, float], recipe: Recipe) -> RuleAnswer | None:
    """Return what a rule says of a start; None where its critical rate can't be told, or the kind is unknown."""
    log2_scale, critical = rule.bounded_log2_scale(facts, recipe), rule.log2_critical_scale(facts, recipe)
    if log2_scale is None or critical is None:
        return None
    constant = rule.constants[kind_of(recipe)]
    return RuleAnswer(
        scale=float(f"{2**log2_scale:.3g}"),
        critical_scale=float(f"{2**critical:.3g}"),
        is_fixed=plain_name(constant.coordinate) in FIXED and log2_scale < critical,
        safe_factor=float(f"{2**constant.octaves:.2g}"),
        n_points=constant.n_points,
        n_origins=constant.n_origins,
        n_sources=constant.n_sources,
    )


def fit_rule(points: Sequence[Point], coordinates: Mapping[str, str]) -> Rule:
    """Estimate a constant for each kind of recipe: the one of the highest mean accuracy over its points.

    Args:
        points: of any optimizers; those whose coordinate can't be told are passed over.
        coordinates: kind of recipe, or optimizer, -> coordinate.
    """
    placed: dict[str, list[tuple[Point, float]]] = defaultdict(list)
    for point in points:
        name = _name(coordinates, point.recipe)
        place = None if name is None else coordinate(name, point.facts, point.recipe)
        if place is not None:
            placed[kind_of(point.recipe)].append((point, place - math.log2(point.recipe.base_lr)))
    return Rule(
        constants={
            kind: _constant(_name(coordinates, members[0][0].recipe) or "", members) for kind, members in placed.items()
        }
    )


def _name(coordinates: Mapping[str, str], recipe: Recipe) -> str | None:
    return coordinates.get(kind_of(recipe)) or coordinates.get(recipe.optimizer)


def _constant(name: str, placed: Sequence[tuple[Point, float]]) -> Constant:
    """Return the constant of points beside their places in log2 scale."""
    best = best_octaves([point for point, _ in placed], np.array([place for _, place in placed]))
    off = [point.octaves_off(place + best) for point, place in placed]
    return Constant(
        coordinate=name,
        log2=best,
        octaves=float(np.quantile(off, SAFE_SHARE)),
        n_points=len(placed),
        n_origins=len({point.origin for point, _ in placed}),
        n_sources=len({point.source_id for point, _ in placed}),
    )


def best_octaves(points: Sequence[Point], places: np.ndarray) -> float:
    """Return the octaves beside their places at which points reach the highest smoothed mean accuracy.

    So the choice is that of the best expected accuracy under what places get wrong: curves are lopsided, and it leans
    to the side that costs little. Octaves at which no point was run are not chosen: below its lowest scale a curve is
    held level, and says nothing. Of equals it is the one nearest to the places.

    Args:
        points: with their curves.
        places: (n,) float64, log2 scales.
    """
    grid = np.arange(-REACH, REACH + STEP, STEP)
    curves = np.array([point.accuracies_at(place + grid) for point, place in zip(points, places, strict=True)])
    means = np.ascontiguousarray(curves.T).mean(axis=1)
    width = np.exp(-0.5 * (np.arange(-4, 5) * STEP / 0.5) ** 2)  # half an octave: near ties are decided by luck
    smooth = np.convolve(np.pad(means, 4, mode="edge"), width / width.sum(), mode="valid")
    lowest = min(point.log2_scales[0] - place for point, place in zip(points, places, strict=True))
    highest = max(point.log2_scales[-1] - place for point, place in zip(points, places, strict=True))
    was_run = (grid > lowest - STEP) & (grid < highest + STEP)
    smooth = np.where(was_run, smooth, -np.inf) if was_run.any() else smooth
    best = np.flatnonzero(smooth >= smooth.max() - TIE)
    return float(grid[best[np.abs(grid[best]).argmin()]])


def save_rule(rule: Rule, folder: Path) -> None:
    """Write a rule as ``rule.json``, sealed by the hash of what it holds."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "constants": {kind: asdict(constant) for kind, constant in sorted(rule.constants.items())},
        "evidence": dict(rule.evidence),
    }
    write_sealed(folder / FILE, "rule", values)


def load_rule(folder: Path) -> Rule:
    """Read a rule.

    Raises:
        VersionError: if it is missing, damaged, changed by hand, or of another schema.
    """
    return read_sealed(folder / FILE, "rule", _rule_of, what="The rule", schema=SCHEMA, max_bytes=MAX_BYTES)


def _rule_of(values: dict[str, Any]) -> Rule:
    constants = {kind: _checked(constant) for kind, constant in values["constants"].items()}
    if not is_finite(values["evidence"]):
        raise ValueError("its evidence has a number that is not finite")
    return Rule(constants=constants, evidence=dict(values["evidence"]))


def _checked(values: dict[str, Any]) -> Constant:
    constant = Constant(**values)
    numbers = [constant.log2, constant.octaves, constant.n_points, constant.n_origins, constant.n_sources]
    if not are_numbers(numbers):
        raise ValueError("a constant is no finite number")
    coordinate(constant.coordinate, {}, Recipe())  # a KeyError where there is no such coordinate
    return constant
