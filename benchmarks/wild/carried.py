"""Tells what carries over between image sizes and between networks: accuracy, cost, and the best scale.

    python -m benchmarks.wild.harvest SUITE --warehouse FILE --stages core core-domains 128px 224px lite1
    python -m benchmarks.wild.carried FILE

FILE is a DuckDB file or a snapshot's folder. A table for each set of sizes or networks, over the tasks that have met
all of the set, without those at which nothing beats guessing clearly: mean test accuracies in per cent, and gains over
the first of the set, at

* the best fixed scale, chosen without the task's origin on the others of the table; the first's fixed scale;
* the scale that eleven jobs of its own would choose on validation, and that which the first's eleven jobs chose;
* the head alone.

Then the rank correlation, over tasks, of the best scale on one half of the test images with the first's on the other
half, so that what single images make of both doesn't count; and the seconds of a finetune on a CPU, over the tasks
that all of the set have met on one. Intervals are 95 %, from a bootstrap that draws whole origins.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.snapshot import Rows, load, not_learnable, rank_correlation
from benchmarks.wild.pilot import DOMAIN_NAMES, percent, points
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.predictor.evaluate import fixed_held_out, searched
from scalepred.predictor.targets import TIE, best_fixed_scale, relative_accuracy, smooth_optimum
from scalepred.recipe import RECIPES, Recipe

LARGE = (
    *("clipart-transport-010", "sky-land-a", "widelands-amazons-a", "clipart-people-a", "stamps-animals-all"),
    *("clipart-recreation-a", "clipart-cards-020", "clipart-computer-b"),
    *("hedgewars-themes-c", "clipart-shapes-a", "stamps-kinds-b", "clipart-places-020", "clipart-animals-b"),
)
"""Tasks whose images have 120 pixels or more on both sides; the first eight have 128 to 256."""

SMALL = (
    *("alphabet-devanagari-010", "widelands-critters-c", "emoji-symbols-a", "letters-greek-010", "freeciv-kinds-a"),
    *("pingus-ground-b", "supertux-tiles-c", "family-sans-010", "hedgewars-kinds-010", "icons-faenza-c"),
    "scripts-living-a",
)
"""Tasks whose images have 26 to 96 pixels on the shorter side."""

USUAL = RECIPES["frozen-statistics"]
SIZES = {px: replace(USUAL, image_px=px) for px in (64, 128, 224)}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of a set: its name in the table, the source's name, and the recipe."""

    label: str
    source: str
    recipe: Recipe


