"""Exports and imports snapshots: one Parquet file for each table, whole or not at all."""

import json
from pathlib import Path
from typing import Any

import duckdb

from scalepred.errors import DataError, UsageError
from scalepred.files import appearing, sha256
from scalepred.records import KINDS
from scalepred.store import migrations
from scalepred.store.connection import columns_and_types, make_folder, transaction, value_of
from scalepred.store.faults import first_line, is_of_the_system, reason_of, unusable
from scalepred.store.rows import KEYS, columns_of
from scalepred.store.text import LONE_SURROGATE, storable

SNAPSHOT = "snapshot.json"

_ADDED = {"runs": ("role", "execution", "course")}
"""Columns that snapshots of older schemas lack, and that take their defaults then."""


def export_parquet(connection: Any, folder: Path, *, path: Path, overwrite: bool) -> dict[str, int]:
    """Write one Parquet file for each table, rows in the order of their keys, and ``snapshot.json`` last.

    All tables are of one moment. A file appears under its name only once it is whole, and ``snapshot.json`` holds
    its hash, so that a snapshot that was stopped half-way, or was mixed from two, can't be imported. Returns the
    rows of each table.

    Args:
        connection: to the warehouse.
        folder: which need not exist.
        path: the warehouse's, for errors.
        overwrite: replace a snapshot there whatever it holds, also runs that this one would lack.

    Raises:
        UsageError: if the folder can't be written, or runs that lie there would be lost.
    """
    counts: dict[str, int] = {}
    hashes: dict[str, str] = {}
    try:
        make_folder(folder)
        with transaction(connection):
            if not overwrite:
                _check_nothing_is_lost(connection, folder, path=path)
            for table, key in KEYS.items():
                with appearing(folder / f"{table}.parquet") as file:
                    connection.execute(
                        f"COPY (SELECT {columns_of(table)} FROM {table} ORDER BY {key}) TO {_quoted(file)} "
                        "(FORMAT parquet, COMPRESSION zstd)"
                    )
                    hashes[table] = _sha256(file)
                counts[table] = value_of(connection, f"SELECT count(*) FROM {table}")
            about = {"migrations": migrations.applied(connection), "rows": counts, "sha256": hashes}
        with appearing(folder / SNAPSHOT) as file:
            file.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    except (OSError, duckdb.IOException) as error:
        raise UsageError(
            f"The snapshot can't be written to {folder}: {reason_of(error)}. Make room, or give another folder."
        ) from error
    return counts


def _check_nothing_is_lost(connection: Any, folder: Path, *, path: Path) -> None:
    """Raise UsageError if runs lie in the folder that the warehouse lacks, or that can't be read.

    What an export leaves that was stopped has no other runs, so the same command goes on from there.
    """
    file = folder / "runs.parquet"
    if not file.exists():
        return
    try:
        lacking = value_of(connection, f"SELECT count(*) FROM {_rows(file)} ANTI JOIN runs USING (run_id)")
    except duckdb.Error as error:
        raise UsageError(
            f"{file} is there already, and its runs can't be read, so whether the warehouse {path} has them can't be "
            f"told: {first_line(error)} Give another folder, or --overwrite to replace it."
        ) from error
    if lacking:
        raise UsageError(
            f"The snapshot at {folder} has {lacking} runs that the warehouse {path} lacks, so they would be lost. Give "
            f"another folder, or --overwrite to replace it, or add them first: scalepred warehouse import {folder} "
            f"--warehouse {path}"
        )


def import_parquet(connection: Any, folder: Path, *, path: Path) -> dict[str, int]:
    """Add a snapshot's rows, all of them or none; rows that are there already stay. Returns new rows by table.

    ``path`` is the warehouse's, for errors.

    Raises:
        DataError: if the folder is no snapshot, or a file is missing, damaged or of other columns.
        VersionError: if a newer scalepred wrote it.
        UsageError: if the warehouse can't be written.
    """
    check_snapshot(folder)
    try:
        with transaction(connection):
            return {table: _import_table(connection, table, folder / f"{table}.parquet") for table in KINDS}
    except duckdb.Error as error:
        if is_of_the_system(error):
            raise unusable(path, error) from error
        raise DataError(f"The snapshot at {folder} can't be imported: {first_line(error)}") from error


def _import_table(connection: Any, table: str, file: Path) -> int:
    rows = _rows(file)
    wanted, stored = columns_and_types(connection, table), columns_and_types(connection, rows)
    added = {name: kind for name, kind in wanted.items() if name in _ADDED.get(table, ()) and name not in stored}
    if wanted != stored | added:
        other = sorted(f"{name} {kind}" for name, kind in wanted.items() ^ (stored | added).items())
        raise DataError(f"{file} has other columns than this version's {table}: {', '.join(other)}.")
    before = value_of(connection, f"SELECT count(*) FROM {table}")
    columns = ", ".join(f'"{name}"' for name in stored)
    # ON CONFLICT DO NOTHING looks up every row by itself, and took five times as long for a million
    connection.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows} ANTI JOIN {table} USING ({KEYS[table]})"
    )
    return int(value_of(connection, f"SELECT count(*) FROM {table}") - before)


def check_snapshot(folder: Path) -> None:
    """Check a snapshot before its rows are read.

    Raises:
        DataError: if the folder is none, or its files are not there or have other hashes than it says.
        VersionError: if a newer scalepred wrote it.
        UsageError: if DuckDB can't read what has its name.
    """
    try:
        about = json.loads((folder / SNAPSHOT).read_text(encoding="utf-8"))
        names = [str(name) for name in about["migrations"]]
        hashes = dict(about["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{folder} is no snapshot: {SNAPSHOT} is missing or can't be read ({error}).") from error
    migrations.check_not_newer(names, migrations.packaged(), where=f"The snapshot at {folder}")
    missing = [f"{table}.parquet" for table in KINDS if not (folder / f"{table}.parquet").is_file()]
    if missing:
        raise DataError(f"The snapshot at {folder} lacks {', '.join(missing)}: copy it again as a whole.")
    if LONE_SURROGATE.search(str(folder)):
        raise UsageError(f"{storable(str(folder))} is not valid UTF-8, so DuckDB can't read it: rename the folder.")
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
        raise DataError(f"{file} can't be read: {reason_of(error)}.") from error


def _rows(file: Path) -> str:
    """Return a file's rows as SQL."""
    # a folder named like origin=3 would otherwise overrule the column of that name
    return f"read_parquet({_quoted(file)}, hive_partitioning = false)"


def _quoted(path: Path) -> str:
    text = str(path.absolute()).replace("'", "''")
    return f"'{text}'"
