"""The pilot that chooses the recipe of the big harvest: a few tasks, several recipes, each at every scale.

    python -m benchmarks.wild.harvest SUITE --warehouse FILE --stages pilot
    python -m benchmarks.wild.pilot FILE

Every variant differs from `graduated` in one thing. FILE is a DuckDB file or a snapshot's folder. Prints, for each
source, the mean test accuracy of every variant at its own best fixed scale, what that gains over `graduated`
at its own, the mean of the honest best scales, on how many tasks it wins clearly, and how many of its runs diverged.
Only tasks that all variants have finished count. A win is clear from two standard errors of the test pictures on, so
what changes nothing wins clearly on one task of 44. Intervals are 95 %, from a bootstrap that draws whole origins.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.snapshot import Rows, load, mean_and_interval
from scalepred.config import Recipe
from scalepred.records import DIVERGED
from scalepred.targets import accuracy_noise, best_fixed_scale, honest_best

VARIANTS = {
    "graduated": Recipe(),
    "frozen": Recipe(batchnorm="frozen"),
    "crop": Recipe(augmentation="crop"),
    "crop-flip": Recipe(augmentation="crop-flip"),
    "cosine": Recipe(schedule="cosine"),
    "warm-up": Recipe(warmup_epochs=2),
}
"""The first is what the others are compared with."""

TASKS = (
    *("clipart-places-020", "clipart-flags-020", "stamps-kinds-010", "icons-faenza-a", "sky-kinds-010", "sky-land-all"),
    *("hedgewars-kinds-020", "supertux-tux-all", "widelands-buildings-010", "letters-greek-010"),
    *("scripts-southeast-010", "emoji-people-020", "digits-010"),
)
"""Of 13 origins and all kinds of pictures, with 32 to 85 to learn from."""

CLEAR = 2.0


def main() -> None:
    """Print a table for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    rows = load(parser.parse_args().warehouse)
    for source in rows.sources:
        Console(width=120).print(compared(rows, source.source_id, source.name))


def compared(rows: Rows, source_id: str, source_name: str) -> Table:
    """Return the table of one source, over the tasks that all variants have finished."""
    grid = rows.harvested.table
    found = {
        (recipe_id, task): at
        for at, (task, source, recipe_id) in enumerate(zip(grid.names, grid.source_ids, grid.recipe_ids, strict=True))
        if source == source_id
    }
    ids = [recipe.recipe_id for recipe in VARIANTS.values()]
    tasks = [task for task in TASKS if all((recipe_id, task) in found for recipe_id in ids)]
    table = Table("recipe", "best fixed", "accuracy", "gain", "honest best", "wins / losses", "diverged", "head only")
    table.title = f"{source_name}: {len(tasks)} tasks"
    if not tasks:
        return table
    counted = {task.task_id for task in rows.tasks if task.name in tasks}
    diverged = Counter(
        run.recipe_id
        for run in rows.runs
        if run.status == DIVERGED and run.source_id == source_id and run.task_id in counted
    )
    at_best: dict[str, np.ndarray] = {}
    for name, recipe in VARIANTS.items():
        at = np.array([found[recipe.recipe_id, task] for task in tasks])
        origins = [grid.origins[row] for row in at]
        test = rows.harvested.test[at]
        fixed = best_fixed_scale(test, grid.scales.tolist())
        at_best[name] = test[:, fixed]
        n_test = np.array([rows.harvested.correct[row].shape[1:] for row in at]).prod(axis=1)
        first = at_best["graduated"]
        noise = np.hypot(accuracy_noise(at_best[name], n_test), accuracy_noise(first, n_test))
        apart = (at_best[name] - first) / noise
        honest = np.mean([honest_best(rows.harvested.correct[row], seed=0) for row in at])
        gain, low, high = (100 * value for value in mean_and_interval(at_best[name] - first, origins))
        table.add_row(
            name,
            f"{grid.scales[fixed]:g}",
            f"{100 * at_best[name].mean():.1f} %",
            "" if name == "graduated" else f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
            f"{100 * honest:.1f} %",
            f"{(apart > CLEAR).sum()} / {(apart < -CLEAR).sum()}",
            str(diverged[recipe.recipe_id]),
            f"{100 * mean_and_interval(rows.harvested.baseline[at], origins)[0]:.1f} %",
        )
    return table


if __name__ == "__main__":
    main()
