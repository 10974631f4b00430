"""Range tests on design points: what `lr_find` would choose along each recipe's own direction.

    python -m benchmarks.range_test SUITE WAREHOUSE --output FILE.jsonl [--every N] [--part K/N]

A range test trains for 100 steps, the rate rising from 1e-7 to 10 step by step, until the smoothed loss is four times
its least; then it reads a rate from the curve: where it falls most steeply, or two thirds into its longest valley. Here
all stages keep the recipe's multipliers, the rate is that of the fastest stage, and optimizer, head and batches are the
recipe's. One line for each point, with its seconds; points that are there are passed over. `benchmarks.rule
--range-tests FILE` judges what it found.

Source: Smith 2017 (Cyclical learning rates), section 3.3, for the test; fastai 2.8's `lr_find`, whose range, number of
steps, smoothing and two ways of reading these are.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.lines import read_lines
from benchmarks.rule import read_points
from benchmarks.sources import source_named
from scalepred.data.subset import subset
from scalepred.data.task import read_task
from scalepred.networks.source import Source, load_source, on_device
from scalepred.predictor.points import Point
from scalepred.training.bundle import Bundle
from scalepred.training.devices import keep_freed_memory
from scalepred.training.front import batches
from scalepred.training.loss import make_loss
from scalepred.training.optimizer import make_optimizer, set_mode
from scalepred.training.rates import stage_rates
from scalepred.training.start import start_network

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
SMOOTHING = 0.98
STOP = 4.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a range test found: scales, or None where the curve has too few points to read."""

    valley: float | None
    steepest: float | None
    seconds: float


def main() -> None:
    """Run the range tests that a file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--part", default="0/1")
    arguments = parser.parse_args()
    part, n_parts = map(int, arguments.part.split("/"))
    keep_freed_memory()
    done = {line["point"] for line in read_lines(arguments.output)}
    sources: dict[str, Source] = {}
    points = sorted(read_points(arguments.warehouse), key=lambda point: point.key)  # hashes: any part is a random one
    for point in points[:: arguments.every][part::n_parts]:
        if point.key not in done:
            bundle = bundle_of(point, arguments.suite, sources)
            if bundle.source.source_id != point.source_id:
                continue  # one that was trained anew has other weights
            found = range_test(bundle, point)
            line = {"point": point.key, "valley": found.valley, "steepest": found.steepest, "seconds": found.seconds}
            with arguments.output.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")


def bundle_of(point: Point, suite: Path, sources: dict[str, Source]) -> Bundle:
    """Return a point's task, cut down as it was harvested, with its network; networks are kept by name.

    Raises:
        SystemExit: if the task has other images than the one that was harvested.
    """
    if point.source not in sources:
        own = suite / "sources" / point.source  # one that the suite's networks were trained as
        sources[point.source] = load_source(str(own)) if own.is_dir() else source_named(point.source)
    whole, _, n_images = point.task.partition("~")  # as data.subset names what it cuts
    task = read_task(suite / "tasks" / whole, image_px=point.recipe.image_px)
    task = subset(task, int(n_images)) if n_images else task
    if task.record.task_id != point.task_id:
        raise SystemExit(f"{point.task} is another task than the one that was harvested")
    return Bundle(task=task, source=sources[point.source], device=torch.device("cpu"), max_bytes=500 << 20)


def range_test(bundle: Bundle, point: Point, *, seed: int = 0) -> Found:
    """Train with rising rates and read the curve."""
    started = time.perf_counter()
    recipe, source, train = point.recipe, bundle.source, bundle.task.train
    generator = torch.Generator().manual_seed(seed)
    start = bundle.start_of(recipe) if recipe.head_start == "fitted" else None
    network = start_network(source, n_classes=len(bundle.task.classes), generator=generator, start=start)
    network = on_device(network, bundle.device)
    base = stage_rates(recipe, 1.0)
    optimizer = make_optimizer(network, source.architecture, recipe, base)
    set_mode(network, source.architecture, recipe)
    prepared = bundle.prepared_for(recipe)
    forward = prepared.cut.rest_of(network)
    batch_of = batches(train, prepared, source.architecture, recipe, generator=generator, device=bundle.device)
    loss_of = make_loss(recipe, train.labels, n_classes=len(bundle.task.classes), device=bundle.device)
    labels = torch.from_numpy(train.labels)
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    order = torch.randperm(len(labels), generator=generator)
    smoothed: list[float] = []
    mean = 0.0
    for step, rate in enumerate(rates):
        if len(order) < min(recipe.batch_size, len(labels)):
            order = torch.cat([order, torch.randperm(len(labels), generator=generator)])
        rows, order = order[: recipe.batch_size], order[recipe.batch_size :]
        for group in optimizer.param_groups:
            group["lr"] = rate * base[group["stage"]] / max(base)
        optimizer.zero_grad()
        loss = loss_of(forward(batch_of(rows)), labels[rows]) / len(rows)
        loss.backward()
        optimizer.step()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * float(loss.detach())
        smoothed.append(mean / (1 - SMOOTHING ** (step + 1)))
        if not math.isfinite(smoothed[-1]) or smoothed[-1] > STOP * min(smoothed):
            break
    read = _read(rates[: len(smoothed)], np.array(smoothed))
    valley, steepest = (None if rate is None else rate / max(base) for rate in read)
    return Found(valley=valley, steepest=steepest, seconds=time.perf_counter() - started)


def _read(rates: np.ndarray, losses: np.ndarray) -> tuple[float | None, float | None]:
    """Return the rates of the valley and of the steepest fall, without the first tenth and the last five steps."""
    rates, losses = rates[STEPS // 10 : -5], losses[STEPS // 10 : -5]
    if len(rates) < 3:
        return None, None
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return valley(rates, losses), float(rates[int(slopes.argmin())])


def valley(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate half way between a third and two thirds of the longest falling subsequence of the losses."""
    lengths = np.ones(len(losses), dtype=int)
    for at in range(1, len(losses)):
        above = lengths[:at][losses[:at] > losses[at]]
        lengths[at] = 1 + above.max(initial=0)
    end = int(lengths.argmax())
    third = (lengths[end]) / 3
    return float(rates[end - lengths[end] + int(third) + int(third / 2)])


if __name__ == "__main__":
    main()
