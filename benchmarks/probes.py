"""What linear probes reach on a task with a network, ours and those of penultimate features alone: lines of a file."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.lines import read_lines
from scalepred.training.bundle import Bundle
from scalepred.training.embed import embeddings
from scalepred.training.probe import Probe, fit_probe

CLEARLY = 0.02
"""A gain or loss of more than two points is counted by itself."""

Key = tuple[str, str, int]
"""What a probe depends on: ids of task and source, and the size of images in pixels."""


def read_probes(file: Path) -> dict[Key, dict[str, Any]]:
    """Return the lines of a file by what their probes depend on."""
    return {(line["task_id"], line["source_id"], line["image_px"]): line for line in read_lines(file)}


def probes_of(bundle: Bundle) -> dict[str, float | None]:
    """Return what probes reach on a bundle's test images: ours, and those of penultimate features alone.

    ``test`` is ours, ``penultimate`` scales features as ours does, ``standardised`` is the one that fitted heads start
    from; all are fractions of the test images. Of the first two there is what they reach by cross-validation, accuracy
    and mean log loss, None where nothing can be cross-validated. ``seconds`` are ours.
    """
    began = time.perf_counter()
    ours, scores = bundle.probe_start().probe, bundle.probe_scores()["test"]
    seconds = time.perf_counter() - began
    test, labels = bundle.task.test, bundle.task.test.labels
    features = embeddings(bundle.source, test.images, device=bundle.device, dtype=torch.float32)
    line: dict[str, float | None] = {"test": round(scores.accuracy, 5)} | _by_cross_validation(ours, "")
    for name, is_standardised in (("penultimate", False), ("standardised", True)):
        probe = fit_probe(
            bundle.embedded(),
            bundle.task.train.labels,
            n_classes=len(bundle.task.classes),
            groups=() if is_standardised else bundle.task.train.groups,
            is_standardised=is_standardised,
        )
        line[name] = round(float((probe.logits(features).argmax(axis=1) == labels).mean()), 5)
        line |= {} if is_standardised else _by_cross_validation(probe, "penultimate_")
    return line | {"seconds": round(seconds, 2)}


def _by_cross_validation(probe: Probe, prefix: str) -> dict[str, float | None]:
    found = {"cross_validated": probe.accuracy, "log_loss": probe.log_loss}
    return {f"{prefix}{name}": None if value is None else round(value, 5) for name, value in found.items()}


def words_of(low: int, high: int) -> str:
    """Return a range of numbers of training images in words."""
    if high == 10**9:
        return f"{low} or more" if low else "all"
    return f"{low} to {high}" if low else f"at most {high}"


def told(gain: Sequence[float]) -> str:
    """Return a mean with its interval as a table has it."""
    mean, low, high = gain
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
