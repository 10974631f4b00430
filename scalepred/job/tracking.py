"""Logs a job where people look at jobs, in TensorBoard or MLflow: as it begins, after each epoch, and at its end."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from scalepred.errors import UsageError
from scalepred.job.choose import Prediction
from scalepred.job.finetune import finetune_once, n_epochs_of
from scalepred.job.options import JobOptions
from scalepred.job.result import Job
from scalepred.job.setup import Setup
from scalepred.job.to_mlflow import open_mlflow
from scalepred.job.to_tensorboard import open_tensorboard
from scalepred.job.unfinished import Tell, warn
from scalepred.recipe import STAGES, run_id
from scalepred.training.bundle import versions
from scalepred.training.devices import device_name
from scalepred.training.rates import epoch_rates


class Log(Protocol):
    """Where one job is logged; any of these may raise whatever its library does."""

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log an epoch's numbers, so that they can be looked at now."""

    def end(self, numbers: Mapping[str, float], facts: Mapping[str, str]) -> None:
        """Log what the job came to."""

    def close(self, *, is_done: bool) -> None:
        """Close it; a job that is not done was stopped or failed."""


OPEN: Mapping[str, Callable[..., Log]] = {"tensorboard": open_tensorboard, "mlflow": open_mlflow}
"""What comes before the colon, which is the extra too -> what opens a log at what comes after it."""


def check_can_log(log_to: Sequence[str]) -> None:
    """Check before anything is read that a job can be logged there, without the libraries' imports.

    Raises:
        UsageError: if a destination is none, or its extra is missing.
    """
    for each in log_to:
        kind, _, where = each.partition(":")
        if kind not in OPEN or not where:
            raise UsageError(f"log_to must be tensorboard:FOLDER or mlflow:URI, not {each!r:.200}.")
        if importlib.util.find_spec(kind) is None:
            raise UsageError(f"{named(each)} needs the extra `{kind}`: pip install 'scalepred[{kind}]'.")


def named(destination: str) -> str:
    """Return a destination for messages, without the user and password that a URI may have."""
    kind, _, where = destination.partition(":")
    user, at, _ = urlsplit(where).netloc.rpartition("@")
    return f"{kind}:{where.replace(user + at, '', 1) if at else where}"


def finetune_logged(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    output: Path,
    began: float | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    on_job: Callable[[str], None] | None = None,
    tell: Tell = warn,
) -> Job:
    """Do what ``finetune_once`` does, and log it where the options say.

    A log that fails once the training has begun costs a note, and the job goes on without it.

    Raises:
        UsageError: as ``finetune_once``; or if a log can't be opened, before any training.
    """
    with _opened(setup, prediction, options, output=output, tell=tell) as logs:

        def each_epoch(epoch: int, loss: float) -> None:
            for log in logs:
                log.try_to(lambda to: to.epoch(*_numbers_of(setup, prediction, epoch, loss)))
            if on_epoch:
                on_epoch(epoch, loss)

        job = finetune_once(
            setup, prediction, options, output=output, began=began, on_epoch=each_epoch, on_job=on_job, tell=tell
        )
        for log in logs:
            log.try_to(lambda to: to.end(_metrics(job), _places(job)))
    return job


@dataclass
class _Guarded:
    """A log that is given up, with a note, once it fails."""

    destination: str
    log: Log | None
    tell: Tell

    def try_to(self, act: Callable[[Log], None]) -> None:
        """Have the log do something, unless it has failed before."""
        if self.log is None:
            return
        try:
            act(self.log)
        except Exception as error:  # whatever its library raises, hours of training are worth more
            self.log = None
            self.tell(f"{named(self.destination)} can't be logged to any more, and the job goes on: {_reason(error)}")


