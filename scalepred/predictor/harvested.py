"""Turns the warehouse's rows into arrays: the table to learn from, and the test accuracies to judge by."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.context import context_features
from scalepred.predictor.table import TrainingTable
from scalepred.predictor.targets import unpack_correct
from scalepred.recipe import GRID, RESIZES, Recipe, baseline_of
from scalepred.records import (
    DIVERGED,
    GRID_RUN,
    POINT,
    FeatureRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)

Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Harvested:
    """Every bundle (task, source, recipe) that a seed has finished the whole grid of; rows as in ``table``.

    A seed whose grid has gaps is passed over, so all scales of a bundle are means over the same seeds.

    Attributes:
        table: what the predictor learns from.
        task_ids: the task of each bundle.
        test: (n, s) float64, mean over seeds; a diverged run counts as chance. It is that of the validation images
            for tasks without test images.
        val: n arrays (s, n_seeds) float64, accuracies on the validation images.
        has_test: (n,) bool, which tasks have test images.
        baseline: (n,) test accuracy of the paper's baseline, of the same seeds; NaN where it was not run.
        correct: n arrays (s, n_seeds, n_images) float64: right (1) or wrong (0) on each test image, chance where the
            run diverged.
        n_incomplete: bundles that were left out because no seed has finished the grid.
    """

    table: TrainingTable
    task_ids: tuple[str, ...]
    test: np.ndarray
    val: list[np.ndarray]
    has_test: np.ndarray
    baseline: np.ndarray
    correct: list[np.ndarray]
    n_incomplete: int


def build(
    *,
    tasks: Sequence[TaskRecord],
    sources: Sequence[SourceRecord],
    recipes: Sequence[RecipeRecord],
    features: Sequence[FeatureRecord],
    runs: Sequence[RunRecord],
) -> Harvested:
    """Gather the bundles whose grid is whole, in the order of task name, task, source and recipe.

    Runs of tasks, sources or recipes that are not there, scales beyond the grid, design points, and jobs that trained
    on validation images are passed over. Where a grid was begun on what had been run as a design point, those runs
    count, since a run has one role for good.

    Raises:
        DataError: if a finished run does not say which images it got right.
    """
    task_of = {task.task_id: task for task in tasks}
    source_of = {source.source_id: source for source in sources}
    recipe_of = {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes}
    features_of = _features_by_task(features)
    begun = {(run.task_id, run.source_id, run.recipe_id) for run in runs if run.role == GRID_RUN}
    of_grids = [
        run
        for run in runs
        if (run.role != POINT or (run.task_id, run.source_id, run.recipe_id) in begun)
        and run.task_id in task_of
        and task_of[run.task_id].n_val
    ]
    placed = [r for r in of_grids if r.source_id in source_of and r.recipe_id in recipe_of]
    grids, baselines = _grids(placed)
    whole = {key: _whole_seeds(cells) for key, cells in grids.items()}
    keys = sorted((key for key, seeds in whole.items() if seeds), key=lambda key: (task_of[key[0]].name, *key))
    bundle_tasks = [task_of[key[0]] for key in keys]
    rows = [
        features_of.get((task_id, source_id, recipe_of[recipe_id].image_px, recipe_of[recipe_id].resize), {})
        | context_features(source_of[source_id].facts, recipe_of[recipe_id])
        for task_id, source_id, recipe_id in keys
    ]
    names = tuple(sorted({name for row in rows for name in row}))
    cells = [
        [_cell([grids[key][scale][seed] for seed in whole[key]], task) for scale in GRID]
        for key, task in zip(keys, bundle_tasks, strict=True)
    ]
    table = TrainingTable(
        names=tuple(task.name for task in bundle_tasks),
        origins=tuple(task.origin for task in bundle_tasks),
        source_ids=tuple(key[1] for key in keys),
        recipe_ids=tuple(key[2] for key in keys),
        feature_names=names,
        features=_matrix([[row.get(name, math.nan) for name in names] for row in rows], len(names)),
        scales=np.array(GRID),
        accuracies=_matrix([[cell.held_out for cell in row] for row in cells], len(GRID)),
        n_held_out=np.array([task.n_val + task.n_test for task in bundle_tasks], dtype=np.int64),
        n_seeds=np.array([len(whole[key]) for key in keys], dtype=np.int64),
    )
    return Harvested(
        table=table,
        task_ids=tuple(key[0] for key in keys),
        test=_matrix([[cell.correct.mean() for cell in row] for row in cells], len(GRID)),
        val=[np.stack([cell.val for cell in row]) for row in cells],
        has_test=np.array([task.n_test > 0 for task in bundle_tasks], dtype=np.bool_),
        baseline=np.array(
            [
                _baseline(baselines.get((*key[:2], baseline_of(recipe_of[key[2]]).recipe_id), {}), whole[key], task)
                for key, task in zip(keys, bundle_tasks, strict=True)
            ],
            dtype=np.float64,
        ),
        correct=[np.stack([cell.correct for cell in row]) for row in cells],
        n_incomplete=len(grids) - len(keys),
    )


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One point of a grid, seed by seed.

    Attributes:
        val: (n_seeds,) accuracies on validation images.
        correct: (n_seeds, n_images), which test images were right; validation images where there are none.
        held_out: the accuracy on both.
    """

    val: np.ndarray
    correct: np.ndarray
    held_out: float


