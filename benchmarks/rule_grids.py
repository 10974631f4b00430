"""What tasks of harvested grids teach the rule: the rule of design points alone, and of both, on what neither has seen.

    python -m benchmarks.rule_grids WAREHOUSE [--starts FILE.jsonl] [--json FILE]

Judged on tasks of grids (`benchmarks.grid_starts`) and on design points of the same kinds of recipes. A point's origin
is held out, with its network or all of its family; once more without all points of the same multipliers, as if the
recipe were new. "Measured" has coordinates of the start alone to select from, no fixed rate; "unbounded" may choose
scales above the critical rate. Test accuracy, gains over the rule of design points alone with 95 % intervals over
origins. Prints a table, and ends in one line of JSON.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.grid_points import STARTS, read_grid_points
from benchmarks.rule import MIN_STEPS, other_recipes, read_points
from scalepred.networks.names import family_of
from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.points import Point, of_one_collection
from scalepred.predictor.rule import FIXED, Rule, fit_rule, kind_of
from scalepred.predictor.rule_choice import NAMES, for_constants, reached, rule_of, whole

ALONE, BOTH, MEASURED, UNBOUNDED = "design points alone", "both", "both, measured", "both, unbounded"
HELD: dict[str, Callable[[Point], str]] = {
    "network": lambda point: point.source_id,
    "family": lambda point: family_of(point.architecture),
}


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--starts", type=Path, default=STARTS)
    parser.add_argument("--json", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    design, grids = read_points(arguments.warehouse), read_grid_points(arguments.warehouse, arguments.starts)
    line = json.dumps({"benchmark": "rule_grids", "rows": run(design, grids)})
    if arguments.json:
        arguments.json.write_text(line + "\n", encoding="utf-8")
    print(line)


def run(design: Sequence[Point], grids: Sequence[Point]) -> list[dict[str, object]]:
    """Print the table and return its rows."""
    kinds = {kind_of(point.recipe) for point in grids}
    alike = [p for p in of_one_collection(design) if kind_of(p.recipe) in kinds]
    judged = {"grids": whole(grids), "design points": whole(alike)}
    print("| judged on | n | held out | scale 1 | by | accuracy | over design points alone |")
    print("|---|---:|---|---:|---|---:|---:|")
    rows = []
    for (held, of), is_new, (name, members) in itertools.product(HELD.items(), (False, True), judged.items()):
        accuracies = {way: [] for way in (ALONE, BOTH, MEASURED, UNBOUNDED)}
        for point in members:
            for way, rule in rules(point, design, grids, of, is_new=is_new).items():
                place = rule.log2_scale if way == UNBOUNDED else rule.bounded_log2_scale
                accuracies[way].append(point.accuracy_at(place(point.facts, point.recipe) or 0.0))
        words = f"{held} and origin, recipe too" if is_new else f"{held} and origin"
        rows += told(name, words, members, {way: np.array(of_way) for way, of_way in accuracies.items()})
    return rows


def rules(
    point: Point, design: Sequence[Point], grids: Sequence[Point], of: Callable[[Point], str], *, is_new: bool
) -> dict[str, Rule]:
    """Return way -> the rule of what a point leaves: other origins, and other networks or families, of its kind."""

    def left(points: Sequence[Point]) -> list[Point]:
        some = [p for p in points if p.is_apart(point) and of(p) != of(point)]
        some = [p for p in some if kind_of(p.recipe) == kind_of(point.recipe)]
        return other_recipes(point, some) if is_new else some

    alone, both = left(design), left([*design, *grids])
    rule = rule_of(both, MIN_STEPS)
    return {
        ALONE: rule_of(alone, MIN_STEPS),
        BOTH: rule,
        MEASURED: _measured(both, kind_of(point.recipe)),
        UNBOUNDED: rule,
    }


def _measured(points: Sequence[Point], kind: str) -> Rule:
    """Return the rule of the coordinate of the start that reaches most; none of a fixed rate."""
    some = for_constants(points, MIN_STEPS)
    fitted = [fit_rule(some, {kind: name}) for name in NAMES if name not in FIXED]
    return max(fitted, key=lambda rule: reached(rule, some))


def told(name: str, held: str, members: Sequence[Point], accuracies: dict[str, np.ndarray]) -> list[dict[str, object]]:
    """Print a row for each way, and return them; accuracies are in per cent."""
    origins = [point.origin for point in members]
    at_1 = 100 * float(np.mean([point.accuracy_at(0.0) for point in members]))
    rows = []
    for way, of_way in accuracies.items():
        gains = 100 * (of_way - accuracies[ALONE])
        low, high = bootstrap_interval(gains, origins, lambda drawn: float(drawn.mean()), seed=0)
        mean, gain = 100 * float(of_way.mean()), float(gains.mean())
        over = "" if way == ALONE else f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"
        print(f"| {name} | {len(members)} | {held} | {at_1:.1f} | {way} | {mean:.1f} | {over} |", flush=True)
        row = {"judged_on": name, "n": len(members), "held_out": held, "scale_1": round(at_1, 2), "by": way}
        rows.append(row | {"accuracy": round(mean, 2), "gain": [round(each, 2) for each in (gain, low, high)]})
    return rows


if __name__ == "__main__":
    main()
