"""The one job: look at a task, choose its scale, finetune once, and keep what came out."""

import dataclasses
import datetime
import importlib.resources
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scalepred.bundle import Bundle
from scalepred.config import RECIPES, Recipe, check_scale, content_id, default_recipe
from scalepred.errors import ScalepredError, UsageError
from scalepred.features import compute_features
from scalepred.journal import journal_of
from scalepred.keeping import Keeper
from scalepred.modelfolder import check_free, save_model
from scalepred.plan import planned_run
from scalepred.predictor import Choice, Predictor, choose
from scalepred.records import DIVERGED, JOB, PredictionRecord, RecipeRecord, RunRecord
from scalepred.sources import Source, check_takes
from scalepred.table import context_features
from scalepred.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A choice for a task, and the features that it was made from."""

    choice: Choice
    features: dict[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred predict --json``."""
        choice = self.choice
        return {
            "schema": 1,
            "scale": choice.scale,
            "by": choice.by,
            "reason": choice.reason,
            "fixed_scale": choice.fixed_scale,
            "curve": [{"scale": scale, "relative_accuracy": value} for scale, value in choice.curve],
            "predicted_gain": choice.predicted_gain,
            "gain_interval": choice.gain_interval,
            "same_scales": list(choice.same_scales),
            "contributions": choice.contributions,
            "neighbours": [{"task": name, "best_scale": scale} for name, scale in choice.neighbours.items()],
            "features": self.features,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Job:
    """One finished finetune of a user's task, saved where ``output`` says."""

    choice: Choice
    run: RunRecord
    seconds: dict[str, float]
    output: Path
    task: Task

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred finetune --json``."""
        return {
            "schema": 1,
            "choice": {
                "scale": self.choice.scale,
                "by": self.choice.by,
                "reason": self.choice.reason,
                "fixed_scale": self.choice.fixed_scale,
                "predicted_gain": self.choice.predicted_gain,
                "gain_interval": self.choice.gain_interval,
            },
            "metrics": metrics(self.run, self.task),
            "seconds": self.seconds,
            "classes": list(self.task.classes),
            "output": str(self.output),
        }


def shipped_predictor() -> Path:
    """Return the folder of the predictor that ships with scalepred, from the wheel or from the checkout."""
    inside = Path(str(importlib.resources.files("scalepred"))) / "models" / "default"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "models" / "default"


def pick_predictor(predictors: Mapping[Path, Predictor], source: Source) -> Path:
    """Return the folder of the first predictor that has met a source; the first of all where none has."""
    met = (path for path, each in predictors.items() if source.source_id in {group.source_id for group in each.groups})
    return next(met, next(iter(predictors)))


def given(scale: float) -> Choice:
    """Return the user's own choice."""
    checked = check_scale(scale)
    return Choice(scale=checked, by="given", reason="given with --scale", fixed_scale=checked)


def usual_recipe(predictor: Predictor, source: Source, source_name: str) -> tuple[str, Recipe]:
    """Return the recipe to use where none is given, and its name.

    It is the source's default; but where the predictor has met the source with other recipes alone, the one that it has
    met it with most, since of the default it knows nothing.
    """
    name = default_recipe(source_name)
    fields, names = predictor.facts.get("recipe_fields", {}), predictor.facts.get("recipes", {})
    met = {group.recipe_id: group.n_tasks for group in predictor.groups if group.source_id == source.source_id}
    known = [recipe_id for recipe_id in met if recipe_id in fields and recipe_id in names]
    if not known or RECIPES[name].recipe_id in met:
        return name, RECIPES[name]
    most = max(known, key=lambda recipe_id: met[recipe_id])
    return names[most], Recipe.from_json(fields[most])


def other_sizes(predictor: Predictor, recipe: Recipe) -> dict[str, int]:
    """Return the recipes of a predictor that differ from this one in picture size alone: ids -> size, nearest first."""
    met = {recipe_id: Recipe.from_json(text) for recipe_id, text in predictor.facts.get("recipe_fields", {}).items()}
    sizes = {
        recipe_id: other.image_px
        for recipe_id, other in met.items()
        if other != recipe and dataclasses.replace(other, image_px=recipe.image_px) == recipe
    }
    return dict(sorted(sizes.items(), key=lambda each: abs(math.log(each[1] / recipe.image_px))))


def predict(
    task: Task, source: Source, predictor: Predictor, *, recipe: Recipe, device: torch.device, dtype: torch.dtype
) -> Prediction:
    """Choose a task's scale from its features, without training."""
    started = time.perf_counter()
    found = compute_features(source, task.train, n_classes=len(task.classes), device=device, dtype=dtype)
    features = {name: feature.value for name, feature in sorted(found.items())}
    features |= context_features(source.record.facts, recipe)
    choice = choose(
        predictor,
        features,
        source_id=source.source_id,
        recipe_id=recipe.recipe_id,
        other_sizes=other_sizes(predictor, recipe),
    )
    return Prediction(choice=choice, features=features, seconds=time.perf_counter() - started)


def finetune_once(
    task: Task,
    source: Source,
    choice: Choice,
    *,
    recipe: Recipe,
    seed: int,
    output: Path,
    overwrite: bool,
    device: torch.device,
    dtype: torch.dtype,
    seconds: dict[str, float],
    began: float | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Job:
    """Finetune at the chosen scale and save the model.

    Args:
        task: the pictures.
        source: the network to start from.
        choice: the scale, and why.
        recipe: everything else.
        seed: of head and order.
        output: folder to save to; must hold none of a model's files unless ``overwrite``.
        overwrite: replace a model that is there, but no other files.
        device: where to train.
        dtype: torch.bfloat16 turns autocast on.
        seconds: what "scan" and "features" have cost so far.
        began: when all of it began, by ``time.perf_counter``, so that the total counts loading too.
        on_epoch: called with epochs done and the epoch's mean loss.

    Raises:
        UsageError: if something is in the way in the folder, or the run diverged (then nothing is saved).
    """
    check_free(output, overwrite=overwrite)
    check_takes(source.architecture, image_px=recipe.image_px)
    planned = planned_run(task.record.task_id, source.source_id, recipe=recipe, scale=choice.scale, seed=seed, role=JOB)
    run, outcome = Bundle(task=task, source=source, device=device, dtype=dtype).run(planned, on_epoch=on_epoch)
    if outcome.status == DIVERGED:
        raise UsageError(
            f"At scale {choice.scale:g} the loss stopped being finite at step {outcome.diverged_step}, "
            f"so nothing was saved. Try a lower one: --scale {choice.scale / 4:g}."
        )
    spent = seconds | {"train": outcome.train_seconds, "evaluate": outcome.evaluate_seconds}
    total = sum(spent.values()) if began is None else time.perf_counter() - began
    job = Job(choice=choice, run=run, seconds=spent | {"total": total}, output=output.resolve(), task=task)
    save_model(output, outcome.network, source=source, recipe=recipe, classes=task.classes, run=run, job=job.to_json())
    return job


def metrics(run: RunRecord, task: Task) -> dict[str, Any]:
    """Return what a run achieved; the test accuracy is None where the task has no test pictures."""
    return {
        "val_accuracy": run.val_accuracy,
        "val_loss": run.val_loss,
        "test_accuracy": run.test_accuracy,
        "test_loss": run.test_loss,
        "n_train": task.record.n_train,
        "n_val": task.record.n_val,
        "n_test": task.record.n_test,
    }


def keep_job(
    job: Job, source: Source, recipe: Recipe, *, recipe_name: str, warehouse: Path, lock_timeout_seconds: float
) -> None:
    """Journal a job's run, what was predicted of it and all that they refer to, and store it in a warehouse.

    A harvest may be filling that warehouse meanwhile.

    Raises:
        ScalepredError: if the journal can't be written; or if the warehouse can't be, is busy, damaged or none, which
            then stays as it is, and the journal has the run.
    """
    journal = journal_of(warehouse)
    keeper = Keeper(warehouse, journal, lock_timeout_seconds=lock_timeout_seconds)
    used = RecipeRecord(recipe_id=recipe.recipe_id, name=recipe_name, json=recipe.to_json())
    keeper.add([job.task.record, source.record, used, job.run, _as_prediction_record(job)])
    try:
        keeper.store()
    except ScalepredError as error:
        raise type(error)(
            f"{error} The job itself is done, and its run is kept in {journal.folder}, from where the next harvest "
            "into this warehouse stores it."
        ) from error


def _as_prediction_record(job: Job) -> PredictionRecord:
    """Return the warehouse's row of what was chosen and what came out."""
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
