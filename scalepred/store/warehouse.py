"""The DuckDB warehouse: adds the rows of a harvest in whole transactions and reads them back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalepred.files import check_can_hold_files
from scalepred.recipe import GRID
from scalepred.records import (
    DIVERGED,
    DONE,
    KINDS,
    POINT,
    FeatureRecord,
    PredictionRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)
from scalepred.store import snapshot
from scalepred.store.checks import problems_of
from scalepred.store.connection import (
    SETTINGS,
    checkpoint,
    columns_and_types,
    connect_warehouse,
    transaction,
    value_of,
)
from scalepred.store.faults import translated, unusable
from scalepred.store.rows import KEYS, RecordT, as_column, as_row, columns_of, from_row, names_of, sent_type
from scalepred.store.text import file_of

_BATCH = 10_000

_GRIDS = """
    SELECT s.name, r.name, count(*) FILTER (WHERE n_of_grid = len($grid)), count(*), CAST(sum(n_runs) AS BIGINT)
    FROM (
        SELECT task_id, source_id, recipe_id, sum(n_runs) AS n_runs,
               count(*) FILTER (WHERE list_contains($grid, scale)) AS n_of_grid
        FROM (
            SELECT task_id, source_id, recipe_id, scale, count(*) AS n_runs
            FROM runs WHERE scale IS NOT NULL AND role != $point GROUP BY ALL)
        GROUP BY ALL)
    JOIN tasks USING (task_id) JOIN sources s USING (source_id) JOIN recipes r USING (recipe_id)
    GROUP BY ALL ORDER BY ALL"""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The counts of a warehouse.

    Attributes:
        migration: the last one, which names the schema.
        grids: a row for each source and recipe: names, whole grids, begun grids, runs.
    """

    path: str
    n_bytes: int
    migration: str
    tables: dict[str, int]
    n_origins: int
    n_done: int
    n_diverged: int
    last_finished_at: str | None
    grids: list[tuple[str, str, int, int, int]]


@dataclass(frozen=True)
class Warehouse:
    r"""An open warehouse.

    Rows are added and never changed; adding one that is there already does nothing. A run row exists if and only if its
    finetune finished: ``add_all`` is one transaction. Records are read as they were added, except that a lone
    surrogate, as undecodable file names have, comes back as the visible escape that it was stored as (``\udcff``).
    """

    connection: Any
    path: Path

    # --- writing ---

    def add_all(self, records: Sequence[Any]) -> None:
        """Add records of any kinds, all or none, those that others refer to first."""
        with transaction(self.connection):
            for table, kind in KINDS.items():
                self._insert(table, [record for record in records if isinstance(record, kind)])

    def _insert(self, table: str, records: Sequence[Any]) -> None:
        """Insert by statements whose parameters are columns; row by row it takes forty times as long."""
        types = columns_and_types(self.connection, table)
        cells = ", ".join(
            f"CAST(unnest(CAST(? AS {sent_type(types[name])}[])) AS {types[name]})" for name in names_of(table)
        )
        for start in range(0, len(records), _BATCH):
            rows = [as_row(record) for record in records[start : start + _BATCH]]
            columns = [
                as_column(types[name], column)
                for name, column in zip(names_of(table), zip(*rows, strict=True), strict=True)
            ]
            self.connection.execute(
                f"INSERT INTO {table} ({columns_of(table)}) SELECT {cells} ON CONFLICT DO NOTHING", columns
            )

    def checkpoint(self) -> None:
        """Have all rows in the file itself, so that it can be renamed once it is closed."""
        checkpoint(self.connection)

    # --- reading ---

    def tasks(self) -> list[TaskRecord]:
        """Return all tasks, by id."""
        return self._all("tasks", TaskRecord)

    def sources(self) -> list[SourceRecord]:
        """Return all sources, by id."""
        return self._all("sources", SourceRecord)

    def recipes(self) -> list[RecipeRecord]:
        """Return all recipes, by id."""
        return self._all("recipes", RecipeRecord)

    def features(self) -> list[FeatureRecord]:
        """Return all features, by key."""
        return self._all("features", FeatureRecord)

    def runs(self) -> list[RunRecord]:
        """Return all runs, by id."""
        return self._all("runs", RunRecord)

    def predictions(self) -> list[PredictionRecord]:
        """Return all predictions, by id."""
        return self._all("predictions", PredictionRecord)

    def keys(self, table: str) -> set[str]:
        """Return the ids of all rows of a table that has one id."""
        return {row[0] for row in self.connection.execute(f"SELECT {KEYS[table]} FROM {table}").fetchall()}

    def outcomes(self, source_ids: Sequence[str]) -> list[tuple[str, str, float | None, float | None, float | None]]:
        """Return run_id, status, validation accuracy and loss, and test accuracy of all runs of these sources."""
        query = (
            "SELECT run_id, status, val_accuracy, val_loss, test_accuracy FROM runs WHERE list_contains(?, source_id)"
        )
        rows: list[tuple[str, str, float | None, float | None, float | None]] = self.connection.execute(
            query, [list(source_ids)]
        ).fetchall()
        return rows

    def feature_names(self, source_ids: Sequence[str]) -> dict[tuple[str, str, str], set[str]]:
        """Return (task_id, source_id, feature_set) -> names of the features of these sources."""
        query = (
            "SELECT task_id, source_id, feature_set, list(name) FROM features "
            "WHERE list_contains(?, source_id) GROUP BY ALL"
        )
        rows = self.connection.execute(query, [list(source_ids)]).fetchall()
        return {(task_id, source_id, name_of_set): set(names) for task_id, source_id, name_of_set, names in rows}

    def _all(self, table: str, kind: Callable[..., RecordT]) -> list[RecordT]:
        rows = self.connection.execute(f"SELECT {columns_of(table)} FROM {table} ORDER BY {KEYS[table]}").fetchall()
        return [from_row(kind, names_of(table), row) for row in rows]

    def status(self) -> Status:
        """Count the rows of each table, the grids and the bytes."""
        tables = {table: value_of(self.connection, f"SELECT count(*) FROM {table}") for table in KINDS}
        grids = self.connection.execute(_GRIDS, {"grid": list(GRID), "point": POINT}).fetchall()
        return Status(
            path=str(self.path),
            n_bytes=self.path.stat().st_size,
            migration=value_of(self.connection, "SELECT max(name) FROM schema_migrations"),
            tables=tables,
            n_origins=value_of(self.connection, "SELECT count(DISTINCT origin) FROM tasks"),
            n_done=value_of(self.connection, f"SELECT count(*) FROM runs WHERE status = '{DONE}'"),
            n_diverged=value_of(self.connection, f"SELECT count(*) FROM runs WHERE status = '{DIVERGED}'"),
            last_finished_at=value_of(self.connection, "SELECT max(finished_at) FROM runs"),
            grids=grids,
        )

    def verify(self) -> list[str]:
        """Return what is wrong with the rows, in words; an empty list if nothing is."""
        return problems_of(self.connection)

    # --- snapshots ---

    def export_parquet(self, folder: Path, *, overwrite: bool = False) -> dict[str, int]:
        """Write a snapshot; returns the rows of each table. See :func:`scalepred.store.snapshot.export_parquet`."""
        return snapshot.export_parquet(self.connection, folder, path=self.path, overwrite=overwrite)

    def import_parquet(self, folder: Path) -> dict[str, int]:
        """Add a snapshot's rows; returns new rows by table. See :func:`scalepred.store.snapshot.import_parquet`."""
        return snapshot.import_parquet(self.connection, folder, path=self.path)


