"""The state of a job that was stopped: where it is kept, and how the same command goes on from it."""

import contextlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from scalepred.errors import CheckpointError, UsageError
from scalepred.job.choose import Prediction, choose_scale
from scalepred.job.options import JobOptions
from scalepred.job.probe import summarise
from scalepred.job.setup import Setup
from scalepred.predictor.choice import Choice
from scalepred.predictor.outlook import Near, Outlook
from scalepred.predictor.rule import RuleAnswer
from scalepred.recipe import content_id
from scalepred.training.bundle import versions
from scalepred.training.checkpoint import DTYPES, Checkpoint, forget, header, progress_of
from scalepred.training.critical import CriticalRate
from scalepred.training.planned import PlannedRun
from scalepred.training.rates import length_of

SUFFIX = ".safetensors"

_REFIT = "-refit"

_JOB = "-job"

Tell = Callable[[str], None]
"""Takes a note for the user."""


def warn(words: str) -> None:
    """Tell a user of the library, who has no stderr to look at, by a warning of Python's."""
    warnings.warn(words, stacklevel=2)


def file_of(setup: Setup, options: JobOptions, *, output: Path) -> Path:
    """Return where a job's state is kept: in a folder beside its output, under the hash of all that it was asked for.

    So a job on other images, or with another recipe, scale, seed, source or predictor, never finds it.
    """
    tools, folder = setup.tools, output.resolve()
    asked = [
        setup.task.record.task_id,
        tools.source.source_id,
        tools.recipe.recipe_id,
        options.scale,
        options.seed,
        tools.device.type,
        None if tools.asked is None else str(tools.asked.folder.resolve()),
    ]
    return folder.parent / f"{folder.name}.unfinished" / f"{content_id('job', asked)}{SUFFIX}"


def refit_file_of(file: Path) -> Path:
    """Return where the state of the same job's refit is kept."""
    return file.with_name(f"{file.stem}{_REFIT}{SUFFIX}")


def job_file_of(file: Path, number: int) -> Path:
    """Return where the state of one of several jobs is kept, the first of them where that of a single one is."""
    return file if number == 1 else file.with_name(f"{file.stem}{_JOB}{number}{SUFFIX}")


def _kept_files(file: Path) -> list[Path]:
    """Return all files with the state of a job: its own, those of further jobs, the last first, and its refit's."""
    others = file.parent.glob(f"{file.stem}{_JOB}*{SUFFIX}")
    further = sorted(others, key=lambda each: (len(each.name), each.name), reverse=True)
    return [refit_file_of(file), *further, file]


def go_on_or_choose(setup: Setup, options: JobOptions, *, output: Path, tell: Tell = warn) -> tuple[Setup, Prediction]:
    """Return the scale that a stopped job has chosen, and the setup in its dtype; else choose one.

    A file that is damaged is set aside, with a note, and the job begins anew.

    Args:
        setup: the images and the tools.
        options: what the job was asked for.
        output: where its model goes.
        tell: given notes: where the job goes on, what was set aside, and what of other jobs lies there.

    Raises:
        UsageError: as ``choose_scale``.
    """
    file = file_of(setup, options, output=output)
    _tell_of_others(file, tell)
    about = _usable_header(file, tell)
    if about is None:
        assert options.scale != "probe"  # noqa: S101 - a linear probe has no scale to choose
        return setup, choose_scale(setup, options.scale)
    tell(f"goes on {_how_far(about, setup)}, at the scale that was chosen when it began; its state is in {file}")
    if about["made_by"] != _made_by():
        tell(f"it was begun with {about['made_by']}, and here is {_made_by()}: the last digits may differ")
    setup = replace(setup, dtype=DTYPES[about["dtype"]])
    prediction = _prediction_from(json.loads(about["prediction"]))
    return setup, replace(prediction, probe=summarise(setup))


def checkpoint_of(
    setup: Setup, prediction: Prediction, planned: PlannedRun, *, file: Path, every_seconds: float, tell: Tell = warn
) -> Checkpoint:
    """Return what keeps a run's state in a file; one that is there and of another run, or damaged, is set aside."""
    checkpoint = Checkpoint(
        file=file,
        identity=content_id("training", [planned.run_id, setup.tools.device.type]),
        dtype=setup.dtype,
        every_seconds=every_seconds,
        waits=True,
        about={"prediction": json.dumps(_as_json(prediction)), "made_by": _made_by()},
        on_problem=_once(tell),
    )
    try:
        checkpoint.check()
    except CheckpointError as error:
        _set_aside(file, error, tell)
    return checkpoint


def finish(file: Path) -> None:
    """Remove all states of a job that is done, and the folder where nothing else is in it."""
    first = file.with_name(file.name.replace(_REFIT, ""))
    with contextlib.suppress(OSError):  # it is not there, or keeps the state of other jobs
        for each in _kept_files(first):
            forget(each)
        file.parent.rmdir()


