"""Brings a warehouse to this version's schema by the numbered SQL files of the package."""

import datetime
import importlib.resources
import itertools
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scalepred.errors import VersionError
from scalepred.files import appearing

BOOKKEEPING = "CREATE TABLE IF NOT EXISTS schema_migrations (name VARCHAR PRIMARY KEY, applied_at VARCHAR NOT NULL)"


class ForeignError(Exception):
    """The database has had migrations, but of another program."""


def packaged() -> dict[str, str]:
    """Return name -> SQL of the package's migrations, in their order."""
    folder = importlib.resources.files("scalepred.store") / "sql"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}


def applied(connection: Any) -> list[str]:
    """Return the names of the migrations that a warehouse has had, in order.

    A database without the table raises DuckDB's error: to ask for the table first would take longer than all else that
    opening does.
    """
    return [row[0] for row in connection.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()]


def check_not_newer(applied_names: Iterable[str], packaged_names: Iterable[str], *, where: str) -> None:
    """Raise VersionError if a database or snapshot has had migrations that this version does not have."""
    newer = sorted(set(applied_names) - set(packaged_names))
    if newer:
        raise VersionError(
            f"{where} was written by a newer scalepred "
            f"(schema {newer[-1]}; this one knows up to {max(packaged_names)}). "
            "Upgrade scalepred to open it."
        )


def pending(applied_names: Sequence[str], packaged_names: Iterable[str], *, where: str) -> list[str]:
    """Return the migrations of this version that a database has not had.

    Raises:
        VersionError: if it has had others, so that it is newer than this version.
        ForeignError: if it has not had the first of ours, so that its migrations are another program's.
    """
    ours = list(packaged_names)
    if ours[0] not in applied_names:
        raise ForeignError
    check_not_newer(applied_names, ours, where=where)
    return [name for name in ours if name not in applied_names]


def migrate(connection: Any, migrations: Mapping[str, str], names: Iterable[str]) -> None:
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
        with suppress(Exception):  # a COMMIT that failed has rolled back already
            connection.execute("ROLLBACK")
        raise


def back_up(path: Path, *, last: str) -> Path:
    """Copy a closed database beside itself before its schema changes, and return the copy's path.

    An earlier backup is never overwritten.
    """
    copy = next(each for each in _backup_names(path, last) if not each.exists())
    with appearing(copy) as temporary:
        shutil.copyfile(path, temporary)
    return copy


def _backup_names(path: Path, last: str) -> Iterable[Path]:
    yield path.with_name(f"{path.stem}.before-{last}{path.suffix}")
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}.before-{last}-{number}{path.suffix}")
