"""Opens the DuckDB file: creates it, waits for its lock, and brings it to this version's schema."""

import datetime
import errno
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from scalepred.errors import DataError, UsageError, VersionError, WarehouseBusyError
from scalepred.store import migrations
from scalepred.store.faults import busy, is_held, no_database, translated, unusable
from scalepred.store.text import file_of

SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1500MB",  # beyond it DuckDB spills to the disk; DuckDB's default is 80 % of the machine
    "threads": str(min(4, os.cpu_count() or 1)),  # each wants its share of that
}


def connect_warehouse(path: Path, *, read_only: bool, lock_timeout_seconds: float, settings: Mapping[str, str]) -> Any:
    """Return a connection to a warehouse of this version's schema."""
    scripts = migrations.packaged()
    file = file_of(path)
    if not file.exists():
        if read_only:
            raise DataError(
                f"There is no warehouse at {path}: fill one with `scalepred harvest`, or import a snapshot."
            )
        _create(path, scripts)
    elif not file.is_file():
        raise UsageError(f"{path} is no file, so it can't be a warehouse: give another path with --warehouse.")

    def connect(*, read_only: bool, settings: Mapping[str, str] = SETTINGS) -> Any:
        return _connect(path, read_only=read_only, lock_timeout_seconds=lock_timeout_seconds, settings=settings)

    connection = connect(read_only=read_only, settings=settings)
    if not _pending(connection, path, scripts):
        return connection
    connection.close()
    _bring_forward(path, scripts, connect)
    return connect(read_only=read_only, settings=settings)


def _create(path: Path, scripts: Mapping[str, str]) -> None:
    """Make an empty warehouse beside the path and then put it there: it exists whole, or not at all."""
    with beside(path) as temporary:
        connection = _connect(temporary, read_only=False, lock_timeout_seconds=0, settings=SETTINGS, shown=path)
        try:
            with translated(path):
                migrations.migrate(connection, scripts, list(scripts))
                checkpoint(connection)
        finally:
            connection.close()
        _link(temporary, file_of(path))


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a temporary path for a database that is to lie at ``path``; what is left there at the end is removed."""
    file = file_of(path)
    try:
        make_folder(file.parent)
    except OSError as error:
        raise unusable(path, error) from error
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
    finally:
        for leftover in (temporary, _wal(temporary)):
            leftover.unlink(missing_ok=True)


def checkpoint(connection: Any) -> None:
    """Have all rows in the database's file; DuckDB does it when it closes too, but says nothing if it fails."""
    connection.execute("CHECKPOINT")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OSError: if it can't be made; a file in its place is told as "Not a directory".
    """
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


def _bring_forward(path: Path, scripts: Mapping[str, str], connect: Callable[..., Any]) -> None:
    """Back an older warehouse up and migrate it, unless another process has done so by now."""
    connection = connect(read_only=False)
    try:
        if not _pending(connection, path, scripts):
            return
        with translated(path):
            last = migrations.applied(connection)[-1]
            connection.execute("CHECKPOINT")  # the backup is a copy of the file, so nothing may be in the WAL
    finally:
        connection.close()
    migrations.back_up(file_of(path), last=last)
    connection = connect(read_only=False)
    try:
        with translated(path):
            migrations.migrate(connection, scripts, _pending(connection, path, scripts))
    finally:
        connection.close()


def _pending(connection: Any, path: Path, scripts: Mapping[str, str]) -> list[str]:
    """Return the migrations that a warehouse needs; close the connection and raise if it is none, or newer."""
    try:
        return migrations.pending(migrations.applied(connection), scripts, where=f"The warehouse {path}")
    except (duckdb.CatalogException, duckdb.BinderException, migrations.ForeignError) as error:
        is_in_memory = value_of(connection, "SELECT path IS NULL FROM duckdb_databases() WHERE NOT internal")
        connection.close()
        if is_in_memory:  # so DuckDB opens JSON and CSV
            raise no_database(path) from error
        raise VersionError(f"{path} is a DuckDB database, but not a warehouse: give another path.") from error
    except duckdb.Error as error:
        connection.close()
        raise unusable(path, error) from error
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
            connection = duckdb.connect(str(file_of(path)), read_only=read_only, config=dict(settings))
            connection.execute("SET enable_progress_bar = false")  # it would go to stdout where Python is interactive
            return connection
        except duckdb.ConnectionException as error:
            raise WarehouseBusyError(
                f"This process has the warehouse {path} open already, in another mode: close it there first."
            ) from error
        except duckdb.CatalogException as error:  # it opens JSON and CSV in memory, but not for reading alone
            raise no_database(path) from error
        except duckdb.Error as error:
            if not is_held(error):
                raise unusable(shown or path, error) from error
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise busy(path, error, lock_timeout_seconds) from error
        time.sleep(min(wait_seconds, left_seconds))
        wait_seconds = min(2 * wait_seconds, 0.5)


def move_aside(path: Path, *, ending: str) -> Path:
    """Rename a database and its WAL to end in ``.<ending>-<time>``; return the database's new path.

    Nothing is overwritten and nothing deleted.

    Raises:
        UsageError: if the files can't be renamed.
    """
    file = file_of(path)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    numbers = itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
    candidates = (file.with_name(f"{file.name}.{ending}-{now}{number}") for number in numbers)
    renamed = next(each for each in candidates if not (each.exists() or _wal(each).exists()))
    try:
        file.rename(renamed)  # before its WAL: alone it might open, without the rows that are in there
        if _wal(file).exists():
            _wal(file).rename(_wal(renamed))
    except OSError as error:
        raise unusable(path, error) from error
    return renamed


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


@contextmanager
def transaction(connection: Any) -> Iterator[None]:
    """Have all that the block does take place, or, where it raises, none of it."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # a COMMIT that failed has rolled back already
            connection.execute("ROLLBACK")
        raise


def value_of(connection: Any, query: str) -> Any:
    """Return the one value that a query gives."""
    return connection.execute(query).fetchone()[0]


def columns_and_types(connection: Any, rows: str) -> dict[str, str]:
    """Return the columns of a table, or of what stands for one in SQL, with their types."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