def check_usable(path: Path) -> None:
    """Check that rows can be added to a warehouse, or that it can be made, before there are any; makes none.

    Raises:
        Errors as ``open_warehouse``; without waiting while another process holds it.
    """
    try:
        file = file_of(path)
        is_there = file.exists()
        if not is_there:
            check_can_hold_files(file.parent)
    except OSError as error:
        raise unusable(path, error) from error
    if is_there:
        with open_warehouse(path, lock_timeout_seconds=0):
            pass


def import_snapshot(path: Path, folder: Path, *, lock_timeout_seconds: float) -> dict[str, int]:
    """Add a snapshot's rows to a warehouse, which is made if there is none; returns new rows by table.

    Raises:
        DataError: if the folder is no snapshot, or it is damaged; no warehouse is made for one.
        Others: as ``open_warehouse`` and ``Warehouse.import_parquet``.
    """
    snapshot.check_snapshot(folder)
    with open_warehouse(path, lock_timeout_seconds=lock_timeout_seconds) as store:
        return store.import_parquet(folder)


@contextmanager
def open_warehouse(path: Path, *, read_only: bool = False, lock_timeout_seconds: float = 10.0) -> Iterator[Warehouse]:
    """Open a warehouse, creating it first unless ``read_only``; it is closed at the end.

    One of an older schema is brought to this version's first, also for reading, after a backup beside it. A file that
    is refused is left as it is.

    Raises:
        DataError: if there is none to read.
        UsageError: if the path can't be a warehouse's, or can't be read or written there (no room, no permission).
        WarehouseBusyError: if another process holds it for longer than the timeout; names that process. Or if this
            process has it open in another mode.
        VersionError: if it is no DuckDB database, is damaged, or was written by a newer scalepred.
    """
    with opened(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=SETTINGS) as store:
        yield store


@contextmanager
def opened(
    path: Path, *, read_only: bool, lock_timeout_seconds: float, settings: Mapping[str, str]
) -> Iterator[Warehouse]:
    """Open a warehouse as ``open_warehouse`` does, with these settings of DuckDB's."""
    try:
        connection = connect_warehouse(
            path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=settings
        )
    except OSError as error:
        raise unusable(path, error) from error
    try:
        with translated(path):
            yield Warehouse(connection, path)
    finally:
        connection.close()