@contextmanager
def _opened(
    setup: Setup, prediction: Prediction, options: JobOptions, *, output: Path, tell: Tell
) -> Iterator[list[_Guarded]]:
    """Open all logs of a job, and close them, as done where the block comes to its end."""
    logs: list[_Guarded] = []
    is_done = False
    try:
        for each in options.log_to:
            logs.append(_Guarded(each, _open(each, setup, prediction, options, output=output), tell))
        yield logs
        is_done = True
    finally:
        for log in logs:
            log.try_to(lambda to: to.close(is_done=is_done))


def _open(destination: str, setup: Setup, prediction: Prediction, options: JobOptions, *, output: Path) -> Log:
    kind, _, where = destination.partition(":")
    facts = _facts(setup, prediction, options, output=output)
    try:
        return OPEN[kind](where, facts, name=output.resolve().name, run=facts["run_id"])
    except Exception as error:  # each library has errors of its own for a place that it can't open
        raise UsageError(
            f"{named(destination)} can't be logged to: {_reason(error)} Give another --log-to, or none."
        ) from error


def _reason(error: Exception) -> str:
    """Return the first line of what a library says, which may be a page, as a sentence."""
    said = str(error).strip().split("\n", maxsplit=1)[0][:300] or type(error).__name__
    return said if said.endswith(".") else f"{said}."


def _facts(setup: Setup, prediction: Prediction, options: JobOptions, *, output: Path) -> dict[str, str]:
    """Return what is known before the training: recipe, scale, identities, data and machine."""
    tools, record = setup.tools, setup.task.record
    ids = {"task_id": record.task_id, "source_id": tools.source.source_id, "recipe_id": tools.recipe.recipe_id}
    facts: dict[str, Any] = {
        "scale": prediction.scale,
        "scale_by": prediction.choice.by,
        "scale_reason": prediction.choice.reason,
        "seed": options.seed,
        **ids,
        "run_id": run_id(**ids, scale=prediction.scale, seed=options.seed),
        "data": record.name,
        "classes": json.dumps(setup.task.classes, ensure_ascii=False),
        "n_train": record.n_train,
        "n_val": record.n_val,
        "n_test": record.n_test,
        "trained_on": setup.trained_on,
        "refit": options.refit,
        "source": tools.source.name,
        "recipe": tools.recipe_name,
        "output": output.resolve(),
        "device": device_name(tools.device),
        "dtype": str(setup.dtype).removeprefix("torch."),
    }
    facts |= {f"recipe.{name}": value for name, value in json.loads(tools.recipe.to_json()).items()}
    facts |= {f"version.{name}": version for name, version in versions().items()}
    return {name: str(value) for name, value in facts.items()}


def _numbers_of(setup: Setup, prediction: Prediction, epoch: int, loss: float) -> tuple[int, dict[str, float]]:
    """Return an epoch, counted from one within its run, with its loss and each stage's rate at its first step."""
    record, n_epochs = setup.task.record, n_epochs_of(setup, refit=False)
    is_refit = epoch > n_epochs
    n_train = record.n_train + (record.n_val + record.n_test if is_refit else 0)
    at = epoch - n_epochs if is_refit else epoch
    rates = epoch_rates(setup.tools.recipe, prediction.scale, n_train=n_train)[at - 1]
    prefix = "refit/" if is_refit else ""
    return at, {f"{prefix}train_loss": loss} | {
        f"{prefix}rate/{stage}": rate for stage, rate in zip(STAGES, rates, strict=True)
    }


def _metrics(job: Job) -> dict[str, float]:
    """Return the numbers that a job came to, those of the probe beside it and its seconds too."""
    numbers = job.metrics() | {f"seconds/{name}": value for name, value in job.seconds.items()}
    numbers |= {"probe/val_accuracy": job.probe.val_accuracy, "probe/test_accuracy": job.probe.test_accuracy}
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}


def _places(job: Job) -> dict[str, str]:
    """Return where the model is, and its report where there is one."""
    report = job.output / "report.html"
    return {"model": str(job.output)} | ({"report": str(report)} if report.is_file() else {})
