"""Gathers from a harvest what the linear probe reaches beside finetunes, and judges the choice between both."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from scalepred.predictor.context import probe_set
from scalepred.predictor.evaluate import fixed_held_out
from scalepred.predictor.harvested import Harvested, right_images
from scalepred.predictor.probe_choice import Beside, mean_with_interval, nearest
from scalepred.predictor.probe_facts import HELD_OUT
from scalepred.predictor.table import rows_by_group
from scalepred.predictor.threshold import fixed_column
from scalepred.recipe import Recipe
from scalepred.records import POINT, FeatureRecord, RecipeRecord, RunRecord, TaskRecord

MIN_ORIGINS = 8
"""With grids of fewer origins nothing is said."""

DIGITS = 4
"""Of the gains that are kept, fractions."""


def gather_beside(
    harvested: Harvested,
    *,
    tasks: Sequence[TaskRecord],
    recipes: Sequence[RecipeRecord],
    features: Sequence[FeatureRecord],
    runs: Sequence[RunRecord],
) -> tuple[Beside, ...]:
    """Return the probe beside finetunes for every source and recipe with tasks of enough origins, most tasks first.

    Tasks without a whole grid count by their runs at the best fixed scale, in which they had no part.

    Args:
        harvested: the whole grids.
        tasks: of the warehouse.
        recipes: likewise.
        features: likewise; those of ``probe_facts`` alone are looked at.
        runs: likewise.
    """
    task_of = {task.task_id: task for task in tasks}
    sets = {recipe.recipe_id: _set_of(recipe) for recipe in recipes}
    probes = {
        (each.task_id, each.source_id, each.feature_set, each.name): each.value
        for each in features
        if each.name in HELD_OUT
    }

    def probe_of(task: TaskRecord, source_id: str, recipe_id: str) -> float | None:
        return probes.get((task.task_id, source_id, sets[recipe_id], HELD_OUT[0 if task.n_test else 1]))

    found = []
    for (source_id, recipe_id), members in _finetunes(harvested, tasks, runs).items():
        rows = [
            (task_of[task_id], accuracy, probe)
            for task_id, accuracy in members.items()
            if (probe := probe_of(task_of[task_id], source_id, recipe_id)) is not None
        ]
        rows.sort(key=lambda row: (row[0].n_train, row[0].task_id))
        numbers = {origin: number for number, origin in enumerate(sorted({row[0].origin for row in rows}))}
        if len(numbers) >= MIN_ORIGINS:
            beside = Beside(
                source_id=source_id,
                recipe_id=recipe_id,
                n_train=tuple(task.n_train for task, _, _ in rows),
                origins=tuple(numbers[task.origin] for task, _, _ in rows),
                gains=tuple(round(probe - accuracy, DIGITS) for _, accuracy, probe in rows),
            )
            found.append(beside)
    return tuple(sorted(found, key=lambda beside: -len(beside.n_train)))


def _set_of(recipe: RecipeRecord) -> str:
    fields = Recipe.from_json(recipe.json)
    return probe_set(fields.image_px, fields.resize)


def _finetunes(
    harvested: Harvested, tasks: Sequence[TaskRecord], runs: Sequence[RunRecord]
) -> dict[tuple[str, str], dict[str, float]]:
    """Return (source, recipe) -> task -> test accuracy at the best fixed scale; validation where there is no test."""
    table, task_of = harvested.table, {task.task_id: task for task in tasks}
    found: dict[tuple[str, str], dict[str, float]] = {}
    scales = {}
    for group, rows in rows_by_group(table).items():
        of_group = table.rows(rows)
        if len(set(of_group.origins)) >= MIN_ORIGINS:  # a single one has no best fixed scale of others
            pairs = zip(rows, fixed_held_out(of_group), strict=True)
            found[group] = {harvested.task_ids[row]: float(harvested.test[row, column]) for row, column in pairs}
            scales[group] = float(table.scales[fixed_column(of_group)])
    others: dict[tuple[tuple[str, str], str], list[float]] = defaultdict(list)
    for run in runs:
        group = (run.source_id, run.recipe_id)
        task = task_of.get(run.task_id)
        is_wanted = run.role != POINT and group in scales and run.scale == scales[group]
        if is_wanted and task is not None and task.n_val and task.task_id not in found[group]:
            others[group, run.task_id].append(float(right_images(run, "test" if task.n_test else "val", task).mean()))
    for (group, task_id), accuracies in others.items():
        found[group][task_id] = float(np.mean(accuracies))
    return found


def judge(beside: Beside) -> dict[str, Any]:
    """Return how the choice does with every origin held out in turn: over finetuning always, and over never doing so.

    Accuracies are fractions, each with its interval over origins; ``taken`` is the share of tasks that take the probe.
    """
    sizes, gains, origins = np.array(beside.n_train), np.array(beside.gains), np.array(beside.origins)
    takes = np.zeros(len(sizes), dtype=np.bool_)
    for row, (size, origin) in enumerate(zip(sizes, origins, strict=True)):
        rest = np.flatnonzero(origins != origin)
        takes[row] = gains[rest[nearest(sizes[rest], size)]].mean() > 0
    values = {
        "over_finetune": np.where(takes, gains, 0.0),
        "over_probe": np.where(takes, 0.0, -gains),
        "probe_over_finetune": gains,
    }
    return {
        "source_id": beside.source_id,
        "recipe_id": beside.recipe_id,
        "n_tasks": len(sizes),
        "n_origins": len(set(beside.origins)),
        "most_train": beside.n_train[-1],
        "taken": float(takes.mean()),
    } | {name: list(mean_with_interval(each, beside.origins)) for name, each in values.items()}
