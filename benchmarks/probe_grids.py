"""The linear probe beside harvested grids: what one job at a recipe's best fixed scale gains over it, task by task.

    python -m benchmarks.probe_grids WAREHOUSE [--suite SUITE] [--probes FILE.jsonl] [--seconds N] [--part I/N]

For the networks of our harvest with their default recipes, and for `efficientnet_lite0` at 64 pixels. The probe is
multinomial logistic regression on what all stages of the frozen network give at the recipe's image size, fitted to the
training images alone, as the runs of a grid are trained. Beside it are those of the penultimate features alone: scaled
as ours are, and standardised, which fitted heads start from. Their test accuracies are not in the warehouse, so with
``--suite`` they are measured for each task of a whole grid, one line of FILE for each; those that are there are passed
over, and after so many seconds no further task is begun. ``--part 1/2`` takes every second task, so that two processes
can share the work and the file. Without ``--suite`` the lines that are there are told, ``--exclude`` those of tasks
that chose nothing.

The fixed scale is chosen on the tasks of all other origins, as the predictor's is, so no task's test images choose what
is read on them. The head alone is the paper's baseline, by SGD from noise. Gains are paired by task,
in points, with 95 % intervals over origins. Ends in one line of JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.probes import CLEARLY, Key, argument_parser, measure, read_probes, told, words_of
from benchmarks.sources import source_named
from scalepred.data.task import read_task
from scalepred.networks.source import Source
from scalepred.predictor.evaluate import fixed_held_out
from scalepred.predictor.harvested import build
from scalepred.predictor.honest import bootstrap_interval
from scalepred.recipe import Recipe
from scalepred.records import TaskRecord
from scalepred.store.warehouse import open_warehouse
from scalepred.training.bundle import Bundle

PROBES = Path(__file__).resolve().parent / "results" / "probes.jsonl"
GROUPS = (
    ("efficientnet_lite0", "frozen-statistics-128"),
    ("efficientnet_lite0", "frozen-statistics"),
    ("sprites", "cosine"),
    ("icons", "cosine"),
    ("glyphs", "cosine"),
)
"""Network and recipe."""

SIZES = ((0, 40), (41, 80), (81, 10**9))
"""Fewest and most training images of the tasks that are told once more by themselves."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A task's whole grid with a network and recipe: test accuracies at the best fixed scale, and of the head alone."""

    task: TaskRecord
    source: str
    source_id: str
    recipe: Recipe
    fixed: float
    head: float

    @property
    def key(self) -> Key:
        """What its probe depends on."""
        return self.task.task_id, self.source_id, self.recipe.image_px


def main() -> None:
    """Measure what is lacking, if asked to, and tell."""
    parser = argument_parser(__doc__, PROBES)
    parser.add_argument("--exclude", type=Path, metavar="FILE", help="tell nothing of these tasks, a name on each line")
    arguments = parser.parse_args()
    groups = read_groups(arguments.warehouse)
    if arguments.suite is not None:
        sources: dict[str, Source] = {}
        grids = [grid for group in groups.values() for grid in group]
        measure(grids, lambda grid: grid.key, lambda grid: bundle_of(grid, arguments.suite, sources), arguments)
    if arguments.exclude is not None:
        left_out = set(arguments.exclude.read_text(encoding="utf-8").splitlines())
        groups = {name: [grid for grid in group if grid.task.name not in left_out] for name, group in groups.items()}
    print(json.dumps({"benchmark": "probe_grids", "rows": tell(groups, read_probes(arguments.probes))}))


def read_groups(warehouse: Path) -> dict[str, list[Grid]]:
    """Return the whole grids with test images of each of ``GROUPS``, by its name."""
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes = store.tasks(), store.sources(), store.recipes()
        harvested = build(tasks=tasks, sources=sources, recipes=recipes, features=[], runs=store.runs())
    names = {source.source_id: source.name for source in sources}
    by_id = {recipe.recipe_id: (recipe.name, Recipe.from_json(recipe.json)) for recipe in recipes}
    of_task = {(task.name, task.origin): task for task in tasks}
    groups: dict[str, list[Grid]] = {", ".join(group): [] for group in GROUPS}
    table = harvested.table
    fixed = fixed_held_out(table)
    for row in np.flatnonzero(harvested.has_test):
        name, recipe = by_id[table.recipe_ids[row]]
        source_id = table.source_ids[row]
        group = f"{names[source_id]}, {name}"
        if group in groups:
            grid = Grid(
                task=of_task[table.names[row], table.origins[row]],
                source=names[source_id],
                source_id=source_id,
                recipe=recipe,
                fixed=float(harvested.test[row, fixed[row]]),
                head=float(harvested.baseline[row]),
            )
            groups[group].append(grid)
    return groups


