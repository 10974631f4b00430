"""`scalepred harvest`: run what is missing of the grid, task by task, on all cores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import harvest_draw, options
from scalepred.errors import DataError, UsageError, join_problems
from scalepred.recipe import GRID, check_scale

if TYPE_CHECKING:
    from scalepred.harvest.calls import WorkerSettings
    from scalepred.harvest.local_engine import LocalEngine
    from scalepred.harvest.ray_engine import RayEngine
    from scalepred.harvest.request import Wanted
    from scalepred.recipe import Recipe

ENGINES = ("local", "ray")

Tasks = Annotated[
    list[str], typer.Argument(metavar="TASKS...", help="Folders whose sub-folders are tasks, or tasks themselves.")
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="A network to finetune; may be given several times. Default: efficientnet_lite0.",
        show_default=False,
    ),
]
Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", help=f"A recipe; may be given several times. {options.USUAL_RECIPE}", show_default=False),
]
Seeds = Annotated[
    int | None, typer.Option(help="Runs of every point of the grid. Default: 1.", min=1, show_default=False)
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Finetunes at a time. Default: one for each core that has memory; on GPUs as many as fit.",
        min=1,
        show_default=False,
    ),
]
Memory = Annotated[float, typer.Option(help="Gigabytes that each worker keeps images and activations in.", min=0.01)]
Scales = Annotated[
    list[float] | None,
    typer.Option(
        "--scale",
        help="This scale instead of the eleven; may be given several times. The baseline is run beside it.",
        show_default=False,
    ),
]
Octaves = Annotated[
    bool,
    typer.Option(
        "--octaves",
        help="Instead of the eleven scales: whole octaves, placed by what comes out until accuracy has "
        "fallen on both sides. The facts of the start are measured, so that a rule can learn from them.",
    ),
]
Extend = Annotated[bool, typer.Option(help="Go on beyond an end of the eleven scales where that end is the best.")]
EngineName = Annotated[
    str, typer.Option(help="local: processes of this machine; ray: actors of a Ray cluster.", metavar="local|ray")
]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster. Default: one of this machine, started here.", show_default=False)
]
GpusPerWorker = Annotated[
    float | None, typer.Option(help="Share of a GPU that Ray gives each worker. Default: 1 where it has any.", min=0)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, and stop.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each run, and one at the end.")]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What carries a harvest's work: the engine, how many workers, and where its cluster is.

    Raises:
        UsageError: if there is no such engine, or it takes no cluster.
    """

    name: str
    n_workers: int | None
    address: str | None
    gpus_per_worker: float | None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"--engine is {' or '.join(ENGINES)}, not {self.name!r}.")
        if self.name == "local" and (self.address is not None or self.gpus_per_worker is not None):
            raise UsageError("--address and --gpus-per-worker belong to --engine ray.")


def harvest(
    tasks: Tasks,
    source: Sources = None,
    weights: options.Weights = None,
    recipe: Recipes = None,
    image_px: options.ImagePx = None,
    seeds: Seeds = None,
    scale: Scales = None,
    octaves: Octaves = False,
    draw: harvest_draw.Draw = None,
    draw_seed: harvest_draw.DrawSeed = None,
    space: harvest_draw.SpaceFile = None,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 60.0,
    device: options.DeviceName = "auto",
    workers: Workers = None,
    memory: Memory = 1.0,
    extend: Extend = True,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = None,
    dtype: options.Dtype = "auto",
    dry_run: DryRun = False,
    json: JsonLines = False,
) -> None:
    """Finetune every task at the eleven scales, and the baseline, and store features and accuracies.

    With --octaves it finetunes at as many scales as each curve needs, and with --draw does so with tasks, sources and
    recipes that are drawn at random.

    Runs what the warehouse lacks: run again, it does nothing. Stopped at any moment, it loses the runs in hand at most.
    """
    chosen = EngineOptions(name=engine, n_workers=workers, address=address, gpus_per_worker=gpus_per_worker)
    drawing = harvest_draw.DrawOptions(n=draw, seed=draw_seed, space=space, octaves=octaves)
    drawing.check_alone(recipe=recipe, image_px=image_px, seeds=seeds, scale=scale, extend=extend)
    scales = tuple(dict.fromkeys(map(check_scale, scale or GRID)))
    path = options.warehouse_path(warehouse)
    from scalepred.data.layouts import find_tasks
    from scalepred.harvest.request import Wanted

    names = _sources(source or ["efficientnet_lite0"], weights)
    settings = _settings(names, weights, device=device, memory=memory, dtype=dtype)
    data = list(dict.fromkeys(task for each in tasks for task in find_tasks(each)))
    drawn = harvest_draw.draw(drawing, data, names)
    recipes = {} if drawn else _recipes(recipe or _default_recipe(names), image_px)
    carrier = _engine(chosen, settings)
    wanted = Wanted(
        data=data,
        recipes=recipes,
        n_seeds=seeds or 1,
        scales=scales,
        sources=names,
        warehouse=path,
        max_workers=carrier.n_workers,
        extends=extend,
        grows=workers is None and engine == "local",
        lock_timeout_seconds=lock_timeout,
    )
    wanted = harvest_draw.with_points(wanted, drawn, octaves=octaves)
    carry_out(wanted, carrier, balance=drawn.balance if drawn and dry_run else None, dry_run=dry_run, json=json)


