"""`scalepred harvest`: run what is missing of the grid, task by task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options

if TYPE_CHECKING:
    from scalepred.harvest import Plan


def harvest(
    tasks: Annotated[str, typer.Argument(metavar="TASKS", help="A folder whose sub-folders are tasks, or one task.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to finetune; may be given several times. Default: efficientnet_lite0.", show_default=False
        ),
    ] = None,
    weights: options.Weights = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="A recipe; may be given several times. Default: graduated.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of every point of the grid.", min=1)] = 1,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 60.0,
    device: options.DeviceName = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and stop.")] = False,
    json: options.Json = False,
) -> None:
    """Finetune every task at the eleven scales, and the baseline, and store features and accuracies.

    Runs what the warehouse lacks: run again, it does nothing. Stopped at any moment, it loses the run in hand at most.
    """
    options.check_device(device)
    path = options.warehouse_path(warehouse)
    from scalepred.auto import pick_device
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.config import baseline_of, load_recipe
    from scalepred.errors import DataError, UsageError
    from scalepred.harvest import make_plan, run_plan
    from scalepred.sources import DEFAULT_SOURCE, load_source
    from scalepred.tasks import find_tasks

    names = source or [DEFAULT_SOURCE]
    if weights is not None and len(names) > 1:
        raise UsageError("--weights belongs to one source: give one --source with it.")
    recipes = {name: load_recipe(name) for name in recipe or ["graduated"]}
    found = find_tasks(tasks)
    with render.progress("reading tasks") as bar:
        plan = make_plan(
            found,
            [load_source(name, weights=weights) for name in names],
            list(recipes.values()),
            n_seeds=seeds,
            warehouse=path,
            lock_timeout_seconds=lock_timeout,
            on_task=bar.update,
        )
    render.show_plan(out.notes(), plan, warehouse=path)
    if len(plan.refused) == len(found):
        raise DataError(f"None of the {len(found)} tasks can be harvested.")
    known = {member.recipe_id: name for name, member in recipes.items()}
    known |= {baseline_of(member).recipe_id: _baseline_name(name) for name, member in recipes.items()}
    where, dtype = pick_device(device)
    counts = {"done": 0, "diverged": 0}
    if not dry_run:
        with render.progress("harvesting", total=plan.n_runs) as bar:
            running = run_plan(
                plan, warehouse=path, recipe_names=known, device=where, dtype=dtype, lock_timeout_seconds=lock_timeout
            )
            for n, run in enumerate(running, start=1):
                counts[run.status] += 1
                bar.update(n, plan.n_runs, f"{counts['diverged']} diverged")
    if json:
        out.print_json(_summary(plan, counts, path, dry_run=dry_run))
    elif not dry_run:
        notes = out.notes()
        notes.print(f"{counts['done']} runs done, {counts['diverged']} diverged, {plan.n_stored} were stored before")
        notes.print(f"next: scalepred train-predictor --warehouse {path}")
    if plan.refused:
        raise typer.Exit(6)


def _baseline_name(recipe: str) -> str:
    return "baseline" if recipe == "graduated" else f"baseline of {recipe}"


def _summary(plan: "Plan", counts: dict[str, int], path: Path, *, dry_run: bool) -> dict[str, object]:
    return {
        "schema": 1,
        "dry_run": dry_run,
        "warehouse": str(path),
        "planned": plan.n_runs,
        "stored_before": plan.n_stored,
        **counts,
        "refused": [{"task": name, "reason": reason} for name, reason in plan.refused.items()],
    }
