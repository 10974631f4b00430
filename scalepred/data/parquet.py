"""Reads the columns of a Parquet file that may be a manifest, by the library that the warehouse needs anyway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalepred.errors import DataError

BEGIN = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Say whether a file begins like Parquet."""
    try:
        with path.open("rb") as file:
            return file.read(len(BEGIN)) == BEGIN
    except OSError:
        return False


def read_parquet(path: Path) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Return the names of the columns and the rows; columns of bytes and of structures are left out.

    Raises:
        DataError: if it is damaged.
    """
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": 1,
    }
    # a file's name may have what stands for several files, such as "*"
    name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
    table = "read_parquet(?, hive_partitioning = false)"
    try:
        with duckdb.connect(config=settings) as connection:
            described = connection.execute(f"DESCRIBE SELECT * FROM {table}", [name]).fetchall()  # noqa: S608 - names are quoted
            columns = [column for column, kind, *_ in described if not str(kind).startswith(("BLOB", "STRUCT", "MAP"))]
            wanted = ", ".join('"{}"'.format(column.replace('"', '""')) for column in columns) or "NULL"
            rows = connection.execute(f"SELECT {wanted} FROM {table}", [name]).fetchall()  # noqa: S608 - names are quoted
    except (duckdb.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} can't be read as Parquet: {reason}. Save it again, or save it as CSV.") from error
    return columns, iter(rows)
