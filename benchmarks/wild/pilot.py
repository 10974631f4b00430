"""The pilot that chooses the recipe of the big harvest: a few tasks, several recipes, each at every scale.

    python -m benchmarks.wild.harvest SUITE --warehouse FILE --stages pilot pilot-frozen
    python -m benchmarks.wild.pilot FILE

Every variant differs from the first of its round in one thing. The second round is of the ImageNet network alone: with
frozen statistics its best scale was at the low end of the grid, so here its multipliers are a tenth. Two more compare
these, and the schedule that won with the domain's network, with the paper's recipe on all tasks that met both.
FILE is a DuckDB file or a snapshot's folder. Prints, for each round and source, the mean test accuracy of every variant
at its best fixed scale, chosen without the task's origin, what that gains over the round's first at its best, what the
honest best scale gains on it over the tasks with several seeds, on how many tasks it wins clearly, and which share of
its grid diverged. Only tasks that all variants have finished count. A win is clear from two standard errors on, of test
images or of seeds, whichever are larger, so what changes nothing wins clearly on one task of 44 at most.
Intervals are 95 %, from a bootstrap that draws whole origins. A last line has what the schedule gains over the three
domains' networks together: each task counts once, with its mean over those that it met with both.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.snapshot import Rows, load, mean_and_interval
from scalepred.predictor.evaluate import fixed_held_out, honest_of_repeats
from scalepred.predictor.model import RUN_NOISE
from scalepred.predictor.table import TrainingTable
from scalepred.predictor.targets import best_fixed_scale
from scalepred.recipe import GRID, RECIPES, Recipe
from scalepred.records import DIVERGED

VARIANTS = {
    "graduated": Recipe(),
    "frozen": Recipe(batchnorm="frozen"),
    "crop": Recipe(augmentation="crop"),
    "crop-flip": Recipe(augmentation="crop-flip"),
    "cosine": Recipe(schedule="cosine"),
    "warm-up": Recipe(warmup_epochs=2),
}
FROZEN = RECIPES["frozen-statistics"]
SECOND = {
    "frozen-statistics": FROZEN,
    "frozen-crop": replace(FROZEN, augmentation="crop"),
    "frozen-cosine": replace(FROZEN, schedule="cosine"),
}
DEFAULTS = {name: RECIPES[name] for name in ("graduated", "frozen-statistics")}
SCHEDULES = {name: RECIPES[name] for name in ("graduated", "cosine")}
ROUNDS = (VARIANTS, SECOND, DEFAULTS, SCHEDULES)
"""The first of each is what the others are compared with."""
DOMAIN_NAMES = ("sprites", "icons", "glyphs")

TASKS = (
    *("clipart-places-020", "clipart-flags-020", "stamps-kinds-010", "icons-faenza-a", "sky-kinds-010", "sky-land-all"),
    *("hedgewars-kinds-020", "supertux-tux-all", "widelands-buildings-010", "letters-greek-010"),
    *("scripts-southeast-010", "emoji-people-020", "digits-010"),
)
"""Of 13 origins and all kinds of images, with 32 to 85 to learn from."""

CLEAR = 2.0


def main() -> None:
    """Print a table for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    rows = load(parser.parse_args().warehouse)
    for variants in ROUNDS:
        for source in rows.sources:
            if (table := compared(rows, variants, source.source_id, source.name)).row_count:
                Console(width=150).print(table)
    print(on_domains(rows))


def finished(grid: TrainingTable, variants: Mapping[str, Recipe], source_id: str) -> tuple[list[str], list[np.ndarray]]:
    """Return the tasks that all variants have finished with a source, and for each variant their row numbers."""
    rows_of = {
        (recipe_id, task): at
        for at, (task, source, recipe_id) in enumerate(zip(grid.names, grid.source_ids, grid.recipe_ids, strict=True))
        if source == source_id
    }
    ids = [recipe.recipe_id for recipe in variants.values()]
    tasks = [task for task in sorted(set(grid.names)) if all((recipe_id, task) in rows_of for recipe_id in ids)]
    return tasks, [np.array([rows_of[recipe_id, task] for task in tasks], dtype=np.int64) for recipe_id in ids]


