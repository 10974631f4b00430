"""The DuckDB warehouse: what has been harvested, kept so that it can be trusted and queried."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from scalepred import migrations
from scalepred.config import GRID, Recipe, run_id
from scalepred.errors import DataError, UsageError, VersionError, WarehouseBusyError
from scalepred.records import (
    DIVERGED,
    DONE,
    FeatureRecord,
    PredictionRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)

TABLES: dict[str, type] = {
    "tasks": TaskRecord,
    "sources": SourceRecord,
    "recipes": RecipeRecord,
    "features": FeatureRecord,
    "runs": RunRecord,
    "predictions": PredictionRecord,
}
KEYS = {
    "tasks": "task_id",
    "sources": "source_id",
    "recipes": "recipe_id",
    "features": "task_id, source_id, feature_set, name",
    "runs": "run_id",
    "predictions": "prediction_id",
}
SNAPSHOT = "snapshot.json"
_JSON_FIELDS = {"label_counts", "facts", "versions", "predicted"}
_SETTINGS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
_CHUNK = 50_000
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a warehouse holds; ``grids`` has a row per source and recipe: names, whole grids, begun grids, runs."""

    path: str
    n_bytes: int
    schema: str
    tables: dict[str, int]
    n_origins: int
    n_done: int
    n_diverged: int
    last_finished_at: str | None
    grids: list[tuple[str, str, int, int, int]]


