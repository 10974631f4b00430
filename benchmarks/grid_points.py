"""Tasks of harvested grids as design points, where the facts of their starts were measured beside the warehouse."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.lines import read_lines
from scalepred.predictor.context import start_set
from scalepred.predictor.points import Point, gather_points
from scalepred.recipe import Recipe
from scalepred.records import FeatureRecord
from scalepred.store.warehouse import open_warehouse

STARTS = Path(__file__).parent / "results" / "grid_starts.jsonl"
"""What `benchmarks.grid_starts` has measured."""


def read_grid_points(warehouse: Path, starts: Path = STARTS) -> list[Point]:
    """Return the grids of a warehouse, and what was run beyond them, as points, where a file has their starts.

    A recipe of another schedule has the same first update, so it has the same facts.
    """
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes, runs = store.tasks(), store.sources(), store.recipes(), store.runs()
    lines = read_lines(starts)
    recipe_of = {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes}
    same = {each: _of_any_schedule(each, recipe_of) for each in {line["recipe_id"] for line in lines} & {*recipe_of}}
    starts_of = {
        (line["task_id"], line["source_id"], r): line for line in lines for r in same.get(line["recipe_id"], ())
    }
    facts = [fact for key, line in starts_of.items() for fact in _facts(line, recipe_of[key[2]])]
    return gather_points(tasks=tasks, sources=sources, recipes=recipes, features=facts, runs=runs, of_grids=True)


def _of_any_schedule(recipe_id: str, recipes: Mapping[str, Recipe]) -> list[str]:
    """Return the recipes that differ from one in their schedule at most."""
    plain = replace(recipes[recipe_id], schedule="step")
    return [each for each, recipe in recipes.items() if replace(recipe, schedule="step") == plain]


def _facts(line: Mapping[str, Any], recipe: Recipe) -> list[FeatureRecord]:
    task_id, source_id, name = line["task_id"], line["source_id"], start_set(recipe)
    return [
        FeatureRecord(task_id=task_id, source_id=source_id, feature_set=name, name=fact, value=value, seconds=0.0)
        for fact, value in line["facts"].items()
    ]
