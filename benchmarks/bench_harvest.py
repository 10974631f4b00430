"""Times a harvest's bundles against a plain PyTorch loop and timm's training pieces, alternating, as whole processes.

    python -m benchmarks.bench_tasks PACKAGES OUT
    python -m benchmarks.bench_harvest --tasks OUT/large OUT/middle OUT/small --output FILE
    python -m benchmarks.bench_harvest --smoke

A bundle is one task and one source: the recipe's baseline and the eleven scales, so twelve finetunes for each seed.

    plain      a torchvision and PyTorch loop as written in one sitting: benchmarks/plain_loop.py
    peer       timm's loaders, optimizer and scheduler: benchmarks/peer_timm.py
    scalepred  `scalepred harvest`, from the command to its exit, with its reading of the task and its features
    roof       forward and backward of the network alone, no images to load: benchmarks/roof.py

Every repeat is a process of its own, and the repeats take turns: plain, peer, scalepred, plain, ... The roof is taken
once in a repeat, for every source. Sources other than the default get random weights of a fixed seed, by a file: speed
needs no weights, and their accuracies say nothing. Images are read in their original sizes; plain and peer read them
anew in every epoch, as their libraries do.

plain and peer drop an image's transparency, as their libraries do; with --on-white they put it on white, as scalepred
does, which costs them time and makes accuracies comparable. "noise" is the mean absolute difference between a
contender's own seeds 0 and 1. Memory is the resident memory of all processes of a contender at once, shared pages
counted once. It comes from a run of its own before the first repeat, for looking takes time too; that run is not
timed, and --no-memory leaves it out.

Prints a table and ends in one line of JSON. --output holds the same JSON, and is written anew after every repeat, with
all bundles that every contender has done.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.bundle import SPLITS, Job, Outcome, check_recipe, check_task, read_outcomes
from benchmarks.harvest_report import CONTENDERS, Measured, Measurements, bundle_numbers, geometric_means, spread, table
from benchmarks.timed import hardware, timed
from scalepred.files import write_text
from scalepred.networks.architecture import build
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.processes import n_cores
from scalepred.recipe import Recipe

MODULES = {"plain": "benchmarks.plain_loop", "peer": "benchmarks.peer_timm"}
SOURCES = (DEFAULT_SOURCE, "torchvision/resnet18")
SMOKE_SOURCE = "timm/test_efficientnet"
SMOKE_RECIPE = Recipe(epochs=1, batch_size=4, image_px=32)
SMOKE_TASKS = {"tiny": 96}
VERSIONS = ("scalepred", "torch", "torchvision", "timm", "pillow", "numpy")
QUERY = """SELECT scale, seed, val_accuracy, test_accuracy, seconds, execution ->> 'dtype', device
FROM runs ORDER BY seed, scale NULLS FIRST"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and how often.

    Attributes:
        tasks: folders of split folders.
        sources: their names.
        recipe: of all finetunes.
        n_seeds, n_repeats: seeds in a bundle, and measurements of each.
        workers: for ``scalepred harvest --workers``, or None for its own default.
        on_white: as in ``bundle.Job``.
        roof_seconds: how long the roof counts.
        memory: whether a run of its own, before the first repeat, tells a contender's memory.
        smoke: whether this only shows that all of it runs.
        contenders: the rivals that run, and the harvest.
    """

    tasks: tuple[Path, ...]
    sources: tuple[str, ...]
    recipe: Recipe
    n_seeds: int
    n_repeats: int
    workers: int | None
    on_white: bool
    roof_seconds: float
    memory: bool
    smoke: bool
    contenders: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """All measurements so far: (task, source) -> contender -> repeats; (source, processes, threads) -> rates."""

    bundles: dict[tuple[str, str], dict[str, list[Measured]]] = field(default_factory=dict)
    roofs: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    parser = argument_parser()
    arguments = parser.parse_args()
    if not arguments.smoke and not arguments.tasks:
        parser.error("give --tasks FOLDER..., or --smoke")
    with tempfile.TemporaryDirectory() as scratch:
        settings = read_settings(arguments, Path(scratch))
        machine = hardware()
        for progress in measure_all(settings, Path(scratch)):
            report = make_report(settings, progress, machine)
            if arguments.output:
                write_text(arguments.output, json.dumps(report) + "\n")
    print(table(report))
    print(json.dumps(report))


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", nargs="+", type=Path, metavar="FOLDER", help="with train, val and test, each classes"
    )
    parser.add_argument("--sources", nargs="+", default=SOURCES, metavar="NAME", help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--recipe", default="graduated", help="a recipe's name, or a JSON file with its fields")
    parser.add_argument("--seeds", type=int, default=1, help="of every point of the grid; 2 tell the seed noise")
    parser.add_argument("--repeats", type=int, default=3, help="of every bundle and contender (default: 3)")
    parser.add_argument("--rivals", nargs="+", choices=MODULES, default=[*MODULES], help="default: plain peer")
    parser.add_argument("--workers", type=int, help="handed to scalepred harvest; default: nothing is handed over")
    parser.add_argument("--on-white", action="store_true", help="plain and peer put transparent images on white")
    parser.add_argument("--roof-seconds", type=float, default=10.0, help="how long the roof counts (default: 10)")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="tell the memory too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the JSON, written anew after every repeat")
    parser.add_argument("--smoke", action="store_true", help="a tiny task of its own, a tiny network, one epoch")
    return parser


def read_settings(arguments: argparse.Namespace, scratch: Path) -> Settings:
    """Return the settings that the command line asks for; a smoke run makes its own tasks in ``scratch``."""
    if arguments.smoke:
        tasks = tuple(make_tiny_task(scratch / name, side_px=side) for name, side in SMOKE_TASKS.items())
        sources, recipe, n_repeats, roof_seconds = (SMOKE_SOURCE,), SMOKE_RECIPE, 1, 1.0
    else:
        tasks, sources = tuple(task.resolve() for task in arguments.tasks), tuple(arguments.sources)
        recipe, n_repeats, roof_seconds = check_recipe(arguments.recipe), arguments.repeats, arguments.roof_seconds
    for task in tasks:
        check_task(task)
    return Settings(
        tasks=tasks,
        sources=sources,
        recipe=recipe,
        n_seeds=arguments.seeds,
        n_repeats=n_repeats,
        workers=arguments.workers,
        on_white=arguments.on_white,
        roof_seconds=roof_seconds,
        memory=arguments.memory,
        smoke=arguments.smoke,
        contenders=tuple(name for name in CONTENDERS if name == "scalepred" or name in arguments.rivals),
    )


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_all(settings: Settings, scratch: Path) -> Iterator[Progress]:
    """Yield all measurements so far after each repeat of a bundle by all contenders; they take turns."""
    recipe = scratch / "recipe.json"
    recipe.write_text(settings.recipe.to_json(), encoding="utf-8")
    weights = {source: random_weights(source, scratch) for source in settings.sources}
    progress = Progress()
    for repeat, source in itertools.product(range(settings.n_repeats), settings.sources):
        note(f"repeat {repeat + 1}, roof of {source}")
        measure_roofs(progress, source, weights[source], recipe, seconds=settings.roof_seconds)
        for task in settings.tasks:
            job = Job(
                task=task,
                source=source,
                weights=weights[source],
                recipe=recipe,
                n_seeds=settings.n_seeds,
                on_white=settings.on_white,
            )
            bundle = progress.bundles.setdefault((str(task), source), {name: [] for name in settings.contenders})
            for name in settings.contenders:
                looked = None
                if settings.memory and repeat == 0:
                    looked = measure(name, job, workers=settings.workers, sample_memory=True).peak_bytes
                timed_run = measure(name, job, workers=settings.workers)
                measured = dataclasses.replace(timed_run, peak_bytes=looked)
                note(f"repeat {repeat + 1}, {task.name}, {source}, {name}: {measured.wall_seconds:.1f} s")
                bundle[name].append(measured)
            yield progress


def measure(name: str, job: Job, *, workers: int | None, sample_memory: bool = False) -> Measured:
    """Run one contender on one bundle.

    Raises:
        SystemExit: if it fails, or comes back without all the finetunes.
    """
    if name == "scalepred":
        measured = measure_harvest(job, workers=workers, sample_memory=sample_memory)
    else:
        run = timed([sys.executable, "-m", MODULES[name], *job.arguments()], sample_memory=sample_memory)
        outcomes = tuple(read_outcomes(run.printed))
        measured = Measured(
            wall_seconds=run.seconds, peak_bytes=run.peak_bytes, largest_bytes=run.largest_bytes, outcomes=outcomes
        )
    wanted = 12 * job.n_seeds
    if len(measured.outcomes) != wanted:
        raise SystemExit(f"{name} made {len(measured.outcomes)} finetunes of {job.task}, not {wanted}.")
    return measured


def measure_harvest(job: Job, *, workers: int | None, sample_memory: bool) -> Measured:
    """Harvest one bundle into a new warehouse, and read the outcomes from there."""
    with tempfile.TemporaryDirectory() as scratch:
        warehouse = str(Path(scratch) / "warehouse.duckdb")
        options = dataclasses.replace(job, on_white=False).arguments()  # it always does
        more = [] if workers is None else ["--workers", str(workers)]
        scalepred = [sys.executable, "-m", "scalepred"]
        harvest = [*scalepred, "harvest", *options, "--no-extend", "--warehouse", warehouse, *more]
        run = timed(harvest, sample_memory=sample_memory)
        query = timed([*scalepred, "warehouse", "query", QUERY, "--warehouse", warehouse, "--json"])
    rows = json.loads(query.printed)["rows"]
    outcomes = tuple(
        Outcome(scale=scale, seed=seed, val_accuracy=val, test_accuracy=test, seconds=seconds)
        for scale, seed, val, test, seconds, *_ in rows
    )
    return Measured(
        wall_seconds=run.seconds,
        peak_bytes=run.peak_bytes,
        largest_bytes=run.largest_bytes,
        outcomes=outcomes,
        n_processes=n_processes([row[-1] for row in rows]),
        dtypes=tuple(sorted({row[-2] for row in rows})),
    )


def n_processes(devices: list[str]) -> int:
    """Return how many processes trained at once: the cores by the threads that the runs' device names.

    A harvest shares the cores out evenly, and says in every run "cpu (x86_64, 1 threads)" or the like.
    """
    threads = [int(match[1]) for device in devices if (match := re.search(r"(\d+) threads?", device))]
    return max(1, n_cores() // max(threads)) if threads else 1


def measure_roofs(progress: Progress, source: str, weights: Path | None, recipe: Path, *, seconds: float) -> None:
    """Add the roofs of one process on all cores, and of a process on every core."""
    more = ["--weights", str(weights)] if weights else []
    options = ["--source", source, "--recipe", str(recipe), *more, "--seconds", str(seconds)]
    for processes, threads in sorted({(1, n_cores()), (n_cores(), 1)}):
        run = timed(
            [
                sys.executable,
                "-m",
                "benchmarks.roof",
                *options,
                "--processes",
                str(processes),
                "--threads",
                str(threads),
            ]
        )
        rate = json.loads(run.printed)["images_per_second"]
        progress.roofs.setdefault((source, processes, threads), []).append(rate)


def random_weights(source: str, scratch: Path) -> Path | None:
    """Write random weights of a fixed seed for a source; None for the default source, which has its own."""
    if source == DEFAULT_SOURCE:
        return None
    torch.manual_seed(0)
    path = scratch / f"{source.replace('/', '-')}.safetensors"
    save_file(build(source).network.state_dict(), path)
    return path


def make_tiny_task(folder: Path, *, side_px: int) -> Path:
    """Write a task of noisy images, two classes that differ in brightness, and return its folder."""
    rng = np.random.default_rng(side_px)
    for split, n in zip(SPLITS, (8, 3, 4), strict=True):
        for level, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for index in range(n):
                coarse = rng.integers(0, 128, (8, 8, 3), dtype=np.uint8) + np.uint8(100 * level)
                image = Image.fromarray(coarse).resize((side_px, side_px * 3 // 4))
                image.save(folder / split / name / f"{index}.png")
    return folder


def note(text: str) -> None:
    """Say on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


