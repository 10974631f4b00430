"""The one job: finetune once at the chosen scale, and save the model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scalepred.data.task import Task
from scalepred.errors import UsageError
from scalepred.job.folder import check_free, save_model
from scalepred.networks.architecture import check_takes
from scalepred.networks.source import Source
from scalepred.predictor.choice import Choice
from scalepred.recipe import Recipe
from scalepred.records import DIVERGED, JOB, RunRecord
from scalepred.training.bundle import Bundle
from scalepred.training.planned import planned_run


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
        task: the images.
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
    """Return what a run achieved; the test accuracy is None where the task has no test images."""
    return {
        "val_accuracy": run.val_accuracy,
        "val_loss": run.val_loss,
        "test_accuracy": run.test_accuracy,
        "test_loss": run.test_loss,
        "n_train": task.record.n_train,
        "n_val": task.record.n_val,
        "n_test": task.record.n_test,
    }
