"""The harvest: plan which finetunes are missing from a warehouse, run them, and store each as it finishes."""

import datetime
import itertools
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from scalepred.config import GRID, Recipe, baseline_of, run_id
from scalepred.errors import DataError
from scalepred.features import as_records, compute_features, feature_set
from scalepred.finetune import Finetuned, finetune
from scalepred.records import FeatureRecord, RecipeRecord, RunRecord
from scalepred.sources import Source, check_takes
from scalepred.tasks import Task, read_task
from scalepred.warehouse import open_warehouse

VERSIONS = ("scalepred", "torch", "timm", "numpy")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One finetune that the warehouse lacks; ``scale`` is None for the baseline."""

    run_id: str
    recipe: Recipe
    scale: float | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What is missing for one task and source: its runs, all on pictures of one size, and perhaps the features."""

    task: Task
    source: Source
    runs: tuple[PlannedRun, ...]
    lacks_features: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a harvest has to do.

    Attributes:
        bundles: what is missing, task by task.
        n_stored: wanted runs that the warehouse holds already.
        refused: task -> why it can't be harvested.
    """

    bundles: tuple[Bundle, ...]
    n_stored: int
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def n_runs(self) -> int:
        """Number of missing runs."""
        return sum(len(bundle.runs) for bundle in self.bundles)


def planned_run(task_id: str, source_id: str, *, recipe: Recipe, scale: float | None, seed: int) -> PlannedRun:
    """Return one finetune of a task and source, with its identity."""
    own = run_id(task_id=task_id, source_id=source_id, recipe_id=recipe.recipe_id, scale=scale, seed=seed)
    return PlannedRun(run_id=own, recipe=recipe, scale=scale, seed=seed)


def wanted_runs(task_id: str, source_id: str, recipes: Sequence[Recipe], *, n_seeds: int) -> list[PlannedRun]:
    """Return the whole grid of one task and source: for every seed and recipe the eleven scales and the baseline."""
    runs = [
        planned_run(task_id, source_id, recipe=member, scale=scale, seed=seed)
        for seed in range(n_seeds)
        for recipe in recipes
        for member, scale in [(baseline_of(recipe), None), *((recipe, scale) for scale in GRID)]
    ]
    return list({run.run_id: run for run in runs}.values())  # recipes that differ in multipliers share a baseline


def make_plan(
    data: Sequence[str],
    sources: Sequence[Source],
    recipes: Sequence[Recipe],
    *,
    n_seeds: int,
    warehouse: Path,
    lock_timeout_seconds: float = 60.0,
    on_task: Callable[[int, int, str], None] | None = None,
) -> Plan:
    """Read every task once and find what the warehouse lacks of its grids.

    Args:
        data: tasks, as ``tasks.read_task`` takes them.
        sources: networks to finetune.
        recipes: graduated recipes; the baseline belongs to each.
        n_seeds: seeds 0..n_seeds-1.
        warehouse: a DuckDB file, which need not exist.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
        on_task: called with how many tasks are read, how many there are, and the last one's name.

    A task that can't be used is refused with its reason, and the others go on. What is the same task under another name
    is done once.
    """
    sizes = sorted({recipe.image_px for recipe in recipes})
    for source in sources:
        for size in sizes:
            check_takes(source.architecture, image_px=size)
    stored = _stored(warehouse, lock_timeout_seconds)
    bundles: list[Bundle] = []
    seen: set[tuple[str, str, int]] = set()
    refused: dict[str, str] = {}
    n_stored = 0
    for index, name in enumerate(data):
        try:
            tasks = [read_task(name, image_px=size) for size in sizes]
        except DataError as error:
            refused[name] = str(error)
            tasks = []
        for task, source in itertools.product(tasks, sources):
            key = (task.record.task_id, source.source_id, task.image_px)
            if key in seen:
                continue
            seen.add(key)
            of_size = [recipe for recipe in recipes if recipe.image_px == task.image_px]
            wanted = wanted_runs(task.record.task_id, source.source_id, of_size, n_seeds=n_seeds)
            bundle = _bundle(task, source, wanted, stored)
            n_stored += len(wanted) - len(bundle.runs)
            if bundle.runs or bundle.lacks_features:
                bundles.append(bundle)
        if on_task:
            on_task(index + 1, len(data), Path(name).name)
    return Plan(bundles=tuple(bundles), n_stored=n_stored, refused=refused)


def _bundle(task: Task, source: Source, wanted: Sequence[PlannedRun], stored: "_Stored") -> Bundle:
    return Bundle(
        task=task,
        source=source,
        runs=tuple(run for run in wanted if run.run_id not in stored.run_ids),
        lacks_features=(task.record.task_id, source.source_id, feature_set(task.image_px)) not in stored.features,
    )


@dataclass(frozen=True)
class _Stored:
    """What a warehouse holds already: runs, and (task, source, feature set)."""

    run_ids: set[str]
    features: set[tuple[str, str, str]]


def _stored(warehouse: Path, lock_timeout_seconds: float) -> _Stored:
    if not warehouse.exists():
        return _Stored(set(), set())
    with open_warehouse(warehouse, read_only=True, lock_timeout_seconds=lock_timeout_seconds) as store:
        return _Stored(store.run_ids(), {(f.task_id, f.source_id, f.feature_set) for f in store.features()})


def run_plan(
    plan: Plan,
    *,
    warehouse: Path,
    recipe_names: dict[str, str],
    device: torch.device,
    dtype: torch.dtype,
    lock_timeout_seconds: float = 60.0,
) -> Iterator[RunRecord]:
    """Run a plan and yield every run once it is stored.

    A run is stored if and only if its finetune finished, in one transaction, so a harvest may be stopped at any moment
    and loses the run in hand at most. The warehouse is held only while a row is written.
    """
    for bundle in plan.bundles:
        features = _missing_features(bundle, device, dtype)
        with open_warehouse(warehouse, lock_timeout_seconds=lock_timeout_seconds) as store:
            store.add_task(bundle.task.record)
            store.add_source(bundle.source.record)
            for recipe_id, recipe in {run.recipe.recipe_id: run.recipe for run in bundle.runs}.items():
                name = recipe_names.get(recipe_id, recipe_id[:8])
                store.add_recipe(RecipeRecord(recipe_id=recipe_id, name=name, json=recipe.to_json()))
            store.add_features(features)
        for planned in bundle.runs:
            record, _ = run_one(bundle.task, bundle.source, planned, device=device, dtype=dtype)
            with open_warehouse(warehouse, lock_timeout_seconds=lock_timeout_seconds) as store:
                store.add_run(record)
            yield record


def _missing_features(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> list[FeatureRecord]:
    if not bundle.lacks_features:
        return []
    task, source = bundle.task, bundle.source
    found = compute_features(source, task.train, n_classes=len(task.classes), device=device, dtype=dtype)
    return as_records(found, task_id=task.record.task_id, source_id=source.source_id, image_px=task.image_px)


def run_one(
    task: Task,
    source: Source,
    planned: PlannedRun,
    *,
    device: torch.device,
    dtype: torch.dtype,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[RunRecord, Finetuned]:
    """Finetune once and return the warehouse's row for it, and what came of it."""
    started = time.perf_counter()
    outcome = finetune(
        source,
        task.train,
        {"val": task.val, "test": task.test},
        n_classes=len(task.classes),
        recipe=planned.recipe,
        scale=planned.scale,
        seed=planned.seed,
        device=device,
        dtype=dtype,
        on_epoch=on_epoch,
    )
    seconds = time.perf_counter() - started
    return _as_record(outcome, task, source, planned, device=device, seconds=seconds), outcome


def _as_record(
    outcome: Finetuned, task: Task, source: Source, planned: PlannedRun, *, device: torch.device, seconds: float
) -> RunRecord:
    val, test = outcome.scores.get("val"), outcome.scores.get("test")
    return RunRecord(
        run_id=planned.run_id,
        task_id=task.record.task_id,
        source_id=source.source_id,
        recipe_id=planned.recipe.recipe_id,
        scale=planned.scale,
        seed=planned.seed,
        status=outcome.status,
        diverged_step=outcome.diverged_step,
        val_accuracy=val.accuracy if val else None,
        val_loss=val.loss if val else None,
        test_accuracy=test.accuracy if test else None,
        test_loss=test.loss if test else None,
        val_correct=np.packbits(val.correct).tobytes() if val else None,
        test_correct=np.packbits(test.correct).tobytes() if test else None,
        epoch_losses=outcome.epoch_losses,
        rates=outcome.rates,
        seconds=seconds,
        device=device_name(device),
        versions={name: version(name) for name in VERSIONS},
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def device_name(device: torch.device) -> str:
    """Return the device as a person would name it, such as "cpu (x86_64, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
