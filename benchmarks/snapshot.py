"""Tells the results of a harvest in tables and plots: accuracy by scale, and the best scale by features of the task.

    python -m benchmarks.snapshot WAREHOUSE OUT

WAREHOUSE is a DuckDB file or an exported snapshot's folder. Writes OUT/README.md and its plots, all from whole grids:

* how many classes and images per label the tasks have;
* for each source and recipe, the mean test accuracy at every scale, how often it is best, the standard deviation of a
  task's seeds at it (points), and how far the best fixed scale (chosen without the task's origin), the baseline, the
  search of eleven jobs (chosen on validation, scored on test), the honest and the naive best lie apart;
* the best scale against images per label and against source-target similarity, with Spearman's rank correlation. As
  figure 9 of Dube et al. 2018, but for what is best: there the rate of the inner layers at a fixed rate of the head,
  here the scale of both.

Intervals are 95 %, from a bootstrap that draws whole origins.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from scalepred.files import write_text
from scalepred.predictor import harvested as harvested_module
from scalepred.predictor.evaluate import fixed_held_out, honest_of_repeats, naive_of_seeds, searched
from scalepred.predictor.harvested import Harvested
from scalepred.predictor.honest import bootstrap_interval, honest_best_from_images
from scalepred.predictor.table import rows_by_group
from scalepred.predictor.targets import TIE, best_fixed_scale, naive_best, relative_accuracy, smooth_optimum
from scalepred.records import RecipeRecord, RunRecord, SourceRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse

SEED = 0
CLEAR = 3.0
DRAWN = ("images_per_label", "emd_similarity")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bundles of one source and recipe.

    Attributes:
        name: of both.
        origins: (n,) of each bundle.
        scales: (s,).
        test: (n, s) test accuracies.
        between_seeds: (s,) standard deviations of a task's accuracy between seeds, a fraction, over the tasks that have
            several; None where there are none.
        optimum: (n,) log2 of the best scale, softly averaged.
        features: name -> (n,) values, NaN where a task has none.
        fixed: the best fixed scale of them all.
        methods: what a user could do, or what the truth is -> (n,) test accuracies, NaN where a task has none; the
            first is the best fixed scale of the other origins.
    """

    name: str
    origins: tuple[str, ...]
    scales: np.ndarray
    test: np.ndarray
    between_seeds: np.ndarray | None
    optimum: np.ndarray
    features: dict[str, np.ndarray]
    fixed: float
    methods: dict[str, np.ndarray]


def main() -> None:
    """Read a warehouse and write what it tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    results = read(arguments.warehouse)
    if not results.groups:
        raise SystemExit(f"{arguments.warehouse} has no learnable task with a whole grid: harvest on.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(results.tasks, results.groups, arguments.out)
    write_text(arguments.out / "README.md", text(results))
    print(f"{len(results.groups)} sources and recipes; see {arguments.out / 'README.md'}")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a warehouse holds, and its whole grids."""

    tasks: list[TaskRecord]
    sources: list[SourceRecord]
    recipes: list[RecipeRecord]
    runs: list[RunRecord]
    harvested: Harvested