@dataclass(frozen=True)
class Warehouse:
    """An open warehouse.

    Rows are added and never changed; adding one that is there already does nothing. A run row exists if and only if its
    finetune finished: every ``add_`` is one transaction.
    """

    connection: Any
    path: Path

    # --- writing ---

    def add_task(self, task: TaskRecord) -> None:
        """Add a task."""
        self._add("tasks", [task])

    def add_source(self, source: SourceRecord) -> None:
        """Add a source."""
        self._add("sources", [source])

    def add_recipe(self, recipe: RecipeRecord) -> None:
        """Add a recipe."""
        self._add("recipes", [recipe])

    def add_features(self, features: Sequence[FeatureRecord]) -> None:
        """Add features, all or none."""
        self._add("features", features)

    def add_run(self, run: RunRecord) -> None:
        """Add a finished run."""
        self._add("runs", [run])

    def add_runs(self, runs: Sequence[RunRecord]) -> None:
        """Add finished runs, all or none."""
        self._add("runs", runs)

    def add_prediction(self, prediction: PredictionRecord) -> None:
        """Add what ``finetune --auto`` chose and what came out."""
        self._add("predictions", [prediction])

    def _add(self, table: str, records: Sequence[Any]) -> None:
        if not records:
            return
        marks = ", ".join("?" * len(fields(records[0])))
        with self._transaction():
            self.connection.executemany(
                f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING",
                [_as_row(record) for record in records],
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise

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

    def run_ids(self) -> set[str]:
        """Return the ids of all finished runs."""
        return {row[0] for row in self.connection.execute("SELECT run_id FROM runs").fetchall()}

    def _all(self, table: str, kind: Callable[..., _Record]) -> list[_Record]:
        names = [field.name for field in fields(TABLES[table])]
        columns = ", ".join(f'"{name}"' for name in names)
        rows = self.connection.execute(f"SELECT {columns} FROM {table} ORDER BY {KEYS[table]}").fetchall()
        return [_from_row(kind, names, row) for row in rows]

    def status(self) -> Status:
        """Count what is there."""
        tables = {table: self._one(f"SELECT count(*) FROM {table}") for table in TABLES}
        grids = self.connection.execute(
            "SELECT source, recipe, count(*) FILTER (WHERE n_scales >= ?), count(*), CAST(sum(n_runs) AS BIGINT) "
            "FROM grid_progress WHERE n_scales > 0 GROUP BY ALL ORDER BY ALL",
            [len(GRID)],
        ).fetchall()
        return Status(
            path=str(self.path),
            n_bytes=self.path.stat().st_size,
            schema=self._one("SELECT max(name) FROM schema_migrations"),
            tables=tables,
            n_origins=self._one("SELECT count(DISTINCT origin) FROM tasks"),
            n_done=self._one(f"SELECT count(*) FROM runs WHERE status = '{DONE}'"),
            n_diverged=self._one(f"SELECT count(*) FROM runs WHERE status = '{DIVERGED}'"),
            last_finished_at=self._one("SELECT max(finished_at) FROM runs"),
            grids=grids,
        )

    def verify(self) -> list[str]:
        """Return what is wrong with the rows, in words; an empty list if nothing is."""
        problems = []
        for words, query in _CHECKS.items():
            bad = self.connection.execute(f"{query} ORDER BY 1").fetchmany(4)
            if bad:
                shown = ", ".join(str(row[0]) for row in bad[:3])
                problems.append(f"{words}: {shown}{' …' if len(bad) > 3 else ''}")
        return problems + self._wrong_ids()

    def _wrong_ids(self) -> list[str]:
        """Recompute the ids of recipes and runs from their parts."""
        problems = [
            f"the recipe {recipe.recipe_id} is not the hash of its JSON"
            for recipe in self.recipes()
            if _recipe_id(recipe.json) != recipe.recipe_id
        ]
        cursor = self.connection.execute("SELECT run_id, task_id, source_id, recipe_id, scale, seed FROM runs")
        while rows := cursor.fetchmany(_CHUNK):
            for own, task_id, source_id, recipe_id, scale, seed in rows:
                parts = {"task_id": task_id, "source_id": source_id, "recipe_id": recipe_id}
                if run_id(**parts, scale=scale, seed=seed) != own:
                    problems.append(f"the run {own} is not the hash of its parts")
        return problems

    def _one(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]

    # --- snapshots ---

    def export_parquet(self, folder: Path) -> dict[str, int]:
        """Write one Parquet file for each table, rows in the order of their keys, and ``snapshot.json`` last.

        A file appears under its name only once it is whole. Returns the rows of each table.
        """
        folder.mkdir(parents=True, exist_ok=True)
        counts = {}
        for table, key in KEYS.items():
            temporary = folder / f".{table}.parquet.{os.getpid()}"
            self.connection.execute(
                f"COPY (SELECT * FROM {table} ORDER BY {key}) TO {_quoted(temporary)} "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
            temporary.replace(folder / f"{table}.parquet")
            counts[table] = self._one(f"SELECT count(*) FROM {table}")
        about = {"migrations": migrations.applied(self.connection), "rows": counts}
        temporary = folder / f".{SNAPSHOT}.{os.getpid()}"
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        temporary.replace(folder / SNAPSHOT)
        return counts

    def import_parquet(self, folder: Path) -> dict[str, int]:
        """Add a snapshot's rows, all of them or none; rows that are there already stay. Returns new rows by table.

        Raises:
            DataError: if the folder is no snapshot, or a file is missing, damaged or of other columns.
            VersionError: if a newer scalepred wrote it.
        """
        _check_snapshot(folder)
        new = {}
        try:
            with self._transaction():
                for table, record in TABLES.items():
                    file = _quoted(folder / f"{table}.parquet")
                    columns = ", ".join(f'"{field.name}"' for field in fields(record))
                    before = self._one(f"SELECT count(*) FROM {table}")
                    self.connection.execute(
                        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM read_parquet({file}) "
                        "ON CONFLICT DO NOTHING"
                    )
                    new[table] = self._one(f"SELECT count(*) FROM {table}") - before
        except duckdb.Error as error:
            raise DataError(f"The snapshot at {folder} can't be imported: {_first_line(error)}") from error
        return new


# --- opening ----------------------------------------------------------------------------------------------------------


@contextmanager
def open_warehouse(path: Path, *, read_only: bool = False, lock_timeout_seconds: float = 10.0) -> Iterator[Warehouse]:
    """Open a warehouse, creating or migrating it first unless ``read_only``; it is closed at the end.

    Raises:
        DataError: if there is none to read.
        WarehouseBusyError: if another process holds it for longer than the timeout; names that process.
        VersionError: if it is no DuckDB database, is damaged, or was written by a newer scalepred.
    """
    if read_only and not path.exists():
        raise DataError(f"There is no warehouse at {path}: fill one with `scalepred harvest`, or import a snapshot.")
    _prepare(path, lock_timeout_seconds)
    connection = _connect(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds)
    try:
        yield Warehouse(connection, path)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    finally:
        connection.close()


def query(path: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a user's SQL where it can read the warehouse and touch nothing else; return column names and rows.

    Raises:
        UsageError: with DuckDB's message, if the SQL is wrong or wants more than to read.
    """
    with open_warehouse(path, read_only=True) as store:
        store.connection.execute("SET enable_external_access = false")
        store.connection.execute("SET lock_configuration = true")
        try:
            cursor = store.connection.execute(sql)
            columns = [column[0] for column in cursor.description or []]
            return columns, cursor.fetchall() if columns else []
        except duckdb.Error as error:
            raise UsageError(f"The query failed: {str(error).strip()}") from error


def _prepare(path: Path, lock_timeout_seconds: float) -> None:
    """Create or migrate the file where it needs it, after a backup of what is there."""
    known = migrations.packaged()
    new = not path.exists()
    if not new:
        connection = _connect(path, read_only=True, lock_timeout_seconds=lock_timeout_seconds)
        try:
            done = migrations.applied(connection)
            names = migrations.pending(connection, known, where=f"The warehouse {path}")
        finally:
            connection.close()
        if not names:
            return
        if not done:
            raise VersionError(f"{path} is a DuckDB database, but not a warehouse: give another path.")
        migrations.back_up(path, last=done[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path, read_only=False, lock_timeout_seconds=lock_timeout_seconds)
    try:  # another process may have been quicker
        migrations.migrate(connection, known, migrations.pending(connection, known, where=f"The warehouse {path}"))
    finally:
        connection.close()


def _connect(path: Path, *, read_only: bool, lock_timeout_seconds: float) -> Any:
    deadline = time.monotonic() + lock_timeout_seconds
    wait = 0.02
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=dict(_SETTINGS))
        except duckdb.Error as error:
            if "lock" not in str(error).lower():
                raise _unreadable(path, error) from error
            if time.monotonic() + wait > deadline:
                raise _busy(path, error, lock_timeout_seconds) from error
        time.sleep(wait)
        wait = min(2 * wait, 0.5)


def _busy(path: Path, error: Exception, waited_seconds: float) -> WarehouseBusyError:
    found = re.search(r"PID (\d+)", str(error))
    holder = f"process {found[1]}" if found else "another process"
    return WarehouseBusyError(
        f"The warehouse {path} is held by {holder} (waited {waited_seconds:g} s). "
        "Try again when that is done, or wait longer with --lock-timeout."
    )


def _unreadable(path: Path, error: Exception) -> VersionError:
    return VersionError(
        f"{path} can't be used as a warehouse: {_first_line(error)} "
        "It was left as it is; move it away, or give another path with --warehouse."
    )


def _check_snapshot(folder: Path) -> None:
    try:
        about = json.loads((folder / SNAPSHOT).read_text(encoding="utf-8"))
        names = list(about["migrations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no snapshot: {SNAPSHOT} is missing or can't be read ({error}).") from error
    migrations.check_known(names, where=f"The snapshot at {folder}", known=migrations.packaged())
    missing = [f"{table}.parquet" for table in TABLES if not (folder / f"{table}.parquet").is_file()]
    if missing:
        raise DataError(f"The snapshot at {folder} lacks {', '.join(missing)}: copy it again as a whole.")


# --- rows -------------------------------------------------------------------------------------------------------------


def _as_row(record: Any) -> tuple[Any, ...]:
    names = [field.name for field in fields(record)]
    return tuple(
        json.dumps(value) if name in _JSON_FIELDS else [list(row) for row in value] if name == "rates" else value
        for name, value in zip(names, _shallow(record), strict=True)
    )


def _shallow(record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, field.name) for field in fields(record))


def _from_row(kind: Callable[..., _Record], names: Sequence[str], row: Sequence[Any]) -> _Record:
    values = dict(zip(names, row, strict=True))
    for name in _JSON_FIELDS & set(names):
        values[name] = json.loads(values[name])
    if "rates" in values:
        values["rates"] = [tuple(rates) for rates in values["rates"]]
    return kind(**values)


def _recipe_id(text: str) -> str | None:
    try:
        return Recipe.from_json(text).recipe_id
    except UsageError:
        return None


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _orphans(table: str, parent: str, key: str, *, own: str) -> str:
    return f"SELECT DISTINCT {own} FROM {table} WHERE {key} NOT IN (SELECT {key} FROM {parent})"


def _miscounted(split: str) -> str:
    """Runs whose accuracy is not what their bits say, or whose bits are too few or too many for the split."""
    return f"""
        SELECT run_id FROM runs JOIN tasks USING (task_id)
        WHERE {split}_accuracy IS NOT NULL AND (
            {split}_correct IS NULL
            OR octet_length({split}_correct) != (n_{split} + 7) // 8
            OR abs(bit_count(CAST({split}_correct AS BIT)) - n_{split} * {split}_accuracy) > 1e-6)"""


_CHECKS = {
    "runs of unknown tasks": _orphans("runs", "tasks", "task_id", own="run_id"),
    "runs of unknown sources": _orphans("runs", "sources", "source_id", own="run_id"),
    "runs of unknown recipes": _orphans("runs", "recipes", "recipe_id", own="run_id"),
    "features of unknown tasks": _orphans("features", "tasks", "task_id", own="task_id"),
    "features of unknown sources": _orphans("features", "sources", "source_id", own="source_id"),
    "runs of unknown status": f"SELECT run_id FROM runs WHERE status NOT IN ('{DONE}', '{DIVERGED}')",
    "done runs without a validation accuracy": (
        f"SELECT run_id FROM runs WHERE status = '{DONE}' AND val_accuracy IS NULL"
    ),
    "done runs without a test accuracy, though their task has test pictures": (
        "SELECT run_id FROM runs JOIN tasks USING (task_id) "
        f"WHERE status = '{DONE}' AND test_accuracy IS NULL AND n_test > 0"
    ),
    "diverged runs with an accuracy, or without a step": (
        f"SELECT run_id FROM runs WHERE status = '{DIVERGED}' "
        "AND (val_accuracy IS NOT NULL OR test_accuracy IS NOT NULL OR diverged_step IS NULL)"
    ),
    "accuracies outside 0..1": (
        "SELECT run_id FROM runs WHERE NOT coalesce(val_accuracy BETWEEN 0 AND 1, true) "
        "OR NOT coalesce(test_accuracy BETWEEN 0 AND 1, true)"
    ),
    "validation accuracies that differ from their bits": _miscounted("val"),
    "test accuracies that differ from their bits": _miscounted("test"),
    "runs without a positive duration": "SELECT run_id FROM runs WHERE NOT seconds > 0",
    "runs whose rates are not one for each stage and epoch": (
        "SELECT run_id FROM runs JOIN recipes USING (recipe_id) "
        "WHERE CASE WHEN json_valid(json) THEN len(rates) != CAST(json->>'$.epochs' AS INTEGER) ELSE false END "
        "OR len(list_filter(rates, lambda rate: len(rate) != 6)) > 0"
    ),
    "features that are not finite": "SELECT task_id FROM features WHERE NOT isfinite(value)",
}
