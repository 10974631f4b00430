"""The report of a job: what was chosen and why, how good the model is, and which images deserve a look."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from scalepred.data.thumbnails import data_uri
from scalepred.job import report_choice, report_parts
from scalepred.job.card import trained_on_in_words
from scalepred.job.paired import verdict, wilson
from scalepred.job.probe import expected_in_words, in_words
from scalepred.job.report_chart import Series, chart, linear, logarithmic, steps_of
from scalepred.job.report_html import interval, percent, render
from scalepred.job.result import SPLIT_WORDS, Job, calibration_in_words
from scalepred.job.scored import Scored, majority
from scalepred.job.setup import Setup
from scalepred.job.suspects import Repeat, Suspect, label_suspects, repeats_of
from scalepred.recipe import STAGES, Recipe
from scalepred.records import RunRecord
from scalepred.training.critical import CriticalRate
from scalepred.training.scoring import Scores

REPORT = "report.html"
"""Its name in a model's folder."""

PAIRS_SHOWN = 6

_SECRET = re.compile(r"(?<=//)[^/@\s]+@")


def job_report(
    job: Job,
    setup: Setup,
    scores: Mapping[str, Scores],
    *,
    lines: Mapping[str, CriticalRate] | None = None,
    command: str | None = None,
) -> str:
    """Return the report of a finished job as HTML.

    Args:
        job: what it came to.
        setup: the images and the tools that it had.
        scores: "val" or "test" -> what its model made of the held-out images.
        lines: the loss along the first update, where that was measured.
        command: as it was typed; None where Python called it. Passwords in addresses are left out.
    """
    split = next((name for name in ("test", "val") if name in scores), None)
    scored = None if split is None else scored_of(job, split, scores[split])
    page = {
        "kind": "scalepred: a linear probe" if job.choice is None else "scalepred: a finetuned classifier",
        "title": f"Classifier of {job.task.record.name}",
        "subtitle": f"{len(job.classes)} classes, from {setup.tools.source.name}",
        "tiles": _tiles(job, scored),
        "verdicts": _verdicts(job),
        "choice": report_choice.choice_part(job.choice, lines or {}, job.search),
        "training": _training(job),
        "calibration": _calibration(job),
        "data": _data(job),
        "made": _made(job, setup),
        "recipe": None if job.choice is None else _recipe(setup.tools.recipe),
        "command": None if command is None else _SECRET.sub("…@", command),
        "groups": _groups(setup, scored),
        "repeats": _repeats(job),
        **(_measured(job, scored) if scored else {"accuracies": [], "confusion": None}),
    }
    return render("job.html", page)


def scored_of(job: Job, split: str, scores: Scores) -> Scored:
    """Return a job's held-out images with the calibrated probabilities that its model gave them."""
    images = getattr(job.task, split)
    return Scored(
        classes=job.classes,
        labels=images.labels,
        probabilities=report_parts.softmax(np.nan_to_num(scores.logits), job.calibration.temperature),
        images=images.images,
        paths=images.paths,
        split=SPLIT_WORDS[split],
    )


def _tiles(job: Job, scored: Scored | None) -> list[dict[str, str]]:
    record = job.task.record
    tiles = []
    if scored:
        n_right, n = int(scored.right.sum()), len(scored.labels)
        bounds = interval(wilson(n_right, n))
        note = f"{bounds} %, on {n} images"
        tiles.append({"name": f"{scored.split} accuracy", "value": percent(n_right / n), "note": note})
    compared = job.probe.compared
    if compared is not None:
        low, high = (100 * bound for bound in compared.interval)
        value = f"{100 * compared.difference:+.1f} points"
        tiles.append({"name": "against the linear probe", "value": value, "note": f"{low:+.1f} to {high:+.1f}"})
    if job.choice is not None:
        tiles.append({"name": "scale", "value": f"{job.choice.scale:.4g}", "note": job.choice.by})
    held_out = f"{record.n_val + record.n_test} held out"
    tiles.append({"name": "training images", "value": str(record.n_train), "note": held_out})
    return tiles


def _measured(job: Job, scored: Scored) -> dict[str, Any]:
    """Return what is told of held-out images."""
    n, n_right = len(scored.labels), int(scored.right.sum())
    rows = [report_parts.accuracy_row("this model", n_right / n, wilson(n_right, n))]
    probe = job.probe.test_accuracy if scored.split == "test" else job.probe.val_accuracy
    if job.choice is not None and probe is not None:
        rows.append(report_parts.accuracy_row("linear probe", probe, wilson(round(probe * n), n)))
    guess = majority(job.task.train.labels, scored.labels)
    rows.append(report_parts.accuracy_row("always the largest class", guess))
    rows.append(report_parts.accuracy_row("guessing evenly", 1 / len(job.classes)))
    counts = np.bincount(job.task.train.labels, minlength=len(job.classes)).tolist()
    return {
        "accuracies": rows,
        "n_scored": n,
        "split": scored.split,
        "confusion": report_parts.confusion_part(scored),
        "rows": report_parts.rows_part(scored),
        "counts": dict(zip(job.classes, counts, strict=True)),
    }


def _verdicts(job: Job) -> list[str]:
    document = job.probe.to_json()
    probe, expected = in_words(document), expected_in_words(document)
    said = [] if job.probe.compared is None else [verdict(job.probe.compared)]
    said += [f"{probe[0].upper()}{probe[1:]}.", *([expected] if expected else [])]
    return [*said, trained_on_in_words(job.metrics())]


