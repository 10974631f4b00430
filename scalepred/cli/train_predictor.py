"""`scalepred train-predictor`: learn from a warehouse which scale suits which task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalepred.cli import options

if TYPE_CHECKING:
    from scalepred.predictor.harvested import Harvested
    from scalepred.records import RecipeRecord, SourceRecord


def train_predictor(
    warehouse: options.WarehouseFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the predictor. Default: the user's own, which --auto then uses.", show_default=False
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="A few words for the card, such as what it was trained on.")] = "",
    lock_timeout: options.LockTimeout = 10.0,
    seed: Annotated[int, typer.Option(help="Of the trees and folds.", min=0)] = 0,
    json: options.Json = False,
) -> None:
    """Train a predictor on all whole grids of the warehouse, and print how it does on origins held out.

    With fewer than eight origins it says so and keeps the best fixed scale. What was run over octaves has a best fixed
    scale too, from three tasks on.
    """
    path = options.warehouse_path(warehouse)
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.errors import UsageError
    from scalepred.job.places import user_predictor
    from scalepred.predictor.artifact import check_free, save
    from scalepred.predictor.card import OWN_RUNS, facts, write_card
    from scalepred.predictor.evaluate import train_and_evaluate

    folder = output or user_predictor()
    check_free(folder)
    sources, recipes, harvested, beyond_grids = _harvested(path, lock_timeout_seconds=lock_timeout)
    notes = out.notes()
    n_tasks, n_origins = len(set(harvested.table.names)), len(set(harvested.table.origins))
    notes.print(f"training on {len(harvested.table.names)} grids of {n_tasks} tasks of {n_origins} origins")
    predictor, evaluation = train_and_evaluate(harvested, seed=seed)
    predictor = replace(predictor, **beyond_grids)
    described = facts(predictor, harvested, sources, recipes, label=label)
    try:
        save(described, folder)
        write_card(described, folder)
    except OSError as error:
        raise UsageError(
            f"The predictor can't be saved to {folder}: {error.strerror or error}. Give another folder with --output."
        ) from error
    if json:
        out.print_json({"schema": 2, "output": str(folder.resolve()), **render.predictor_json(described)})
        return
    render.show_evaluation(out.console(), described, evaluation)
    if described.own_curves:
        out.console().print(OWN_RUNS)
    render.show_besides(out.console(), described)
    out.console().print(f"saved: {out.safe(str(folder.resolve()))}", soft_wrap=True)
    notes.print(f"next: scalepred finetune DATA --auto{'' if output is None else f' --predictor {folder}'}")


def _harvested(
    path: Path, *, lock_timeout_seconds: float
) -> "tuple[list[SourceRecord], list[RecipeRecord], Harvested, dict[str, Any]]":
    """Return the sources and recipes of a warehouse, its whole grids as arrays, and what else a predictor keeps.

    That is, by field, what was run over octaves alone, the mean curves of the sources and recipes with few tasks, and
    the linear probe beside finetunes.

    Raises:
        DataError: if there is neither.
    """
    from scalepred.errors import DataError
    from scalepred.predictor import harvested as grids_of
    from scalepred.predictor.octave_groups import MIN_TASKS, octave_groups
    from scalepred.predictor.own_runs import own_curves
    from scalepred.predictor.points import gather_points
    from scalepred.predictor.probe_evidence import gather_beside
    from scalepred.store.warehouse import open_warehouse

    with open_warehouse(path, read_only=True, lock_timeout_seconds=lock_timeout_seconds) as store:
        sources, recipes, tasks, runs = store.sources(), store.recipes(), store.tasks(), store.runs()
        features = store.features()
        harvested = grids_of.build(tasks=tasks, sources=sources, recipes=recipes, features=features, runs=runs)
    points = gather_points(tasks=tasks, sources=sources, recipes=recipes, features=[], runs=runs, needs_facts=False)
    table = harvested.table
    grids = set(zip(table.names, table.source_ids, table.recipe_ids, strict=True))
    octaves = octave_groups(points, known={(source_id, recipe_id) for _, source_id, recipe_id in grids})
    if not harvested.table.names and not octaves:
        raise DataError(
            f"The warehouse {path} has no task with a whole grid of scales ({harvested.n_incomplete} begun), nor "
            f"{MIN_TASKS} tasks with octaves of the same source and recipe: run `scalepred harvest` until it has."
        )
    over_octaves = {(group.source_id, group.recipe_id) for group in octaves}
    known = [point for point in points if (point.source_id, point.recipe.recipe_id) in over_octaves]
    known += [
        point
        for point in gather_points(
            tasks=tasks, sources=sources, recipes=recipes, features=[], runs=runs, of_grids=True, needs_facts=False
        )
        if (point.task, point.source_id, point.recipe.recipe_id) in grids
    ]
    besides = gather_beside(harvested, tasks=tasks, recipes=recipes, features=features, runs=runs)
    kept = {"octave_groups": octaves, "own_curves": own_curves(known), "besides": besides}
    return sources, recipes, harvested, kept
