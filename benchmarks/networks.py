"""How useful networks are: the linear probe's test accuracy on foreign tasks, beside chance, no training, and ImageNet.

    python -m benchmarks.networks SOURCE ... --tasks DIR [--only TASK ...] [--image-px 64] [--cards]

SOURCE is a name or a folder of `scalepred pretrain`; DIR holds the tasks of a suite, which `python -m benchmarks.wild
build` writes. Each task is of another collection than the domains that our sources are trained on. The probe is fitted
to the training images and scored on the test images. Prints a row for each source: the mean over tasks, what that is
above chance, above the same network with random weights and above the default source, each with a 95 % interval from a
bootstrap over tasks; then a row for each task. Ends in a line of JSON. ``--cards`` writes a source's own numbers into
the README.md of its folder.
"""

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from scalepred.data.task import Task, read_task
from scalepred.files import write_text
from scalepred.networks.names import DEFAULT_SOURCE, family_of
from scalepred.networks.source import Source, load_source, source_of
from scalepred.predictor.honest import bootstrap_interval
from scalepred.training.embed import embeddings
from scalepred.training.pretrain import blank_network
from scalepred.training.probe import fit_probe

TASKS = (
    *("alphabet-thai-020", "clipart-places-020", "digits-020", "emoji-people-020", "pingus-kinds-all"),
    *("icons-oxygen-020", "letters-accents-020", "scripts-southeast-020", "sky-kinds-020", "stamps-kinds-020"),
    *("supertux-creatures-all", "widelands-buildings-020"),
)
"""One of each kind of collection, with 80 to 125 training images."""

HEADING = "## Linear probe on foreign tasks"
CPU = torch.device("cpu")
Told = tuple[float, float, float]
"""A mean and the ends of its interval."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What the probe of a source makes of tasks.

    Attributes:
        name: the source, as it was given.
        family: its networks'.
        n_parameters: without the head.
        accuracies: (n_tasks,) of test images, fractions.
        untrained: (n_tasks,) the same of the network with random weights.
        seconds: of embedding and fitting.
    """

    name: str
    family: str
    n_parameters: int
    accuracies: np.ndarray
    untrained: np.ndarray
    seconds: float


def main() -> None:
    """Probe the sources and print the tables and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument("--tasks", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--image-px", type=int, default=64)
    parser.add_argument("--cards", action="store_true", help="write into the sources' README.md")
    arguments = parser.parse_args()
    tasks = [read_task(arguments.tasks / name, image_px=arguments.image_px) for name in arguments.only]
    names = dict.fromkeys([DEFAULT_SOURCE, *arguments.sources])
    probed = [probe(name, tasks) for name in names]
    chance = np.array([1 / len(task.classes) for task in tasks])
    console = Console(width=150)
    console.print(by_source(probed, chance))
    console.print(by_task(probed, tasks, chance))
    if arguments.cards:
        for each in probed:
            if (Path(each.name) / "README.md").is_file():
                write_card(Path(each.name) / "README.md", each, probed[0], tasks, chance)
    print(json.dumps(document(probed, tasks, chance, image_px=arguments.image_px)))


def probe(name: str, tasks: Sequence[Task]) -> Probed:
    """Fit and score a source's probe on every task."""
    source, started = load_source(name), time.perf_counter()
    accuracies = np.array([accuracy(source, task) for task in tasks])
    seconds = time.perf_counter() - started
    random = source_of(blank_network(source.architecture.name, n_classes=2, seed=0))
    return Probed(
        name=name,
        family=family_of(name),
        n_parameters=sum(source.architecture.stage_sizes[:-1]),
        accuracies=accuracies,
        untrained=np.array([accuracy(random, task) for task in tasks]),
        seconds=seconds,
    )


def accuracy(source: Source, task: Task) -> float:
    """Return the share of a task's test images that the probe of its training images gets right."""
    train, test = (
        embeddings(source, split.images, device=CPU, dtype=torch.float32) for split in (task.train, task.test)
    )
    fitted = fit_probe(train, task.train.labels, n_classes=len(task.classes))
    return float((fitted.logits(test).argmax(axis=1) == task.test.labels).mean())


