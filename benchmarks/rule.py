"""The rule of the critical rate on design points: judged where neither network nor origin was seen, then estimated.

    python -m benchmarks.rule WAREHOUSE [--output FOLDER]

Prints, for each optimizer, what each way of choosing the scale reaches on points that did not set its constant (points
of the same origin, and of the same network, are held out together): mean test accuracy, gain over the best fixed scale
with an interval over origins, share of points that diverged there, and the spread of the best place in octaves. Then
estimates the constants of the declared coordinates from all points, and writes them with this evidence to
FOLDER/rule.json. Ends in one line of JSON.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.points import Point, gather_points
from scalepred.predictor.rule import COORDINATES, DECLARED, Rule, coordinate, fit_rule, save_rule
from scalepred.store.warehouse import open_warehouse

NAMES = ["rate", "damped rate", *(f"{n}{d}" for n in list(COORDINATES)[2:] for d in ("", ", damped"))]
BASE = "rate"
"""A constant alone: the best fixed rate of the other points, per optimizer."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How one way of choosing does on held-out points of one optimizer; accuracies are fractions."""

    optimizer: str
    method: str
    n_points: int
    accuracy: float
    gain: float
    interval: tuple[float, float]
    diverged: float
    spread_octaves: float | None


def main() -> None:
    """Judge, estimate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    points = read_points(arguments.warehouse)
    rows = [row for optimizer in ("sgd", "adamw") for row in judge(points, optimizer)]
    show(points, rows)
    rule = fit_rule(points, DECLARED)
    for optimizer, constant in rule.constants.items():
        print(
            f"\n{optimizer}: 2^{constant.log2:g} times {constant.coordinate!r}, from {constant.n_points} points of "
            f"{constant.n_origins} origins on {constant.n_sources} networks; 8 of 10 best scales lie within "
            f"{constant.octaves:.1f} octaves"
        )
    if arguments.output:
        evidence = {"judged": [as_json(row) for row in rows], "n_points": len(points)}
        save_rule(Rule(constants=rule.constants, evidence=evidence), arguments.output)
    print(json.dumps({"benchmark": "rule", "n_points": len(points), "rows": [as_json(row) for row in rows]}))


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


def judge(points: Sequence[Point], optimizer: str) -> list[Judged]:
    """Judge every way of choosing on an optimizer's points whose coordinates can all be told."""
    members = [point for point in points if point.recipe.optimizer == optimizer]
    members = [p for p in members if all(coordinate(name, p.facts, p.recipe) is not None for name in NAMES)]
    if len({point.origin for point in members}) < 2 or len({point.source_id for point in members}) < 2:
        return []
    chosen: dict[str, list[float]] = {"scale 1": [0.0] * len(members)}
    for name in NAMES:
        chosen[name] = [_held_out(point, members, name) for point in members]
    chosen["best of each curve (biased)"] = [point.best_log2_scale for point in members]
    base = np.array([p.accuracy_at(c) for p, c in zip(members, chosen[BASE], strict=True)])
    origins = [point.origin for point in members]
    rows = []
    for method, places in chosen.items():
        accuracies = np.array([p.accuracy_at(c) for p, c in zip(members, places, strict=True)])
        gain = accuracies - base
        off = [p.best_log2_scale - c for p, c in zip(members, places, strict=True)]
        rows.append(
            Judged(
                optimizer=optimizer,
                method=method,
                n_points=len(members),
                accuracy=float(accuracies.mean()),
                gain=float(gain.mean()),
                interval=bootstrap_interval(gain, origins, lambda drawn: float(drawn.mean()), seed=0),
                diverged=float(np.mean([p.diverges_at(c) for p, c in zip(members, places, strict=True)])),
                spread_octaves=None if method.startswith("best") else float(np.std(off)),
            )
        )
    return rows


def _held_out(point: Point, members: Sequence[Point], name: str) -> float:
    """Return log2 of the scale that a coordinate's constant gives, estimated without the point's origin and network.

    Where that leaves no point, those of other origins are used.
    """
    others = [p for p in members if p.origin != point.origin and p.source_id != point.source_id]
    others = others or [p for p in members if p.origin != point.origin]
    place = fit_rule(others, {point.recipe.optimizer: name}).log2_scale(point.facts, point.recipe)
    return math.nan if place is None else place


def show(points: Sequence[Point], rows: Sequence[Judged]) -> None:
    """Print the table."""
    print(
        f"{len(points)} points of {len({p.origin for p in points})} origins on {len({p.source_id for p in points})} "
        f"networks; facts took {_share(points):.0%} of a job in the median\n"
    )
    print(
        "| optimizer | scale = constant x | points | accuracy | over the best fixed rate | diverged | spread, octaves |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for row in rows:
        spread = "" if row.spread_octaves is None else f"{row.spread_octaves:.1f}"
        low, high = (100 * bound for bound in row.interval)
        print(
            f"| {row.optimizer} | {row.method} | {row.n_points} | {100 * row.accuracy:.1f} | "
            f"{100 * row.gain:+.1f} ({low:+.1f} to {high:+.1f}) | {row.diverged:.0%} | {spread} |"
        )


def _share(points: Sequence[Point]) -> float:
    """Return the median share of a job that the facts of its start took."""
    return float(np.median([point.facts_seconds / point.job_seconds for point in points])) if points else math.nan


def as_json(row: Judged) -> dict[str, object]:
    """Return a row's JSON values, rounded."""
    return {
        "optimizer": row.optimizer,
        "method": row.method,
        "n": row.n_points,
        "accuracy": round(row.accuracy, 4),
        "gain": round(row.gain, 4),
        "interval": [round(bound, 4) for bound in row.interval],
        "diverged": round(row.diverged, 4),
        "spread_octaves": None if row.spread_octaves is None else round(row.spread_octaves, 2),
    }


if __name__ == "__main__":
    main()
