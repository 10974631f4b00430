"""The rule of the critical rate on design points: judged where neither network nor origin was seen, then estimated.

    python -m benchmarks.rule WAREHOUSE [--output FOLDER] [--min-steps N] [--range-tests FILE.jsonl ...]
        [--starts FILE.jsonl]

Prints, for each optimizer and what the head starts from, what each way of choosing the scale reaches on points that did
not set its constant (points of the same origin, and of the same network, are held out together): mean test accuracy,
gains over the best fixed rate and over scale 1 with intervals over origins, share of points that diverged there, and
the spread of the place in octaves: standard deviation of how far the best scale is from what was chosen; and which
constants shorter and longer jobs want, estimated and read on the same points. With what
`benchmarks.range_test` wrote, range tests are judged on the points that they were run on. The same once more for
jobs of so many steps alone, as long as those of users. From these the constant of each kind of recipe is estimated,
beside a coordinate that is settled (`SETTLED` in `scalepred/predictor/rule_choice.py`). A kind with too few of them has
a constant of all its points. It is written with this evidence to FOLDER/rule.json. The row "selected" is what it would
be worth to select coordinates anew, each point's without its origin and network. Tasks of harvested grids count as
points, where their starts were measured (`benchmarks.grid_starts`, FILE.jsonl); they are judged by themselves, and once
more without points of the same multipliers, as a recipe that is new. Ends in one line of JSON.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.grid_points import STARTS, read_grid_points
from benchmarks.lines import read_lines
from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.points import Point, gather_points, of_one_collection
from scalepred.predictor.rule import DECLARED, Rule, fit_rule, kind_of, save_rule
from scalepred.predictor.rule_choice import (
    BASE,
    MIN_STEPS,
    NAMES,
    is_long,
    reached,
    rule_of,
    whole,
)
from scalepred.store.warehouse import open_warehouse

OWN = "rate, same network"
"""The best fixed rate of other origins' points of the same network: what a harvest of it would choose without facts."""

SELECTED = "selected"
"""The coordinate that does best on the points that set its constant, selected anew for each point that is held out."""

SHIPPED = "as it ships"
"""What the rule would be without the point's origin and network."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How one way of choosing does on held-out points of one kind; accuracies are fractions."""

    kind: str
    method: str
    n_points: int
    accuracy: float
    gain: float
    interval: tuple[float, float]
    over_scale_1: float
    over_scale_1_interval: tuple[float, float]
    diverged: float
    spread_octaves: float | None


def main() -> None:
    """Judge, estimate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--min-steps", type=int, default=MIN_STEPS)
    parser.add_argument("--range-tests", type=Path, nargs="+", default=[])
    parser.add_argument("--starts", type=Path, default=STARTS, help="facts of the starts of grids' tasks")
    arguments = parser.parse_args()
    points, grids = read_points(arguments.warehouse), read_grid_points(arguments.warehouse, arguments.starts)
    everything = [*points, *grids]
    longer = [p for p in points if is_long(p, arguments.min_steps)]
    rows = judge_all(points, longer, grids, min_steps=arguments.min_steps)
    if arguments.range_tests:
        tests = {line["point"]: line for file in arguments.range_tests for line in read_lines(file)}
        tested = [point for point in points if point.key in tests]
        for optimizer in ("sgd", "adamw"):
            members = [p for p in tested if p.recipe.optimizer == optimizer]
            rows += judge(members, f"{optimizer}, range tests", fitted_on=everything, tests=tests)
        show_seconds(tested, tests)
    show(points, rows)
    show_lengths(points)
    rule = rule_of(everything, arguments.min_steps)
    for kind, constant in sorted(rule.constants.items()):
        print(
            f"\n{kind}: 2^{constant.log2:g} times {constant.coordinate!r}, from {constant.n_points} points of "
            f"{constant.n_origins} origins on {constant.n_sources} networks; 8 of 10 have a scale "
            f"within two points of their best within {constant.octaves:.1f} octaves"
        )
    if arguments.output:
        evidence = {"judged": [as_json(row) for row in rows], "n_points": len(points)}
        evidence |= {"n_of_grids": len(grids), "min_steps": arguments.min_steps, "n_of_min_steps": len(longer)}
        save_rule(Rule(constants=rule.constants, evidence=evidence), arguments.output)
    print(json.dumps({"benchmark": "rule", "n_points": len(points), "rows": [as_json(row) for row in rows]}))


def judge_all(points: list[Point], longer: list[Point], grids: list[Point], *, min_steps: int) -> list[Judged]:
    """Judge on design points by kind and by optimizer, all and the longer ones, and on the tasks of grids.

    Constants are those of all of them. "New recipe" has the constants of points with other multipliers alone.
    """
    everything = [*points, *grids]
    places = {p.key: without(p, everything, min_steps) for p in whole(everything)}
    steps = f"{min_steps} steps or more"
    rows = []
    for members, words in ((points, ""), (longer, steps)):
        for kind in sorted({kind_of(p.recipe) for p in points}):
            some = [p for p in members if kind_of(p.recipe) == kind]
            rows += judge(some, f"{kind}, {words}" if words else kind, fitted_on=everything, shipped=places)
        for optimizer in ("sgd", "adamw"):
            some = [p for p in members if p.recipe.optimizer == optimizer]
            rows += judge(some, f"{optimizer}, {words or 'all'}", fitted_on=everything, shipped=places)
    for kind in sorted({kind_of(p.recipe) for p in grids}):
        some = [p for p in grids if kind_of(p.recipe) == kind]
        rows += judge(some, f"{kind}, grids", fitted_on=everything, shipped=places)
        new = {p.key: without(p, other_recipes(p, everything), min_steps) for p in whole(some)}
        alone = {p.key: without(p, other_recipes(p, points), min_steps) for p in whole(some)}
        for places_of, words in ((new, "new recipe"), (alone, "new recipe, design points alone")):
            told = judge(some, f"{kind}, grids, {words}", fitted_on=everything, shipped=places_of)
            rows += [row for row in told if row.method in (SHIPPED, "scale 1")]
    return rows


def other_recipes(point: Point, points: Sequence[Point]) -> list[Point]:
    """Return the points whose multipliers are others than a point's."""
    return [p for p in points if p.recipe.multipliers != point.recipe.multipliers]


