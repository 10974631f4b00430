"""How many foreign images are told to be none of the classes, at a stated rate of false alarms, by five scores.

    python -m benchmarks.none_of_these --tasks DIR [--only TASK ...] [--image-px 64] [--output FILE]

DIR holds the tasks of a suite, which `python -m benchmarks.wild build` writes; each task here is of another collection.
For every task a linear probe is fitted and a network is finetuned (efficientnet_lite0, ``frozen-statistics`` at scale
1) on its training and validation images. One half of its test images, at most 100, sets the threshold of each score;
the other half tells the real share of false alarms. Test images of the other tasks, 40 of each, are foreign. The scores
were compared on twelve other tasks before (LOG.md); what ships is the first of them.

Prints a table of the scores, the means over tasks with 95 % intervals from a bootstrap over origins, and a row for each
task; ends in a line of JSON, which ``--output`` keeps.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.covariance import LedoitWolf

from scalepred.data.merge import merged
from scalepred.data.task import Task, read_task
from scalepred.job.none_of_these import FALSE_ALARMS, NoneOfThese, none_of_these
from scalepred.networks.source import Source, load_source
from scalepred.predictor.honest import bootstrap_interval
from scalepred.recipe import RECIPES, Recipe, at_size
from scalepred.training.bundle import Bundle
from scalepred.training.embed import logits_and_features
from scalepred.training.planned import planned_run
from scalepred.training.start import fitted_start, start_network

TASKS = (
    *("alphabet-thai-020", "clipart-transport-020", "emoji-tones-020", "family-hand-020", "icons-faenza-020"),
    *("letters-punctuation-020", "pingus-kinds-all", "scripts-southeast-020", "sky-kinds-020", "stamps-animals-all"),
    *("supertux-creatures-all", "widelands-buildings-020"),
)
"""Of twelve collections, none of which helped to choose the score."""

FOREIGN, HELD_OUT = 40, 100
CPU = torch.device("cpu")
Seen = tuple[np.ndarray, np.ndarray]
"""What a network gives for images: (n, k) logits and (n, d) features."""
Score = Callable[[Seen], np.ndarray]
"""(n,) numbers, higher where an image is less likely to be of a class."""


@dataclass(frozen=True, kw_only=True)
class Caught:
    """What a score does on a task.

    Attributes:
        task, origin: of the model.
        model: "probe" or "finetuned".
        score: its name.
        caught: share of foreign images that are above the threshold.
        false_alarms: share of the task's own new images that are.
        n_held_out, n_new, n_foreign: images that set the threshold, and that were judged.
    """

    task: str
    origin: str
    model: str
    score: str
    caught: float
    false_alarms: float
    n_held_out: int
    n_new: int
    n_foreign: int


def main() -> None:
    """Judge the scores and print the tables and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--source", default="efficientnet_lite0")
    parser.add_argument("--image-px", type=int, default=64)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    _, recipe = at_size("frozen-statistics", RECIPES["frozen-statistics"], arguments.image_px)
    tasks = [merged(read_task(arguments.tasks / name, image_px=arguments.image_px), "val") for name in arguments.only]
    results = judge(tasks, load_source(arguments.source), recipe)
    console = Console(width=150)
    console.print(by_score(results))
    console.print(by_task(results))
    document = {
        "benchmark": "none_of_these",
        "false_alarms": FALSE_ALARMS,
        "image_px": arguments.image_px,
        "source": arguments.source,
        "seconds": round(time.perf_counter() - started, 1),
        "results": [asdict(each) for each in results],
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(document) + "\n", encoding="utf-8")
    print(json.dumps(document))


def judge(tasks: Sequence[Task], source: Source, recipe: Recipe) -> list[Caught]:
    """Return what every score does for the probe and the finetuned network of every task."""
    results = []
    for task in tasks:
        others = [other.test.images[drawn(len(other.test.images), FOREIGN)] for other in tasks if other is not task]
        for model, network in networks_of(task, source, recipe).items():
            parts = (task.train.images, *halves(task.test.images), np.concatenate(others))
            seen = [see(network, source, images) for images in parts]
            results += [
                caught(task, model, name, score, seen[1:]) for name, score in scores(seen[0], task.train.labels).items()
            ]
    return results


def networks_of(task: Task, source: Source, recipe: Recipe) -> dict[str, torch.nn.Module]:
    """Return the linear probe and the finetuned network of a task."""
    bundle = Bundle(task=task, source=source, device=CPU)
    plan = planned_run(task.record.task_id, source.source_id, recipe=recipe, scale=1.0, seed=0)
    n = len(task.classes)
    start = fitted_start(source, task.train, recipe, n_classes=n, device=CPU, is_standardised=False)
    probe = start_network(source, n_classes=n, generator=torch.Generator().manual_seed(0), start=start)
    return {"probe": probe, "finetuned": bundle.run(plan)[1].network}


