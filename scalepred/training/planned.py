"""One finetune before it is run: its parts and its identity."""

from dataclasses import dataclass

from scalepred.recipe import Recipe, run_id
from scalepred.records import GRID_RUN


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One finetune of a task and source; ``scale`` is None for the baseline, ``role`` one of ``records.ROLES``."""

    run_id: str
    recipe: Recipe
    scale: float | None
    seed: int
    role: str = GRID_RUN


def planned_run(
    task_id: str, source_id: str, *, recipe: Recipe, scale: float | None, seed: int, role: str = GRID_RUN
) -> PlannedRun:
    """Return one finetune of a task and source, with its identity."""
    own = run_id(task_id=task_id, source_id=source_id, recipe_id=recipe.recipe_id, scale=scale, seed=seed)
    return PlannedRun(run_id=own, recipe=recipe, scale=scale, seed=seed, role=role)
