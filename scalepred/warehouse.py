"""The DuckDB warehouse: what has been harvested, kept so that it can be trusted and queried."""

import datetime
import errno
import itertools
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from scalepred import migrations
from scalepred.config import GRID, Recipe, run_id
from scalepred.errors import DamagedError, DataError, ScalepredError, UsageError, VersionError, WarehouseBusyError
from scalepred.files import appearing, sha256
from scalepred.records import (
    DIVERGED,
    DONE,
    EXTENSION,
    KINDS,
    ROLES,
    FeatureRecord,
    PredictionRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)

KEYS = {
    "tasks": "task_id",
    "sources": "source_id",
    "recipes": "recipe_id",
    "features": "task_id, source_id, feature_set, name",
    "runs": "run_id",
    "predictions": "prediction_id",
}
SNAPSHOT = "snapshot.json"
_JSON_FIELDS = {"label_counts", "facts", "versions", "predicted", "execution"}
_ADDED = {"runs": ("role", "execution")}
"""Columns that snapshots of older schemas lack, and that take their defaults then."""

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1500MB",  # beyond it DuckDB spills to the disk; its own default is 80 % of the machine
    "threads": str(min(4, os.cpu_count() or 1)),  # each wants its share of that
}
_READS_ONLY_ITSELF = {"enable_external_access": "false", "lock_configuration": "true"}
_DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
_OS_REASONS = tuple(
    os.strerror(getattr(errno, name))
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "EMFILE")
    if hasattr(errno, name)
)
_HELD = re.compile(r"Could not set lock on file|being used by another process")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CHUNK = 50_000
_BATCH = 10_000
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a warehouse holds.

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
    finetune finished: ``add_all`` is one transaction. What is read equals what was added, except that a lone
    surrogate, as undecodable file names have, comes back as the visible escape that it was stored as (``\udcff``).
    """

    connection: Any
    path: Path

    # --- writing ---

    def add_all(self, records: Sequence[Any]) -> None:
        """Add records of any kinds, all or none, those that others refer to first."""
        with self._transaction():
            for table, kind in KINDS.items():
                self._insert(table, [record for record in records if isinstance(record, kind)])

    def _insert(self, table: str, records: Sequence[Any]) -> None:
        """Insert by statements whose parameters are columns; row by row it takes forty times as long."""
        types = self._columns_and_types(table)
        cells = ", ".join(f"CAST(unnest(CAST(? AS {_sent(types[name])}[])) AS {types[name]})" for name in _names(table))
        for start in range(0, len(records), _BATCH):
            rows = [_as_row(record) for record in records[start : start + _BATCH]]
            columns = [
                _as_column(types[name], column)
                for name, column in zip(_names(table), zip(*rows, strict=True), strict=True)
            ]
            self.connection.execute(
                f"INSERT INTO {table} ({_columns(table)}) SELECT {cells} ON CONFLICT DO NOTHING", columns
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a COMMIT that failed has rolled back already
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

    def keys(self, table: str) -> set[str]:
        """Return the ids of all rows of a table that has one id."""
        return {row[0] for row in self.connection.execute(f"SELECT {KEYS[table]} FROM {table}").fetchall()}

    def outcomes(self, source_ids: Sequence[str]) -> list[tuple[str, str, float | None, float | None]]:
        """Return run_id, status, validation accuracy and loss of all runs of these sources."""
        query = "SELECT run_id, status, val_accuracy, val_loss FROM runs WHERE list_contains(?, source_id)"
        rows: list[tuple[str, str, float | None, float | None]] = self.connection.execute(
            query, [list(source_ids)]
        ).fetchall()
        return rows

    def feature_names(self, source_ids: Sequence[str]) -> dict[tuple[str, str, str], set[str]]:
        """Return (task_id, source_id, feature_set) -> names of the features of these sources."""
        query = (
            "SELECT task_id, source_id, feature_set, list(name) FROM features "
            "WHERE list_contains(?, source_id) GROUP BY ALL"
        )
        found = self.connection.execute(query, [list(source_ids)]).fetchall()
        return {(task_id, source_id, name_of_set): set(names) for task_id, source_id, name_of_set, names in found}

    def _all(self, table: str, kind: Callable[..., _Record]) -> list[_Record]:
        rows = self.connection.execute(f"SELECT {_columns(table)} FROM {table} ORDER BY {KEYS[table]}").fetchall()
        return [_from_row(kind, _names(table), row) for row in rows]

    def status(self) -> Status:
        """Count what is there."""
        tables = {table: self._one(f"SELECT count(*) FROM {table}") for table in KINDS}
        grids = self.connection.execute(_GRIDS, {"grid": list(GRID)}).fetchall()
        return Status(
            path=str(self.path),
            n_bytes=self.path.stat().st_size,
            migration=self._one("SELECT max(name) FROM schema_migrations"),
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
            problems += _problem(words, [str(row[0]) for row in bad])
        return problems + self._wrong_ids()

    def _wrong_ids(self) -> list[str]:
        """Recompute the ids of recipes and runs from their parts."""
        recipes = self.connection.execute("SELECT recipe_id, json FROM recipes ORDER BY 1").fetchall()
        wrong = [own for own, text in recipes if _recipe_id(text) != own]
        problems = _problem("recipes whose id is not the hash of their JSON", wrong)
        cursor = self.connection.execute("SELECT run_id, task_id, source_id, recipe_id, scale, seed FROM runs")
        wrong = []
        while rows := cursor.fetchmany(_CHUNK):
            wrong += [row[0] for row in rows if _run_id(*row[1:]) != row[0]]
        return problems + _problem("runs whose id is not the hash of their parts", sorted(wrong))

    def _one(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]

    # --- snapshots ---

    def export_parquet(self, folder: Path) -> dict[str, int]:
        """Write one Parquet file for each table, rows in the order of their keys, and ``snapshot.json`` last.

        All tables are of one moment. A file appears under its name only once it is whole, and ``snapshot.json`` holds
        its hash, so that a snapshot that was stopped half-way, or was mixed from two, can't be imported. Returns the
        rows of each table.

        Raises:
            UsageError: if the folder can't be written.
        """
        counts: dict[str, int] = {}
        hashes: dict[str, str] = {}
        try:
            _make_folder(folder)
            with self._transaction():
                for table, key in KEYS.items():
                    with appearing(folder / f"{table}.parquet") as file:
                        self.connection.execute(
                            f"COPY (SELECT {_columns(table)} FROM {table} ORDER BY {key}) TO {_quoted(file)} "
                            "(FORMAT parquet, COMPRESSION zstd)"
                        )
                        hashes[table] = _sha256(file)
                    counts[table] = self._one(f"SELECT count(*) FROM {table}")
                about = {"migrations": migrations.applied(self.connection), "rows": counts, "sha256": hashes}
            with appearing(folder / SNAPSHOT) as file:
                file.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        except (OSError, duckdb.IOException) as error:
            raise UsageError(
                f"The snapshot can't be written to {folder}: {_reason(error)}. Make room, or give another folder."
            ) from error
        return counts

    def import_parquet(self, folder: Path) -> dict[str, int]:
        """Add a snapshot's rows, all of them or none; rows that are there already stay. Returns new rows by table.

        Raises:
            DataError: if the folder is no snapshot, or a file is missing, damaged or of other columns.
            VersionError: if a newer scalepred wrote it.
            UsageError: if the warehouse can't be written.
        """
        _check_snapshot(folder)
        try:
            with self._transaction():
                return {table: self._import_table(table, folder / f"{table}.parquet") for table in KINDS}
        except duckdb.Error as error:
            if _of_the_system(error):
                raise _unusable(self.path, error) from error
            raise DataError(f"The snapshot at {folder} can't be imported: {_first_line(error)}") from error

    def _import_table(self, table: str, file: Path) -> int:
        # a folder named like origin=3 would otherwise overrule the column of that name
        rows = f"read_parquet({_quoted(file)}, hive_partitioning = false)"
        wanted, found = self._columns_and_types(table), self._columns_and_types(rows)
        added = {name: kind for name, kind in wanted.items() if name in _ADDED.get(table, ()) and name not in found}
        if wanted != found | added:
            other = sorted(f"{name} {kind}" for name, kind in wanted.items() ^ (found | added).items())
            raise DataError(f"{file} has other columns than this version's {table}: {', '.join(other)}.")
        before = self._one(f"SELECT count(*) FROM {table}")
        columns = ", ".join(f'"{name}"' for name in found)
        # ON CONFLICT DO NOTHING looks up every row by itself, and took five times as long for a million
        self.connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows} ANTI JOIN {table} USING ({KEYS[table]})"
        )
        return int(self._one(f"SELECT count(*) FROM {table}") - before)

    def _columns_and_types(self, rows: str) -> dict[str, str]:
        return {row[0]: row[1] for row in self.connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}


# --- opening ----------------------------------------------------------------------------------------------------------


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
    with _opened(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=_SETTINGS) as store:
        yield store


def query(path: Path, sql: str, *, lock_timeout_seconds: float = 10.0) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one SELECT of a user's where it can read the warehouse and touch nothing else; return columns and rows.

    Raises:
        UsageError: with DuckDB's message, if the SQL is wrong or wants more than to read.
        Others: as ``open_warehouse``.
    """
    settings = _SETTINGS | _READS_ONLY_ITSELF
    with _opened(path, read_only=True, lock_timeout_seconds=lock_timeout_seconds, settings=settings) as store:
        try:
            _check_query(store.connection, sql)
            cursor = store.connection.execute(sql)
            _check_shown(cursor.description)
            return [column[0] for column in cursor.description], cursor.fetchall()
        except duckdb.Error as error:
            if _of_the_file(error):
                raise
            raise UsageError(f"The query failed: {_query_problem(error)}") from error


