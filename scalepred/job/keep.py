"""Keeps a job in a warehouse: its run, and what was predicted of it."""

import datetime
import uuid
from dataclasses import asdict
from pathlib import Path

from scalepred.errors import ScalepredError
from scalepred.job.options import JobOptions
from scalepred.job.places import warehouse_file
from scalepred.job.result import Job
from scalepred.job.tools import Tools
from scalepred.networks.source import Source
from scalepred.recipe import Recipe, content_id
from scalepred.records import PredictionRecord, RecipeRecord, RunRecord
from scalepred.store.journal import journal_of
from scalepred.store.keeping import Keeper


def check_can_keep(options: JobOptions) -> None:
    """Check, before a job begins, that it can be kept in the warehouse that the user wants, if any.

    Raises:
        ScalepredError: as ``Keeper.check``.
    """
    if options.warehouse is not None:
        _keeper_of(warehouse_file(options.warehouse), lock_timeout_seconds=options.lock_timeout_seconds).check()


def keep_wanted(job: Job, tools: Tools, options: JobOptions) -> None:
    """Keep a job in the warehouse that the user wants, if any.

    Raises:
        ScalepredError: as ``keep_job``.
    """
    if options.warehouse is not None:
        keep_job(
            job,
            tools.source,
            tools.recipe,
            recipe_name=tools.recipe_name,
            warehouse=warehouse_file(options.warehouse),
            lock_timeout_seconds=options.lock_timeout_seconds,
        )


def keep_job(
    job: Job, source: Source, recipe: Recipe, *, recipe_name: str, warehouse: Path, lock_timeout_seconds: float
) -> None:
    """Journal a job's run, what was predicted of it and all that they refer to, and store it in a warehouse.

    A run is of the task that it trained on: with validation images among the training images, that is another task, and
    that of a refit is a third. A harvest may be filling that warehouse meanwhile.

    Raises:
        ScalepredError: if the journal can't be written; or if the warehouse can't be, is busy, damaged or none, which
            then stays as it is, and the journal has the run.
    """
    keeper = _keeper_of(warehouse, lock_timeout_seconds=lock_timeout_seconds)
    used = RecipeRecord(recipe_id=recipe.recipe_id, name=recipe_name, json=recipe.to_json())
    kept = [(job.task, job.run)] + ([] if job.refit is None else [(job.refit.task, job.refit.run)])
    runs = [run for _, run in kept if isinstance(run, RunRecord)]
    runs += [] if job.search is None else [run for run in job.search.runs if run is not job.run]
    keeper.add([*(task.record for task, _ in kept), source.record, used, *runs, _as_prediction_record(job)])
    try:
        keeper.store()
    except ScalepredError as error:
        raise type(error)(
            f"{error} The job itself is done, and its run is kept in {keeper.journal.folder}, from where the next "
            "harvest into this warehouse stores it."
        ) from error


def _keeper_of(warehouse: Path, *, lock_timeout_seconds: float) -> Keeper:
    return Keeper(warehouse, journal_of(warehouse), lock_timeout_seconds=lock_timeout_seconds)


def _as_prediction_record(job: Job) -> PredictionRecord:
    """Return the warehouse's row of what was chosen and what came out.

    Raises:
        ValueError: for a linear probe, which chose no scale; options refuse a warehouse for one.
    """
    if job.choice is None or not isinstance(job.run, RunRecord):
        raise ValueError("a linear probe has no scale and no recipe, and so no row in a warehouse")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return PredictionRecord(
        prediction_id=content_id("prediction", [job.run.run_id, now, uuid.uuid4().hex]),
        created_at=now,
        task_id=job.run.task_id,
        source_id=job.run.source_id,
        recipe_id=job.run.recipe_id,
        scale=job.choice.scale,
        by=job.choice.by,
        reason=job.choice.reason,
        predicted=asdict(job.choice),
        val_accuracy=job.run.val_accuracy,
        test_accuracy=job.run.test_accuracy,
    )
