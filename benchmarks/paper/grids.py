"""The whole grids of eleven scales that a warehouse holds, as arrays: validation, test, and the baseline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.predictor.harvested import right_images
from scalepred.recipe import GRID, Recipe, baseline_of
from scalepred.records import POINT, RecipeRecord, RunRecord, SourceRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse

Runs = dict[tuple[str, str, str], dict[float | None, dict[int, RunRecord]]]
"""(task_id, source_id, recipe_id) -> scale -> seed -> run."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What of a warehouse the studies read: ``points`` are the runs of design points, ``runs`` all others."""

    tasks: dict[str, TaskRecord]
    sources: dict[str, SourceRecord]
    recipes: dict[str, RecipeRecord]
    runs: Runs
    points: Runs


@dataclass(frozen=True, kw_only=True)
class Grids:
    """The whole grids of one source and recipe that have their baseline, of seed 0.

    Attributes:
        source, recipe: names.
        tasks: n, in the order of their names.
        val, test: (n, 11) accuracies; chance where a run diverged.
        baseline_val, baseline_test: (n,).
        repeats: task_id -> (n_seeds, 11) test accuracies, of the tasks with two seeds or more.
    """

    source: str
    recipe: str
    tasks: tuple[TaskRecord, ...]
    val: np.ndarray
    test: np.ndarray
    baseline_val: np.ndarray
    baseline_test: np.ndarray
    repeats: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """Return both names."""
        return f"{self.source}, {self.recipe}"

    @property
    def origins(self) -> tuple[str, ...]:
        """Return each task's origin."""
        return tuple(task.origin for task in self.tasks)

    def rows(self, kept: Sequence[int]) -> "Grids":
        """Return some of the grids."""
        at = np.asarray(kept, dtype=np.int64)
        return Grids(
            source=self.source,
            recipe=self.recipe,
            tasks=tuple(self.tasks[row] for row in at),
            val=self.val[at],
            test=self.test[at],
            baseline_val=self.baseline_val[at],
            baseline_test=self.baseline_test[at],
            repeats=self.repeats,
        )


def read_rows(warehouse: Path) -> Rows:
    """Read a warehouse."""
    with open_warehouse(warehouse, read_only=True) as store:
        runs: Runs = defaultdict(lambda: defaultdict(dict))
        points: Runs = defaultdict(lambda: defaultdict(dict))
        for run in store.runs():
            kept = points if run.role == POINT else runs
            kept[run.task_id, run.source_id, run.recipe_id][run.scale][run.seed] = run
        return Rows(
            tasks={task.task_id: task for task in store.tasks()},
            sources={source.source_id: source for source in store.sources()},
            recipes={recipe.recipe_id: recipe for recipe in store.recipes()},
            runs=runs,
            points=points,
        )


def read_grids(rows: Rows) -> list[Grids]:
    """Return the grids of each source and recipe, those of most tasks first."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (task_id, source_id, recipe_id), curve in rows.runs.items():
        if _is_whole(curve, 0) and 0 in _baseline(rows, task_id, source_id, recipe_id) and rows.tasks[task_id].n_test:
            groups[source_id, recipe_id].append(task_id)
    return sorted((_grids(rows, *key, ids) for key, ids in groups.items()), key=lambda g: (-len(g.tasks), g.name))


def _is_whole(curve: dict[float | None, dict[int, RunRecord]], seed: int) -> bool:
    return all(seed in curve.get(scale, {}) for scale in GRID)


def _baseline(rows: Rows, task_id: str, source_id: str, recipe_id: str) -> dict[int, RunRecord]:
    baseline = baseline_of(Recipe.from_json(rows.recipes[recipe_id].json))
    return rows.runs.get((task_id, source_id, baseline.recipe_id), {}).get(None, {})


def _grids(rows: Rows, source_id: str, recipe_id: str, task_ids: Sequence[str]) -> Grids:
    tasks = sorted((rows.tasks[each] for each in task_ids), key=lambda task: (task.name, task.task_id))
    curves = [rows.runs[task.task_id, source_id, recipe_id] for task in tasks]
    baselines = [_baseline(rows, task.task_id, source_id, recipe_id)[0] for task in tasks]
    pairs = list(zip(tasks, curves, strict=True))
    repeats = {}
    for task, curve in pairs:
        seeds = [seed for seed in sorted(curve[GRID[0]]) if _is_whole(curve, seed)]
        if len(seeds) > 1:
            repeats[task.task_id] = np.array([_curve(curve, task, "test", seed) for seed in seeds])
    return Grids(
        source=rows.sources[source_id].name,
        recipe=rows.recipes[recipe_id].name,
        tasks=tuple(tasks),
        val=np.array([_curve(curve, task, "val", 0) for task, curve in pairs]),
        test=np.array([_curve(curve, task, "test", 0) for task, curve in pairs]),
        baseline_val=np.array([accuracy(run, "val", task) for task, run in zip(tasks, baselines, strict=True)]),
        baseline_test=np.array([accuracy(run, "test", task) for task, run in zip(tasks, baselines, strict=True)]),
        repeats=repeats,
    )


def _curve(curve: dict[float | None, dict[int, RunRecord]], task: TaskRecord, split: str, seed: int) -> list[float]:
    return [accuracy(curve[scale][seed], split, task) for scale in GRID]


def accuracy(run: RunRecord, split: str, task: TaskRecord) -> float:
    """Return a run's accuracy on a split, chance where it diverged."""
    return float(right_images(run, split, task).mean())