def load(warehouse: Path) -> Rows:
    """Read a DuckDB file, or the folder of an exported snapshot."""
    with tempfile.TemporaryDirectory() as scratch:
        path = warehouse
        if warehouse.is_dir():
            path = Path(scratch) / "warehouse.duckdb"
            with open_warehouse(path) as store:
                store.import_parquet(warehouse)
        with open_warehouse(path, read_only=True) as store:
            tasks, sources, recipes, runs = store.tasks(), store.sources(), store.recipes(), store.runs()
            harvested = harvested_module.build(
                tasks=tasks, sources=sources, recipes=recipes, features=store.features(), runs=runs
            )
    return Rows(tasks=tasks, sources=sources, recipes=recipes, runs=runs, harvested=harvested)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The learnable tasks that have a whole grid, their groups, the number of all runs, and the tasks left out."""

    tasks: list[TaskRecord]
    groups: list[Group]
    n_runs: int
    dropped: list[str]


def read(warehouse: Path) -> Results:
    """Return what the report tells of."""
    rows = load(warehouse)
    harvested = rows.harvested
    source_names = {source.source_id: source.name for source in rows.sources}
    recipe_names = {recipe.recipe_id: recipe.name for recipe in rows.recipes}
    dropped = not_learnable(rows)
    groups = []
    for (source_id, recipe_id), rows_of in rows_by_group(harvested.table).items():
        kept = np.array([at for at in rows_of if harvested.table.names[at] not in dropped], dtype=np.int64)
        if len({harvested.table.origins[at] for at in kept}) > 1:
            groups.append(group_of(harvested, kept, f"{source_names[source_id]}, {recipe_names[recipe_id]}"))
    groups.sort(key=lambda group: (-len(group.origins), group.name))
    whole = set(harvested.table.names) - dropped
    return Results(
        tasks=[task for task in rows.tasks if task.name in whole],
        groups=groups,
        n_runs=len(rows.runs),
        dropped=sorted(dropped),
    )


def not_learnable(rows: Rows) -> set[str]:
    """Return the tasks at which neither the baseline nor any scale, on any source, is clearly better than guessing.

    Guessing always takes the most frequent label; clearly is three standard errors of the test images.
    """
    guess = {task.name: max(task.label_counts.values()) / sum(task.label_counts.values()) for task in rows.tasks}
    harvested = rows.harvested
    learnable = set()
    for at, name in enumerate(harvested.table.names):
        best = np.nanmax([*harvested.test[at], harvested.baseline[at]])
        n_images = harvested.correct[at].shape[2]
        if best > guess[name] + CLEAR * math.sqrt(guess[name] * (1 - guess[name]) / n_images):
            learnable.add(name)
    return set(harvested.table.names) - learnable


def group_of(harvested: Harvested, rows: np.ndarray, name: str) -> Group:
    """Return the group of these bundles, (n,) row numbers."""
    grid, test = harvested.table.rows(rows), harvested.test[rows]
    fixed = fixed_held_out(grid)
    variances = [each.mean(axis=2).var(axis=1, ddof=1) for at in rows if (each := harvested.correct[at]).shape[1] > 1]
    return Group(
        name=name,
        origins=grid.origins,
        scales=grid.scales,
        test=test,
        between_seeds=np.sqrt(np.mean(variances, axis=0)) if variances else None,
        optimum=smooth_optimum(relative_accuracy(test), grid.scales.tolist()),
        features={
            feature: grid.features[:, column] for column, feature in enumerate(grid.feature_names) if feature in DRAWN
        },
        fixed=float(grid.scales[best_fixed_scale(grid.accuracies, grid.scales.tolist())]),
        methods={
            "best fixed scale of the other origins": test[np.arange(len(rows)), fixed],
            "head only, the paper's baseline": harvested.baseline[rows],
            "search, best of eleven on validation": searched(harvested)[rows],
            "honest best, of tasks with several seeds": np.array(
                [honest_of_repeats(harvested.correct[at], seed=SEED) for at in rows]
            ),
            "best of these very runs, chosen on half of the images": np.array(
                [_best_of_runs(harvested.correct[at]) for at in rows]
            ),
            "naive best, chosen on test": naive_of_seeds(harvested)[rows],
        },
    )


def _best_of_runs(correct: np.ndarray) -> float:
    """Return the mean over seeds, of (s, n_seeds, n_images), of what half of the images chooses on the other."""
    seeds = range(correct.shape[1])
    return float(np.mean([honest_best_from_images(correct[:, at], seed=SEED) for at in seeds]))


# --- numbers ----------------------------------------------------------------------------------------------------------


def mean_and_interval(values: np.ndarray, origins: Sequence[str]) -> tuple[float, float, float]:
    """Return the mean over bundles and its interval; bundles without a value are left out."""
    there = ~np.isnan(values)
    some = [origin for origin, is_there in zip(origins, there, strict=True) if is_there]
    if not some:
        return math.nan, math.nan, math.nan
    low, high = bootstrap_interval(values[there], some, lambda drawn: float(drawn.mean()), seed=SEED)
    return float(values[there].mean()), low, high


def rank_correlation(values: np.ndarray, optimum: np.ndarray, origins: Sequence[str]) -> tuple[float, float, float]:
    """Return Spearman's correlation of a feature with the best scale, and its interval."""
    pairs = np.stack([values, optimum], axis=1)
    there = ~np.isnan(pairs).any(axis=1)
    some = [origin for origin, is_there in zip(origins, there, strict=True) if is_there]
    low, high = bootstrap_interval(pairs[there], some, _spearman, seed=SEED)
    return _spearman(pairs[there]), low, high


def _spearman(pairs: np.ndarray) -> float:
    if len(pairs) < 3 or (pairs.min(axis=0) == pairs.max(axis=0)).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def best_shares(test: np.ndarray) -> np.ndarray:
    """Return (s,) the share of tasks that each scale is best for; scales that tie share a task."""
    best = test >= naive_best(test)[:, None] - TIE
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


# --- words ------------------------------------------------------------------------------------------------------------


def text(results: Results) -> str:
    """Return the report in Markdown."""
    n_origins = len({task.origin for task in results.tasks})
    lines = [
        "# What the harvest found",
        "",
        f"{results.n_runs:,} runs; {len(results.tasks)} tasks of {n_origins} origins have a whole grid, "
        f"{len(results.dropped)} more are left out because nothing beats guessing at them clearly"
        f"{': ' if results.dropped else ''}{', '.join(results.dropped)}. "
        "Accuracies are of test images, in per cent; intervals are 95 %, from a bootstrap that draws whole origins. "
        "Made by `python -m benchmarks.snapshot`.",
        "",
        "![classes and images per label](tasks.png)",
        "",
        "| | least | quarter | median | three quarters | most | mean |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            _row(name, [*np.quantile(values, [0, 0.25, 0.5, 0.75, 1]), values.mean()])
            for name, values in sizes(results.tasks)
        ),
    ]
    for number, group in enumerate(results.groups):
        lines += _section(group, number)
    return "\n".join(lines) + "\n"


