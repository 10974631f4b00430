"""`scalepred warehouse`: look into the warehouse, check it, copy it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from scalepred.cli import options
from scalepred.cli.warehouse_evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from scalepred.store.warehouse import Status

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
SHOWN_ROWS = 1_000
"""Rows that a table shows at most; JSON and CSV have all."""

Snapshot = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of Parquet files.", show_default=False)]


@app.command("status")
def status(
    warehouse: options.WarehouseFile = None, lock_timeout: options.LockTimeout = 10.0, json: options.Json = False
) -> None:
    """Count tasks, origins, runs and whole grids."""
    import dataclasses

    from scalepred.cli import output as out
    from scalepred.store.warehouse import open_warehouse

    with open_warehouse(options.warehouse_path(warehouse), read_only=True, lock_timeout_seconds=lock_timeout) as store:
        counts = store.status()
    if json:
        names = ("source", "recipe", "whole_grids", "begun_grids", "runs")
        grids = [dict(zip(names, grid, strict=True)) for grid in counts.grids]
        out.print_json({"schema": 2, **dataclasses.asdict(counts), "grids": grids})
    else:
        _show_status(counts)


@app.command("verify")
def verify(
    warehouse: options.WarehouseFile = None, lock_timeout: options.LockTimeout = 10.0, json: options.Json = False
) -> None:
    """Check every row: ids, accuracies against their bits, orphans. Ends with exit code 3 if something is wrong."""
    from scalepred.cli import output as out
    from scalepred.store.warehouse import open_warehouse

    path = options.warehouse_path(warehouse)
    with open_warehouse(path, read_only=True, lock_timeout_seconds=lock_timeout) as store:
        problems = store.verify()
    if json:
        out.print_json({"schema": 2, "problems": problems})
    else:
        for problem in problems:
            out.console().print(out.safe(problem), soft_wrap=True)
        out.notes().print(f"kinds of problems: {len(problems)}" if problems else "nothing is wrong")
    if problems:
        raise typer.Exit(3)


@app.command("export")
def export(
    folder: Snapshot,
    warehouse: options.WarehouseFile = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a snapshot that is there even if it has runs that are lacking.")
    ] = False,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Write a snapshot: one Parquet file for each table."""
    from scalepred.store.warehouse import open_warehouse

    with open_warehouse(options.warehouse_path(warehouse), read_only=True, lock_timeout_seconds=lock_timeout) as store:
        counts = store.export_parquet(folder, overwrite=overwrite)
    _show_counts("exported", counts, json=json)


