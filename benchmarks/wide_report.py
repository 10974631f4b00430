"""What the wide harvest holds: where best scales lie, shapes of curves, what octaves miss, noise, what is to win.

    python -m benchmarks.wide_report WAREHOUSE

Prints a table for each question, from design points and, where they alone have repeats or scales between octaves, from
grids. Ends in one line of JSON.
"""

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rule import BASE, held_out, same_network
from scalepred.networks.names import family_of
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.points import GOOD, Point, gather_points
from scalepred.predictor.rule import DECLARED, kind_of
from scalepred.recipe import Recipe
from scalepred.records import DONE, JOB, RunRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse

OCTAVES = (0.25, 0.5, 1.0, 2.0, 4.0)
BETWEEN = (1.5, 2.5, 3.0)
"""The grid's scales that lie between octaves, in the same range."""

CLIFF = 0.5
"""A curve has a cliff where an octave above a good scale costs this share of what is above chance, or diverges."""

MISS = 0.01


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One task, source and recipe at several scales, with all its seeds."""

    task: TaskRecord
    recipe: Recipe
    runs: Mapping[float, Sequence[RunRecord]]


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    points, grids = read(parser.parse_args().warehouse)
    found: dict[str, Any] = {"benchmark": "wide_report", "n_points": len(points), "n_grids": len(grids)}
    print(
        f"{len(points)} points of {len({p.task for p in points})} tasks and {len({p.origin for p in points})} origins "
        f"on {len({p.source_id for p in points})} networks of {len({family(p) for p in points})} families\n"
    )
    show("counts", "| family | SGD | AdamW |\n|---|---:|---:|", count_rows(points))
    show("where the best rate lies", PLACES, place_rows(points))
    found["shapes"] = dict(Counter(shape_of(p) for p in points))
    show(
        "shapes of curves",
        "| recipes | points | " + " | ".join(SHAPES) + " |\n|---|---:|" + "---:|" * len(SHAPES),
        shape_rows(points),
    )
    found["octaves"] = octaves_miss(grids)
    print(octave_words(found["octaves"]))
    show(
        "noise between seeds by octaves from the best",
        "| octaves from the best | runs | sd, points |\n|---|---:|---:|",
        noise_rows(grids),
    )
    for optimizer in DECLARED:
        members = [p for p in points if p.recipe.optimizer == optimizer and is_whole(p)]
        show(
            f"what is to win, {optimizer}",
            "| scale | points | test accuracy | over scale 1 |\n|---|---:|---:|---:|",
            gap_rows(members),
        )
    print(json.dumps(found))


def show(title: str, header: str, rows: Iterator[str]) -> None:
    """Print a table."""
    print(f"**{title}**\n\n{header}", *rows, sep="\n", end="\n\n")


# --- what there is ----------------------------------------------------------------------------------------------------


def read(warehouse: Path) -> tuple[list[Point], list[Grid]]:
    """Return the design points of a warehouse, and all its groups of runs."""
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes, runs = store.tasks(), store.sources(), store.recipes(), store.runs()
        points = gather_points(tasks=tasks, sources=sources, recipes=recipes, features=store.features(), runs=runs)
    task_of = {task.task_id: task for task in tasks}
    recipe_of = {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes}
    groups: dict[tuple[str, str, str], dict[float, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.role != JOB and run.scale is not None:
            groups[run.task_id, run.source_id, run.recipe_id][run.scale].append(run)
    grids = [Grid(task=task_of[key[0]], recipe=recipe_of[key[2]], runs=runs) for key, runs in groups.items()]
    return points, grids


def family(point: Point) -> str:
    """Return the family of a point's network."""
    return family_of(point.architecture)


def count_rows(points: Sequence[Point]) -> Iterator[str]:
    """Yield points by family and optimizer."""
    counts = Counter((family(p), p.recipe.optimizer) for p in points)
    for name in sorted({family(p) for p in points}):
        yield f"| {name} | {counts[name, 'sgd']} | {counts[name, 'adamw']} |"


