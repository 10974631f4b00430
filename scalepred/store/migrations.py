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

    A database that is none raises DuckDB's own error: to ask whether the table is there would take longer than all else
    that opening does.
    """
    return [row[0] for row in connection.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()]


def check_known(names: Iterable[str], *, where: str, known: Iterable[str]) -> None:
    """Raise VersionError if a database or snapshot has had migrations that this version does not know."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise VersionError(
            f"{where} was written by a newer scalepred (schema {unknown[-1]}; this one knows up to {max(known)}). "
            "Upgrade scalepred to open it."
        )


def pending(done: Sequence[str], known: Iterable[str], *, where: str) -> list[str]:
    """Return the known migrations that are not done.

    Raises:
        VersionError: if others are done, so that the database is newer than this version.
        ForeignError: if the first of ours is not done, so that they are another program's.
    """
    known = list(known)
    if known[0] not in done:
        raise ForeignError
    check_known(done, where=where, known=known)
    return [name for name in known if name not in done]


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