def halves(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images to set a threshold on, a half or ``HELD_OUT``, and all others."""
    order = np.random.default_rng(0).permutation(len(images))
    n = min(HELD_OUT, len(images) // 2)
    return images[order[:n]], images[order[n:]]


def drawn(n: int, at_most: int) -> np.ndarray:
    """Return the positions of at most so many of n images."""
    return np.random.default_rng(1).permutation(n)[:at_most]


def see(network: torch.nn.Module, source: Source, images: np.ndarray) -> Seen:
    """Return a network's logits and features of images."""
    logits, features = logits_and_features(network, source.architecture, images, device=CPU)
    return logits.double().numpy(), features.numpy()


def scores(train: Seen, labels: np.ndarray) -> dict[str, Score]:
    """Return the scores that are compared; ours is the first.

    Sources: Sun et al. 2022 (nearest neighbour); Lee et al. 2018 (Mahalanobis distance to the nearest class mean, one
    covariance for all, here shrunk by Ledoit and Wolf's rule); Hendrycks and Gimpel 2017 (most probable class); Liu et
    al. 2020 (energy).
    """
    ours = none_of_these(train[1], train[1][:0])
    assert ours is not None
    means = np.array([train[1][labels == label].mean(axis=0) for label in np.unique(labels)], dtype=np.float64)
    residuals = train[1] - means[np.unique(labels, return_inverse=True)[1]]
    scale = train[1].std(axis=0, dtype=np.float64) + 1e-6
    precision = LedoitWolf(assume_centered=True).fit(residuals / scale).precision_
    root = np.linalg.cholesky(precision)

    def mahalanobis(seen: Seen) -> np.ndarray:
        there, centres = seen[1] / scale @ root, means / scale @ root
        return np.array([((row - centres) ** 2).sum(axis=1).min() for row in there])

    unit = train[1] / np.linalg.norm(train[1], axis=1, keepdims=True)

    def fifth(seen: Seen) -> np.ndarray:
        cosines = seen[1] / np.linalg.norm(seen[1], axis=1, keepdims=True) @ unit.T
        return 1 - np.sort(cosines, axis=1)[:, -5]

    return {
        "nearest training image": lambda seen: ours.distances(seen[1]),
        "fifth nearest": fifth,
        "Mahalanobis": mahalanobis,
        "most probable class": lambda seen: log_sum(seen[0]) - seen[0].max(axis=1),
        "energy": lambda seen: -log_sum(seen[0]),
    }


def log_sum(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of exponentials of each row."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def caught(task: Task, model: str, name: str, score: Score, seen: Sequence[Seen]) -> Caught:
    """Set a score's threshold on held-out images, and judge it on new and on foreign ones."""
    held_out, new, foreign = map(score, seen)
    bare = NoneOfThese(references=np.zeros((1, 1), np.float16), held_out=np.sort(held_out))
    threshold = bare.threshold()
    return Caught(
        task=task.record.name,
        origin=task.record.origin,
        model=model,
        score=name,
        caught=float((foreign > threshold).mean()),
        false_alarms=float((new > threshold).mean()),
        n_held_out=len(held_out),
        n_new=len(new),
        n_foreign=len(foreign),
    )


def told(results: Sequence[Caught], field: str) -> str:
    """Return the mean over tasks in per cent, and its interval."""
    values = np.array([getattr(each, field) for each in results])
    low, high = bootstrap_interval(values, [each.origin for each in results], lambda rows: float(rows.mean()), seed=0)
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def by_score(results: Sequence[Caught]) -> Table:
    """Return a table with a row for each model and score."""
    table = Table("model", "score", "foreign caught, %", "false alarms, %", "tasks", title="means over tasks")
    for model, score in dict.fromkeys((each.model, each.score) for each in results):
        of_it = [each for each in results if (each.model, each.score) == (model, score)]
        table.add_row(model, score, told(of_it, "caught"), told(of_it, "false_alarms"), str(len(of_it)))
    return table


def by_task(results: Sequence[Caught]) -> Table:
    """Return a table with a row for each task: what the first score catches, and its false alarms."""
    table = Table("task", "probe caught, %", "false", "finetuned caught, %", "false", "held-out", "new", "foreign")
    first = [each for each in results if each.score == results[0].score]
    for task in dict.fromkeys(each.task for each in first):
        rows = [each for each in first if each.task == task]
        shares = [f"{100 * value:.0f}" for each in rows for value in (each.caught, each.false_alarms)]
        table.add_row(task, *shares, *(str(getattr(rows[0], name)) for name in ("n_held_out", "n_new", "n_foreign")))
    return table


if __name__ == "__main__":
    main()