AT_SIZE = {px: Member(label=f"{px} px", source=DEFAULT_SOURCE, recipe=recipe) for px, recipe in SIZES.items()}
LITE1 = Member(label="lite1", source="efficientnet_lite1", recipe=USUAL)
DOMAINS = tuple(Member(label=name, source=name, recipe=RECIPES["graduated"]) for name in DOMAIN_NAMES)
SETS: tuple[tuple[str, tuple[Member, ...], tuple[str, ...] | None], ...] = (
    ("all images", (AT_SIZE[64], AT_SIZE[128]), None),
    ("large images", (AT_SIZE[64], AT_SIZE[128]), LARGE),
    ("small images, enlarged", (AT_SIZE[64], AT_SIZE[128]), SMALL),
    ("all sizes", tuple(AT_SIZE.values()), LARGE),
    ("large and larger", (AT_SIZE[128], AT_SIZE[224]), LARGE),
    ("two ImageNet networks", (replace(AT_SIZE[64], label="lite0"), LITE1), None),
    ("networks of three domains", DOMAINS, None),
)
"""What for a person, the members, and the tasks: None for all that have met them."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    rows = load(parser.parse_args().warehouse)
    for what, members, tasks in SETS:
        if (table := compared(rows, what, members, tasks)).row_count:
            Console(width=160).print(table)


def compared(rows: Rows, what: str, members: Sequence[Member], tasks: Sequence[str] | None) -> Table:
    """Return the table of a set, without rows where no task has met all of it."""
    columns = ("best fixed", "at it", "gain", "at the first's", "own search", "first's search", "head only")
    table = Table("", *columns, "correlation", "CPU seconds")
    by_member = _bundles(rows, members)
    learnable = set(rows.harvested.table.names) - not_learnable(rows)
    shared = [t for t in tasks or sorted(learnable) if t in learnable and all(t in each for each in by_member)]
    table.title = f"{what}: {len(shared)} tasks"
    if not shared:
        return table
    grid, test = rows.harvested.table, rows.harvested.test
    own_search = searched(rows.harvested)
    first = np.array([by_member[0][task] for task in shared])
    first_fixed = fixed_held_out(grid.rows(first))
    at_fixed = test[first, first_fixed]

    def correct_of(bundles: np.ndarray) -> list[np.ndarray]:
        return [rows.harvested.correct[at] for at in bundles]

    for member, bundles, seconds in zip(members, by_member, _cpu_seconds(rows, members, shared), strict=True):
        at = np.array([bundles[task] for task in shared])
        member_grid = grid.rows(at)
        fixed = fixed_held_out(member_grid)
        theirs = np.array([_at_best(rows.harvested.val[one], test[row]) for one, row in zip(first, at, strict=True)])
        table.add_row(
            member.label,
            f"{grid.scales[best_fixed_scale(member_grid.accuracies, grid.scales.tolist())]:g}",
            percent(test[at, fixed], member_grid.origins),
            "" if member is members[0] else points(test[at, fixed] - at_fixed, member_grid.origins),
            percent(test[at, first_fixed], member_grid.origins),
            percent(own_search[at], member_grid.origins),
            percent(theirs, member_grid.origins),
            percent(rows.harvested.baseline[at], member_grid.origins),
            ""
            if member is members[0]
            else correlation(correct_of(first), correct_of(at), grid.scales, member_grid.origins),
            "" if np.isnan(seconds) else f"{seconds:.1f}",
        )
    return table


def _bundles(rows: Rows, members: Sequence[Member]) -> list[dict[str, int]]:
    """Return for each member, task -> its row of the harvested table."""
    grid, names = rows.harvested.table, {source.source_id: source.name for source in rows.sources}
    keys = list(zip(grid.names, grid.source_ids, grid.recipe_ids, strict=True))
    return [
        {
            task: at
            for at, (task, source_id, recipe_id) in enumerate(keys)
            if (names[source_id], recipe_id) == (member.source, member.recipe.recipe_id)
        }
        for member in members
    ]


def _at_best(val: np.ndarray, test: np.ndarray) -> float:
    """Return the mean of (s,) test accuracies where (s, n_seeds) validation accuracies are best; ties share a seed."""
    best = val >= val.max(axis=0) - TIE
    return float(((best * test[:, None]).sum(axis=0) / best.sum(axis=0)).mean())


def _cpu_seconds(rows: Rows, members: Sequence[Member], tasks: Sequence[str]) -> np.ndarray:
    """Return each member's mean of the median seconds of a task's finetunes on a CPU, over tasks that have all."""
    names = {source.source_id: source.name for source in rows.sources}
    of_task: dict[str, list[list[float]]] = {
        task.task_id: [[] for _ in members] for task in rows.tasks if task.name in tasks
    }
    for run in rows.runs:
        for index, member in enumerate(members):
            is_member = (names[run.source_id], run.recipe_id) == (member.source, member.recipe.recipe_id)
            if is_member and run.task_id in of_task and run.device.startswith("cpu"):
                of_task[run.task_id][index].append(run.seconds)
    medians = [[np.median(seconds) for seconds in each] for each in of_task.values() if all(each)]
    return np.mean(medians, axis=0) if medians else np.full(len(members), np.nan)


def correlation(
    first: Sequence[np.ndarray], other: Sequence[np.ndarray], scales: np.ndarray, origins: tuple[str, ...]
) -> str:
    """Return in words the rank correlation of three tasks' best scales, or more, on one half of images and the other.

    Args:
        first: for each task, (s, n_seeds, n_images) whether a run got an image right.
        other: the same tasks with something else; each half of the images serves first and other once.
        scales: (s,).
        origins: of the tasks.
    """
    halves = [np.random.default_rng(0).permutation(correct.shape[2]) % 2 for correct in first]

    def best(those: Sequence[np.ndarray], half: int) -> np.ndarray:
        on_half = [correct[:, :, which == half].mean(axis=(1, 2)) for correct, which in zip(those, halves, strict=True)]
        return smooth_optimum(relative_accuracy(np.array(on_half)), scales.tolist())

    one, theirs = (
        np.concatenate([best(those, half) for half in order]) for those, order in ((first, (0, 1)), (other, (1, 0)))
    )
    value, low, high = rank_correlation(one, theirs, origins * 2)
    return "" if len(first) < 3 or np.isnan(value) else f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
