"""The linear probe of a job: told beside every choice and model, or saved as the model itself."""

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from scalepred.errors import UsageError
from scalepred.job.options import JobOptions
from scalepred.job.paired import Paired, compare, verdict, wilson
from scalepred.job.setup import Setup
from scalepred.predictor.probe_choice import ProbeAnswer, ask_probe
from scalepred.training.bundle import Bundle, versions
from scalepred.training.devices import device_name
from scalepred.training.scoring import Scores
from scalepred.training.start import Start, start_network


@dataclass(frozen=True, kw_only=True)
class ProbeSummary:
    """What the linear probe on the frozen stages of the source reaches, by the images that a job trains on alone.

    Attributes:
        accuracy: cross-validated, a fraction; None where nothing could be cross-validated.
        interval: 95 %, of the accuracy, by the groups of images that were scored: those of one group are right or wrong
            together, more or less; None likewise.
        n: images that were held out once each.
        seconds: what features and fit took.
        note: what a user should know, such as that there was nothing to learn from; "" for nothing.
        expected: whether harvested tasks have it above a finetune; None where nothing is known.
    """

    accuracy: float | None
    interval: tuple[float, float] | None
    n: int
    seconds: float
    note: str = ""
    expected: ProbeAnswer | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {
            "interval": None if self.interval is None else list(self.interval),
            "expected": None if self.expected is None else self.expected.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """A linear probe that was fitted and scored, as a run of its own kind: it has neither recipe nor scale nor seed.

    Attributes:
        task_id: of the task that it was fitted to.
        source_id: of the network, which stays as it is but for the head.
        image_px: side of the squares.
        resize: how images are made squares.
        strength: the inverse strength of the penalty, chosen by cross-validation.
        val_accuracy, val_loss, test_accuracy, test_loss: as a run has them; None where a split has no images.
        seconds: of features, fit and scores.
        device: where the network ran.
        versions: of what computed it.
        finished_at: in UTC.
    """

    task_id: str
    source_id: str
    image_px: int
    resize: str
    strength: float
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float | None
    test_loss: float | None
    seconds: float
    device: str
    versions: dict[str, str]
    finished_at: str


def summarise(setup: Setup) -> ProbeSummary:
    """Fit the probe that ``--probe`` would save, unless it is there, and say what it reaches, and is expected to.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    started = time.perf_counter()
    probe = setup.bundle.probe_start().probe
    n_right = 0 if probe.accuracy is None else round(probe.accuracy * probe.n_groups)
    return ProbeSummary(
        accuracy=probe.accuracy,
        interval=wilson(n_right, probe.n_groups) if probe.n_groups else None,
        n=probe.n_scored,
        seconds=time.perf_counter() - started,
        note=probe.note,
        expected=expected_of(setup),
    )


def expected_of(setup: Setup) -> ProbeAnswer | None:
    """Return what harvested tasks with a job's source and recipe say of its probe; None where they say nothing."""
    tools = setup.tools
    if tools.asked is None:
        return None
    beside = tools.asked.predictor.beside_of(tools.source.source_id, tools.recipe.recipe_id)
    return ask_probe(beside, n_train=setup.task.record.n_train)


def takes_probe(setup: Setup, options: JobOptions) -> bool:
    """Say whether a job saves the linear probe: it is asked for, or to be chosen and expected to be the better model.

    Nothing chooses it where several jobs, a log or a row in a warehouse are asked for, which it can't give.
    """
    if options.scale == "probe":
        return True
    may = options.scale == "auto" and not options.no_probe and options.jobs == 1
    if not may or options.log_to or options.warehouse is not None:
        return False
    expected = expected_of(setup)
    return expected is not None and expected.is_better


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The linear probe beside a job's model.

    Attributes:
        summary: what it reaches by cross-validation.
        val_accuracy, test_accuracy: on the held-out images that the model is scored on too; None where there are none.
        compared: the model beside it, on test images, or on validation images where there are no others; None where
            there are neither, and for the probe itself.
    """

    summary: ProbeSummary
    val_accuracy: float | None
    test_accuracy: float | None
    compared: Paired | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: those of the summary, the accuracies, and the comparison with its verdict in words."""
        accuracies = {"val_accuracy": self.val_accuracy, "test_accuracy": self.test_accuracy}
        compared = self.compared
        values = compared and asdict(compared) | {"interval": list(compared.interval), "verdict": verdict(compared)}
        return self.summary.to_json() | accuracies | {"compared": values}


def report(
    bundle: Bundle, summary: ProbeSummary, model: Mapping[str, Scores], *, splits: Sequence[str] = ("test", "val")
) -> ProbeReport:
    """Score the probe on the held-out images, and set a model's scores beside it.

    Args:
        bundle: whose probe it is.
        summary: of the probe.
        model: split -> its scores.
        splits: on which they may be compared, the first that has images; none on which the model was chosen.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    scores = bundle.probe_scores()
    split = next((name for name in splits if name in scores and name in model), None)
    return ProbeReport(
        summary=summary,
        val_accuracy=scores["val"].accuracy if "val" in scores else None,
        test_accuracy=scores["test"].accuracy if "test" in scores else None,
        compared=compare(model[split].correct, scores[split].correct, split=split) if split else None,
    )


def in_words(probe: Mapping[str, Any]) -> str:
    """Say what the probe reaches by cross-validation, or why that is not known; takes the JSON of a summary."""
    if probe["accuracy"] is None:
        return f"linear probe on frozen features: {probe['note']}"
    low, high = (100 * bound for bound in probe["interval"])
    return (
        f"linear probe on frozen features: {100 * probe['accuracy']:.1f} % cross-validated "
        f"({low:.1f} to {high:.1f}, {probe['n']} training images, {probe['seconds']:.1f} s)"
    )


def expected_in_words(probe: Mapping[str, Any]) -> str:
    """Return a sentence on what harvested tasks say of the probe, or "" where they say nothing; takes such JSON too."""
    expected = probe["expected"]
    return "" if expected is None else f"{expected['reason'][0].upper()}{expected['reason'][1:]}."


def fit(setup: Setup) -> tuple[ProbeRun, nn.Module, dict[str, Scores]]:
    """Fit the probe, score it once on the held-out images; return its run, the network that has it for a head, scores.

    Raises:
        UsageError: if the features are not finite, or there is no memory even for one image at a time.
    """
    started = time.perf_counter()
    bundle, source = setup.bundle, setup.bundle.probe_source
    start, scores = bundle.probe_start(), bundle.probe_scores()
    if not (np.isfinite(start.features).all() and all(np.isfinite(each.loss) for each in scores.values())):
        raise UsageError(
            f"{source.name} gives features of these images that are not finite, so no linear probe can be saved: try "
            "another --source or other --weights."
        )
    network = start_network(
        source, n_classes=len(setup.task.classes), generator=torch.Generator().manual_seed(0), start=start
    )
    return _run(setup, start, scores, seconds=time.perf_counter() - started), network, scores


def _run(setup: Setup, start: Start, scores: dict[str, Scores], *, seconds: float) -> ProbeRun:
    val, test = scores.get("val"), scores.get("test")
    return ProbeRun(
        task_id=setup.task.record.task_id,
        source_id=setup.tools.source.source_id,
        image_px=setup.task.image_px,
        resize=setup.task.resize,
        strength=start.probe.strength,
        val_accuracy=val.accuracy if val else None,
        val_loss=val.loss if val else None,
        test_accuracy=test.accuracy if test else None,
        test_loss=test.loss if test else None,
        seconds=seconds,
        device=device_name(setup.tools.device),
        versions=versions(),
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