def on_domains(rows: Rows) -> str:
    """Return a line: what cosine gains on the domains' networks together, each recipe at its best fixed scale."""
    grid = rows.harvested.table
    gains: dict[tuple[str, str], list[float]] = {}
    for source in rows.sources:
        tasks, row_numbers = finished(grid, SCHEDULES, source.source_id)
        if source.name in DOMAIN_NAMES and tasks:
            step, cosine = (rows.harvested.test[at, fixed_held_out(grid.rows(at))] for at in row_numbers)
            for at, gain in zip(row_numbers[0], cosine - step, strict=True):
                gains.setdefault((grid.names[at], grid.origins[at]), []).append(float(gain))
    mean = np.array([np.mean(each) for each in gains.values()])
    told = points(mean, [origin for _, origin in gains]) if gains else "not harvested"
    return f"cosine over graduated on {', '.join(DOMAIN_NAMES)} together, {len(gains)} tasks: {told}"


def compared(rows: Rows, variants: Mapping[str, Recipe], source_id: str, source_name: str) -> Table:
    """Return the table of one source, over the tasks that all variants have finished."""
    grid = rows.harvested.table
    tasks, row_numbers = finished(grid, variants, source_id)
    table = Table(
        "recipe", "best fixed", "accuracy", "gain", "honest best's gain", "wins / losses", "diverged", "head only"
    )
    table.title = f"{source_name}: {len(tasks)} tasks"
    if not tasks:
        return table
    counted = {task.task_id for task in rows.tasks if task.name in tasks}
    mine = [run for run in rows.runs if run.source_id == source_id and run.task_id in counted and run.scale in GRID]
    pairs = zip(rows.harvested.correct, fixed_held_out(grid), strict=True)
    run_noise = seed_noise([correct[column] for correct, column in pairs])
    first: list[np.ndarray] | None = None
    for (name, recipe), at in zip(variants.items(), row_numbers, strict=True):
        bundles = grid.rows(at)
        columns = fixed_held_out(bundles)
        right = [rows.harvested.correct[row][column] for row, column in zip(at, columns, strict=True)]
        first = right if first is None else first
        apart = [_apart(one, other, run_noise=run_noise) for one, other in zip(right, first, strict=True)]
        gains = np.array([one.mean() - other.mean() for one, other in zip(right, first, strict=True)])
        honest = np.array([honest_of_repeats(rows.harvested.correct[row], seed=0) for row in at])
        n_honest = int(np.isfinite(honest).sum())
        accuracies = np.array([each.mean() for each in right])
        statuses = [run.status for run in mine if run.recipe_id == recipe.recipe_id]
        table.add_row(
            name,
            f"{grid.scales[best_fixed_scale(bundles.accuracies, grid.scales.tolist())]:g}",
            percent(accuracies, bundles.origins),
            "" if right is first else points(gains, bundles.origins),
            f"{points(honest - accuracies, bundles.origins)} on {n_honest}" if n_honest else "",
            f"{sum(z > CLEAR for z in apart)} / {sum(z < -CLEAR for z in apart)}",
            f"{100 * statuses.count(DIVERGED) / len(statuses):.1f} %",
            percent(rows.harvested.baseline[at], bundles.origins),
        )
    return table


def seed_noise(correct: Sequence[np.ndarray]) -> float:
    """Return the standard deviation of a run's accuracy between seeds; ``RUN_NOISE`` where no bundle has several.

    All seeds are scored on the same images, so none of these images' noise is in it.

    Args:
        correct: of bundles, (n_seeds, n_images) each, at the scale that is judged: at large ones seeds differ far more.
    """
    variances = [each.mean(axis=1).var(ddof=1) for each in correct if len(each) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else RUN_NOISE


def _apart(one: np.ndarray, other: np.ndarray, *, run_noise: float) -> float:
    """Return by how many standard errors two accuracies differ; (n_seeds, n_images) each, of the same images.

    The larger one of images and seeds: most of what seeds do is in the images' differences already.
    """
    by_image = one.mean(axis=0) - other.mean(axis=0)
    variance = max(by_image.var() / len(by_image), run_noise**2 * (1 / len(one) + 1 / len(other)))
    return float(by_image.mean() / np.sqrt(variance))


def points(gains: np.ndarray, origins: Sequence[str]) -> str:
    """Return the mean gain and its interval, in points."""
    mean, low, high = (100 * value for value in mean_and_interval(gains, origins))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def percent(values: np.ndarray, origins: Sequence[str]) -> str:
    """Return the mean of the values that are there, or nothing where there are none."""
    mean = mean_and_interval(values, origins)[0]
    return "" if np.isnan(mean) else f"{100 * mean:.1f} %"


if __name__ == "__main__":
    main()
