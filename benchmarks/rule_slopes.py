"""The rule with coordinates drawn to their mean by a slope, beside the rule that ships, whose slope is 1.

    python -m benchmarks.rule_slopes WAREHOUSE [--min-steps N] [--json FILE]

The place of a point is constant + center + slope x (coordinate - center), the center being the mean coordinate of the
points that the constant is estimated from. Coordinates and points are those of the rule that ships. "shrunken" has the
slope that is chosen without the point: of 0.5, 0.75 and 1 the smallest within a quarter of a point of the best, in
accuracy on points that are held out once more with their networks and a fold of origins.

A point's origin is held out with its network, and once more with the whole family of its network; for the choice of the
slope, with its fold of origins. Prints test accuracy, gains over the best fixed rate and over the rule that ships with
95 % intervals over origins, the share of points that diverged, the spread of the place in octaves (standard deviation
of how far the best scale is from what was chosen), how far at most the nearest scale about as good as the best is for
95 of 100 points, and how many points are more than four octaves above and below it. Ends in one line of JSON.
"""

import argparse
import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rule import MIN_STEPS, SHIPPED, read_points
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.hold_outs import codes_of, family
from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.nested import Cells, folds_of
from scalepred.predictor.points import Point, of_one_collection
from scalepred.predictor.rule import best_octaves, fit_rule, kind_of
from scalepred.predictor.rule_choice import BASE, SETTLED, for_constants, is_long, whole

SLOPES = (0.5, 0.75, 1.0)
"""Slopes to choose from; they, and how one is chosen, were declared before any was judged here."""

AS_GOOD = 0.0025
"""A quarter of a point, a fraction of accuracy: slopes that reach within it of the best are taken for equals."""

MOST = 0.95
"""Share of points that are no more octaves off than what is told."""

FAR = 4.0
"""Octaves from which on a point is counted as far too high or far too low."""

Group = Callable[[Point], str]
"""What is held out with a point's origin."""

GROUPS: dict[str, Group] = {"network": lambda point: point.source_id, "family": family}

SCALE_1, SHRUNKEN, BEST = "scale 1", "shrunken", "best of each curve (biased)"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A constant of one kind of recipe, and what coordinates are drawn to before it.

    Attributes:
        coordinate: a name that ``coordinates.coordinate`` takes.
        slope: octaves of the scale for an octave of the coordinate.
        center: the mean coordinate of the points that it was estimated from.
        log2: of the constant.
    """

    coordinate: str
    slope: float
    center: float
    log2: float

    def log2_scale(self, point: Point) -> float | None:
        """Return log2 of the scale for a point; None where its coordinate can't be told."""
        place = coordinate(self.coordinate, point.facts, point.recipe)
        if place is None:
            return None
        return drawn(place, self.slope, self.center) + self.log2 - math.log2(point.recipe.base_lr)


Kinds = Mapping[str, Drawn]
"""Kind of recipe, as ``kind_of`` names it -> its constant."""


