"""What the reports of a harvest read: design points, grids, and curves with the images that every run got right."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.predictor.harvested import right_images
from scalepred.predictor.merged import MERGED
from scalepred.predictor.points import Point, gather_points
from scalepred.predictor.rule import kind_of
from scalepred.recipe import Recipe
from scalepred.records import DIVERGED, JOB, POINT, RunRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One task, source and recipe at several scales, with all its seeds."""

    task: TaskRecord
    source_id: str
    recipe: Recipe
    runs: Mapping[float, Sequence[RunRecord]]

    @property
    def key(self) -> str:
        """What tells it from all others, as a point's key does."""
        return f"{self.task.task_id} {self.source_id} {self.recipe.recipe_id}"

    @property
    def is_point(self) -> bool:
        """Whether its runs are those of a design point."""
        return any(run.role == POINT for runs in self.runs.values() for run in runs)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve with the images that each of its runs got right.

    Attributes:
        kind: curves of one kind may share a fixed rate.
        group: curves of one network and kind, or source and recipe.
        origin, network: what an interval draws.
        log2_rates: (s,) float64, ascending.
        right: (s, n_seeds, n_images) float64, 1 where a run was right; chance where it diverged.
        diverges: a run at the highest rate diverged.
        chance: 1 / n_classes.
        base_log2_rate: of scale 1.
    """

    kind: str
    group: str
    origin: str
    network: str
    log2_rates: np.ndarray
    right: np.ndarray
    diverges: bool
    chance: float
    base_log2_rate: float


def read(warehouse: Path) -> tuple[list[Point], list[Grid]]:
    """Return the design points of a warehouse, and all its groups of runs, those of points too.

    Tasks of several collections are left out, as where points are judged: no other origin is apart from all of these.
    """
    with open_warehouse(warehouse, read_only=True) as store:
        tasks = [task for task in store.tasks() if MERGED not in task.origin]
        sources, recipes, runs = store.sources(), store.recipes(), store.runs()
        points = gather_points(tasks=tasks, sources=sources, recipes=recipes, features=store.features(), runs=runs)
    task_of = {task.task_id: task for task in tasks}
    recipe_of = {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes}
    groups: dict[tuple[str, str, str], dict[float, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.role != JOB and run.scale is not None and run.task_id in task_of:
            groups[run.task_id, run.source_id, run.recipe_id][run.scale].append(run)
    grids = [
        Grid(task=task_of[key[0]], source_id=key[1], recipe=recipe_of[key[2]], runs=runs)
        for key, runs in groups.items()
    ]
    return points, grids


def point_curves(points: Sequence[Point], grids: Sequence[Grid]) -> list[Curve]:
    """Return the curve of each point, in their order, of the seeds that all of its scales have."""
    grid_of = {grid.key: grid for grid in grids}
    return [_curve(grid_of[point.key], sorted(grid_of[point.key].runs), kind=kind_of(point.recipe)) for point in points]


def grid_curves(grids: Sequence[Grid], scales: Sequence[float], *, n_seeds: int = 1) -> list[Curve]:
    """Return the curves, at these scales alone, of the grids that have them all with so many seeds in common.

    Design points are left out. A kind is a recipe.
    """
    whole = [grid for grid in grids if not grid.is_point and all(scale in grid.runs for scale in scales)]
    return [
        _curve(grid, scales, kind=grid.recipe.recipe_id)
        for grid in whole
        if len(_seeds(grid, scales)) >= n_seeds and (grid.task.n_val or grid.task.n_test)
    ]


def _seeds(grid: Grid, scales: Sequence[float]) -> list[int]:
    """Return the seeds that all of these scales have."""
    return sorted(set.intersection(*({run.seed for run in grid.runs[scale]} for scale in scales)))


def _curve(grid: Grid, scales: Sequence[float], *, kind: str) -> Curve:
    of_seed = [{run.seed: run for run in grid.runs[scale]} for scale in scales]
    seeds = _seeds(grid, scales)
    split = "test" if grid.task.n_test else "val"
    base = math.log2(grid.recipe.base_lr)
    return Curve(
        kind=kind,
        group=f"{grid.source_id} {kind}",
        origin=grid.task.origin,
        network=grid.source_id,
        log2_rates=np.log2(np.array(scales)) + base,
        right=np.array([[right_images(runs[seed], split, grid.task) for seed in seeds] for runs in of_seed]),
        diverges=any(run.status == DIVERGED for run in of_seed[-1].values()),
        chance=1 / grid.task.n_classes,
        base_log2_rate=base,
    )