_ZONED = "times with a zone can't be shown as they are; use CAST(… AS VARCHAR)."


def _check_query(connection: Any, sql: str) -> None:
    """Raise UsageError unless the SQL is one statement that reads; what it reads is limited by the settings."""
    if _LONE_SURROGATE.search(sql):
        raise UsageError("The query failed: it is not valid UTF-8.")
    kinds = [statement.type.name for statement in connection.extract_statements(sql)]
    if len(kinds) != 1:
        raise UsageError(f"The query failed: give one statement, not {len(kinds)}.")
    if kinds[0] not in ("SELECT", "EXPLAIN", "MULTI"):  # PIVOT is MULTI
        raise UsageError(f"The query failed: only SELECT can be run here, not {kinds[0]}.")


def _check_shown(description: Any) -> None:
    """Raise UsageError for times with a zone, which only some of DuckDB's versions can show (2.0.1, not 2.0.0)."""
    if any("WITH TIME ZONE" in str(column[1]) for column in description):
        raise UsageError(f"The query failed: {_ZONED}")


def _query_problem(error: Exception) -> str:
    if "'pytz'" in str(error):
        return _ZONED
    return str(error).strip()


@contextmanager
def _opened(
    path: Path, *, read_only: bool, lock_timeout_seconds: float, settings: Mapping[str, str]
) -> Iterator[Warehouse]:
    try:
        connection = _open(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=settings)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        with _understood(path):
            yield Warehouse(connection, path)
    finally:
        connection.close()