def main() -> None:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--min-steps", type=int, default=MIN_STEPS)
    parser.add_argument("--json", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    line = json.dumps(run(read_points(arguments.warehouse), arguments.min_steps))
    if arguments.json:
        arguments.json.write_text(line + "\n", encoding="utf-8")
    print(line)


def run(points: Sequence[Point], min_steps: int) -> dict[str, Any]:
    """Print the tables and return what they hold."""
    points = of_one_collection(whole(points))
    found: dict[str, Any] = {"benchmark": "rule_slopes", "n_points": len(points), "min_steps": min_steps}
    of_cells = cell_accuracies(points, min_steps)
    found |= {"rows": [], "chosen": {"all": smallest_as_good(of_cells)}}
    found["cells"] = {f"{slope:g}": round(accuracy, 4) for slope, accuracy in of_cells.items()}
    for words, group in GROUPS.items():
        slopes = slopes_without(points, min_steps, group)
        found["chosen"][words] = {f"{slope:g}": n for slope, n in sorted(Counter(slopes.values()).items())}
        ways = without(points, min_steps, group, slopes=slopes)
        rows = [
            row for domain, some in domains(points, min_steps).items() for row in rows_of(words, domain, some, ways)
        ]
        show(words, rows, found["chosen"][words])
        found["rows"] += rows
    return found


# --- the rule with a slope --------------------------------------------------------------------------------------------


def drawn(place: float, slope: float, center: float) -> float:
    """Return a place drawn towards a centre: ``center + slope * (place - center)``, exact at a slope of 1.

    What is measured with error errs less far when it is drawn towards the mean, most where it is extreme.

    Source: Copas 1983 (Regression, prediction and shrinkage).
    """
    return place - (1 - slope) * (place - center)


def rules_of(points: Sequence[Point], min_steps: int) -> dict[float, Kinds]:
    """Return slope -> constants of these points by kind, beside the coordinates that ship."""
    base = for_constants(points, min_steps)
    return {slope: fit(base, SETTLED, slope) for slope in SLOPES}


def fit(points: Sequence[Point], names: Mapping[str, str], slope: float) -> dict[str, Drawn]:
    """Estimate a constant for each kind of recipe, as ``fit_rule`` does, beside drawn coordinates.

    Args:
        points: all of whose coordinates can be told.
        names: kind of recipe, or optimizer, -> coordinate.
        slope: above 0 and at most 1.
    """
    constants = fit_rule(points, names).constants
    return {
        kind: _fit(constant.coordinate, slope, [p for p in points if kind_of(p.recipe) == kind])
        for kind, constant in constants.items()
    }


def _fit(name: str, slope: float, points: Sequence[Point]) -> Drawn:
    placed = [coordinate(name, point.facts, point.recipe) or 0.0 for point in points]
    center = math.fsum(placed) / len(placed)
    places = [
        drawn(place, slope, center) - math.log2(point.recipe.base_lr)
        for point, place in zip(points, placed, strict=True)
    ]
    return Drawn(coordinate=name, slope=slope, center=center, log2=best_octaves(points, np.array(places)))


def place_of(rule: Kinds, point: Point) -> float:
    """Return log2 of the scale for a point; 0 where it can't be told, as the product has it."""
    constant = rule.get(kind_of(point.recipe))
    return (None if constant is None else constant.log2_scale(point)) or 0.0


# --- the choice of the slope ------------------------------------------------------------------------------------------


def choose_slope(points: Sequence[Point], min_steps: int) -> float:
    """Return the slope by which points reach most that had no part in coordinates and constants.

    It is one for all kinds of recipes, since few points tell a quarter of a point by luck.
    """
    return smallest_as_good(cell_accuracies(points, min_steps))


def cell_accuracies(points: Sequence[Point], min_steps: int) -> dict[float, float]:
    """Return slope -> mean accuracy of points whose network and fold of origins had no part in the rule.

    Empty where no point can be held out.
    """
    reached: dict[float, list[float]] = {slope: [] for slope in SLOPES}
    for held, seen in held_and_seen(points, GROUPS["network"]):
        for slope, rule in rules_of(seen, min_steps).items():
            reached[slope] += [point.accuracy_at(place_of(rule, point)) for point in held]
    return {slope: float(np.mean(each)) for slope, each in reached.items() if each}


def smallest_as_good(accuracies: Mapping[float, float]) -> float:
    """Return the smallest slope whose accuracy is within ``AS_GOOD`` of the best; of none 1, where nothing is drawn.

    The smaller a slope, the less far it errs on a start that is unlike the harvest.
    """
    if not accuracies:
        return 1.0
    least = max(accuracies.values()) - AS_GOOD
    return min(slope for slope, accuracy in accuracies.items() if accuracy >= least)


# --- what is held out -------------------------------------------------------------------------------------------------


def held_and_seen(points: Sequence[Point], group: Group) -> list[tuple[list[Point], list[Point]]]:
    """Return the points of each cell of a group and a fold of origins, and those of neither, where there are any."""
    groups, folds = codes_of(points, group), folds_of(points)
    cells = Cells(outer=groups, inner=groups, folds=folds)
    parts = [(_those(points, cells.held(cell)), _those(points, cells.seen(cell))) for cell in cells.ids]
    return [(held, seen) for held, seen in parts if seen]


def _those(points: Sequence[Point], counts: np.ndarray) -> list[Point]:
    return [point for point, is_in in zip(points, counts, strict=True) if is_in]


def slopes_without(points: Sequence[Point], min_steps: int, group: Group) -> dict[str, float]:
    """Return point's key -> the slope that is chosen without the point's group and its fold of origins."""
    found: dict[str, float] = {}
    for held, seen in held_and_seen(points, group):
        slope = choose_slope(seen, min_steps)
        found |= {point.key: slope for point in held}
    return found


def without(
    points: Sequence[Point], min_steps: int, group: Group, *, slopes: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Return way -> point's key -> log2 of the scale by rules in which the point's origin and group had no part.

    Args:
        points: to place.
        min_steps: of the points that constants are estimated from.
        group: that is held out with a point's origin.
        slopes: point's key -> the slope of ``SHRUNKEN``; 1 where there is none.
    """

    @functools.cache
    def rules(origin: str, of_group: str) -> dict[float, Kinds]:
        return rules_of([p for p in points if p.origin != origin and group(p) != of_group], min_steps)

    @functools.cache
    def rate(origin: str, of_group: str) -> Kinds:
        others = [p for p in points if p.origin != origin and group(p) != of_group]
        return fit(others, {"sgd": BASE, "adamw": BASE}, 1.0)

    ways: dict[str, dict[str, float]] = defaultdict(dict)
    for point in points:
        cell = (point.origin, group(point))
        places = {slope: place_of(rule, point) for slope, rule in rules(*cell).items()}
        ways[SCALE_1][point.key], ways[BASE][point.key] = 0.0, place_of(rate(*cell), point)
        for slope, place in places.items():
            ways[way_of(slope)][point.key] = place
        ways[SHRUNKEN][point.key] = places[slopes.get(point.key, 1.0)]
        ways[BEST][point.key] = point.best_log2_scale
    return ways


def way_of(slope: float) -> str:
    """Return what the rule with a slope is called; that of 1 ships."""
    return SHIPPED if slope == 1 else f"slope {slope:g}"


# --- the tables -------------------------------------------------------------------------------------------------------


def domains(points: Sequence[Point], min_steps: int) -> dict[str, list[Point]]:
    """Return words -> the points that are judged."""
    of = {name: [p for p in points if p.recipe.optimizer == name] for name in ("sgd", "adamw")}
    found = {"all": list(points)} | {f"{name}, all": some for name, some in of.items()}
    return found | {f"{min_steps} steps or more": [p for p in points if is_long(p, min_steps)]}


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does on held-out points; accuracies are fractions.

    Attributes:
        held_out, points, method: what was held out with the origin, which points, and the way of choosing.
        n: points.
        accuracy: mean on test images.
        over_rate, over_shipped: mean gains over the best fixed rate and over the rule that ships, with 95 % intervals.
        diverged: share of points.
        spread_octaves: standard deviation of how far the best scale is from what was chosen.
        far_octaves: the 95th percentile of how far the nearest scale is that is about as good as the best.
        n_too_high, n_too_low: points that are more than ``FAR`` octaves above and below that scale.
    """

    held_out: str
    points: str
    method: str
    n: int
    accuracy: float
    over_rate: tuple[float, float, float]
    over_shipped: tuple[float, float, float]
    diverged: float
    spread_octaves: float
    far_octaves: float
    n_too_high: int
    n_too_low: int


def rows_of(
    held_out: str, domain: str, points: Sequence[Point], ways: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return a row of JSON values for each way on points; none where they are of fewer than two origins."""
    if len({point.origin for point in points}) < 2:
        return []
    reached = {way: np.array([p.accuracy_at(of[p.key]) for p in points]) for way, of in ways.items()}
    rows = []
    for way, of in ways.items():
        places = [of[point.key] for point in points]
        over = {than: told(reached[way] - reached[than], points) for than in (BASE, SHIPPED)}
        off = np.array([point.octaves_off(place) for point, place in zip(points, places, strict=True)])
        above = np.array(places) - [point.best_log2_scale for point in points]
        row = Row(
            held_out=held_out,
            points=domain,
            method=way,
            n=len(points),
            accuracy=float(reached[way].mean()),
            over_rate=over[BASE],
            over_shipped=over[SHIPPED],
            diverged=float(np.mean([p.diverges_at(place) for p, place in zip(points, places, strict=True)])),
            spread_octaves=float(np.std(above)),
            far_octaves=float(np.quantile(off, MOST)),
            n_too_high=int(((off > FAR) & (above > 0)).sum()),
            n_too_low=int(((off > FAR) & (above < 0)).sum()),
        )
        rows.append({name: _rounded(value) for name, value in asdict(row).items()})
    return rows


def told(gains: np.ndarray, points: Sequence[Point]) -> tuple[float, float, float]:
    """Return a mean gain and its 95 % interval over origins, fractions."""
    interval = bootstrap_interval(gains, [point.origin for point in points], lambda of: float(of.mean()), seed=0)
    return float(gains.mean()), *interval


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [round(each, 4) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def show(words: str, rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, int]) -> None:
    """Print the table of what was held out, and how often which slope was chosen."""
    print(
        f"\n{words} and origin held out; chosen slopes: {', '.join(f'{s} for {n}' for s, n in chosen.items())} points\n"
    )
    print(
        "| points | scale by | n | accuracy | over the best fixed rate | over the rule that ships | diverged", end=" "
    )
    print(f"| spread, octaves | 95 of 100 within, octaves | over {FAR:g} octaves too high | too low |")
    print("|---|---|" + "---:|" * 9)
    for row in rows:
        cells = [row["points"], row["method"], row["n"], f"{100 * row['accuracy']:.1f}", _gain(row["over_rate"])]
        cells += [_gain(row["over_shipped"]), f"{row['diverged']:.0%}"]
        cells += [f"{row['spread_octaves']:.1f}", f"{row['far_octaves']:.1f}", row["n_too_high"], row["n_too_low"]]
        print(f"| {' | '.join(map(str, cells))} |")


def _gain(values: Sequence[float]) -> str:
    gain, low, high = (100 * value for value in values)
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