@app.command("import")
def import_(
    folder: Snapshot,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Add a snapshot's rows; rows that are there already stay as they are."""
    from scalepred.store.warehouse import import_snapshot

    counts = import_snapshot(options.warehouse_path(warehouse), folder, lock_timeout_seconds=lock_timeout)
    _show_counts("imported", counts, json=json)


@app.command("rebuild")
def rebuild(
    snapshot: Annotated[
        list[Path] | None,
        typer.Option(help="A snapshot to import too; may be given several times.", show_default=False),
    ] = None,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Make the warehouse again from its journal, and from snapshots; the old file is kept under another name."""
    from scalepred.cli import output as out
    from scalepred.store.journal import journal_of
    from scalepred.store.keeping import Keeper

    path = options.warehouse_path(warehouse)
    journal = journal_of(path)
    keeper = Keeper(path, journal, lock_timeout_seconds=lock_timeout)
    with journal.held(lock_timeout_seconds=lock_timeout):
        aside, warnings = keeper.rebuild(snapshot or [])
    for words in [*([f"the old warehouse was kept as {aside}"] if aside else []), *warnings]:
        out.note(words)
    status(warehouse=path, lock_timeout=lock_timeout, json=json)


@app.command("query")
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT.", show_default=False)],
    warehouse: options.WarehouseFile = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV; text that a spreadsheet would obey begins with an apostrophe.")
    ] = False,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Run SQL that can read the warehouse and touch nothing else."""
    from scalepred.cli import output as out
    from scalepred.errors import UsageError
    from scalepred.store import query as store

    if csv and json:
        raise UsageError("Give --json or --csv, not both.")
    path = options.warehouse_path(warehouse)
    columns, rows = _waited_for(lambda: store.query(path, sql, lock_timeout_seconds=lock_timeout))
    with out.until_nobody_reads():
        if json:
            out.print_json({"schema": 2, "columns": columns, "rows": [[_plain(cell) for cell in row] for row in rows]})
        elif csv:
            _print_csv(columns, rows)
        else:
            _show_rows(columns, rows)


@app.command("report")
def report(
    output: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file, which is replaced. Default: the warehouse's name with -report.html, in the current "
            "folder.",
            show_default=False,
        ),
    ] = None,
    warehouse: options.WarehouseFile = None,
    lock_timeout: options.LockTimeout = 10.0,
    json: options.Json = False,
) -> None:
    """Write a page: how far the grids are, the curves, and the best scales."""
    from scalepred.cli import output as out
    from scalepred.job.report_html import check_page, write_page
    from scalepred.job.report_warehouse import warehouse_report

    path = options.warehouse_path(warehouse)
    page = Path(f"{path.stem}-report.html") if output is None else output
    check_page(page)
    html = _waited_for(lambda: warehouse_report(path, lock_timeout_seconds=lock_timeout, command=out.typed()))
    write_page(page, html)
    if json:
        out.print_json({"schema": 2, "report": str(page)})
    else:
        out.note(f"report: {page}")


app.command("evaluate")(evaluate)


def _waited_for(work: "Callable[[], T]") -> "T":
    """Return what some work gives that only reads; an interrupt ends the wait for it at once.

    DuckDB may heed an interrupt of its own thread only after hours, so the work has another one, which the process
    leaves behind when it ends.
    """
    import threading
    from concurrent.futures import Future

    result: Future[T] = Future()

    def do() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # whoever waits gets it
            result.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    return result.result()


def _show_status(status: "Status") -> None:
    from scalepred.cli import output as out

    console = out.console()
    console.print(
        f"{out.safe(status.path)}: {status.n_bytes / 1e6:.1f} MB, schema {out.safe(status.migration)}", soft_wrap=True
    )
    console.print(", ".join(f"{n} {table}" for table, n in status.tables.items()) + f"; {status.n_origins} origins")
    last = out.safe(status.last_finished_at or "never")
    console.print(f"runs: {status.n_done} done, {status.n_diverged} diverged; last {last}")
    if status.grids:
        console.print(out.table(("source", "recipe", "whole grids", "begun", "runs"), status.grids))


def _show_counts(what: str, counts: dict[str, int], *, json: bool) -> None:
    from scalepred.cli import output as out

    if json:
        out.print_json({"schema": 2, "rows": counts})
    else:
        out.console().print(f"{what}: " + ", ".join(f"{n} {table}" for table, n in counts.items()))


def _show_rows(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from scalepred.cli import output as out

    out.console().print(out.table(columns, ([_flat(cell) for cell in row] for row in rows[:SHOWN_ROWS])))
    if len(rows) > SHOWN_ROWS:
        out.notes().print(f"… and {len(rows) - SHOWN_ROWS} more rows; --csv and --json print all")


def _print_csv(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from scalepred.cli.spreadsheet import print_rows

    print_rows([columns, *([_flat(cell) for cell in row] for row in rows)])


def _flat(cell: Any) -> Any:
    """Return a cell as one value: as in JSON, lists and structures as their JSON text."""
    import json

    plain = _plain(cell)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else plain


def _plain(cell: Any) -> Any:
    """Return a cell as a JSON value: bytes as hex, and what JSON lacks as text."""
    import math

    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, list | tuple):
        return [_plain(each) for each in cell]
    if isinstance(cell, dict):
        return {str(key): _plain(value) for key, value in cell.items()}
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    return cell if cell is None or isinstance(cell, str | int | float) else str(cell)