def how_to_go_on(setup: Setup, options: JobOptions, *, output: Path) -> str:
    """Say what of a job that is being stopped is kept, and how it goes on."""
    file = file_of(setup, options, output=output)
    for part in _kept_files(file):
        number = part.stem.removeprefix(file.stem)
        words = " of the refit" if number == _REFIT else number.replace(_JOB, " of job ")
        with contextlib.suppress(CheckpointError):
            if part.exists():
                how_far = _how_far(header(part), setup, refit=number == _REFIT)
                return f"stopped; the same command goes on {how_far}{words}; its state is in {part}"
    return f"stopped before anything was kept (every {options.checkpoint_seconds:g} s); the same command begins anew"


def _how_far(about: Mapping[str, str], setup: Setup, *, refit: bool = False) -> str:
    record = setup.task.record
    n_train = record.n_train + (record.n_val + record.n_test if refit else 0)
    n_epochs = length_of(setup.tools.recipe, n_train=n_train).n_epochs
    return f"after epoch {len(progress_of(about).epoch_losses)} of {n_epochs}"


def _usable_header(file: Path, tell: Tell) -> dict[str, str] | None:
    """Return what a file of this job says, or None where there is none, or none that can be used."""
    if not file.exists():
        return None
    try:
        about = header(file)
        Checkpoint(file=file, identity=about.get("identity", ""), dtype=DTYPES[about.get("dtype", "")]).check()
        _prediction_from(json.loads(about["prediction"]))
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        _set_aside(file, error, tell)
        return None
    return about


def _set_aside(file: Path, error: Exception, tell: Tell) -> None:
    aside = file.with_name(f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        file.replace(aside)
    except OSError as refused:
        raise UsageError(f"{error} It can't be set aside here: {refused.strerror or refused}.") from refused
    reason = str(error).partition(":")[0] if isinstance(error, CheckpointError) else f"{file} can't be read"
    tell(f"{reason}: it is set aside as {aside.name}, and the job begins anew")


def _tell_of_others(file: Path, tell: Tell) -> None:
    """Say that other jobs for the same output were stopped; what they have learnt is theirs."""
    own = _kept_files(file)
    others = [each for each in sorted(file.parent.glob(f"*{SUFFIX}")) if each not in own]
    if others:
        jobs = "another job" if len(others) == 1 else f"{len(others)} other jobs"
        tell(f"{file.parent} has the state of {jobs}, with other data or options; remove it if nobody goes on with it")


def _once(tell: Tell) -> Tell:
    """Return what tells the first words alone: a full disk is full after every epoch."""
    told: list[str] = []

    def first(words: str) -> None:
        if not told:
            tell(words)
        told.append(words)

    return first


def _made_by() -> str:
    """Return what the last digits of a number depend on, in words."""
    made = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{made}, threads {torch.get_num_threads()}"


def _as_json(prediction: Prediction) -> dict[str, Any]:
    """Return JSON values of a prediction but for its probe, which is fitted again in seconds."""
    lines = {head: asdict(replace(line, lines=())) for head, line in prediction.lines.items()}
    predictor = None if prediction.predictor is None else str(prediction.predictor)
    return {
        "choice": asdict(prediction.choice),
        "features": dict(prediction.features),
        "seconds": prediction.seconds,
        "predictor": predictor,
        "lines": lines,
    }


def _prediction_from(fields: Mapping[str, Any]) -> Prediction:
    lines = {
        head: CriticalRate(**line | {"curve": _pairs(line["curve"]), "lines": ()})
        for head, line in fields["lines"].items()
    }
    return Prediction(
        choice=_choice_from(fields["choice"]),
        features=fields["features"],
        seconds=fields["seconds"],
        predictor=None if fields["predictor"] is None else Path(fields["predictor"]),
        lines=lines,
    )


def _choice_from(fields: Mapping[str, Any]) -> Choice:
    interval, rule, outlook = fields["gain_interval"], fields["rule"], fields.get("outlook")
    tuples = {
        "curve": _pairs(fields["curve"]),
        "gain_interval": None if interval is None else tuple(interval),
        "same_scales": tuple(fields["same_scales"]),
        "rule": None if rule is None else RuleAnswer(**rule),
        "outlook": None if outlook is None else _outlook_from(outlook),
    }
    return Choice(**{**fields, **tuples})


def _outlook_from(fields: Mapping[str, Any]) -> Outlook:
    tuples = {"nearest": tuple(Near(**each) for each in fields["nearest"]), "moved": tuple(fields["moved"])}
    return Outlook(**{**fields, **tuples})


def _pairs(values: list[list[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((first, second) for first, second in values)
