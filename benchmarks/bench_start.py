"""What the facts of a start add to a job: harvested points measured anew, each beside its own job in the same run.

    python -m benchmarks.bench_start SUITE WAREHOUSE [--points 16] [--seed 0]

Points are drawn at random, as many of each size of job: by images times epochs. A job is what a harvest or `finetune`
does at the point's best scale, one thread, from decoded images: the frozen front, the linear probe where the head
starts from it, training, and the accuracies. What the facts take beyond that is told as a share of it. Measured
critical rates stand beside the stored ones, so that what made the facts cheaper is seen not to have moved them. Prints
a table, with intervals over points, and ends in one line of JSON.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.sources import source_named
from benchmarks.timed import hardware
from benchmarks.wide_curves import read
from scalepred.data.task import read_task
from scalepred.errors import UsageError
from scalepred.networks.source import load_source
from scalepred.predictor.context import HEADS
from scalepred.predictor.points import Point
from scalepred.predictor.start_facts import measure_start
from scalepred.training.bundle import Bundle
from scalepred.training.devices import keep_freed_memory
from scalepred.training.planned import planned_run
from scalepred.training.rates import length_of

SIZES = ((0, 500), (500, 1000), (1000, 2000), (2000, math.inf))
"""Image passes of a job, from and below: 2,000 are those of 100 images and 20 epochs."""

RESAMPLES = 2000
SAME = 0.01
"""Octaves; other draws of images move a critical rate further."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One point: its image passes, seconds of its job and of the facts beyond it, and octaves from what was stored."""

    point: str
    passes: float
    job_seconds: float
    facts_seconds: float
    octaves: float | None

    @property
    def share(self) -> float:
        """What the facts add to the job."""
        return self.facts_seconds / self.job_seconds


def passes_of(point: Point) -> float:
    """Return how many images go through the network in training, again and again."""
    return point.n_train * length_of(point.recipe, n_train=point.n_train).passes


def size_of(passes: float) -> int:
    """Return which of ``SIZES`` a job is of."""
    return next(at for at, (low, high) in enumerate(SIZES) if low <= passes < high)


def drawn(points: Sequence[Point], *, each: int, seed: int) -> list[list[Point]]:
    """Return the points of each size, in a random order that the seed alone gives."""
    order = sorted(points, key=lambda point: (point.task_id, point.source_id, point.recipe.recipe_id))
    sizes: list[list[Point]] = [[] for _ in SIZES]
    for point in (order[at] for at in np.random.default_rng(seed).permutation(len(order))):
        sizes[size_of(passes_of(point))].append(point)
    return [sized[:each] for sized in sizes]


def cost_of(point: Point, suite: Path) -> Cost:
    """Measure a point's facts beside its job.

    Raises:
        UsageError: if the suite has no such task, or another one of that name.
    """
    task = read_task(suite / "tasks" / point.task, image_px=point.recipe.image_px)
    if task.record.task_id != point.task_id:
        raise UsageError(f"{point.task} is another task than the one that was harvested")
    own = suite / "sources" / point.source
    source = load_source(str(own)) if own.is_dir() else source_named(point.source)
    bundle = Bundle(task=task, source=source, device=torch.device("cpu"))
    recipe, started = point.recipe, time.perf_counter()
    bundle.prepared_for(recipe)
    if recipe.head_start == "fitted":
        bundle.start_of(recipe)
    shared, started = time.perf_counter() - started, time.perf_counter()
    measured = measure_start(bundle, recipe).values
    facts_seconds = time.perf_counter() - started
    scale = 2 ** float(point.log2_scales[np.argmax(point.accuracies)])
    job, _ = bundle.run(planned_run(point.task_id, source.source_id, recipe=recipe, scale=scale, seed=0))
    names = [f"{head}_log2_critical" for head in HEADS]
    both = [name for name in names if name in measured and name in point.facts and source.source_id == point.source_id]
    moved = [abs(measured[name] - point.facts[name]) for name in both]
    return Cost(
        point=f"{point.task} {point.source} {recipe.optimizer}",
        passes=passes_of(point),
        job_seconds=shared + job.seconds,
        facts_seconds=facts_seconds,
        octaves=max(moved, default=None),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of some values and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(np.asarray(values), size=(RESAMPLES, len(values))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(values)), float(low), float(high)


def report(costs: Sequence[Cost]) -> str:
    """Return the table of what the facts add, by size of job."""
    lines = ["| image passes | points | job, median s | facts, median s | share of the job, median |"]
    lines.append("|---|---:|---:|---:|---|")
    for at, (low, high) in enumerate(SIZES):
        of_size = [cost for cost in costs if size_of(cost.passes) == at]
        if of_size:
            name = f"{low:,} or more" if math.isinf(high) else f"{low:,} to {high:,.0f}"
            share, lowest, highest = median_interval([cost.share for cost in of_size])
            job = float(np.median([cost.job_seconds for cost in of_size]))
            facts = float(np.median([cost.facts_seconds for cost in of_size]))
            lines.append(
                f"| {name} | {len(of_size)} | {job:.1f} | {facts:.2f} | {share:.1%} ({lowest:.1%} to {highest:.1%}) |"
            )
    moved = [cost.octaves for cost in costs if cost.octaves is not None]
    if moved:
        n_same = sum(each < SAME for each in moved)
        lines.append(f"\n{n_same} of {len(moved)} points have the stored critical rates within {SAME} octaves.")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--points", type=int, default=16, help="of each size of job")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    folders = {folder.name for folder in (arguments.suite / "tasks").iterdir()}
    known = [point for point in read(arguments.warehouse)[0] if point.task in folders]
    costs = [
        cost_of(point, arguments.suite)
        for sized in drawn(known, each=arguments.points, seed=arguments.seed)
        for point in sized
    ]
    print(report(costs))
    print(json.dumps({"benchmark": "start", "points": [asdict(cost) for cost in costs], "hardware": hardware()}))


if __name__ == "__main__":
    main()
