"""What linear probes reach on a task with a network, ours and those of penultimate features alone: lines of a file."""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.lines import part_of, read_lines
from scalepred.training.bundle import Bundle
from scalepred.training.devices import keep_freed_memory
from scalepred.training.embed import embeddings
from scalepred.training.probe import Probe, fit_probe

T = TypeVar("T")

CLEARLY = 0.02
"""A gain or loss of more than two points is counted by itself."""

Key = tuple[str, str, int]
"""What a probe depends on: ids of task and source, and the size of images in pixels."""


def argument_parser(about: str | None, probes: Path) -> argparse.ArgumentParser:
    """Return the parser of a benchmark that measures probes and tells of them; ``probes`` is where they lie."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--suite", type=Path, help="measure what is lacking on its images")
    parser.add_argument("--probes", type=Path, default=probes)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no further one after so many")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="measure every Nth, from the Ith on")
    return parser


def read_probes(file: Path) -> dict[Key, dict[str, Any]]:
    """Return the lines of a file by what their probes depend on."""
    return {(line["task_id"], line["source_id"], line["image_px"]): line for line in read_lines(file)}


def measure(
    work: Sequence[T], key_of: Callable[[T], Key], bundle_of: Callable[[T], Bundle], arguments: argparse.Namespace
) -> None:
    """Add a line for each piece of work whose probe the file lacks; one of other weights is passed over.

    Args:
        work: in the order in which it is measured.
        key_of: tells what a piece's probe depends on.
        bundle_of: gives its task and network.
        arguments: of ``argument_parser``.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    started, done = time.monotonic(), read_probes(arguments.probes)
    for each in part_of(work, arguments.part):
        key = key_of(each)
        if key in done or time.monotonic() - started > arguments.seconds:
            continue
        bundle = bundle_of(each)
        if bundle.source.source_id != key[1]:
            continue  # one that was trained anew
        line = dict(zip(("task_id", "source_id", "image_px"), key, strict=True))
        line |= {"task": bundle.task.record.name, "source": bundle.source.name} | probes_of(bundle)
        with arguments.probes.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


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
