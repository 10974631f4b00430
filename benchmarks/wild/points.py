"""Our wide harvest on few cores: of the points that are drawn, those first whose runs cost little.

    python -m benchmarks.wild.points SUITE --warehouse FILE [--draw N] [--passes N] [--steps N] [--dry-run]

The points are those of `scalepred harvest SUITE/tasks --draw N` with our six networks, so that command goes on from
what this one did. Taken are those whose run passes at most so many images of 64 px (larger ones in proportion to their
area) through the network, forwards and back, and takes at least so many steps; with one seed each. So large tasks,
large images and long recipes come last: what is in the warehouse before all is done is no balanced sample of the space,
but its cheaper part.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.wild.harvest import DOMAIN_SOURCES
from scalepred.cli.harvest import carry_out
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.draw import DesignPoint, draw_points, survey_tasks
from scalepred.harvest.local_engine import LocalEngine
from scalepred.harvest.request import Wanted
from scalepred.harvest.space import load_space
from scalepred.networks.names import family_of
from scalepred.training.devices import keep_freed_memory

SOURCES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", *DOMAIN_SOURCES[::-1])


def main() -> None:
    """Harvest the points that cost little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--draw", type=int, default=600)
    parser.add_argument("--passes", type=float, default=3_000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    n_train = sizes_of(json.loads((arguments.suite / "manifest.json").read_text(encoding="utf-8")))
    surveys = survey_tasks([str(folder) for folder in sorted((arguments.suite / "tasks").iterdir())])
    drawn = draw_points(
        arguments.draw,
        tasks={data: survey.origin for data, survey in surveys.items()},
        sources={source: family_of(source) for source in SOURCES},
        space=load_space(),
    )
    points = [
        replace(point, n_seeds=1)
        for point in drawn
        if passes(point, n_train[Path(point.data).name]) <= arguments.passes
        and steps(point, n_train[Path(point.data).name]) >= arguments.steps
    ]
    print(f"{len(points)} of {len(drawn)} points", flush=True)
    engine = LocalEngine(
        WorkerSettings(sources=tuple((source, None) for source in SOURCES), device="cpu", dtype="float32"),
        n_workers=arguments.workers,
    )
    wanted = Wanted(
        data=list(dict.fromkeys(point.data for point in points)),
        warehouse=arguments.warehouse,
        max_workers=engine.n_workers,
        points=points,
        sources=SOURCES,
        surveys=surveys,
    )
    try:
        carry_out(wanted, engine, balance=None, dry_run=arguments.dry_run, json=False)
    except KeyboardInterrupt:
        sys.exit(130)


def sizes_of(manifest: Mapping[str, list[dict[str, list[dict[str, object]]]]]) -> dict[str, int]:
    """Return task -> its training images, as the suite's manifest has them."""
    return {str(task["name"]): int(str(task["n_train"])) for origin in manifest["origins"] for task in origin["tasks"]}


def passes(point: DesignPoint, n_train: int) -> float:
    """Return how many images of 64 px a run of a point passes through its network in training."""
    return min(n_train, point.n_images or n_train) * point.recipe.epochs * (point.recipe.image_px / 64) ** 2


def steps(point: DesignPoint, n_train: int) -> int:
    """Return about how many steps a run of a point takes; validation images are split off later."""
    return point.recipe.epochs * math.ceil(min(n_train, point.n_images or n_train) / point.recipe.batch_size)


if __name__ == "__main__":
    main()