# --- the probes -------------------------------------------------------------------------------------------------------


def bundle_of(grid: Grid, suite: Path, loaded: dict[str, Source]) -> Bundle:
    """Return a grid's task and network; networks are kept by name.

    Raises:
        SystemExit: if the suite has other images than were harvested, or the network other weights.
    """
    source = loaded.setdefault(grid.source, source_named(grid.source))
    task = read_task(suite / "tasks" / grid.task.name, image_px=grid.recipe.image_px)
    if (task.record.task_id, source.source_id) != (grid.task.task_id, grid.source_id):
        raise SystemExit(f"{grid.task.name} or {grid.source} is another one than that which was harvested")
    return Bundle(task=task, source=source, device=torch.device("cpu"))


# --- what is told -----------------------------------------------------------------------------------------------------


def tell(groups: Mapping[str, Sequence[Grid]], probes: Mapping[Key, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print a table, and return its rows.

    Args:
        groups: name -> grids.
        probes: key of a grid -> its line.
    """
    print(
        "| network, recipe | training images | tasks (origins) | linear probe | best fixed scale | over the probe "
        "| two points above, below | head by SGD, over the probe | the probe, over that of penultimate features "
        "| and over that of these standardised | its cross-validated accuracy, over that on test |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    rows = []
    for name, group in groups.items():
        grids = [grid for grid in group if grid.key in probes]
        if len({grid.task.origin for grid in grids}) < 2:
            continue
        for low, high in ((0, 10**9), *SIZES):
            members = [grid for grid in grids if low <= grid.task.n_train <= high]
            if len(members) > 1:
                row = row_of(members, probes)
                rows.append({"group": name, "n_train": [low, high] if (low, high) in SIZES else None} | row)
                print(f"| {name} | {words_of(low, high)} | {_cells(row)} |")
    return rows


def row_of(grids: Sequence[Grid], probes: Mapping[Key, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a row's values, in per cent and points."""
    origins = [grid.task.origin for grid in grids]
    probe, penultimate, standardised = (
        np.array([probes[grid.key][what] for grid in grids]) for what in ("test", "penultimate", "standardised")
    )
    validated = np.array([probes[grid.key]["cross_validated"] for grid in grids], dtype=np.float64)  # None becomes NaN
    fixed, heads = (np.array([getattr(grid, what) for grid in grids]) for what in ("fixed", "head"))
    gains = fixed - probe
    return {
        "n": len(grids),
        "n_origins": len(set(origins)),
        "probe": round(100 * float(probe.mean()), 2),
        "fixed": round(100 * float(fixed.mean()), 2),
        "gain": _gain(gains, origins),
        "above": round(float((gains > CLEARLY).mean()), 3),
        "below": round(float((gains < -CLEARLY).mean()), 3),
        "head": _gain(heads - probe, origins),
        "over_penultimate": _gain(probe - penultimate, origins),
        "over_standardised": _gain(probe - standardised, origins),
        "cross_validated": _gain(validated - probe, origins),
    }


def _gain(gains: np.ndarray, origins: Sequence[str]) -> list[float]:
    """Return a mean and the ends of its interval, in points, of the tasks that have one."""
    known = ~np.isnan(gains)
    some = [origin for origin, is_known in zip(origins, known, strict=True) if is_known]
    low, high = bootstrap_interval(gains[known], some, lambda drawn: float(drawn.mean()), seed=0)
    return [round(100 * value, 2) for value in (float(gains[known].mean()), low, high)]


def _cells(row: Mapping[str, Any]) -> str:
    gains = [told(row[name]) for name in ("gain", "head", "over_penultimate", "over_standardised", "cross_validated")]
    shares = f"{row['above']:.0%}, {row['below']:.0%}"
    counts, accuracies = f"{row['n']} ({row['n_origins']})", f"{row['probe']:.1f} | {row['fixed']:.1f}"
    return " | ".join([counts, accuracies, gains[0], shares, *gains[1:]])


if __name__ == "__main__":
    main()
