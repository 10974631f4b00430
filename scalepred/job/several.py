"""Several jobs on one task: the predicted scale first, then where another may pay; the best expected one is kept."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.errors import UsageError
from scalepred.job.choose import Prediction
from scalepred.job.options import JobOptions
from scalepred.job.result import Search
from scalepred.job.setup import Setup
from scalepred.job.unfinished import Tell, checkpoint_of, finish, job_file_of
from scalepred.predictor.rule import kind_of
from scalepred.predictor.search import PAYS, REACH, Tried, believe, best_of, expected_gains, prior_of
from scalepred.records import DIVERGED, JOB, RunRecord
from scalepred.training.loop import Finetuned
from scalepred.training.planned import planned_run

FIRST = int(np.flatnonzero(REACH == 0)[0])

OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True, kw_only=True)
class Running:
    """How jobs are run: what they share.

    Attributes:
        setup: the images and the tools.
        prediction: the choice of the first scale.
        options: the seed, and how many jobs at most.
        file: where the state of the first is kept.
        on_epoch: called with epochs done, those of the jobs before included, and the epoch's mean loss.
        tell: given notes on the states that are kept.
        n_epochs: of one job.
    """

    setup: Setup
    prediction: Prediction
    options: JobOptions
    file: Path
    on_epoch: OnEpoch | None
    tell: Tell
    n_epochs: int

    def run(self, number: int, octaves: float) -> tuple[RunRecord, Finetuned]:
        """Run the job of this number, from 1, at so many octaves from the predicted scale."""
        on_epoch, before = self.on_epoch, (number - 1) * self.n_epochs
        return run_at(
            self.setup,
            self.prediction,
            self.options,
            scale=scale_at(self.prediction.scale, octaves),
            file=job_file_of(self.file, number),
            on_epoch=on_epoch and (lambda epoch, loss: on_epoch(before + epoch, loss)),
            tell=self.tell,
        )


def scale_at(predicted: float, octaves: float) -> float:
    """Return the scale so many octaves from the predicted one, to three digits; at 0 the predicted one itself."""
    return predicted if octaves == 0 else float(f"{predicted * 2**octaves:.3g}")


def run_at(
    setup: Setup,
    prediction: Prediction,
    options: JobOptions,
    *,
    scale: float,
    file: Path,
    on_epoch: OnEpoch | None,
    tell: Tell,
) -> tuple[RunRecord, Finetuned]:
    """Finetune once at a scale, with the state kept in a file; it may diverge."""
    planned = planned_run(
        setup.task.record.task_id,
        setup.tools.source.source_id,
        recipe=setup.tools.recipe,
        scale=scale,
        seed=options.seed,
        role=JOB,
    )
    checkpoint = checkpoint_of(
        setup, prediction, planned, file=file, every_seconds=options.checkpoint_seconds, tell=tell
    )
    return setup.bundle.run(planned, checkpoint=checkpoint, on_epoch=on_epoch)


def check_can_choose(setup: Setup) -> None:
    """Raise UsageError if several jobs can't be told apart: without validation images, or harvested curves."""
    if not len(setup.task.val.labels):
        raise UsageError(
            "Several jobs are compared on validation images, and here there are none: leave out --jobs, or give the "
            "data a validation split."
        )
    if setup.tools.curves is None:
        raise UsageError(
            "Several jobs are placed by harvested curves, and none ship beside the rule: leave out --jobs."
        )


def run_several(running: Running, *, on_job: Callable[[str], None] | None = None) -> tuple[Search, Finetuned]:
    """Run up to ``options.jobs`` jobs and return them, with what the kept one came to.

    The first runs at the predicted scale, the next where the kept job is expected to gain most, and no more once that
    is less than ``search.PAYS``. A job that diverges is an observation too. The best expected accuracy decides. Besides
    the network that is trained, that of the best job so far alone is in memory. Where an earlier one turns out to be
    better, it is run again, from its state where that was kept, and comes to the same.

    Args:
        running: what the jobs share.
        on_job: given a line for each job that is done, and one on why it stopped.

    Raises:
        UsageError: if all of them diverged.
    """
    setup, wanted = running.setup, running.options.jobs
    assert setup.tools.curves is not None  # noqa: S101 - check_can_choose sees to it
    n_val = setup.task.record.n_val
    prior = prior_of(
        setup.tools.curves,
        kind_of(setup.tools.recipe),
        octaves=REACH,
        chance=1 / len(setup.task.classes),
        n_images=n_val,
    )
    runs: list[RunRecord] = []
    tried: list[Tried] = []
    at, kept, gain = FIRST, None, PAYS
    while len(tried) < wanted and gain >= PAYS:
        run, outcome = running.run(len(tried) + 1, float(REACH[at]))
        runs.append(run)
        tried.append(_tried(at, run))
        if on_job:
            on_job(_in_words(run, number=len(runs), wanted=wanted, n_val=n_val))
        belief = believe(prior, tried)
        best = best_of(belief, tried)
        if best == at:
            kept = (at, outcome)
        del outcome  # so that two networks are in memory at most
        gains = expected_gains(belief, tried)
        at, gain = int(gains.argmax()), float(gains.max())
    chosen = next(k for k, each in enumerate(tried) if each.at == best)
    if runs[chosen].status == DIVERGED:
        finish(running.file)  # they would only diverge again
        raise UsageError(
            f"All {len(runs)} jobs diverged, the lowest at scale {min(run.scale or 0.0 for run in runs):g}, so nothing "
            "was saved. Give a lower scale yourself: --scale X."
        )
    if kept is None or kept[0] != best:
        runs[chosen], outcome = running.run(chosen + 1, float(REACH[best]))
        kept = (best, outcome)
        if runs[chosen].status == DIVERGED:
            finish(running.file)
            raise UsageError(
                f"The job at scale {runs[chosen].scale or 0.0:g} diverged when it was run again, so nothing was saved. "
                "Give a lower scale yourself: --scale X."
            )
    means = believe(prior, tried).mean
    search = Search(
        runs=tuple(runs),
        chosen=chosen,
        expected=tuple(float(means[each.at]) for each in tried),
        wanted=wanted,
        next_gain=gain,
    )
    if on_job:
        on_job(search.in_words())
    return search, kept[1]


def _tried(at: int, run: RunRecord) -> Tried:
    if run.status == DIVERGED or run.val_accuracy is None:
        return Tried(at, None, None)
    return Tried(at, run.val_accuracy, run.epoch_losses[-1])


def _in_words(run: RunRecord, *, number: int, wanted: int, n_val: int) -> str:
    came = "diverged"
    if run.val_accuracy is not None:
        came = f"{100 * run.val_accuracy:.1f} % of {n_val} validation images"
    return f"job {number} of up to {wanted}: scale {run.scale:g}, {came}"


def kept_choice(prediction: Prediction, search: Search) -> Prediction:
    """Return the prediction with the scale of the kept job, and how it was chosen."""
    if len(search.runs) == 1:
        return prediction
    choice, run = prediction.choice, search.runs[search.chosen]
    reason = (
        f"the highest expected accuracy of {len(search.runs)} jobs; the first ran at {choice.scale:g} ({choice.by}): "
        f"{choice.reason}"
    )
    assert run.scale is not None  # noqa: S101 - jobs have scales
    kept = dataclasses.replace(choice, scale=run.scale, by="jobs", reason=reason, outlook=None)
    return dataclasses.replace(prediction, choice=kept)