def _open(path: Path, *, read_only: bool, lock_timeout_seconds: float, settings: Mapping[str, str]) -> Any:
    """Return a connection to a warehouse of this version's schema."""
    known = migrations.packaged()
    file = _file(path)
    if not file.exists():
        if read_only:
            raise DataError(
                f"There is no warehouse at {path}: fill one with `scalepred harvest`, or import a snapshot."
            )
        _create(path, known)
    elif not file.is_file():
        raise UsageError(f"{path} is no file, so it can't be a warehouse: give another path with --warehouse.")

    def connect(*, read_only: bool, settings: Mapping[str, str] = _SETTINGS) -> Any:
        return _connect(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=settings)

    connection = connect(read_only=read_only, settings=settings)
    if not _pending(connection, path, known):
        return connection
    connection.close()
    _bring_forward(path, known, connect)
    return connect(read_only=read_only, settings=settings)


def _file(path: Path) -> Path:
    """Return the file that a path means, so that DuckDB takes it for nothing else (``~``, ``md:``, ``https:``)."""
    if _LONE_SURROGATE.search(str(path)):
        raise UsageError(f"{_storable(str(path))} is not valid UTF-8, so DuckDB can't open it: give another path.")
    return Path(os.path.realpath(path))


def _create(path: Path, known: Mapping[str, str]) -> None:
    """Make an empty warehouse beside the path and then put it there: it exists whole, or not at all."""
    file = _file(path)
    _make_folder(file.parent)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        connection = _connect(temporary, read_only=False, lock_timeout_seconds=0, settings=_SETTINGS, shown=path)
        try:
            with _understood(path):
                migrations.migrate(connection, known, list(known))
                connection.execute("CHECKPOINT")  # at the end DuckDB would do it too, but say nothing if it fails
        finally:
            connection.close()
        _link(temporary, file)
    finally:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}.wal")):
            leftover.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _link(temporary: Path, file: Path) -> None:
    """Give a file its name, unless another process was quicker and holds rows there by now."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not file.exists():
            temporary.rename(file)


def _bring_forward(path: Path, known: Mapping[str, str], connect: Callable[..., Any]) -> None:
    """Back an older warehouse up and migrate it, unless another process has done so by now."""
    connection = connect(read_only=False)
    try:
        if not _pending(connection, path, known):
            return
        with _understood(path):
            last = migrations.applied(connection)[-1]
            connection.execute("CHECKPOINT")  # the backup is a copy of the file, so nothing may be in the WAL
    finally:
        connection.close()
    migrations.back_up(_file(path), last=last)
    connection = connect(read_only=False)
    try:
        with _understood(path):
            migrations.migrate(connection, known, _pending(connection, path, known))
    finally:
        connection.close()


def _pending(connection: Any, path: Path, known: Mapping[str, str]) -> list[str]:
    """Return the migrations that a warehouse needs; close the connection and raise if it is none, or newer."""
    try:
        return migrations.pending(migrations.applied(connection), known, where=f"The warehouse {path}")
    except (duckdb.CatalogException, duckdb.BinderException, migrations.ForeignError) as error:
        connection.close()
        raise VersionError(f"{path} is a DuckDB database, but not a warehouse: give another path.") from error
    except duckdb.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise


def _connect(
    path: Path,
    *,
    read_only: bool,
    lock_timeout_seconds: float,
    settings: Mapping[str, str],
    shown: Path | None = None,
) -> Any:
    """Return DuckDB's connection to a file, waiting while another process holds it; ``shown`` is its name in errors."""
    deadline = time.monotonic() + lock_timeout_seconds
    wait_seconds = 0.02
    while True:
        try:
            return duckdb.connect(str(_file(path)), read_only=read_only, config=dict(settings))
        except duckdb.ConnectionException as error:
            raise WarehouseBusyError(
                f"This process has the warehouse {path} open already, in another mode: close it there first."
            ) from error
        except duckdb.Error as error:
            if not _HELD.search(str(error)):
                raise _unusable(shown or path, error) from error
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise _busy(path, error, lock_timeout_seconds) from error
        time.sleep(min(wait_seconds, left_seconds))
        wait_seconds = min(2 * wait_seconds, 0.5)