# --- where the best lies ----------------------------------------------------------------------------------------------

PLACES = (
    "| recipes | points | log2 best scale: tenth, middle, nine tenths | log2 best rate, middle |\n|---|---:|---|---:|"
)

GROUPS: dict[str, Callable[[Point], str]] = {
    "": lambda p: kind_of(p.recipe),
    "family": family,
    "statistics": lambda p: p.recipe.batchnorm,
    "schedule": lambda p: p.recipe.schedule,
    "momentum": lambda p: f"{p.recipe.momentum:g}",
    "augmentation": lambda p: p.recipe.augmentation,
    "steps": lambda p: "under 64" if p.facts["log2_steps"] < 6 else "64 or more",
}


def place_rows(points: Sequence[Point]) -> Iterator[str]:
    """Yield where the best scale lies, by optimizer and one field at a time."""
    for field, name_of in GROUPS.items():
        for optimizer in DECLARED:
            members = [p for p in points if p.recipe.optimizer == optimizer]
            names = sorted({name_of(p) for p in members})
            for name in names if len(names) > 1 else ():
                best = [p.best_log2_scale for p in members if name_of(p) == name]
                rates = [p.best_log2_scale + math.log2(p.recipe.base_lr) for p in members if name_of(p) == name]
                low, middle, high = np.quantile(best, [0.1, 0.5, 0.9])
                label = name if not field else f"{optimizer}, {field} {name}"
                yield f"| {label} | {len(best)} | {low:+.1f}, {middle:+.1f}, {high:+.1f} | {np.median(rates):+.1f} |"


# --- shapes -----------------------------------------------------------------------------------------------------------

SHAPES = ("flat", "rises to the end", "falls from the start", "cliff", "two humps", "one hump")


def shape_of(point: Point) -> str:
    """Return which of ``SHAPES`` a curve has; scales within ``GOOD`` of the best count as the best."""
    top, accuracies = point.accuracies.max(), point.accuracies
    good = accuracies >= top - GOOD
    first, last = int(np.flatnonzero(good)[0]), int(np.flatnonzero(good)[-1])
    if good.all():
        return "flat"
    if last == len(good) - 1:
        return "rises to the end"
    if accuracies[last + 1] < top - CLIFF * (top - point.chance) or point.diverged[last + 1]:
        return "cliff"
    if first == 0:
        return "falls from the start"
    inside = accuracies[first : last + 1]
    return "two humps" if (inside < top - 2 * GOOD).any() else "one hump"


def shape_rows(points: Sequence[Point]) -> Iterator[str]:
    """Yield the share of each shape by kind of recipe."""
    for kind in sorted({kind_of(p.recipe) for p in points}):
        shapes = Counter(shape_of(p) for p in points if kind_of(p.recipe) == kind)
        n = shapes.total()
        yield f"| {kind} | {n} | " + " | ".join(f"{shapes[shape] / n:.0%}" for shape in SHAPES) + " |"


# --- octaves, noise ---------------------------------------------------------------------------------------------------


def octaves_miss(grids: Sequence[Grid]) -> dict[str, Any]:
    """Return what is lost where only octaves are run: chosen on validation, scored on test, by means of seeds."""
    lost, naive, origins = [], [], []
    for grid in grids:
        if not all(scale in grid.runs for scale in OCTAVES + BETWEEN) or not (grid.task.n_val and grid.task.n_test):
            continue
        val = {scale: _mean(grid.runs[scale], "val_accuracy", grid) for scale in OCTAVES + BETWEEN}
        test = {scale: _mean(grid.runs[scale], "test_accuracy", grid) for scale in OCTAVES + BETWEEN}
        lost.append(_chosen(val, test, OCTAVES + BETWEEN) - _chosen(val, test, OCTAVES))
        naive.append(max(test.values()) - max(test[scale] for scale in OCTAVES))
        origins.append(grid.task.origin)
    if not lost:
        return {"n": 0}
    interval = bootstrap_interval(np.array(lost), origins, lambda drawn: float(drawn.mean()), seed=0)
    return {
        "n": len(lost),
        "lost": float(np.mean(lost)),
        "interval": list(interval),
        "naive_misses": float(np.mean(np.array(naive) > MISS)),
    }


