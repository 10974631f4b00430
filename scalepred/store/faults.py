"""Tells errors of DuckDB and of the system as what the user can mend."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from scalepred.errors import DamagedError, ScalepredError, UsageError, VersionError, WarehouseBusyError
from scalepred.store.text import file_of

_DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)

_OS_REASONS = tuple(
    os.strerror(getattr(errno, name))
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "EMFILE")
    if hasattr(errno, name)
)

_LEFT = "It was left as it is; move it away, or give another path with --warehouse."

_HELD = re.compile(r"Could not set lock on file|being used by another process")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Tell errors of a warehouse's file as what the user can mend."""
    try:
        yield
    except duckdb.Error as error:
        if is_of_the_file(error):
            raise unusable(path, error) from error
        raise


def unusable(path: Path, error: Exception) -> ScalepredError:
    """Return the error for a file that can't be read or written, or that is no sound database."""
    if is_of_the_system(error):
        return UsageError(
            f"The warehouse {path} can't be read or written: {reason_of(error)}. What is stored stays as it was; "
            "make room or mend the path, or give another with --warehouse, and run the same command again."
        )
    said = str(error).replace(str(file_of(path)), "")
    if "xtension" in said:  # DuckDB offers one for what it takes for a database of another kind
        return VersionError(f"{path} can't be used as a warehouse: It is a database of another kind. {_LEFT}")
    return no_database(path) if "not a valid DuckDB" in said else _damaged(path, first_line(error))


def no_database(path: Path) -> DamagedError:
    """Return the error for a file that is nothing of DuckDB's; a warehouse that was harmed may look so too."""
    return _damaged(path, "It is no DuckDB database.")


def _damaged(path: Path, reason: str) -> DamagedError:
    return DamagedError(
        f"{path} can't be used as a warehouse: {reason} {_LEFT} "
        "If it was one, `scalepred warehouse rebuild` makes it again."
    )


def busy(path: Path, error: Exception, waited_seconds: float) -> WarehouseBusyError:
    """Return the error for a file that another process has open; names that process."""
    pid = re.search(r"PID (\d+)", str(error))
    holder = f"process {pid[1]}" if pid else "another process"
    return WarehouseBusyError(
        f"The warehouse {path} is held by {holder} (waited {waited_seconds:g} s). "
        "Try again when that is done, or wait longer with --lock-timeout."
    )


def is_held(error: Exception) -> bool:
    """Say whether another process has the file open."""
    return bool(_HELD.search(str(error)))


def is_of_the_file(error: Exception) -> bool:
    """Say whether an error is of the file and not of the SQL; DuckDB 2 raises a wrong checksum as a plain Error."""
    return isinstance(error, _DAMAGE) or type(error) is duckdb.Error or is_of_the_system(error)


def is_of_the_system(error: Exception) -> bool:
    """Say whether the system refused to read or write; a COMMIT that it refused is a TransactionException."""
    could = isinstance(error, (*_DAMAGE, duckdb.TransactionException))
    return isinstance(error, OSError) or (could and any(reason in str(error) for reason in _OS_REASONS))


def reason_of(error: Exception) -> str:
    """Return the system's words, such as "No space left on device"."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next((reason for reason in _OS_REASONS if reason in str(error)), first_line(error).rstrip("."))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its kind where there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