def set_aside(path: Path) -> Path:
    """Move a database that can't be opened, and its WAL, to names that end in ``.corrupt-<time>``; return the first.

    Nothing is overwritten and nothing deleted.

    Raises:
        UsageError: if the files can't be renamed.
    """
    file = _file(path)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    names = itertools.chain([f".corrupt-{now}"], (f".corrupt-{now}-{n}" for n in itertools.count(2)))
    asides = (file.with_name(file.name + ending) for ending in names)
    aside = next(each for each in asides if not (each.exists() or _wal(each).exists()))
    try:
        file.rename(aside)  # before its WAL: alone it might open, without the rows that are in there
        if _wal(file).exists():
            _wal(file).rename(_wal(aside))
    except OSError as error:
        raise _unusable(path, error) from error
    return aside


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def _busy(path: Path, error: Exception, waited_seconds: float) -> WarehouseBusyError:
    found = re.search(r"PID (\d+)", str(error))
    holder = f"process {found[1]}" if found else "another process"
    return WarehouseBusyError(
        f"The warehouse {path} is held by {holder} (waited {waited_seconds:g} s). "
        "Try again when that is done, or wait longer with --lock-timeout."
    )


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Tell errors of a warehouse's file as what the user can mend."""
    try:
        yield
    except duckdb.Error as error:
        if _of_the_file(error):
            raise _unusable(path, error) from error
        raise