def octave_words(octaves: Mapping[str, Any]) -> str:
    """Return what octaves miss, in words."""
    if not octaves["n"]:
        return "No grid has scales between octaves.\n"
    lost, low, high = (100 * value for value in (octaves["lost"], *octaves["interval"]))
    return (
        f"Octaves alone against the scales between them too, {OCTAVES[0]:g} to {OCTAVES[-1]:g}, chosen on validation "
        f"and scored on test: {lost:.2f} points are lost ({low:+.2f} to {high:+.2f}, n = {octaves['n']} grids). On "
        f"{octaves['naive_misses']:.0%} of grids the best test accuracy lies between octaves by more than a point: "
        "what chance alone gives a maximum of eight over one of five is in it.\n"
    )


def _chosen(val: Mapping[float, float], test: Mapping[float, float], scales: Sequence[float]) -> float:
    """Return the mean test accuracy of the scales that tie for the best on validation."""
    best = max(val[scale] for scale in scales)
    return float(np.mean([test[scale] for scale in scales if val[scale] == best]))


def _mean(runs: Sequence[RunRecord], field: str, grid: Grid) -> float:
    """Return the mean accuracy of seeds; one that diverged counts as chance."""
    values = [getattr(run, field) if run.status == DONE else 1 / grid.task.n_classes for run in runs]
    return float(np.mean(values))


def noise_rows(grids: Sequence[Grid]) -> Iterator[str]:
    """Yield the standard deviation between seeds by how many octaves a scale lies from its curve's best."""
    variances: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for grid in grids:
        seeded = {s: [r.test_accuracy for r in runs if r.test_accuracy is not None] for s, runs in grid.runs.items()}
        seeded = {scale: values for scale, values in seeded.items() if len(values) >= 2}
        if len(seeded) < 3:
            continue
        best = max(seeded, key=lambda scale: float(np.mean(seeded[scale])))
        for scale, values in seeded.items():
            distance = max(-4, min(4, round(math.log2(scale / best))))
            variances[distance].append((float(np.var(values, ddof=1)), len(values)))
    for distance, some in sorted(variances.items()):
        pooled = sum(v * (n - 1) for v, n in some) / sum(n - 1 for _, n in some)
        yield f"| {distance:+d} | {sum(n for _, n in some)} | {100 * math.sqrt(pooled):.1f} |"


# --- what is to win ---------------------------------------------------------------------------------------------------


def is_whole(point: Point) -> bool:
    """Say whether the coordinate of the rule can be told."""
    return coordinate(DECLARED[point.recipe.optimizer], point.facts, point.recipe) is not None


def gap_rows(points: Sequence[Point]) -> Iterator[str]:
    """Yield what each way reaches on points whose origin and network set no constant; the best of a curve is biased."""
    if not points:
        return
    rule = DECLARED[points[0].recipe.optimizer]
    ways: dict[str, Callable[[Point], float]] = {
        "1": lambda p: p.accuracy_at(0.0),
        "best fixed rate of other networks": lambda p: p.accuracy_at(held_out(p, points, BASE)),
        f"the rule ({rule})": lambda p: p.accuracy_at(held_out(p, points, rule)),
        "best fixed rate of the same network": lambda p: p.accuracy_at(same_network(p, points)),
        "best of each curve (biased)": lambda p: float(p.accuracies.max()),
    }
    origins, base = [p.origin for p in points], np.array([p.accuracy_at(0.0) for p in points])
    for name, accuracy_of in ways.items():
        accuracies = np.array([accuracy_of(p) for p in points])
        gains = accuracies - base
        low, high = bootstrap_interval(gains, origins, lambda drawn: float(drawn.mean()), seed=0)
        gain = f"{100 * gains.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        yield f"| {name} | {len(points)} | {100 * accuracies.mean():.1f} | {gain} |"


if __name__ == "__main__":
    main()
