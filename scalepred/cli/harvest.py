"""`scalepred harvest`: run what is missing of the grid, task by task, on all cores."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options
from scalepred.errors import DataError, UsageError, join_problems

ENGINES = ("local", "ray")

if TYPE_CHECKING:
    from scalepred.harvest.calls import WorkerSettings
    from scalepred.harvest.harvest import Harvest, Plan
    from scalepred.harvest.ray_engine import RayEngine
    from scalepred.recipe import Recipe


def harvest(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASKS...", help="Folders whose sub-folders are tasks, or tasks themselves.")
    ],
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to finetune; may be given several times. Default: efficientnet_lite0.", show_default=False
        ),
    ] = None,
    weights: options.Weights = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help=f"A recipe; may be given several times. {options.USUAL_RECIPE}", show_default=False),
    ] = None,
    image_px: options.ImagePx = None,
    seeds: Annotated[int, typer.Option(help="Runs of every point of the grid.", min=1)] = 1,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 60.0,
    device: options.DeviceName = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Finetunes at a time. Default: one for each core that has memory; on GPUs as many as fit.",
            min=1,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float, typer.Option(help="Gigabytes that each worker keeps images and activations in.", min=0.01)
    ] = 1.0,
    extend: Annotated[
        bool, typer.Option(help="Go on beyond an end of the eleven scales where that end is the best.")
    ] = True,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: actors of a Ray cluster.", metavar="local|ray")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster. Default: one of this machine, started here.", show_default=False),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="Share of a GPU that Ray gives each worker. Default: 1 where it has any.", min=0),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, or auto: bfloat16 where three steps show that it pays. Numbers of other machines "
            "are only the same in the same one."
        ),
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and stop.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each run, and one at the end.")
    ] = False,
) -> None:
    """Finetune every task at the eleven scales, and the baseline, and store features and accuracies.

    Runs what the warehouse lacks: run again, it does nothing. Stopped at any moment, it loses the runs in hand at most.
    """
    options.check_device(device)
    options.check_dtype(dtype)
    if engine not in ENGINES:
        raise UsageError(f"--engine is {' or '.join(ENGINES)}, not {engine!r}.")
    if engine == "local" and (address is not None or gpus_per_worker is not None):
        raise UsageError("--address and --gpus-per-worker belong to --engine ray.")
    path = options.warehouse_path(warehouse)
    from scalepred.cli import render
    from scalepred.data.layouts import find_tasks
    from scalepred.harvest.calls import WorkerSettings
    from scalepred.harvest.harvest import Harvest, Wanted
    from scalepred.harvest.local_engine import LocalEngine
    from scalepred.networks.names import is_source_folder

    # workers may run in another folder than this process
    names = [str(Path(name).resolve()) if is_source_folder(name) else name for name in source or ["efficientnet_lite0"]]
    if weights is not None and len(names) > 1:
        raise UsageError("--weights belongs to one source: give one --source with it.")
    data = list(dict.fromkeys(task for each in tasks for task in find_tasks(each)))
    recipes = _recipes(recipe or _default_recipe(names), image_px)
    settings = WorkerSettings(
        sources=tuple((name, weights) for name in names), device=device, max_bytes=int(memory * 1e9), dtype=dtype
    )
    carrier: LocalEngine | RayEngine
    if engine == "ray":
        carrier = _ray(settings, address=address, n_workers=workers, gpus_per_worker=gpus_per_worker)
    else:
        carrier = LocalEngine(settings, n_workers=workers)
    wanted = Wanted(
        data=data,
        recipes=recipes,
        n_seeds=seeds,
        warehouse=path,
        max_workers=carrier.n_workers,
        extends=extend,
        grows=workers is None and engine == "local",
        lock_timeout_seconds=lock_timeout,
    )
    try:
        work = Harvest(wanted, carrier)
        with work.held(), _told_at_the_end(work):
            plan = work.plan()
            _tell(work)
            if len(plan.refused) == len(wanted.data):
                reasons = [f"{name}: {reason}".replace("\n", "\n  ") for name, reason in plan.refused.items()]
                raise DataError(join_problems(f"None of the {len(wanted.data)} tasks can be harvested:", reasons))
            render.show_plan(plan, warehouse=path)
            if not dry_run:
                _run(work, plan, json=json)
    finally:
        carrier.stop()
    _conclude(work, plan, json=json, dry_run=dry_run)


def _default_recipe(sources: list[str]) -> list[str]:
    from scalepred.networks.names import default_recipe

    defaults = sorted({default_recipe(source) for source in sources})
    if len(defaults) > 1:
        raise UsageError(f"These sources have different recipes by default, {' and '.join(defaults)}: give --recipe.")
    return defaults


def _by_stem(names: list[str]) -> dict[str, str]:
    """Return recipes by what the warehouse calls them: their own name, or that of their file."""
    by_stem: dict[str, str] = {}
    for name in dict.fromkeys(names):
        other = by_stem.setdefault(Path(name).stem, name)
        if other != name:
            raise UsageError(f"--recipe {other} and --recipe {name} have the same name: rename one of the files.")
    return by_stem


def _recipes(names: list[str], image_px: int | None) -> "dict[str, Recipe]":
    """Return recipes at the size that is asked for, by what the warehouse calls them then."""
    from scalepred.recipe import at_size, load_recipe

    sized: dict[str, tuple[str, Recipe]] = {}
    for stem, name in _by_stem(names).items():
        own_name, recipe = at_size(stem, load_recipe(name), image_px)
        other, known = sized.setdefault(own_name, (name, recipe))
        if known != recipe:
            raise UsageError(
                f"At {image_px} pixels --recipe {other} and --recipe {name} have the same name, {own_name}: "
                "rename one of the files."
            )
    return {own_name: recipe for own_name, (_, recipe) in sized.items()}


def _ray(
    settings: "WorkerSettings", *, address: str | None, n_workers: int | None, gpus_per_worker: float | None
) -> "RayEngine":
    from scalepred.cli import output as out
    from scalepred.harvest.ray_engine import RayEngine

    engine = RayEngine(settings, address=address, n_workers=n_workers, gpus_per_worker=gpus_per_worker)
    if engine.warning:
        out.note(f"warning: {engine.warning}")
    return engine


def _tell(work: "Harvest") -> None:
    """Print what a user should know and was not told yet."""
    from scalepred.cli import output as out

    for words in work.take_notes():
        out.note(words)


@contextmanager
def _told_at_the_end(work: "Harvest") -> Iterator[None]:
    """Leave nothing untold, such as that the warehouse was moved aside, also where an error ends the block."""
    try:
        yield
    finally:
        _tell(work)


def _run(work: "Harvest", plan: "Plan", *, json: bool) -> None:
    from scalepred.cli import output as out
    from scalepred.cli import render

    try:
        with _noted_interrupts() as interrupts, render.harvesting(plan.n_runs) as shown:
            work.interrupts = interrupts
            for progress in work.run():
                shown.update(progress)
                if json and progress.run:
                    out.print_json(render.run_as_json(progress.run), indent=None)
                if interrupts and progress.run is None:  # all that has come is told
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        for note in work.stop():
            out.note(note)
        out.note(f"interrupted: {work.n_done} runs done, {work.n_left} left; the same command goes on from here")
        raise


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Have the first SIGINT or SIGTERM noted, not raised, so that a harvest ends between two of its steps."""
    noted: list[int] = []

    def note(number: int, _frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(work: "Harvest", plan: "Plan", *, json: bool, dry_run: bool) -> None:
    from scalepred.cli import output as out

    if json:
        summary = {
            "schema": 1,
            "dry_run": dry_run,
            "warehouse": str(work.wanted.warehouse),
            "planned": plan.n_runs,
            "stored_before": plan.n_stored,
            "done": work.n_done - work.n_diverged,
            "diverged": work.n_diverged,
            "failed": [{"run_id": run_id, "reason": reason} for run_id, reason in work.failed.items()],
            "refused": [{"task": name, "reason": reason} for name, reason in work.refused.items()],
        }
        out.print_json(summary, indent=None)
    elif not dry_run:
        counts = f"{work.n_done - work.n_diverged} runs done, {work.n_diverged} diverged, {len(work.failed)} failed"
        out.note(f"{counts}, {plan.n_stored} were stored before")
        out.note(f"next: scalepred train-predictor --warehouse {work.wanted.warehouse}")
    if work.refused or work.failed:
        raise typer.Exit(6)
