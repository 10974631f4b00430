"""Times what learns from a warehouse on as many synthetic rows as a large platform has, each in a process of its own.

    python -m benchmarks.bench_train [--rows 1000000] [--columns 40] [--smoke]

A row is a run. ``fit`` are the trees of `train-predictor`, on grids of eleven scales with so many columns; ``train`` is
all that the command does with its table: the trees, once more in five folds for the threshold, and neighbours.
``rule`` is the rule of the critical rate on design points of 14 scales. Prints seconds and peak memory, and ends in one
line of JSON.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from scalepred.predictor.model import fit
from scalepred.predictor.points import Point
from scalepred.predictor.rule_choice import MIN_STEPS, rule_of
from scalepred.predictor.table import TrainingTable
from scalepred.predictor.train import train
from scalepred.recipe import GRID, Recipe

ORIGINS, GROUPS = 200, 8
OCTAVES = 14
UNIT_BYTES = 1 if platform.system() == "Darwin" else 1024  # of ru_maxrss


def grids(rows: int, columns: int) -> TrainingTable:
    """Return grids with so many rows and columns, one of which is the scale; accuracies depend on three columns."""
    n = rows // len(GRID)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, columns - 1))
    places = features[:, 0] - 0.5 * features[:, 1] + features[:, 2] * (features[:, 3] > 0)
    curves = 0.7 - 0.05 * (np.log2(GRID)[None, :] - places[:, None]) ** 2 + 0.03 * rng.normal(size=(n, len(GRID)))
    at = np.arange(n)
    return TrainingTable(
        names=tuple(f"t{each}" for each in at),
        origins=tuple(f"o{each % ORIGINS}" for each in at),
        source_ids=tuple(f"s{each % GROUPS}" for each in at),
        recipe_ids=("r",) * n,
        feature_names=tuple(f"f{each}" for each in range(columns - 1)),
        features=features,
        scales=np.array(GRID),
        accuracies=np.clip(curves, 0, 1),
        n_held_out=np.full(n, 100),
        n_seeds=np.ones(n, np.int64),
    )


def points(rows: int) -> list[Point]:
    """Return design points with so many rows, whose best scale lies around their critical rate."""
    n = rows // OCTAVES
    rng = np.random.default_rng(0)
    critical, off = rng.normal(-4, 2, size=n), rng.normal(0, 1, size=n)
    recipes = [Recipe(optimizer=optimizer, head_start=head) for optimizer in ("sgd", "adamw") for head in HEADS]
    return [_point(at, recipes[at % len(recipes)], critical[at], off[at]) for at in range(n)]


HEADS = ("noise", "fitted")


def _point(at: int, recipe: Recipe, critical: float, off: float) -> Point:
    best = critical + off - np.log2(recipe.base_lr)
    scales = np.round(best) + np.arange(OCTAVES) - OCTAVES // 2
    accuracies = np.clip(0.8 - 0.05 * np.abs(scales - best), 0.1, 1)
    names = ("noise_log2_critical", "half_log2_critical", "noise_log2_minimum", "half_log2_minimum")
    places = (critical, critical + 0.5, critical - 1, critical - 0.5)
    return Point(
        task=f"t{at}",
        origin=f"o{at % ORIGINS}",
        source=f"s{at % GROUPS}",
        architecture="tiny",
        task_id=f"t{at}",
        source_id=f"s{at % GROUPS}",
        recipe=recipe,
        facts={"log2_steps": 7.0, **dict(zip(names, places, strict=True))},
        log2_scales=scales,
        accuracies=accuracies,
        diverged=np.zeros(OCTAVES, np.bool_),
        chance=0.1,
        n_train=50,
        n_images=200,
        n_seeds=np.ones(OCTAVES, np.int64),
        honest_best=0.8,
        job_seconds=10.0,
        facts_seconds=1.0,
    )


def learn_rule(design: list[Point]) -> object:
    """Select the coordinates and estimate the constants, as what ships does."""
    return rule_of(design, MIN_STEPS)


STEPS: dict[str, tuple[Callable[[int, int], object], Callable[..., object]]] = {
    "fit": (grids, fit),
    "train": (grids, train),
    "rule": (lambda rows, _: points(rows), learn_rule),
}
"""Step -> what makes its data of rows and columns, and what learns from them."""


def do_step(step: str, rows: int, columns: int) -> dict[str, float]:
    """Learn, and return the seconds of that alone, and the peak resident memory with the data."""
    make, learn = STEPS[step]
    data = make(rows, columns)
    started = time.perf_counter()
    learn(data)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT_BYTES}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--smoke", action="store_true", help="5,000 rows")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    rows = 5_000 if given.smoke else given.rows
    if given.step:
        print(json.dumps(do_step(given.step, rows, given.columns)))
        return
    steps = {}
    for step in STEPS:
        options = ["--rows", str(rows), "--columns", str(given.columns), "--step", step]
        command = [sys.executable, "-m", "benchmarks.bench_train", *options]
        steps[step] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{step:6} {steps[step]['seconds']:7.1f} s, peak {steps[step]['peak_bytes'] / 1e6:6.0f} MB", flush=True)
    told = {"benchmark": "train", "rows": rows, "columns": given.columns, "steps": steps, "cores": os.cpu_count()}
    print(json.dumps(told | {"python": platform.python_version(), "machine": platform.machine()}))


if __name__ == "__main__":
    main()