def sizes(tasks: Sequence[TaskRecord]) -> list[tuple[str, np.ndarray]]:
    """Return name and (n,) values of what tasks are like."""
    classes = np.array([task.n_classes for task in tasks], dtype=np.float64)
    learned = np.array([task.n_train + task.n_val for task in tasks], dtype=np.float64)
    tested = np.array([task.n_test for task in tasks], dtype=np.float64)
    return [("classes", classes), ("images per label, train and val", learned / classes), ("test images", tested)]


def _section(group: Group, number: int) -> list[str]:
    fixed_name, fixed = next(iter(group.methods.items()))
    shares = best_shares(group.test)
    counts = f"{len(group.origins)} tasks of {len(set(group.origins))} origins"
    lines = ["", f"## {group.name}", "", f"{counts}; the best fixed scale of them all is {group.fixed:g}.", ""]
    lines += [f"![accuracy by scale and best scales](source-{number}.png)", ""]
    lines += ["| scale | mean accuracy | best for | between seeds |", "|---:|---|---:|---:|"]
    for column, scale in enumerate(group.scales):
        mean = _percent(*mean_and_interval(group.test[:, column], group.origins))
        apart = "" if group.between_seeds is None else f"{100 * group.between_seeds[column]:.1f}"
        lines.append(f"| {scale:g} | {mean} | {100 * shares[column]:.0f} % | {apart} |")
    lines += ["", "| method | tasks | mean accuracy | gain over the best fixed scale |", "|---|---:|---|---|"]
    for name, values in group.methods.items():
        n_tasks = int(np.isfinite(values).sum())
        gain = "0" if name == fixed_name else _percent(*mean_and_interval(values - fixed, group.origins), sign="+")
        if n_tasks:
            lines.append(f"| {name} | {n_tasks} | {_percent(*mean_and_interval(values, group.origins))} | {gain} |")
    lines += ["", "| best scale against | rank correlation |", "|---|---|"]
    for feature, values in group.features.items():
        correlation, low, high = rank_correlation(values, group.optimum, group.origins)
        shown = (
            "none: one of the two never changes"
            if math.isnan(correlation)
            else f"{correlation:+.2f} ({low:+.2f} to {high:+.2f})"
        )
        lines.append(f"| {feature} | {shown} |")
    return lines


def _percent(mean: float, low: float, high: float, *, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def _row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:,.1f}".removesuffix(".0") for value in values) + " |"


# --- plots ------------------------------------------------------------------------------------------------------------


def draw(tasks: Sequence[TaskRecord], groups: Sequence[Group], out: Path) -> None:
    """Write tasks.png and a plot for each group."""
    (_, classes), (_, per_label), _ = sizes(tasks)
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(classes, bins=np.arange(1.5, classes.max() + 1.5))
    left.set(xlabel="classes", ylabel="tasks")
    right.hist(np.log2(per_label), bins=20)
    _powers(right.xaxis, np.log2(per_label))
    right.set(xlabel="images per label, train and validation")
    _save(figure, out / "tasks.png")
    for number, group in enumerate(groups):
        _save(_drawn(group), out / f"source-{number}.png")


def _drawn(group: Group) -> Figure:
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, 2)
    figure.suptitle(f"{group.name}: {len(group.origins)} tasks")
    logs = np.log2(group.scales)
    means = np.array([mean_and_interval(column, group.origins) for column in group.test.T]) * 100
    axes[0, 0].errorbar(logs, means[:, 0], yerr=np.abs(means[:, 1:] - means[:, :1]).T, marker="o", capsize=3)
    axes[0, 0].set(ylabel="mean test accuracy, %", xlabel="scale")
    axes[0, 1].bar(range(len(logs)), 100 * best_shares(group.test), tick_label=[f"{s:g}" for s in group.scales])
    axes[0, 1].set(ylabel="best for, % of tasks", xlabel="scale")
    _powers(axes[0, 0].xaxis, logs)
    spots: list[tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("images_per_label", "training images per label", np.log2),
        ("emd_similarity", "source-target similarity", np.asarray),
    ]
    for axis, (feature, label, place) in zip(axes[1], spots, strict=True):
        values = group.features.get(feature, np.full(len(group.optimum), math.nan))
        axis.scatter(place(values), group.optimum, s=12, alpha=0.6)
        axis.set(xlabel=label, ylabel="best scale, softly averaged")
        _powers(axis.yaxis, logs)
    if "images_per_label" in group.features:
        _powers(axes[1, 0].xaxis, np.log2(group.features["images_per_label"]))
    return figure


def _powers(axis: Axis, logs: np.ndarray) -> None:
    """Label an axis of log2 values with the powers of two themselves."""
    there = logs[~np.isnan(logs)]
    if len(there):
        ticks = np.arange(math.floor(there.min()), math.ceil(there.max()) + 1)
        axis.set_ticks(ticks, [f"{2.0**tick:g}" for tick in ticks])


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
