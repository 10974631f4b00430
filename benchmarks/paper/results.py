"""The runs of the paper's studies as a warehouse holds them, by target, source and recipe."""

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paper.grids import Rows, accuracy
from benchmarks.paper.transfer import RANDOM, Place
from scalepred.networks.names import SOURCE_FILES
from scalepred.recipe import Recipe, baseline_of
from scalepred.records import RunRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse


@dataclass(frozen=True)
class Accuracy:
    """A run's accuracies, fractions: ``val`` is what the paper calls accuracy, ``test`` what nothing was chosen on."""

    val: float
    test: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the studies read.

    Attributes:
        rows: of the warehouse.
        place: of domains and sources.
        similarities: (task_id, source_id) -> exp(-0.01 EMD).
    """

    rows: Rows
    place: Place
    similarities: Mapping[tuple[str, str], float]

    def task(self, name: str) -> TaskRecord | None:
        """Return a task's row by its name; of several, the one that has as many images of each label."""
        named = [task for task in self.rows.tasks.values() if task.name == name]
        if len(named) > 1:
            counts = _label_counts(self.place.task(name))
            named = [task for task in named if task.label_counts == counts]
        return named[0] if named else None

    def source_id(self, name: str) -> str | None:
        """Return a source's id, or None where it is not there."""
        if name == RANDOM:
            named = f"resnet27/{self.place.settings.width}"
            return next((key for key, source in self.rows.sources.items() if source.name == named), None)
        file = self.place.source(name) / SOURCE_FILES[-1]
        return str(json.loads(file.read_text(encoding="utf-8"))["source_id"]) if file.exists() else None

    def run(self, task_name: str, source: str, recipe: Recipe) -> RunRecord | None:
        """Return the run of a recipe at scale 1; of the baseline its own, which has no scale."""
        task, source_id = self.task(task_name), self.source_id(source)
        if task is None or source_id is None:
            return None
        scale = None if recipe == baseline_of(recipe) else 1.0
        key = (task.task_id, source_id, recipe.recipe_id)
        runs = [some.get(key, {}).get(scale, {}).get(0) for some in (self.rows.runs, self.rows.points)]
        return next((run for run in runs if run), None)

    def accuracy(self, task_name: str, source: str, recipe: Recipe) -> Accuracy | None:
        """Return a run's accuracies, chance where it diverged, None where it is not there."""
        run, task = self.run(task_name, source, recipe), self.task(task_name)
        return Accuracy(accuracy(run, "val", task), accuracy(run, "test", task)) if run and task else None

    def octaves(self, task_name: str, source: str, recipe: Recipe) -> dict[float, Accuracy]:
        """Return log2 of scale -> accuracies, of all scales that a recipe was run at, chance where a run diverged."""
        task, source_id = self.task(task_name), self.source_id(source)
        if task is None or source_id is None:
            return {}
        key = (task.task_id, source_id, recipe.recipe_id)
        seen = {
            math.log2(scale): Accuracy(accuracy(seeds[0], "val", task), accuracy(seeds[0], "test", task))
            for some in (self.rows.runs, self.rows.points)
            for scale, seeds in some.get(key, {}).items()
            if scale is not None and 0 in seeds
        }
        return dict(sorted(seen.items()))

    def similarity(self, task_name: str, source: str) -> float | None:
        """Return exp(-0.01 EMD) between a target and a source, None where it is not there."""
        task, source_id = self.task(task_name), self.source_id(source)
        return self.similarities.get((task.task_id, source_id)) if task and source_id else None


def read_results(rows: Rows, place: Place) -> Results:
    """Read the similarities beside the rows."""
    with open_warehouse(place.warehouse, read_only=True) as store:
        similarities = {(f.task_id, f.source_id): f.value for f in store.features() if f.name == "emd_similarity"}
    return Results(rows=rows, place=place, similarities=similarities)


def _label_counts(folder: Path) -> dict[str, int]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return dict(Counter(row["label"] for row in csv.DictReader(file)))
