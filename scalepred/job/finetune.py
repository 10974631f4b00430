"""The one job: finetune once at the chosen scale, or fit the linear probe, and save the model."""

import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from scalepred.errors import UsageError
from scalepred.job.choose import Prediction
from scalepred.job.folder import save_model
from scalepred.job.none_of_these import NoneOfThese, measure
from scalepred.job.options import JobOptions
from scalepred.job.output import check_free
from scalepred.job.probe import ProbeReport, fit, report, summarise
from scalepred.job.report import REPORT, job_report
from scalepred.job.report_html import write_page
from scalepred.job.result import Job, Refit, Search, calibration_of
from scalepred.job.setup import Setup, check_can_refit, with_all_images
from scalepred.job.several import Running, check_can_choose, kept_choice, run_at, run_several
from scalepred.job.unfinished import Tell, file_of, finish, refit_file_of, warn
from scalepred.networks.architecture import check_takes
from scalepred.networks.source import Source
from scalepred.recipe import Recipe
from scalepred.records import DIVERGED, RunRecord
from scalepred.training.loop import Finetuned
from scalepred.training.rates import length_of


def finetune_once(
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
    """Finetune at the chosen scale, set the model beside the linear probe, and save it with its report.

    With ``options.refit`` a second job with the same scale and seed then trains on all images, and its model is what is
    saved; all accuracies stay those of the first.

    With ``options.jobs`` above 1, further jobs run at other scales, as ``several.run_several`` does it, and the one of
    the best expected accuracy is what is measured and saved.

    The state of the training is kept beside the output, as ``unfinished.file_of`` says, until the model is saved. A job
    that was stopped at any moment goes on from it, with the same numbers in float32 on a CPU.

    Args:
        setup: the images, and what to finetune on them and how.
        prediction: the choice of the scale.
        options: its seed, and whether a model that is there may be replaced; no other files ever are.
        output: folder to save to.
        began: when all of it began, by ``time.perf_counter``, so that the total counts loading too.
        on_epoch: called with epochs done and the epoch's mean loss; those of a refit come after all others.
        on_job: given a line for each of several jobs, and one on why no more were run.
        tell: given notes on the state that is kept.

    Raises:
        UsageError: if something is in the way in the folder, nothing is held out before a refit, several jobs can't be
            told apart, or the run diverged, of several all (then nothing is saved).
    """
    recipe, source = setup.tools.recipe, setup.tools.source
    check_free(output, overwrite=options.overwrite)
    check_takes(source.architecture, image_px=recipe.image_px)
    if options.refit:
        check_can_refit(setup)
    if options.jobs > 1:
        check_can_choose(setup)
    file = file_of(setup, options, output=output)
    prediction, run, outcome, search = _run_all(
        setup, prediction, options, file=file, on_epoch=on_epoch, on_job=on_job, tell=tell
    )
    started = time.perf_counter()
    summary = prediction.probe or summarise(setup)
    is_chosen = search is not None and len(search.runs) > 1  # on the validation images
    probe = report(setup.bundle, summary, outcome.scores, splits=("test",) if is_chosen else ("test", "val"))
    unlike = None if options.refit else measure(outcome.network, source.architecture, setup)
    others = () if search is None else (other for other in search.runs if other is not run)
    seconds = {
        "scan": setup.scan_seconds,
        "features": prediction.seconds,
        "train": outcome.train_seconds + sum(other.seconds for other in others),
        "evaluate": outcome.evaluate_seconds + time.perf_counter() - started,
    }
    network, refit = outcome.network, None
    if options.refit:
        started = time.perf_counter()
        network, refit = _refit(setup, prediction, options, file=file, on_epoch=on_epoch, tell=tell)
        seconds["refit"] = time.perf_counter() - started
    job = Job(
        choice=prediction.choice,
        run=run,
        seconds=_with_total(seconds, began),
        output=output.resolve(),
        task=setup.task,
        probe=probe,
        trained_on=setup.trained_on,
        refit=refit,
        calibration=calibration_of(setup.task, outcome.scores),
        search=search,
    )
    _save(job, network, source=source, recipe=recipe, unlike=unlike)
    page = job_report(job, setup, outcome.scores, lines=prediction.lines, command=options.command)
    write_page(job.output / REPORT, page)
    finish(file)
    return job


def _refit(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    file: Path,
    on_epoch: Callable[[int, float], None] | None,
    tell: Tell,
) -> tuple[nn.Module, Refit]:
    """Run the second job, on all images; its epochs are counted after those of the jobs before."""
    whole, before = with_all_images(setup), n_epochs_of(setup, refit=False, jobs=options.jobs)
    run, outcome = _run(
        whole,
        prediction,
        options,
        file=refit_file_of(file),
        on_epoch=on_epoch and (lambda epoch, loss: on_epoch(before + epoch, loss)),
        tell=tell,
    )
    return outcome.network, Refit(task=whole.task, run=run)


def n_epochs_of(setup: Setup, *, refit: bool, jobs: int = 1) -> int:
    """Return how many epochs so many jobs begin, those of a refit on all images too."""
    record = setup.task.record
    sizes = [record.n_train] * jobs + ([record.n_train + record.n_val + record.n_test] if refit else [])
    return sum(length_of(setup.tools.recipe, n_train=n).n_epochs for n in sizes)


def probe_once(setup: Setup, options: JobOptions, *, output: Path, began: float | None = None) -> Job:
    """Fit the linear probe on what all stages of the source give, score it once on the held-out images, and save it.

    With ``options.refit`` a second probe of all images is what is saved; all accuracies stay those of the first.

    Args:
        setup: the images, and the source.
        options: whether a model that is there may be replaced; no other files ever are.
        output: folder to save to.
        began: when all of it began, by ``time.perf_counter``, so that the total counts loading too.

    Raises:
        UsageError: if something is in the way in the folder, nothing is held out before a refit, the features are not
            finite, or there is no memory even for one image at a time.
    """
    check_free(output, overwrite=options.overwrite)
    check_takes(setup.tools.source.architecture, image_px=setup.task.image_px)
    if options.refit:
        check_can_refit(setup)
    started = time.perf_counter()
    summary, trained = summarise(setup), time.perf_counter()
    run, network, scores = fit(setup)
    source = setup.bundle.probe_source
    unlike = measure(network, source.architecture, setup)  # it takes the source's features, as a refit's probe does
    seconds = {
        "scan": setup.scan_seconds,
        "features": 0.0,
        "train": trained - started,
        "evaluate": time.perf_counter() - trained,
    }
    refit = None
    if options.refit:
        started = time.perf_counter()
        whole = with_all_images(setup)
        run_of_all, network, _ = fit(whole)
        refit = Refit(task=whole.task, run=run_of_all)
        seconds["refit"] = time.perf_counter() - started
    job = Job(
        choice=None,
        run=run,
        seconds=_with_total(seconds, began),
        output=output.resolve(),
        task=setup.task,
        probe=ProbeReport(summary=summary, val_accuracy=run.val_accuracy, test_accuracy=run.test_accuracy),
        trained_on=setup.trained_on,
        refit=refit,
        calibration=calibration_of(setup.task, scores),
    )
    _save(job, network, source=source, recipe=None, unlike=unlike)
    write_page(job.output / REPORT, job_report(job, setup, scores, command=options.command))
    return job


def _run_all(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    file: Path,
    on_epoch: Callable[[int, float], None] | None,
    on_job: Callable[[str], None] | None,
    tell: Tell,
) -> tuple[Prediction, RunRecord, Finetuned, Search | None]:
    """Run the one job, or several; return the prediction at the scale of the one that is kept, and what it came to."""
    if options.jobs == 1:
        return prediction, *_run(setup, prediction, options, file=file, on_epoch=on_epoch, tell=tell), None
    running = Running(
        setup=setup,
        prediction=prediction,
        options=options,
        file=file,
        on_epoch=on_epoch,
        tell=tell,
        n_epochs=n_epochs_of(setup, refit=False),
    )
    search, outcome = run_several(running, on_job=on_job)
    return kept_choice(prediction, search), search.runs[search.chosen], outcome, search


def _run(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    file: Path,
    on_epoch: Callable[[int, float], None] | None,
    tell: Tell,
) -> tuple[RunRecord, Finetuned]:
    """Finetune once, with the state kept in a file.

    Raises:
        UsageError: if the run diverged.
    """
    scale = prediction.choice.scale
    run, outcome = run_at(setup, prediction, options, scale=scale, file=file, on_epoch=on_epoch, tell=tell)
    if outcome.status == DIVERGED:
        finish(file)  # it would only diverge again
        raise UsageError(
            f"At scale {scale:g} the loss stopped being finite at step {outcome.diverged_step}, "
            f"so nothing was saved. Try a lower one: --scale {scale / 4:g}."
        )
    return run, outcome


def _save(job: Job, network: nn.Module, *, source: Source, recipe: Recipe | None, unlike: NoneOfThese | None) -> None:
    save_model(
        job.output,
        network,
        source=source,
        recipe=recipe,
        classes=job.classes,
        run=job.run,
        refit=None if job.refit is None else job.refit.run,
        job=job.to_json(),
        temperature=job.calibration.temperature,
        none_of_these=unlike,
        hashes=(job.task if job.refit is None else job.refit.task).train.hashes,
    )


def _with_total(seconds: dict[str, float], began: float | None) -> dict[str, float]:
    return seconds | {"total": sum(seconds.values()) if began is None else time.perf_counter() - began}
