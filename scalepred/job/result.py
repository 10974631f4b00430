"""What a job came to: the choice, the run, the probe beside it, and where the model is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalepred.data.task import Task
from scalepred.job.probe import ProbeReport, ProbeRun
from scalepred.predictor.choice import Choice
from scalepred.records import RunRecord
from scalepred.training.calibration import Calibration, calibrate
from scalepred.training.scoring import Scores

NOT_CALIBRATED = Calibration(note="no temperature was fitted")

SPLIT_WORDS: dict[str | None, str] = {"val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The second job of a refit, which trained on all images: its task, and its run, which has no accuracies."""

    task: Task
    run: RunRecord | ProbeRun


@dataclass(frozen=True, kw_only=True)
class Search:
    """Several jobs on one task, one of which was kept.

    Attributes:
        runs: in the order in which they ran; one or more.
        chosen: which was kept, from 0.
        expected: the accuracy that is expected of each in the end; chance for one that diverged.
        wanted: so many were allowed.
        next_gain: what one more was expected to gain, a fraction.
    """

    runs: tuple[RunRecord, ...]
    chosen: int
    expected: tuple[float, ...]
    wanted: int
    next_gain: float

    def in_words(self) -> str:
        """Say how many jobs ran, why no more, and which was kept."""
        n = len(self.runs)
        why = "" if n == self.wanted else ": nothing more is expected to pay"
        kept = self.runs[self.chosen].scale
        return f"{n} of {self.wanted} jobs run{why}; kept is that at scale {kept:g}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        runs = zip(self.runs, self.expected, strict=True)
        return {
            "wanted": self.wanted,
            "run": len(self.runs),
            "next_gain": self.next_gain,
            "jobs": [
                {
                    "scale": run.scale,
                    "status": run.status,
                    "val_accuracy": run.val_accuracy,
                    "expected_accuracy": expected,
                    "chosen": k == self.chosen,
                }
                for k, (run, expected) in enumerate(runs)
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Job:
    """One finished job on a user's task, saved where ``output`` says.

    Attributes:
        choice: the scale, by whom and why it was chosen; None for a linear probe, which has no scale.
        run: the run as the warehouse keeps it: losses, rates, accuracies, device, versions; that of a linear probe is a
            ``ProbeRun``.
        seconds: what "scan", "features", "train" and "evaluate" took, "refit" where there was one, and the "total".
        output: the model's folder, which ``scalepred.load`` reads.
        task: the decoded images with their splits, those that were trained on too among the training images.
        probe: the linear probe beside the model.
        trained_on: "train", "train+val" or "all".
        refit: the second job, whose model is the one that is saved; None without one. All accuracies are those of the
            first.
        calibration: the temperature of the model's probabilities, and what it changes; of a refit, that of the first.
        search: the jobs that this is one of; None where there was no other.
    """

    choice: Choice | None
    run: RunRecord | ProbeRun
    seconds: dict[str, float]
    output: Path
    task: Task
    probe: ProbeReport
    trained_on: str
    refit: Refit | None = None
    calibration: Calibration = NOT_CALIBRATED
    search: Search | None = None

    @property
    def scale(self) -> float | None:
        """The scale that it was finetuned at; None for a linear probe."""
        return None if self.choice is None else self.choice.scale

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.task.classes

    @property
    def val_accuracy(self) -> float | None:
        """The fraction of validation images that the model gets right; None where it was trained on them."""
        return self.run.val_accuracy

    @property
    def test_accuracy(self) -> float | None:
        """The fraction of test images that the model gets right; None where there are none, or it trained on them."""
        return self.run.test_accuracy

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred finetune --json``."""
        return {
            "schema": 2,
            "choice": None if self.choice is None else _choice(self.choice),
            "metrics": self.metrics(),
            "probe": self.probe.to_json(),
            "seconds": self.seconds,
            "classes": list(self.classes),
            "output": str(self.output),
        }

    def metrics(self) -> dict[str, Any]:
        """Return what the run achieved and on how many images; an accuracy is None where there is nothing held out."""
        run, record = self.run, self.task.record
        return {
            "val_accuracy": run.val_accuracy,
            "val_loss": run.val_loss,
            "test_accuracy": run.test_accuracy,
            "test_loss": run.test_loss,
            "n_train": record.n_train,
            "n_val": record.n_val,
            "n_test": record.n_test,
            "trained_on": self.trained_on,
            "refit": None if self.refit is None else {"trained_on": "all", "n_train": self.refit.task.record.n_train},
            "calibration": self.calibration.to_json(),
            "search": None if self.search is None else self.search.to_json(),
        }


def calibration_of(task: Task, scores: Mapping[str, Scores]) -> Calibration:
    """Fit the temperature of a model from its scores on the task's held-out images."""
    return calibrate({name: (each.logits, getattr(task, name).labels) for name, each in scores.items()})


def calibration_in_words(calibration: Calibration) -> str:
    """Say which temperature the probabilities have, where it comes from, and what it changes."""
    if calibration.note:
        return f"probabilities are not calibrated: {calibration.note}"
    before, after = calibration.before, calibration.after
    changes = ""
    if before is not None and after is not None:
        changes = (
            f"; on {calibration.n_scored} {SPLIT_WORDS[calibration.scored_on]} images log loss "
            f"{before.log_loss:.3f} -> {after.log_loss:.3f}, calibration error {100 * before.ece:.1f} -> "
            f"{100 * after.ece:.1f} points" + (" (cross-fitted)" if calibration.is_cross_fitted else "")
        )
    fitted = f"{calibration.n_fitted} {SPLIT_WORDS[calibration.fitted_on]} images"
    return f"probabilities: temperature {calibration.temperature:.2f}, fitted on {fitted}{changes}"


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "scale": choice.scale,
        "by": choice.by,
        "reason": choice.reason,
        "fixed_scale": choice.fixed_scale,
        "predicted_gain": choice.predicted_gain,
        "gain_interval": choice.gain_interval,
        "rule": None if choice.rule is None else asdict(choice.rule),
        "outlook": None if choice.outlook is None else asdict(choice.outlook),
    }
