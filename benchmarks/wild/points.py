"""Our wide harvest where time is short: of the points that are drawn, those first that cost little, or that are new.

    python -m benchmarks.wild.points SUITE --warehouse FILE [--draw N] [--passes N] [--steps N] [--images N]
        [--source NAME ...] [--only NAME ...] [--device cpu|cuda|auto] [--workers N] [--new] [--second-seeds]
        [--repeated] [--dry-run]

The points are those of `scalepred harvest SUITE/tasks --draw N` with the same networks, so that command goes on from
what this one did. Taken are those whose run passes at most so many images of 64 px (larger ones in proportion to their
area) through the network, forwards and back, takes at least so many steps, and learns from at least so many images;
with one seed each. So large tasks, large images and long recipes come last: what is in the warehouse before all is done
is no balanced sample of the space, but its cheaper part. With ``--second-seeds`` one point in ten has its second seed,
as the draw has it; with ``--repeated`` these points alone are taken. With ``--new`` points whose curve the warehouse
knows are left out: an imported snapshot lacks the guesses of a journal, so the facts of such points would be measured
again. A suite that `benchmarks.wild.pack` made has the images of some tasks alone; points of the others are left out.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.wild.harvest import DOMAIN_SOURCES
from scalepred.cli.harvest import carry_out
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.draw import DesignPoint, draw_points, survey_tasks
from scalepred.harvest.local_engine import LocalEngine
from scalepred.harvest.octaves import Seen, further_octaves
from scalepred.harvest.request import Wanted
from scalepred.harvest.sizes import sizes_taken
from scalepred.harvest.space import load_space
from scalepred.networks.names import family_of
from scalepred.records import DONE, POINT, RunRecord, SourceRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse
from scalepred.training.devices import keep_freed_memory

SOURCES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", *DOMAIN_SOURCES[::-1])

Key = tuple[str, str, str, int]
"""What tells a point and seed by names: task, source, recipe id and seed."""


def main() -> None:
    """Harvest the points that are wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--warehouse", type=Path, required=True)
    add_options(parser)
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    points = chosen(arguments)
    data, sources = (list(dict.fromkeys(getattr(point, name) for point in points)) for name in ("data", "source"))
    engine = LocalEngine(
        WorkerSettings(sources=tuple((source, None) for source in sources), device=arguments.device, dtype="float32"),
        n_workers=arguments.workers,
    )
    wanted = Wanted(
        data=data,
        warehouse=arguments.warehouse,
        max_workers=engine.n_workers,
        points=points,
        sources=tuple(sources),
        surveys=survey_tasks(data),
    )
    try:
        carry_out(wanted, engine, balance=None, dry_run=arguments.dry_run, json=False)
    except KeyboardInterrupt:
        sys.exit(130)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which points are wanted."""
    parser.add_argument("--draw", type=int, default=600, help="points in all")
    parser.add_argument("--passes", type=float, default=3_000, help="images of 64 px in a run, at most")
    parser.add_argument("--steps", type=int, default=1, help="of a run, at least")
    parser.add_argument("--images", type=int, default=1, help="training and validation images to learn from, at least")
    parser.add_argument("--source", nargs="+", default=list(SOURCES), metavar="NAME", help="default: our six")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="points of these networks alone; the draw is that of all"
    )
    parser.add_argument("--new", action="store_true", help="leave out points that the warehouse knows")
    parser.add_argument("--second-seeds", action="store_true", help="of one point in ten")
    parser.add_argument("--repeated", action="store_true", help="the points alone that have a second seed")


def chosen(arguments: argparse.Namespace) -> list[DesignPoint]:
    """Return the points that the options ask for and whose images are there, in the order of the draw."""
    n_train = sizes_of(json.loads((arguments.suite / "manifest.json").read_text(encoding="utf-8")))
    space = load_space()
    drawn = draw_points(
        arguments.draw,
        tasks=origins_of(arguments.suite),
        sources={source: family_of(source) for source in arguments.source},
        space=space,
        sizes={source: taken for source in arguments.source if (taken := sizes_taken(source, space))},
    )
    points = [
        point if arguments.second_seeds else replace(point, n_seeds=1)
        for point in drawn
        if (Path(point.data) / "manifest.csv").is_file()
        and (point.n_seeds > 1 or not arguments.repeated)
        and (arguments.only is None or point.source in arguments.only)
        and passes(point, n_train[Path(point.data).name]) <= arguments.passes
        and steps(point, n_train[Path(point.data).name]) >= arguments.steps
        and learnt_from(point, n_train[Path(point.data).name]) >= arguments.images
    ]
    if arguments.new and arguments.warehouse.is_file():
        points = without_known(points, arguments.warehouse)
    print(f"{len(points)} of {len(drawn)} points", flush=True)
    return points


def origins_of(suite: Path) -> dict[str, str]:
    """Return the folder of each task of a suite -> its origin, of those too whose images are not there."""
    folders = sorted((suite / "tasks").iterdir())
    about = [json.loads((folder / "task.json").read_text(encoding="utf-8")) for folder in folders]
    return {str(folder): str(each["origin"]) for folder, each in zip(folders, about, strict=True)}


def sizes_of(manifest: Mapping[str, list[dict[str, list[dict[str, object]]]]]) -> dict[str, int]:
    """Return task -> its training images, as the suite's manifest has them."""
    return {str(task["name"]): int(str(task["n_train"])) for origin in manifest["origins"] for task in origin["tasks"]}