def _of_the_file(error: Exception) -> bool:
    """Tell errors of the file from errors of the SQL; DuckDB 2 raises a wrong checksum as a plain Error."""
    return isinstance(error, _DAMAGE) or type(error) is duckdb.Error or _of_the_system(error)


def _of_the_system(error: Exception) -> bool:
    """Tell whether the system refused to read or write; a COMMIT that it refused is a TransactionException."""
    could = isinstance(error, (*_DAMAGE, duckdb.TransactionException))
    return isinstance(error, OSError) or (could and any(reason in str(error) for reason in _OS_REASONS))


def _unusable(path: Path, error: Exception) -> ScalepredError:
    """Return the error for a file that can't be read or written, or that is no sound database."""
    if _of_the_system(error):
        return UsageError(
            f"The warehouse {path} can't be read or written: {_reason(error)}. What is stored stays as it was; "
            "make room or mend the path, or give another with --warehouse, and run the same command again."
        )
    left = "It was left as it is; move it away, or give another path with --warehouse."
    said = str(error).replace(str(_file(path)), "")
    if "xtension" in said:  # DuckDB offers one for what it takes for a database of another kind
        return VersionError(f"{path} can't be used as a warehouse: It is a database of another kind. {left}")
    return DamagedError(
        f"{path} can't be used as a warehouse: {_first_line(error)} {left} "
        "If it was one, `scalepred warehouse rebuild` makes it again."
    )


