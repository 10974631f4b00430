"""The one job: finetune once at the chosen scale, and save the model."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalepred.data.task import Task
from scalepred.errors import UsageError
from scalepred.job.choose import Prediction
from scalepred.job.folder import save_model
from scalepred.job.options import JobOptions
from scalepred.job.output import check_free
from scalepred.job.setup import Setup
from scalepred.networks.architecture import check_takes
from scalepred.predictor.choice import Choice
from scalepred.records import DIVERGED, JOB, RunRecord
from scalepred.training.planned import planned_run


@dataclass(frozen=True, kw_only=True)
class Job:
    """One finished finetune of a user's task, saved where ``output`` says.

    Attributes:
        choice: the scale, by whom and why it was chosen.
        run: the run as the warehouse keeps it: losses, rates, accuracies, device, versions.
        seconds: what "scan", "features", "train" and "evaluate" took, and the "total".
        output: the model's folder, which ``scalepred.load`` reads.
        task: the decoded images with their splits.
    """

    choice: Choice
    run: RunRecord
    seconds: dict[str, float]
    output: Path
    task: Task

    @property
    def scale(self) -> float:
        """The scale that it was finetuned at."""
        return self.choice.scale

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.task.classes

    @property
    def val_accuracy(self) -> float | None:
        """The fraction of validation images that the model gets right."""
        return self.run.val_accuracy

    @property
    def test_accuracy(self) -> float | None:
        """The fraction of test images that the model gets right; None where there are no test images."""
        return self.run.test_accuracy

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred finetune --json``."""
        return {
            "schema": 2,
            "choice": {
                "scale": self.choice.scale,
                "by": self.choice.by,
                "reason": self.choice.reason,
                "fixed_scale": self.choice.fixed_scale,
                "predicted_gain": self.choice.predicted_gain,
                "gain_interval": self.choice.gain_interval,
                "rule": None if self.choice.rule is None else asdict(self.choice.rule),
            },
            "metrics": metrics(self.run, self.task),
            "seconds": self.seconds,
            "classes": list(self.classes),
            "output": str(self.output),
        }


def finetune_once(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    output: Path,
    began: float | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Job:
    """Finetune at the chosen scale and save the model.

    Args:
        setup: the images, and what to finetune on them and how.
        prediction: the choice of the scale.
        options: its seed, and whether a model that is there may be replaced; no other files ever are.
        output: folder to save to.
        began: when all of it began, by ``time.perf_counter``, so that the total counts loading too.
        on_epoch: called with epochs done and the epoch's mean loss.

    Raises:
        UsageError: if something is in the way in the folder, or the run diverged (then nothing is saved).
    """
    task, choice, recipe, source = setup.task, prediction.choice, setup.tools.recipe, setup.tools.source
    check_free(output, overwrite=options.overwrite)
    check_takes(source.architecture, image_px=recipe.image_px)
    planned = planned_run(
        task.record.task_id, source.source_id, recipe=recipe, scale=choice.scale, seed=options.seed, role=JOB
    )
    run, outcome = setup.bundle.run(planned, on_epoch=on_epoch)
    if outcome.status == DIVERGED:
        raise UsageError(
            f"At scale {choice.scale:g} the loss stopped being finite at step {outcome.diverged_step}, "
            f"so nothing was saved. Try a lower one: --scale {choice.scale / 4:g}."
        )
    seconds = {
        "scan": setup.scan_seconds,
        "features": prediction.seconds,
        "train": outcome.train_seconds,
        "evaluate": outcome.evaluate_seconds,
    }
    seconds["total"] = sum(seconds.values()) if began is None else time.perf_counter() - began
    job = Job(choice=choice, run=run, seconds=seconds, output=output.resolve(), task=task)
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
