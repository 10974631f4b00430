"""Runs a user's SQL where it can read the warehouse and touch nothing else."""

from pathlib import Path
from typing import Any

import duckdb

from scalepred.errors import UsageError
from scalepred.store.connection import SETTINGS
from scalepred.store.faults import is_of_the_file
from scalepred.store.text import LONE_SURROGATE
from scalepred.store.warehouse import opened

_READS_ONLY_ITSELF = {"enable_external_access": "false"}

_ZONED = "times with a zone can't be shown as they are; use CAST(… AS VARCHAR)."


def query(path: Path, sql: str, *, lock_timeout_seconds: float = 10.0) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one SELECT of a user's where it can read the warehouse and touch nothing else; return columns and rows.

    Raises:
        UsageError: with DuckDB's message, if the SQL is wrong or wants more than to read.
        Others: as ``open_warehouse``.
    """
    settings = SETTINGS | _READS_ONLY_ITSELF
    with opened(path, read_only=True, lock_timeout_seconds=lock_timeout_seconds, settings=settings) as store:
        try:
            store.connection.execute("SET lock_configuration = true")
            _check_query(store.connection, sql)
            cursor = store.connection.execute(sql)
            _check_shown(cursor.description)
            return [column[0] for column in cursor.description], cursor.fetchall()
        except duckdb.Error as error:
            if is_of_the_file(error):
                raise
            raise UsageError(f"The query failed: {_query_problem(error)}") from error


def _check_query(connection: Any, sql: str) -> None:
    """Raise UsageError unless the SQL is one statement that reads; what it reads is limited by the settings."""
    if LONE_SURROGATE.search(sql):
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