def read_points(warehouse: Path) -> list[Point]:
    """Return the design points of a warehouse."""
    with open_warehouse(warehouse, read_only=True) as store:
        return gather_points(
            tasks=store.tasks(),
            sources=store.sources(),
            recipes=store.recipes(),
            features=store.features(),
            runs=store.runs(),
        )


def judge(
    points: Sequence[Point],
    kind: str,
    *,
    fitted_on: Sequence[Point] = (),
    shipped: Mapping[str, float] = MappingProxyType({}),
    tests: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Judged]:
    """Judge every way of choosing on points whose coordinates can all be told.

    Args:
        points: to judge on.
        kind: what to call them.
        fitted_on: whose constants are used, of other origins and networks; by default the same points.
        shipped: point's key -> what ``without`` gives it; no such row where it is left away.
        tests: point's key -> what range tests found.
    """
    members, others = of_one_collection(whole(points)), whole(fitted_on or points)
    if len({point.origin for point in members}) < 2 or len({point.source_id for point in members}) < 2:
        return []
    chosen: dict[str, list[float]] = {"scale 1": [0.0] * len(members)}
    fits = {name: [fit_without(point, others, name) for point in members] for name in NAMES}
    chosen |= {name: [place for place, _ in of_name] for name, of_name in fits.items()}
    chosen[SELECTED] = [max(of_point, key=lambda fit: fit[1])[0] for of_point in zip(*fits.values(), strict=True)]
    if shipped:
        chosen[SHIPPED] = [shipped[point.key] for point in members]
    chosen[OWN] = [same_network(point, others) for point in members]
    for way in ("valley", "steepest") if tests else ():
        chosen[f"range test, {way}"] = [_log2_or_1(tests[point.key][way]) for point in members]
    chosen["best of each curve (biased)"] = [point.best_log2_scale for point in members]
    accuracies = {
        method: np.array([p.accuracy_at(c) for p, c in zip(members, places, strict=True)])
        for method, places in chosen.items()
    }
    origins = [point.origin for point in members]

    def gain(method: str, over: str) -> tuple[float, tuple[float, float]]:
        gains = accuracies[method] - accuracies[over]
        return float(gains.mean()), bootstrap_interval(gains, origins, lambda drawn: float(drawn.mean()), seed=0)

    rows = []
    for method, places in chosen.items():
        (over_base, interval), (over_1, interval_1) = gain(method, BASE), gain(method, "scale 1")
        off = [p.best_log2_scale - c for p, c in zip(members, places, strict=True)]
        rows.append(
            Judged(
                kind=kind,
                method=method,
                n_points=len(members),
                accuracy=float(accuracies[method].mean()),
                gain=over_base,
                interval=interval,
                over_scale_1=over_1,
                over_scale_1_interval=interval_1,
                diverged=float(np.mean([p.diverges_at(c) for p, c in zip(members, places, strict=True)])),
                spread_octaves=None if method.startswith("best") else float(np.std(off)),
            )
        )
    return rows


def _log2_or_1(scale: float | None) -> float:
    """Return log2 of what a range test found; of scale 1 where its curve was too short to read."""
    return math.log2(scale) if scale else 0.0


def same_network(point: Point, members: Sequence[Point]) -> float:
    """Return log2 of the scale that the best fixed rate of other origins' points of the same network and kind gives."""
    own = [p for p in members if p.is_apart(point) and p.source_id == point.source_id]
    own = [p for p in own if kind_of(p.recipe) == kind_of(point.recipe)]
    place = fit_rule(own, {point.recipe.optimizer: BASE}).log2_scale(point.facts, point.recipe)
    return held_out(point, members, BASE) if place is None else place