def _training(job: Job) -> list[Any]:
    """Return the plots of the loss and the rates by epoch; none for a probe."""
    run = job.run
    if not isinstance(run, RunRecord) or not run.epoch_losses:
        return []
    epochs = linear("epoch", [0.0, float(len(run.epoch_losses))])
    losses = chart(
        "Loss",
        [Series(name="training loss", points=steps_of(run.epoch_losses), has_marks=len(run.epoch_losses) <= 25)],
        x=epochs,
        y=linear("mean training loss of each epoch, in nats", run.epoch_losses, from_zero=True),
    )
    by_stage = dict(zip(STAGES, zip(*run.rates, strict=True), strict=True))
    learning = {stage: values for stage, values in by_stage.items() if any(values)}
    frozen = [stage for stage in STAGES if stage not in learning]
    rates = chart(
        "Learning rates",
        [Series(name=stage, points=steps_of(values), style=at) for at, (stage, values) in enumerate(learning.items())],
        x=epochs,
        y=logarithmic(
            "rate at the first step of each epoch", [v for values in learning.values() for v in values], base=10
        ),
        note=f"Frozen: {', '.join(frozen)}" if frozen else "",
    )
    return [losses, rates]


def _calibration(job: Job) -> dict[str, Any]:
    calibration = job.calibration
    words = calibration_in_words(calibration)
    part: dict[str, Any] = {"words": f"{words[0].upper()}{words[1:]}", "chart": None}
    before, after = calibration.before, calibration.after
    if before is not None and after is not None:
        plot = report_parts.reliability_chart(("before", before), ("after", after))
        part |= {"chart": plot, "before": before, "after": after}
    return part


def _data(job: Job) -> dict[str, Any]:
    inspection, record = job.task.inspection, job.task.record
    facts = [
        ("layout", inspection.layout),
        ("images", f"{record.n_train} to train on, {record.n_val} to validate on, {record.n_test} to test on"),
        ("trained on", job.trained_on),
        ("median size", f"{record.median_width_px} x {record.median_height_px} px"),
        ("exact and near duplicates", f"{inspection.n_exact_duplicates} and {inspection.n_near_duplicates}"),
    ]
    skipped = report_parts.skipped_lines(inspection.skipped)
    return {
        "facts": facts,
        "warnings": inspection.warnings,
        "skipped": skipped,
        "n_skipped": len(inspection.skipped),
    }


def _made(job: Job, setup: Setup) -> list[tuple[str, str]]:
    run = job.run
    rows = [
        ("seconds", ", ".join(f"{name} {spent:.1f}" for name, spent in job.seconds.items())),
        ("device", run.device),
        ("finished", run.finished_at),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
        ("source", f"{setup.tools.source.name}, {run.source_id}"),
        ("task", f"{job.task.record.name}, {run.task_id}"),
    ]
    if isinstance(run, RunRecord):
        rows.append(("recipe", f"{setup.tools.recipe_name}, {run.recipe_id}"))
        rows.append(("run", f"{run.run_id}, seed {run.seed}"))
    return rows


def _recipe(recipe: Recipe) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in asdict(recipe).items()]


def _groups(setup: Setup, scored: Scored | None) -> list[dict[str, Any]]:
    """Return the groups of thumbnails: mistakes, uncertain ones, and likely label errors."""
    judged: list[tuple[Scored, Sequence[Suspect]]]
    judged = [] if scored is None else [(scored, report_parts.suspects_beyond_mistakes(scored))]
    judged.append(_trained_suspects(setup))
    by = "training images by linear probes that have not learnt them" + (
        "" if scored is None else f", {scored.split} images by this model"
    )
    words = f"Judged by confident learning: {by}; mistakes above are not shown again."
    return [*(report_parts.gallery_of(scored) if scored else []), *report_parts.suspects_part(judged, words=words)]


def _trained_suspects(setup: Setup) -> tuple[Scored, Sequence[Suspect]]:
    """Return the training images that the linear probe could judge without having learnt them, and the suspects."""
    start, task = setup.bundle.probe_start(), setup.task
    held_out = start.probe.held_out
    logits = np.full((len(task.train.labels), len(task.classes)), np.nan) if held_out is None else held_out
    rows = np.flatnonzero(~np.isnan(logits).any(axis=1))
    scored = Scored(
        classes=task.classes,
        labels=task.train.labels[rows],
        probabilities=report_parts.softmax(logits[rows], 1.0) if len(rows) else np.zeros((0, len(task.classes))),
        images=task.train.images if len(rows) == len(logits) else task.train.images[rows],
        paths=tuple(task.train.paths[row] for row in rows),
        split="training",
    )
    return scored, label_suspects(scored.probabilities, scored.labels) if len(rows) else []


def _repeats(job: Job) -> dict[str, Any] | None:
    """Return the pairs of images that repeat each other, those across splits first."""
    repeats = repeats_of(job.task)
    if not repeats:
        return None
    across, mixed = sum(each.in_two_splits for each in repeats), sum(each.in_two_classes for each in repeats)
    words = (
        f"{len(repeats)} images repeat another one exactly or nearly, among the squares that the network sees: "
        f"{across} in another split, {mixed} under another class."
    )
    return {"words": words, "pairs": [_pair(job, each) for each in repeats[:PAIRS_SHOWN]]}


def _pair(job: Job, repeat: Repeat) -> dict[str, Any]:
    kind = "the same" if repeat.is_exact else "nearly the same"
    places = []
    shown = {}
    for key, (split, row) in (("first", repeat.first), ("second", repeat.second)):
        images = getattr(job.task, split)
        shown[key] = {"uri": data_uri(images.images[row]), "path": images.paths[row]}
        places.append(f"{split}, {job.classes[images.labels[row]]}")
    return {**shown, "words": f"{kind}: {places[0]} and {places[1]}"}
