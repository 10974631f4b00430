"""Brings a warehouse to this version's schema by the numbered SQL files of the package."""

import datetime
import importlib.resources
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scalepred.errors import VersionError

BOOKKEEPING = "CREATE TABLE IF NOT EXISTS schema_migrations (name VARCHAR PRIMARY KEY, applied_at VARCHAR NOT NULL)"


def packaged() -> dict[str, str]:
    """Return name -> SQL of the package's migrations, in their order."""
    folder = importlib.resources.files("scalepred") / "sql"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}


def applied(connection: Any) -> list[str]:
    """Return the names of the migrations that a database has had, in order; none for a new one."""
    found = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'schema_migrations'").fetchone()
    if not found:
        return []
    return [row[0] for row in connection.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()]


def check_known(names: Iterable[str], *, where: str, known: Iterable[str]) -> None:
    """Raise VersionError if a database or snapshot has had migrations that this version does not know."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise VersionError(
            f"{where} was written by a newer scalepred (schema {unknown[-1]}; this one knows up to {max(known)}). "
            "Upgrade scalepred to open it."
        )


def pending(connection: Any, migrations: dict[str, str], *, where: str) -> list[str]:
    """Return the migrations that a database still needs.

    Raises:
        VersionError: if the database is newer than this version.
    """
    done = applied(connection)
    check_known(done, where=where, known=migrations)
    return [name for name in migrations if name not in done]


def migrate(connection: Any, migrations: dict[str, str], names: list[str]) -> None:
    """Apply these migrations and their bookkeeping rows in one transaction: all of them, or none."""
    connection.execute("BEGIN")
    try:
        connection.execute(BOOKKEEPING)
        for name in names:
            connection.execute(migrations[name])
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?)", [name, now])
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def back_up(path: Path, *, last: str) -> Path:
    """Copy a closed database beside itself before its schema changes, and return the copy's path."""
    copy = path.with_name(f"{path.stem}.before-{last}{path.suffix}")
    temporary = copy.with_name(f".{copy.name}")
    shutil.copyfile(path, temporary)
    temporary.replace(copy)
    return copy