def _settings(
    names: Sequence[str], weights: Path | None, *, device: str, memory: float, dtype: str
) -> "WorkerSettings":
    """Return what workers are told.

    Raises:
        UsageError: if there is no such device or dtype, or memory is not finite.
    """
    from scalepred.harvest.calls import DTYPES, WorkerSettings
    from scalepred.job.options import check_device, check_one_of

    check_device(device)
    if not math.isfinite(memory * 1e9):
        raise UsageError(f"--memory is a finite number of gigabytes, not {memory:g}.")
    check_one_of("--dtype", dtype, DTYPES)
    sources = tuple((name, weights) for name in names)
    return WorkerSettings(sources=sources, device=device, max_bytes=int(memory * 1e9), dtype=dtype)


def carry_out(
    wanted: "Wanted",
    carrier: "LocalEngine | RayEngine",
    *,
    balance: Mapping[str, Mapping[str, int]] | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Show the plan, do it, and say what came of it; a dry run of a draw has its balance.

    Raises:
        DataError: if none of the tasks can be harvested.
    """
    from scalepred.cli import harvest_run, render
    from scalepred.harvest.harvest import Harvest

    try:
        work = Harvest(wanted, carrier)
        with work.held(), harvest_run.told_at_the_end(work):
            plan = work.plan()
            harvest_run.tell(work)
            if all(task in plan.refused for task in wanted.data):
                reasons = [f"{name}: {reason}".replace("\n", "\n  ") for name, reason in plan.refused.items()]
                raise DataError(join_problems(f"None of the {len(wanted.data)} tasks can be harvested:", reasons))
            render.show_plan(plan, warehouse=wanted.warehouse)
            if not dry_run:
                harvest_run.run(work, plan, json=json)
    finally:
        carrier.stop()
    harvest_run.conclude(work, plan, balance=balance, json=json, dry_run=dry_run)


def _sources(names: Sequence[str], weights: Path | None) -> list[str]:
    """Return the names of sources, a folder's as its whole path, for workers may run in another folder."""
    from scalepred.networks.names import is_source_folder

    if weights is not None and len(names) > 1:
        raise UsageError("--weights belongs to one source: give one --source with it.")
    return [str(Path(name).resolve()) if is_source_folder(name) else name for name in names]


def _default_recipe(sources: list[str]) -> list[str]:
    from scalepred.networks.names import default_recipe

    defaults = sorted({default_recipe(source) for source in sources})
    if len(defaults) > 1:
        raise UsageError(f"These sources have different recipes by default, {' and '.join(defaults)}: give --recipe.")
    return defaults


def _by_stem(names: list[str]) -> dict[str, str]:
    """Return recipes by what the warehouse calls them: the recipe's name, or that of its file."""
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
        sized_name, recipe = at_size(stem, load_recipe(name), image_px)
        other, other_recipe = sized.setdefault(sized_name, (name, recipe))
        if other_recipe != recipe:
            raise UsageError(
                f"At {image_px} pixels --recipe {other} and --recipe {name} have the same name, {sized_name}: "
                "rename one of the files."
            )
    return {name: recipe for name, (_, recipe) in sized.items()}


def _engine(chosen: EngineOptions, settings: "WorkerSettings") -> "LocalEngine | RayEngine":
    """Return the engine, whose workers start later; a note says what a Ray cluster lacks."""
    if chosen.name == "local":
        from scalepred.harvest.local_engine import LocalEngine

        return LocalEngine(settings, n_workers=chosen.n_workers)
    from scalepred.cli import output as out
    from scalepred.harvest.ray_engine import RayEngine

    engine = RayEngine(
        settings, address=chosen.address, n_workers=chosen.n_workers, gpus_per_worker=chosen.gpus_per_worker
    )
    if engine.warning:
        out.note(f"warning: {engine.warning}")
    return engine