def held_out(point: Point, members: Sequence[Point], name: str) -> float:
    """Return log2 of the scale that a coordinate's constant gives, estimated without the point's origin and network."""
    return fit_without(point, members, name)[0]


def fit_without(point: Point, members: Sequence[Point], name: str) -> tuple[float, float]:
    """Return log2 of the scale that a coordinate's constant gives a point, and the accuracy that the constant reaches.

    The constant is estimated, and the accuracy read, on points of the same kind and of other origins and networks.
    Where that leaves no point, those of other origins are used.
    """
    alike = [p for p in members if kind_of(p.recipe) == kind_of(point.recipe) and p.is_apart(point)]
    others = [p for p in alike if p.source_id != point.source_id] or alike
    rule = fit_rule(others, {point.recipe.optimizer: name})
    place = rule.log2_scale(point.facts, point.recipe)
    if place is None:
        return math.nan, -math.inf
    return place, reached(rule, others)


def without(point: Point, points: Sequence[Point], min_steps: int) -> float:
    """Return log2 of the scale that the rule gives a point whose origin and network had no part in it."""
    others = [p for p in points if p.is_apart(point) and p.source_id != point.source_id]
    place = rule_of(others, min_steps).bounded_log2_scale(point.facts, point.recipe)
    return 0.0 if place is None else place


def show(points: Sequence[Point], rows: Sequence[Judged]) -> None:
    """Print the table."""
    judged = of_one_collection(points)
    print(
        f"{len(judged)} points of {len({p.origin for p in judged})} origins on {len({p.source_id for p in judged})} "
        f"networks; facts took {_share(judged):.0%} of a job in the median; {len(points) - len(judged)} more, whose "
        "images are of several collections, are not judged\n"
    )
    print(
        "| recipes | scale = constant x | points | accuracy | over the best fixed rate | over scale 1 | diverged "
        "| spread, octaves |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        spread = "" if row.spread_octaves is None else f"{row.spread_octaves:.1f}"
        print(
            f"| {row.kind} | {row.method} | {row.n_points} | {100 * row.accuracy:.1f} | "
            f"{_points(row.gain, row.interval)} | {_points(row.over_scale_1, row.over_scale_1_interval)} | "
            f"{row.diverged:.0%} | {spread} |"
        )


def show_lengths(points: Sequence[Point]) -> None:
    """Print the constants that shorter and longer jobs want, with their accuracy there and at the lowest scale."""
    print("\n| recipes | half | points | steps, median | constant | accuracy there | at the lowest scale |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for kind in sorted({kind_of(point.recipe) for point in points}):
        members = [p for p in whole(points) if kind_of(p.recipe) == kind]
        steps = np.array([point.facts["log2_steps"] for point in members])
        median = float(np.median(steps))
        for half, chosen in (("all", steps > 0), ("shorter", steps <= median), ("longer", steps > median)):
            some = [point for point, is_in in zip(members, chosen, strict=True) if is_in]
            if not some:
                continue
            rule = fit_rule(some, DECLARED)
            there = np.mean([p.accuracy_at(rule.log2_scale(p.facts, p.recipe) or 0.0) for p in some])
            lowest = np.mean([point.accuracies[0] for point in some])
            print(
                f"| {kind} | {half} | {len(some)} | {2 ** np.median(steps[chosen]):.0f} | "
                f"2^{rule.constants[kind].log2:g} | {100 * there:.1f} | {100 * lowest:.1f} |"
            )


def show_seconds(points: Sequence[Point], tests: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what range tests cost, as a share of a job."""
    shares = [tests[point.key]["seconds"] / point.job_seconds for point in points]
    print(f"range tests of {len(points)} points took {np.median(shares):.0%} of a job in the median\n")


def _points(gain: float, interval: tuple[float, float]) -> str:
    low, high = (100 * bound for bound in interval)
    return f"{100 * gain:+.1f} ({low:+.1f} to {high:+.1f})"


def _share(points: Sequence[Point]) -> float:
    """Return the median share of a job that the facts of its start took."""
    return float(np.median([point.facts_seconds / point.job_seconds for point in points])) if points else math.nan


def as_json(row: Judged) -> dict[str, object]:
    """Return a row's JSON values, rounded."""
    return {
        "kind": row.kind,
        "method": row.method,
        "n": row.n_points,
        "accuracy": round(row.accuracy, 4),
        "gain": round(row.gain, 4),
        "interval": [round(bound, 4) for bound in row.interval],
        "over_scale_1": round(row.over_scale_1, 4),
        "over_scale_1_interval": [round(bound, 4) for bound in row.over_scale_1_interval],
        "diverged": round(row.diverged, 4),
        "spread_octaves": None if row.spread_octaves is None else round(row.spread_octaves, 2),
    }


if __name__ == "__main__":
    main()
