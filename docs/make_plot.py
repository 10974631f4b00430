"""Draws the README's plot from the harvest that ships: ``python docs/make_plot.py``.

It shows what a scale costs on four networks and recipes: test accuracy against that at the best fixed scale of the
predictor that ships, averaged over tasks, with 95 % intervals from a bootstrap that draws whole origins. A run that
diverged counts as guessing.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

HERE = Path(__file__).resolve().parent
SNAPSHOT = HERE.parent / "warehouse" / "snapshot"
PREDICTOR = HERE.parent / "models" / "default" / "predictor.json"
PLOT = HERE / "scales.svg"
SCALES = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
DRAWS = 2_000

CURVES = (
    ("efficientnet_lite0", "frozen-statistics-128", "the default", "#0072B2", "o"),
    ("efficientnet_lite0", "graduated", "the paper's recipe", "#E69F00", "s"),
    ("sprites", "cosine", "a small network of our own", "#009E73", "^"),
    ("efficientnet_lite0", "frozen", "the paper's with frozen statistics", "#CC79A7", "D"),
)
"""Source, recipe, what they are in words, colour and marker; the colours are those of Okabe and Ito (2008)."""

POINTS = f"""
SELECT tasks.origin, runs.task_id, runs.scale,
       100 * avg(CASE WHEN status = 'diverged' THEN 1 / n_classes ELSE test_accuracy END) AS accuracy
FROM '{SNAPSHOT}/runs.parquet' runs JOIN '{SNAPSHOT}/tasks.parquet' tasks USING (task_id)
WHERE runs.source_id = ? AND runs.recipe_id = ? AND list_contains(?, runs.scale) AND n_test > 0
GROUP BY tasks.origin, runs.task_id, runs.scale
QUALIFY count(*) OVER (PARTITION BY runs.task_id) = {len(SCALES)}
ORDER BY runs.task_id, runs.scale
"""  # noqa: S608 - the folder is our own


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean, lower and upper bound at each scale, (11,) points each, and what they are of."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fixed_scale: float
    n_tasks: int
    n_origins: int


def read_curve(source: str, recipe: str) -> Curve:
    """Return the curve of a source and recipe over all tasks that have their whole grid."""
    predictor = json.loads(PREDICTOR.read_text(encoding="utf-8"))
    sources, recipes = predictor["facts"]["sources"], predictor["facts"]["recipes"]
    (group,) = (
        group
        for group in predictor["groups"]
        if (sources[group["source_id"]], recipes[group["recipe_id"]]) == (source, recipe)
    )
    rows = duckdb.execute(POINTS, [group["source_id"], group["recipe_id"], list(SCALES)]).fetchnumpy()
    accuracies = rows["accuracy"].reshape(-1, len(SCALES))
    lost = accuracies - accuracies[:, [SCALES.index(group["fixed_scale"])]]
    low, high = interval(lost, rows["origin"].astype(str)[:: len(SCALES)])
    return Curve(
        mean=lost.mean(axis=0),
        low=low,
        high=high,
        fixed_scale=group["fixed_scale"],
        n_tasks=len(lost),
        n_origins=len(set(rows["origin"])),
    )


def interval(values: np.ndarray, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean of (n, s) values over n tasks of these origins, drawn whole."""
    names, of_task = np.unique(origins, return_inverse=True)
    sums = np.stack([values[of_task == k].sum(axis=0) for k in range(len(names))])
    counts = np.bincount(of_task)
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1, keepdims=True)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def draw(curves: list[Curve], path: Path) -> None:
    """Write the plot, as SVG the same bytes for the same curves."""
    with rc_context({"svg.hashsalt": "scalepred", "font.size": 10}):
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        axes = figure.subplots()
        for curve, (source, recipe, words, colour, marker) in zip(curves, CURVES, strict=True):
            name = f"{source}, {recipe}: {words}; best {curve.fixed_scale:g}, {curve.n_tasks} tasks"
            axes.fill_between(SCALES, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(SCALES, curve.mean, color=colour, marker=marker, markersize=5, label=name)
        label(axes)
        figure.legend(loc="outside upper left", frameon=False, fontsize=9)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def label(axes: Axes) -> None:
    """Name the axes and their ticks."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 3, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda scale, _: f"{scale:g}")
    axes.set_ylim(-20, 2)
    axes.yaxis.set_major_locator(FixedLocator([-20, -15, -10, -5, 0]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("scale")
    axes.set_ylabel("points of test accuracy\nagainst the best fixed scale")


def main() -> None:
    """Draw the plot where the README shows it."""
    draw([read_curve(source, recipe) for source, recipe, *_ in CURVES], PLOT)


if __name__ == "__main__":
    main()
