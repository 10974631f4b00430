"""What the wide harvest holds: where best scales lie, shapes, what octaves miss, noise, what is to win, what it cost.

    python -m benchmarks.wide_report WAREHOUSE

Prints a table for each question, from design points and, where they alone have repeats or scales between octaves, from
grids. What is to win is read naively, on the other half of the test images (``wide_halves``), and on other seeds; what
points cost, against grids of eleven that know as much (``wide_cost``). Intervals of gains and costs draw origins and
networks at once. Ends in one line of JSON.
"""

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rule import held_out, same_network
from benchmarks.wide_cost import AROUND, COSTS, cost_row, cost_words, costs, lost_outside, mean_and_interval, summary
from benchmarks.wide_curves import Curve, Grid, grid_curves, point_curves, read
from benchmarks.wide_halves import HALVES, REPEATS, halves_rows, repeat_rows
from benchmarks.wide_octaves import octave_words, octaves_miss, octaves_on_halves
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.hold_outs import family
from scalepred.predictor.honest import bootstrap_interval, crossed_interval
from scalepred.predictor.points import GOOD, Point
from scalepred.predictor.rule import DECLARED, kind_of
from scalepred.predictor.rule_choice import BASE
from scalepred.recipe import GRADUATED, GRID, Recipe

CLIFF = 0.5
"""A curve has a cliff where an octave above a good scale costs this share of what is above chance, or diverges."""


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    points, grids = read(parser.parse_args().warehouse)
    curves, repeated = point_curves(points, grids), grid_curves(grids, GRID, n_seeds=2)
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
    found["octaves"], found["octaves_on_halves"] = octaves_miss(grids), octaves_on_halves(grids)
    print(octave_words(found["octaves"], found["octaves_on_halves"]))
    show("noise between seeds by octaves from the best", NOISE, noise_rows(grids))
    show_gaps(points, curves, repeated)
    found["cost"] = show_costs("what eleven scales know, and cost", points, grids, curves)
    by_twos = [at for at, curve in enumerate(curves) if passes_over(curve)]
    some, theirs = [points[at] for at in by_twos], [curves[at] for at in by_twos]
    found["cost_by_twos"] = show_costs("the same where octaves were passed over", some, grids, theirs)
    print(json.dumps(found))


def show_gaps(points: Sequence[Point], curves: Sequence[Curve], repeated: Sequence[Curve]) -> None:
    """Print what there is to win: by held-out constants, on halves of images, and on other seeds."""
    for optimizer in DECLARED:
        members = [p for p in points if p.recipe.optimizer == optimizer and is_whole(p)]
        show(
            f"what is to win, {optimizer}",
            "| scale | points | test accuracy | over scale 1 |\n|---|---:|---:|---:|",
            gap_rows(members),
        )
    for optimizer in DECLARED:
        chosen = [c for c, p in zip(curves, points, strict=True) if p.recipe.optimizer == optimizer]
        show(f"what is to win, honestly, {optimizer}", HALVES, halves_rows(chosen))
    seeded = [curve for curve in curves if curve.right.shape[1] >= 2]
    rows = [*repeat_rows("points with a second seed", seeded), *repeat_rows("grids of several seeds", repeated)]
    show("what the best of each curve is over its group's fixed rate", REPEATS, iter(rows))


def passes_over(curve: Curve) -> bool:
    """Say whether octaves between those of a point were passed over, as its placing does since it goes by twos."""
    octaves = np.round(curve.log2_rates - curve.base_log2_rate)
    return bool(np.diff(octaves).max(initial=1) > 1)


def show_costs(title: str, points: Sequence[Point], grids: Sequence[Grid], curves: Sequence[Curve]) -> dict[str, Any]:
    """Print what points cost beside grids of eleven that know as much; returns it."""
    found: dict[str, Any] = {}
    for name, is_moved in AROUND.items() if points else ():
        some = costs(points, grids, is_moved=is_moved)
        lost = mean_and_interval(lost_outside(points, curves, is_moved=is_moved), some)
        found[name] = summary(some) | {"lost_outside": lost}
    for figures in list(found.values())[:1]:
        print(cost_words(figures))
    show(title, COSTS, (cost_row(name, figures) for name, figures in found.items()))
    return found


