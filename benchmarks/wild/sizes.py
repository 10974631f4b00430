"""Compares picture sizes: what do larger pictures gain, what do they cost, and does the scale stay the same?

    python -m benchmarks.wild.harvest SUITE --warehouse FILE --stages core 128px 224px
    python -m benchmarks.wild.sizes FILE

FILE is a DuckDB file or a snapshot's folder. One table for each set of sizes and kind of tasks: those whose pictures
are large themselves, and those where they are only enlarged. Only tasks that have met all sizes of a table count.
Prints the mean test accuracy at each size's best fixed scale, found without the task's origin; the same at the scale
that is best at the smallest size, which tells whether a scale carries over; and the seconds of a finetune. Intervals
are 95 %, from a bootstrap that draws whole origins.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.snapshot import Rows, load, mean_and_interval
from benchmarks.wild.pilot import percent
from scalepred.config import RECIPES, Recipe
from scalepred.evaluate import fixed_held_out
from scalepred.sources import DEFAULT_SOURCE
from scalepred.targets import best_fixed_scale

USUAL = RECIPES["frozen-statistics"]
SIZES = {px: replace(USUAL, image_px=px) for px in (64, 128, 224)}
LARGE = (
    *("clipart-transport-010", "sky-land-a", "widelands-amazons-a", "clipart-people-a", "stamps-animals-all"),
    *("clipart-recreation-a", "clipart-cards-020", "clipart-computer-b"),
    *("hedgewars-themes-c", "clipart-shapes-a", "stamps-kinds-b", "clipart-places-020", "clipart-animals-b"),
)
"""Tasks whose pictures have 120 pixels or more on both sides; the first eight have 128 to 256."""

SMALL = (
    *("alphabet-devanagari-010", "widelands-critters-c", "emoji-symbols-a", "letters-greek-010", "freeciv-kinds-a"),
    *("pingus-ground-b", "supertux-tiles-c", "family-sans-010", "hedgewars-kinds-010", "icons-faenza-c"),
    "scripts-living-a",
)
"""Tasks whose pictures have 26 to 96 pixels on the shorter side."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    rows = load(parser.parse_args().warehouse)
    for sizes, tasks, what in (
        ((64, 128), LARGE, "large pictures"),
        ((64, 128), SMALL, "small pictures, enlarged"),
        ((64, 128, 224), LARGE, "large pictures"),
    ):
        found = compared(rows, [SIZES[px] for px in sizes], tasks)
        if found.row_count:
            found.title = f"{DEFAULT_SOURCE}, {what}: {found.title}"
            Console(width=120).print(found)


def compared(rows: Rows, recipes: Sequence[Recipe], tasks: Sequence[str]) -> Table:
    """Return the table of recipes that differ in size, the smallest first, over the tasks that have met all of them."""
    grid = rows.harvested.table
    source_id = next(source.source_id for source in rows.sources if source.name == DEFAULT_SOURCE)
    found = {
        (recipe_id, task): at
        for at, (task, source, recipe_id) in enumerate(zip(grid.names, grid.source_ids, grid.recipe_ids, strict=True))
        if source == source_id
    }
    shared = [task for task in tasks if all((recipe.recipe_id, task) in found for recipe in recipes)]
    table = Table("px", "best fixed", "accuracy", "gain", "at the smallest's", "head only", "seconds", "times")
    table.title = f"{len(shared)} tasks"
    if not shared:
        return table
    fixed = fixed_held_out(grid)
    smallest = np.array([found[recipes[0].recipe_id, task] for task in shared])
    task_ids = {task.task_id for task in rows.tasks if task.name in shared}
    first = np.full(len(shared), np.nan)
    for recipe in recipes:
        at = np.array([found[recipe.recipe_id, task] for task in shared])
        own = grid.rows(at)
        accuracy, carried = rows.harvested.test[at, fixed[at]], rows.harvested.test[at, fixed[smallest]]
        seconds = _seconds(rows, source_id, recipe, task_ids)
        if recipe is recipes[0]:
            first, first_seconds = accuracy, seconds
        table.add_row(
            str(recipe.image_px),
            f"{grid.scales[best_fixed_scale(own.accuracies, grid.scales.tolist())]:g}",
            percent(accuracy, own.origins),
            "" if recipe is recipes[0] else _points(accuracy - first, own.origins),
            percent(carried, own.origins),
            percent(rows.harvested.baseline[at], own.origins),
            f"{seconds:.1f}",
            f"{seconds / first_seconds:.1f}",
        )
    return table


def _seconds(rows: Rows, source_id: str, recipe: Recipe, task_ids: set[str]) -> float:
    """Return the mean over tasks of the median seconds of a finetune."""
    of_task: dict[str, list[float]] = {task_id: [] for task_id in task_ids}
    for run in rows.runs:
        if run.source_id == source_id and run.recipe_id == recipe.recipe_id and run.task_id in task_ids:
            of_task[run.task_id].append(run.seconds)
    return float(np.mean([np.median(seconds) for seconds in of_task.values()]))


def _points(gains: np.ndarray, origins: Sequence[str]) -> str:
    mean, low, high = (100 * value for value in mean_and_interval(gains, origins))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