def _cell(runs: Sequence[RunRecord], task: TaskRecord) -> _Cell:
    val = np.stack([right_images(run, "val", task) for run in runs])
    correct = np.stack([right_images(run, "test", task) for run in runs]) if task.n_test else val
    both = np.concatenate([val, correct], axis=1) if task.n_test else val
    return _Cell(val=val.mean(axis=1), correct=correct, held_out=float(both.mean()))


def right_images(run: RunRecord, split: str, task: TaskRecord) -> np.ndarray:
    """Return which images of a split a run got right, (n,) float64; chance for each where it diverged."""
    n, bits = (task.n_test, run.test_correct) if split == "test" else (task.n_val, run.val_correct)
    if run.status == DIVERGED:
        return np.full(n, 1 / task.n_classes)
    return unpack_correct(bits or b"", n).astype(np.float64)


def _whole_seeds(grid: Mapping[float, Mapping[int, RunRecord]]) -> list[int]:
    """Return the seeds that have every scale of the grid, in order."""
    return sorted(set.intersection(*(set(grid.get(scale, {})) for scale in GRID)))


def _matrix(rows: Sequence[Sequence[float]], n_columns: int) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), n_columns)


def _features_by_task(features: Sequence[FeatureRecord]) -> dict[tuple[str, str, int, str], dict[str, float]]:
    """Return (task, source, image size, resize) -> name -> value.

    Sets that don't end in "@<size>px", or that and "-<resize>", are passed over.
    """
    by_task: dict[tuple[str, str, int, str], dict[str, float]] = defaultdict(dict)
    for feature in features:
        size = re.fullmatch(rf".*@([0-9]+)px(?:-({'|'.join(RESIZES)}))?", feature.feature_set)
        if size:
            key = (feature.task_id, feature.source_id, int(size[1]), size[2] or "squash")
            by_task[key][feature.name] = feature.value
    return by_task


def _grids(
    runs: Sequence[RunRecord],
) -> tuple[dict[Key, dict[float, dict[int, RunRecord]]], dict[Key, dict[int, RunRecord]]]:
    """Return the runs with a scale by bundle, scale and seed, and those without by bundle and seed."""
    grids: dict[Key, dict[float, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    baselines: dict[Key, dict[int, RunRecord]] = defaultdict(dict)
    for run in runs:
        key = (run.task_id, run.source_id, run.recipe_id)
        if run.scale is None:
            baselines[key][run.seed] = run
        else:
            grids[key][run.scale][run.seed] = run
    return grids, baselines


def _baseline(runs: Mapping[int, RunRecord], seeds: Sequence[int], task: TaskRecord) -> float:
    """Return the mean test accuracy of the baseline's runs of these seeds, NaN where there is none."""
    same_seeds = [runs[seed] for seed in seeds if seed in runs]
    return float(_cell(same_seeds, task).correct.mean()) if same_seeds else math.nan