# --- reporting --------------------------------------------------------------------------------------------------------


def make_report(settings: Settings, progress: Progress, machine: dict[str, object]) -> dict[str, Any]:
    """Return all numbers as JSON values."""
    bundles = [
        bundle_numbers(
            Measurements(task=Path(task).name, source=source, repeats=repeats, **counts(Path(task))),
            epochs=settings.recipe.epochs,
            roofs=progress.roofs,
            n_cores=n_cores(),
        )
        for (task, source), repeats in progress.bundles.items()
    ]
    roofs: dict[str, dict[str, Any]] = {}
    for (source, processes, threads), rates in progress.roofs.items():
        roofs.setdefault(source, {})[f"{processes} x {threads} threads"] = spread(rates)
    return {
        "benchmark": "harvest",
        "smoke": settings.smoke,
        "command": sys.argv[1:],
        "recipe": dataclasses.asdict(settings.recipe),
        "n_seeds": settings.n_seeds,
        "n_repeats": settings.n_repeats,
        "on_white": settings.on_white,
        "bundles": bundles,
        "roofs": roofs,
        "geometric_means": geometric_means(bundles),
        "hardware": machine,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def counts(task: Path) -> dict[str, int]:
    """Return a task's classes and the images that are to learn from."""
    classes = [folder for folder in (task / "train").iterdir() if folder.is_dir()]
    return {
        "n_classes": len(classes),
        "n_train": sum(file.is_file() for folder in classes for file in folder.iterdir()),
    }


if __name__ == "__main__":
    main()
