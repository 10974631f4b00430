"""Facts of the start for tasks of harvested grids, so that the rule can place them.

    python -m benchmarks.grid_starts SUITE WAREHOUSE --output FILE.jsonl [--origins N] [--seconds N]

Facts of the start are stored with design points and not with grids. For the networks and recipes that were harvested
on the most origins, those of one task of each of N origins are measured: the task that most of the groups have, at
random among equals, of at most 400 training images. One line for each task, network and recipe; those that are there
are passed over, and after so many seconds no further task is begun. `benchmarks.own` reads them.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.lines import read_lines
from benchmarks.sources import source_named
from scalepred.data.task import read_task
from scalepred.networks.source import Source
from scalepred.predictor.harvested import Key, build
from scalepred.predictor.start_facts import start_facts_of
from scalepred.recipe import Recipe
from scalepred.records import TaskRecord
from scalepred.store.warehouse import open_warehouse
from scalepred.training.bundle import Bundle
from scalepred.training.devices import keep_freed_memory

GROUPS = (
    ("efficientnet_lite0", "frozen-statistics"),
    ("efficientnet_lite0", "graduated"),
    ("efficientnet_lite1", "frozen-statistics"),
    ("sprites", "graduated"),
    ("icons", "graduated"),
    ("glyphs", "graduated"),
)
"""Network and recipe; all at 64 pixels, so that a task is decoded once for all."""

MOST_TRAINED = 400


def main() -> None:
    """Measure what a file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--origins", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=900)
    arguments = parser.parse_args()
    keep_freed_memory()
    tasks, sources, recipes, groups = _grids(arguments.warehouse)
    done = {(line["task_id"], line["source_id"], line["recipe_id"]) for line in read_lines(arguments.output)}
    loaded: dict[str, Source] = {}
    started = time.monotonic()
    for task in chosen_tasks(tasks, groups)[: arguments.origins]:
        keys = [key for key in groups if key[0] == task.task_id and key not in done]
        if not keys or time.monotonic() - started > arguments.seconds:
            continue
        opened = read_task(arguments.suite / "tasks" / task.name, image_px=64)
        if opened.record.task_id != task.task_id:
            raise SystemExit(f"{task.name} is another task than the one that was harvested")
        for key in keys:
            source = loaded.setdefault(key[1], source_named(sources[key[1]]))
            bundle = Bundle(task=opened, source=source, device=torch.device("cpu"), max_bytes=500 << 20)
            line = measured(bundle, recipes[key[2]], task)
            with arguments.output.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")


def measured(bundle: Bundle, recipe: Recipe, task: TaskRecord) -> dict[str, object]:
    """Return a line: whose start it is, its facts to four digits without those of single stages, and the seconds."""
    facts = start_facts_of(bundle, recipe)
    return {
        "task": task.name,
        "task_id": task.task_id,
        "source_id": bundle.source.source_id,
        "recipe_id": recipe.recipe_id,
        "facts": {fact.name: round(fact.value, 4) for fact in facts if "_log2_update_" not in fact.name},
        "seconds": round(sum(fact.seconds for fact in facts), 2),
    }


def chosen_tasks(tasks: Mapping[str, TaskRecord], groups: Sequence[Key]) -> list[TaskRecord]:
    """Return a task of each origin, those that most groups have first; ids are hashes, so equals come at random."""
    counts: dict[str, int] = defaultdict(int)
    for task_id, _, _ in groups:
        counts[task_id] += tasks[task_id].n_train <= MOST_TRAINED
    best: dict[str, str] = {}
    for task_id in sorted(counts, key=lambda each: (-counts[each], each)):
        if counts[task_id]:
            best.setdefault(tasks[task_id].origin, task_id)
    return [tasks[task_id] for task_id in best.values()]


def _grids(warehouse: Path) -> tuple[dict[str, TaskRecord], dict[str, str], dict[str, Recipe], list[Key]]:
    """Return tasks, names of sources and recipes by their ids, and the whole grids of ``GROUPS``."""
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes = store.tasks(), store.sources(), store.recipes()
        grids = build(tasks=tasks, sources=sources, recipes=recipes, features=[], runs=store.runs()).table
    task_ids = {task.name: task.task_id for task in tasks}
    source_names = {source.source_id: source.name for source in sources}
    recipe_names = {recipe.recipe_id: recipe.name for recipe in recipes}
    keys = zip((task_ids[name] for name in grids.names), grids.source_ids, grids.recipe_ids, strict=True)
    return (
        {task.task_id: task for task in tasks},
        source_names,
        {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes},
        [key for key in keys if (source_names[key[1]], recipe_names[key[2]]) in GROUPS],
    )


if __name__ == "__main__":
    main()
