"""`scalepred warehouse evaluate`: what ways of choosing a scale reach on design points that they never met."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options

if TYPE_CHECKING:
    from scalepred.predictor.points import Point

Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.svg", help="Also draw accuracy against jobs spent; takes matplotlib.", show_default=False
    ),
]
RangeTests = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.jsonl",
        help="What `python -m benchmarks.range_test` has written; range tests are then judged on these points.",
        show_default=False,
    ),
]


def evaluate(
    warehouse: options.WarehouseFile = None,
    min_steps: Annotated[
        int, typer.Option(min=1, help="Points whose jobs take so many steps are judged once more alone.")
    ] = 64,
    range_tests: RangeTests = None,
    plot: Plot = None,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Judge ways of choosing the scale on the design points: nothing is learnt from a point's origin or network.

    Takes points of at least three networks and three origins, as `scalepred harvest --draw` makes them, and minutes.
    """
    from scalepred.cli import output as out
    from scalepred.cli.progress import progress
    from scalepred.job.accuracy_plot import save_accuracy_plot
    from scalepred.job.line_plot import check_plot
    from scalepred.predictor.range_tests import read_range_tests
    from scalepred.predictor.wide_evaluation import evaluate_points
    from scalepred.predictor.wide_tables import tables_of
    from scalepred.processes import n_cores

    if plot is not None:
        check_plot(plot, instead="the tables have what it would show")
    tests = {} if range_tests is None else read_range_tests(range_tests)
    points = _points(options.warehouse_path(warehouse), lock_timeout)
    with progress("evaluating") as bar:
        evaluation = evaluate_points(
            points, min_steps=min_steps, tests=tests, n_processes=n_cores(), on_step=bar.update
        )
    if plot is not None:
        save_accuracy_plot(evaluation.rows, plot, held_out=evaluation.studied)
        out.note(f"plot: {plot}")
    if json:
        out.print_json({"schema": 2, **evaluation.to_json(), "plot": None if plot is None else str(plot)})
        return
    out.console().print(evaluation.summary())
    for table in tables_of(evaluation):
        out.console().print(f"\n{out.safe(table.title)}")
        out.console().print(out.table(table.headings, table.rows))


def _points(path: Path, lock_timeout: float) -> "list[Point]":
    from scalepred.predictor.points import gather_points
    from scalepred.store.warehouse import open_warehouse

    with open_warehouse(path, read_only=True, lock_timeout_seconds=lock_timeout) as store:
        return gather_points(
            tasks=store.tasks(),
            sources=store.sources(),
            recipes=store.recipes(),
            features=store.features(),
            runs=store.runs(),
        )