def show(title: str, header: str, rows: Iterator[str]) -> None:
    """Print a table."""
    print(f"**{title}**\n\n{header}", *rows, sep="\n", end="\n\n")


# --- what there is ----------------------------------------------------------------------------------------------------


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
    "multipliers": lambda p: multipliers_of(p.recipe),
    "weight decay": lambda p: f"{p.recipe.weight_decay:g}",
    "batch": lambda p: f"{p.recipe.batch_size:02d}",
    "epochs": lambda p: "under 10" if p.recipe.epochs < 10 else "10 or more",
    "warm-up": lambda p: "none" if not p.recipe.warmup_epochs else "1 or 2 epochs",
    "label smoothing": lambda p: f"{p.recipe.label_smoothing:g}",
    "class weights": lambda p: p.recipe.class_weights,
    "image size": lambda p: f"{p.recipe.image_px:03d} px",
    "training images": lambda p: "under 40" if p.n_train < 40 else "40 or more",
    "steps": lambda p: "under 64" if p.facts["log2_steps"] < 6 else "64 or more",
}


def multipliers_of(recipe: Recipe) -> str:
    """Return what a person calls a recipe's multipliers."""
    *inner, last, head = recipe.multipliers
    if recipe.multipliers == GRADUATED:
        return "graduated"
    if len({*inner, last}) == 1:
        return "flat" if last == head else "flat, fast head"
    return "last stages" if inner.count(0.0) > 1 else f"decay {last / head:.2g}"


def place_rows(points: Sequence[Point]) -> Iterator[str]:
    """Yield where the best scale lies, by optimizer and one field at a time."""
    for field, name_of in GROUPS.items():
        for optimizer in DECLARED:
            members = [p for p in points if p.recipe.optimizer == optimizer]
            names = sorted({name_of(p) for p in members})
            for name in names if len(names) > 1 or not field else ():
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


# --- noise -----------------------------------------------------------------------------------------------------------


NOISE = "| octaves from the best | curves | runs | sd, points |\n|---|---:|---:|---:|"


def noise_rows(grids: Sequence[Grid]) -> Iterator[str]:
    """Yield the standard deviation between seeds by how many octaves a scale lies from its curve's best."""
    spreads: dict[int, list[tuple[str, float, int]]] = defaultdict(list)
    for grid in grids:
        seeded = {s: [r.test_accuracy for r in runs if r.test_accuracy is not None] for s, runs in grid.runs.items()}
        seeded = {scale: values for scale, values in seeded.items() if len(values) >= 2}
        if len(seeded) < 3:
            continue
        best = max(seeded, key=lambda scale: float(np.mean(seeded[scale])))
        for scale, values in seeded.items():
            distance = max(-4, min(4, round(math.log2(scale / best))))
            spreads[distance].append((grid.task.origin, float(np.var(values, ddof=1)), len(values)))
    for distance, some in sorted(spreads.items()):
        squares = np.array([[variance * (n - 1), n - 1] for _, variance, n in some])
        low, high = bootstrap_interval(squares, [origin for origin, _, _ in some], _pooled_sd, seed=0)
        sd = f"{100 * _pooled_sd(squares):.1f} ({100 * low:.1f} to {100 * high:.1f})"
        yield f"| {distance:+d} | {len(some)} | {sum(n for _, _, n in some)} | {sd} |"


def _pooled_sd(squares: np.ndarray) -> float:
    """Return the standard deviation of (n, 2) sums of squares and degrees of freedom."""
    return float(np.sqrt(squares[:, 0].sum() / squares[:, 1].sum()))


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
    origins, networks = [p.origin for p in points], [p.source_id for p in points]
    base = np.array([p.accuracy_at(0.0) for p in points])
    for name, accuracy_of in ways.items():
        accuracies = np.array([accuracy_of(p) for p in points])
        gains = accuracies - base
        low, high = crossed_interval(gains, origins, networks, seed=0)
        gain = f"{100 * gains.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        yield f"| {name} | {len(points)} | {100 * accuracies.mean():.1f} | {gain} |"


if __name__ == "__main__":
    main()