def _reason(error: Exception) -> str:
    """Return the system's own words, such as "No space left on device"."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next((reason for reason in _OS_REASONS if reason in str(error)), _first_line(error).rstrip("."))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _problem(words: str, ids: Sequence[str]) -> list[str]:
    """Return one line for what is wrong with some rows, naming the first three; none if there are none."""
    return [f"{words}: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}"] if ids else []


# --- snapshots --------------------------------------------------------------------------------------------------------


def _check_snapshot(folder: Path) -> None:
    """Raise unless the folder holds a snapshot of a known schema whose files are those that were written."""
    try:
        about = json.loads((folder / SNAPSHOT).read_text(encoding="utf-8"))
        names = [str(name) for name in about["migrations"]]
        hashes = dict(about["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{folder} is no snapshot: {SNAPSHOT} is missing or can't be read ({error}).") from error
    migrations.check_known(names, where=f"The snapshot at {folder}", known=migrations.packaged())
    missing = [f"{table}.parquet" for table in KINDS if not (folder / f"{table}.parquet").is_file()]
    if missing:
        raise DataError(f"The snapshot at {folder} lacks {', '.join(missing)}: copy it again as a whole.")
    if _LONE_SURROGATE.search(str(folder)):
        raise UsageError(f"{_storable(str(folder))} is not valid UTF-8, so DuckDB can't read it: rename the folder.")
    changed = [f"{table}.parquet" for table in KINDS if _sha256(folder / f"{table}.parquet") != hashes.get(table)]
    if changed:
        raise DataError(
            f"The snapshot at {folder} is damaged or half written: {', '.join(changed)} is not what {SNAPSHOT} says. "
            "Copy or export it again as a whole."
        )


def _sha256(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise DataError(f"{file} can't be read: {_reason(error)}.") from error


# --- rows -------------------------------------------------------------------------------------------------------------


def _names(table: str) -> list[str]:
    return [field.name for field in fields(KINDS[table])]


def _columns(table: str) -> str:
    return ", ".join(f'"{name}"' for name in _names(table))


def _sent(kind: str) -> str:
    """Return the type that a cell has on its way into the database: lists go as text, which is twice as fast."""
    return "VARCHAR" if kind.endswith("[]") else kind


def _as_column(kind: str, cells: Sequence[Any]) -> list[Any]:
    return [json.dumps(cell) for cell in cells] if _sent(kind) != kind else list(cells)


def _as_row(record: Any) -> list[Any]:
    return [_as_cell(field.name, getattr(record, field.name)) for field in fields(record)]


def _as_cell(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        # within JSON the backslash of the escape is escaped itself
        return _LONE_SURROGATE.sub(lambda found: "\\" + _storable(found[0]), json.dumps(value, ensure_ascii=False))
    if name == "rates":
        return [list(rates) for rates in value]
    return _storable(value) if isinstance(value, str) else value


def _storable(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
    except (UsageError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _run_id(task_id: str, source_id: str, recipe_id: str, scale: float | None, seed: int) -> str | None:
    try:
        return run_id(task_id=task_id, source_id=source_id, recipe_id=recipe_id, scale=scale, seed=seed)
    except ValueError:  # a scale that is not finite
        return None


def _quoted(path: Path) -> str:
    text = str(path.absolute()).replace("'", "''")
    return f"'{text}'"


# --- queries ----------------------------------------------------------------------------------------------------------


_GRIDS = """
    SELECT s.name, r.name, count(*) FILTER (WHERE n_of_grid = len($grid)), count(*), CAST(sum(n_runs) AS BIGINT)
    FROM (
        SELECT task_id, source_id, recipe_id, sum(n_runs) AS n_runs,
               count(*) FILTER (WHERE list_contains($grid, scale)) AS n_of_grid
        FROM (
            SELECT task_id, source_id, recipe_id, scale, count(*) AS n_runs
            FROM runs WHERE scale IS NOT NULL GROUP BY ALL)
        GROUP BY ALL)
    JOIN tasks USING (task_id) JOIN sources s USING (source_id) JOIN recipes r USING (recipe_id)
    GROUP BY ALL ORDER BY ALL"""


def _orphans(table: str, parent: str, key: str, *, own: str) -> str:
    return f"SELECT DISTINCT {own} FROM {table} WHERE {key} NOT IN (SELECT {key} FROM {parent})"


def _miscounted(split: str) -> str:
    """Runs whose accuracy is not what their bits say, or whose bits are too few or too many for the split."""
    return f"""
        SELECT run_id FROM runs JOIN tasks USING (task_id)
        WHERE {split}_accuracy IS NOT NULL AND (
            {split}_correct IS NULL
            OR octet_length({split}_correct) != (n_{split} + 7) // 8
            OR TRY_CAST({split}_correct AS BIT) IS NULL
            OR abs(bit_count(TRY_CAST({split}_correct AS BIT)) - n_{split} * {split}_accuracy) > 1e-6)"""


def _not_json(table: str, column: str, *, own: str) -> str:
    return f"SELECT {own} FROM {table} WHERE NOT coalesce(json_type(TRY_CAST({column} AS JSON)) = 'OBJECT', false)"


_CHECKS = {
    "runs of unknown tasks": _orphans("runs", "tasks", "task_id", own="run_id"),
    "runs of unknown sources": _orphans("runs", "sources", "source_id", own="run_id"),
    "runs of unknown recipes": _orphans("runs", "recipes", "recipe_id", own="run_id"),
    "features of unknown tasks": _orphans("features", "tasks", "task_id", own="task_id"),
    "features of unknown sources": _orphans("features", "sources", "source_id", own="source_id"),
    "tasks whose classes and pictures are not those of their label counts": """
        SELECT task_id FROM tasks, LATERAL (
            SELECT TRY_CAST(TRY_CAST(label_counts AS JSON) AS MAP(VARCHAR, BIGINT)) AS counts)
        WHERE counts IS NULL
        OR cardinality(counts) != n_classes
        OR list_sum(map_values(counts)) != n_train + n_val + n_test""",
    "sources whose facts are no JSON object": _not_json("sources", "facts", own="source_id"),
    "runs whose versions are no JSON object": _not_json("runs", "versions", own="run_id"),
    "predictions that are no JSON object": _not_json("predictions", "predicted", own="prediction_id"),
    "runs of unknown status": f"SELECT run_id FROM runs WHERE status NOT IN ('{DONE}', '{DIVERGED}')",
    "runs of unknown role": f"SELECT run_id FROM runs WHERE role IS NULL OR role NOT IN {ROLES}",
    "extension runs within the grid": (
        f"SELECT run_id FROM runs WHERE role = '{EXTENSION}' AND coalesce(scale BETWEEN {GRID[0]} AND {GRID[-1]}, true)"
    ),
    "runs whose execution is no JSON object": _not_json("runs", "execution", own="run_id"),
    "runs whose scale is no finite number above 0": (
        "SELECT run_id FROM runs WHERE NOT coalesce(isfinite(scale) AND scale > 0, true)"
    ),
    "done runs without a validation accuracy": (
        f"SELECT run_id FROM runs WHERE status = '{DONE}' AND val_accuracy IS NULL"
    ),
    "done runs without a test accuracy, though their task has test pictures": (
        "SELECT run_id FROM runs JOIN tasks USING (task_id) "
        f"WHERE status = '{DONE}' AND test_accuracy IS NULL AND n_test > 0"
    ),
    "done runs with a step at which they diverged": (
        f"SELECT run_id FROM runs WHERE status = '{DONE}' AND diverged_step IS NOT NULL"
    ),
    "diverged runs with an accuracy, or without a step": (
        f"SELECT run_id FROM runs WHERE status = '{DIVERGED}' "
        "AND (val_accuracy IS NOT NULL OR test_accuracy IS NOT NULL OR diverged_step IS NULL)"
    ),
    "accuracies outside 0..1": (
        "SELECT run_id FROM runs WHERE NOT coalesce(val_accuracy BETWEEN 0 AND 1, true) "
        "OR NOT coalesce(test_accuracy BETWEEN 0 AND 1, true)"
    ),
    "losses that are not finite": (
        "SELECT run_id FROM runs WHERE NOT coalesce(isfinite(val_loss), true) "
        "OR NOT coalesce(isfinite(test_loss), true) OR len(list_filter(epoch_losses, lambda x: NOT isfinite(x))) > 0"
    ),
    "validation accuracies that differ from their bits": _miscounted("val"),
    "test accuracies that differ from their bits": _miscounted("test"),
    "runs without a positive duration": "SELECT run_id FROM runs WHERE NOT (isfinite(seconds) AND seconds > 0)",
    "runs whose rates are not one for each stage and epoch": (
        "SELECT run_id FROM runs JOIN (SELECT recipe_id, TRY_CAST(TRY_CAST(json AS JSON)->>'$.epochs' AS INTEGER) "
        "AS epochs FROM recipes) USING (recipe_id) "
        "WHERE coalesce(len(rates) != epochs, false) OR len(list_filter(rates, lambda rate: len(rate) != 6)) > 0"
    ),
    "features that are not finite": "SELECT task_id FROM features WHERE NOT isfinite(value)",
}