def told(values: np.ndarray) -> Told:
    """Return the mean over tasks, in per cent, and its interval."""
    tasks = [str(at) for at in range(len(values))]
    low, high = bootstrap_interval(values, tasks, lambda drawn: float(drawn.mean()), seed=0)
    return 100 * float(values.mean()), 100 * low, 100 * high


def by_source(probed: Sequence[Probed], chance: np.ndarray) -> Table:
    """Return a row for each source."""
    against = ("chance", "no training", DEFAULT_SOURCE)
    table = Table("source", "family", "parameters", "accuracy", *(f"above {each}" for each in against), "s")
    table.title = f"linear probe, mean of {len(chance)} tasks"
    for each in probed:
        table.add_row(
            Path(each.name).name if Path(each.name).is_dir() else each.name,
            each.family,
            f"{each.n_parameters:,}",
            interval(told(each.accuracies), ".1f"),
            *(interval(told(each.accuracies - other), "+.1f") for other in (chance, each.untrained)),
            "" if each is probed[0] else interval(told(each.accuracies - probed[0].accuracies), "+.1f"),
            f"{each.seconds:.0f}",
        )
    return table


def interval(numbers: Told, form: str) -> str:
    """Return a mean with its interval behind it."""
    mean, low, high = (format(number, form) for number in numbers)
    return f"{mean} ({low} to {high})"


def by_task(probed: Sequence[Probed], tasks: Sequence[Task], chance: np.ndarray) -> Table:
    """Return a row for each task, in per cent."""
    table = Table("task", "train", "test", "chance", *(Path(each.name).name for each in probed))
    for at, task in enumerate(tasks):
        numbers = [f"{100 * each.accuracies[at]:.0f}" for each in probed]
        record = task.record
        table.add_row(record.name, str(record.n_train), str(record.n_test), f"{100 * chance[at]:.0f}", *numbers)
    return table


def write_card(card: Path, probed: Probed, default: Probed, tasks: Sequence[Task], chance: np.ndarray) -> None:
    """Put a source's table at the end of its card, instead of the one that is there."""
    columns = (chance, probed.untrained, default.accuracies, probed.accuracies)
    rows = [
        f"| {task.record.name} | {task.record.n_train} | {task.record.n_test} | "
        + " | ".join(f"{100 * column[at]:.0f} %" for column in columns)
        + " |\n"
        for at, task in enumerate(tasks)
    ]
    gains = [
        f"* above {what}: {interval(told(probed.accuracies - other), '+.1f')} points\n"
        for what, other in zip(("chance", "random weights", f"`{DEFAULT_SOURCE}`"), columns[:-1], strict=True)
    ]
    words = f"""{HEADING}

Fitted to the training images and scored on the test images, at {tasks[0].train.images.shape[-1]} px, by
`python -m benchmarks.networks`. Mean of {len(tasks)} tasks: {interval(told(probed.accuracies), ".1f")} %. Intervals are
95 %, over tasks.

{"".join(gains)}
| task | train | test | chance | random weights | `{DEFAULT_SOURCE}` | this |
|---|---:|---:|---:|---:|---:|---:|
"""
    text = re.split(rf"\n*^{HEADING}$", card.read_text(encoding="utf-8"), flags=re.MULTILINE)[0].rstrip("\n")
    write_text(card, f"{text}\n\n{words}{''.join(rows)}")


def document(
    probed: Sequence[Probed], tasks: Sequence[Task], chance: np.ndarray, *, image_px: int
) -> Mapping[str, Any]:
    """Return what was measured, for programs."""
    return {
        "benchmark": "networks",
        "image_px": image_px,
        "tasks": [task.record.name for task in tasks],
        "chance": chance.tolist(),
        "sources": [
            {
                "name": each.name,
                "family": each.family,
                "n_parameters": each.n_parameters,
                "accuracies": each.accuracies.tolist(),
                "untrained": each.untrained.tolist(),
                "above_chance": told(each.accuracies - chance),
                "above_untrained": told(each.accuracies - each.untrained),
                "above_default": told(each.accuracies - probed[0].accuracies),
                "seconds": each.seconds,
            }
            for each in probed
        ],
    }


if __name__ == "__main__":
    main()