def passes(point: DesignPoint, n_train: int) -> float:
    """Return how many images of 64 px a run of a point passes through its network in training."""
    return learnt_from(point, n_train) * point.recipe.epochs * (point.recipe.image_px / 64) ** 2


def steps(point: DesignPoint, n_train: int) -> int:
    """Return about how many steps a run of a point takes; validation images are split off later."""
    return point.recipe.epochs * math.ceil(learnt_from(point, n_train) / point.recipe.batch_size)


def learnt_from(point: DesignPoint, n_train: int) -> int:
    """Return how many images a point learns from, of a task that has so many."""
    return min(n_train, point.n_images or n_train)


# --- what is known already --------------------------------------------------------------------------------------------


def without_known(points: Sequence[DesignPoint], warehouse: Path) -> list[DesignPoint]:
    """Return the points that the warehouse lacks runs of.

    A point is told by the names of task and source and by its recipe, since its task's id takes the images.
    """
    with open_warehouse(warehouse, read_only=True) as store:
        known = known_curves(store.tasks(), store.sources(), store.runs())
    return [point for point in points if not keys_of(point) <= known]


def keys_of(point: DesignPoint) -> set[Key]:
    """Return what tells a point's curves, one for each seed, once it has run; a task may have no more images."""
    name, source = Path(point.data).name, Path(point.source).name
    return {(name, source, point.recipe.recipe_id, seed) for seed in range(point.n_seeds)}


def known_curves(tasks: Sequence[TaskRecord], sources: Sequence[SourceRecord], runs: Sequence[RunRecord]) -> set[Key]:
    """Return the curves of design points for which nothing more would be run; a second seed where it has the first's.

    Any curve of three or more octaves tells where it goes on.
    """
    task_of = {task.task_id: task for task in tasks}
    source_of = {source.source_id: Path(source.name).name for source in sources}
    curves: dict[tuple[str, str, str, int], dict[int, RunRecord]] = {}
    for run in runs:
        if run.role == POINT and run.scale is not None:
            curve = curves.setdefault((run.task_id, run.source_id, run.recipe_id, run.seed), {})
            curve[round(math.log2(run.scale))] = run
    known = set()
    for (task_id, source_id, recipe_id, seed), curve in curves.items():
        task, first = task_of[task_id], curves.get((task_id, source_id, recipe_id, 0), {})
        if _is_whole(first, task) and curve.keys() >= first.keys():
            known.add((task.name.partition("~")[0], source_of[source_id], recipe_id, seed))
    return known


def _is_whole(curve: Mapping[int, RunRecord], task: TaskRecord) -> bool:
    """Say whether no octave is asked for beyond those of a curve."""
    if not curve:
        return False
    n_images = task.n_val + task.n_test
    seen = {
        octave: Seen(accuracy=_held_out(run, task) if run.status == DONE else None) for octave, run in curve.items()
    }
    return not further_octaves(seen, n_images=n_images)


def _held_out(run: RunRecord, task: TaskRecord) -> float:
    """Return the accuracy on validation and test images together."""
    n_right = (run.val_accuracy or 0.0) * task.n_val + (run.test_accuracy or 0.0) * task.n_test
    return n_right / (task.n_val + task.n_test)


if __name__ == "__main__":
    main()
