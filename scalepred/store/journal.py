"""The journal: each finished record in a small file that never changes; the warehouse can be made again from them."""

import base64
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from scalepred.errors import UsageError, WarehouseBusyError
from scalepred.files import check_can_hold_files, write_text
from scalepred.recipe import content_id
from scalepred.records import KINDS, FeatureRecord, PredictionRecord, RecipeRecord, RunRecord, SourceRecord, TaskRecord

_BITS = ("val_correct", "test_correct")

_KEYS: dict[str, Callable[[Any], str]] = {
    "tasks": lambda task: task.task_id,
    "sources": lambda source: source.source_id,
    "recipes": lambda recipe: recipe.recipe_id,
    "features": lambda feature: content_id(
        "feature", [feature.task_id, feature.source_id, feature.feature_set, feature.name]
    ),
    "runs": lambda run: run.run_id,
    "predictions": lambda prediction: prediction.prediction_id,
}

Record = TaskRecord | SourceRecord | RecipeRecord | FeatureRecord | RunRecord | PredictionRecord


@dataclass(frozen=True)
class Journal:
    """A folder of records beside a warehouse.

    A record is there if and only if it was written whole: files appear under their names once they are on the disk, and
    hold a checksum. A record that is there already stays as it was.
    """

    folder: Path

    def add(self, record: Record) -> None:
        """Write a record's file, unless it is there.

        Raises:
            UsageError: if it can't be written; what was written before is whole.
        """
        file = self._file(_kind_of(record), key_of(record))
        with _as_usage_errors(self.folder):
            is_there = file.exists()
        if not is_there:
            self._write(file, _to_json(record))

    def check_writable(self) -> None:
        """Check that records can be added, before there are any; makes nothing.

        Raises:
            UsageError: if they can't be.
        """
        with _as_usage_errors(self.folder):
            check_can_hold_files(self.folder)

    def keys(self, kind: str) -> set[str]:
        """Return the keys of all records of a kind, by their files' names.

        Raises:
            UsageError: if their folder can't be read now.
        """
        try:
            return {entry.name.removesuffix(".json") for entry in _files(self.folder / kind)}
        except OSError as error:
            raise _unreadable(self.folder / kind, error) from error

    def records(self, kind: str, keys: Iterable[str]) -> Iterator[Record]:
        """Yield the records of these keys, in the keys' order, without those whose files are damaged.

        These are renamed to end in ``.corrupt``, so that their work is done again.

        Raises:
            UsageError: if a file can't be read now, which tells nothing of what it holds; names it.
        """
        for key in sorted(keys):
            file = self._file(kind, key)
            record = _from_json(KINDS[kind], _read(file))
            if record is None or key_of(record) != key:
                with _as_usage_errors(self.folder):
                    file.rename(file.with_suffix(".corrupt"))
            else:
                yield record

    def note(self, kind: str, key: str, facts: Mapping[str, Any]) -> None:
        """Keep facts that only save time, such as which task a folder's images are; the last ones count."""
        self._write(self._file(kind, key), dict(facts))

    def noted(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the facts kept under a key, or None if there are none or the file is damaged.

        Raises:
            UsageError: if the file can't be read now; names it.
        """
        return _read(self._file(kind, key))

    def log(self, line: str) -> None:
        """Add a line to the log file."""
        with _as_usage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "harvest.log").open("a", encoding="utf-8") as file:
                file.write(line.encode("utf-8", "backslashreplace").decode() + "\n")

    @contextmanager
    def held(self, *, lock_timeout_seconds: float) -> Iterator[None]:
        """Keep other harvests out for as long as the block runs; the lock goes with the process, however it ends.

        Raises:
            WarehouseBusyError: if another process holds it for longer than the timeout; names it.
            UsageError: if the journal can't be written.
        """
        holder = self.folder / "holder"
        lock = filelock.FileLock(self.folder / "lock", timeout=lock_timeout_seconds)
        with _as_usage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout as error:
                raise WarehouseBusyError(
                    f"A harvest is filling {self.folder} already: {_name_of(holder)} "
                    f"(waited {lock_timeout_seconds:g} s). "
                    "Try again when that is done, or wait longer with --lock-timeout."
                ) from error
        try:
            with _as_usage_errors(self.folder):
                write_text(holder, str(os.getpid()))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def _file(self, kind: str, key: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}.json"

    def _write(self, file: Path, value: dict[str, Any]) -> None:
        with _as_usage_errors(self.folder):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(
                file, json.dumps({"schema": 1, "id": _checksum(value), "value": value}, ensure_ascii=True) + "\n"
            )


def key_of(record: Record) -> str:
    """Return the key of a record among its kind."""
    return _KEYS[_kind_of(record)](record)


def _kind_of(record: Record) -> str:
    return next(name for name, of in KINDS.items() if isinstance(record, of))


def journal_of(warehouse: Path) -> Journal:
    """Return the journal that belongs to a warehouse: a folder of its name beside it, without ``.duckdb``.

    Raises:
        UsageError: if it may still lie where it was while any suffix was left out, so that warehouses could share it.
    """
    folder = warehouse.with_name(warehouse.name.removesuffix(".duckdb") + ".journal")
    with _as_usage_errors(folder):
        earlier = None if folder.exists() else _earlier_journal(warehouse)
    if earlier:
        raise UsageError(
            f"The journal of {warehouse} is {folder} by now, and no longer {earlier}, "
            "which others could share with it. "
            f"If that holds its runs, rename it, or copy it if others use it too: cp -r {earlier} {folder}; "
            f"if not, make an empty one: mkdir {folder}. Then run the same command again."
        )
    return Journal(folder)


def _earlier_journal(warehouse: Path) -> Path | None:
    """Return the folder that was a warehouse's journal under its earlier name and may hold its runs, or None."""
    if warehouse.suffix in ("", ".duckdb"):
        return None
    earlier = warehouse.with_suffix(".journal")
    owners = (earlier.with_suffix(""), earlier.with_suffix(".duckdb"))
    is_anothers = not warehouse.exists() and any(owner.is_file() for owner in owners)
    return earlier if earlier != warehouse and earlier.is_dir() and not is_anothers else None


@contextmanager
def _as_usage_errors(folder: Path) -> Iterator[None]:
    """Tell errors of the system in the block as what the user can mend."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"The journal {folder} can't be written: {error.strerror or error}. What was finished before is kept; "
            "make room or mend the path, and run the same command again."
        ) from error


def _name_of(holder: Path) -> str:
    try:
        return f"process {holder.read_text(encoding='utf-8')}"
    except OSError:  # it has ended by now, or has just begun
        return "another process"


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir():
        return
    for part in os.scandir(folder):
        if part.is_dir():
            yield from (entry for entry in os.scandir(part) if entry.name.endswith(".json") and entry.name[0] != ".")


def _checksum(value: dict[str, Any]) -> str:
    return content_id("journal", value)


def _read(file: Path) -> dict[str, Any] | None:
    """Return the value that a file holds, or None if there is none, or it is damaged."""
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        value = whole["value"]
        return value if whole["id"] == _checksum(value) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    except OSError as error:  # such as a disk that fails, which says nothing of what the file holds
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path}, of the journal, can't be read: {error.strerror or error}. It was left as it is; "
        "once it can be read, run the same command again."
    )


def _to_json(record: Record) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    for name in _BITS:
        if values.get(name) is not None:
            values[name] = base64.b64encode(values[name]).decode()
    value: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    return value


def _from_json(kind: type, value: dict[str, Any] | None) -> Any:
    """Return a record, or None for what is none; fields that were added later take their defaults."""
    if value is None or not set(value) <= {field.name for field in dataclasses.fields(kind)}:
        return None
    try:
        for name in _BITS:
            if value.get(name) is not None:
                value[name] = base64.b64decode(value[name])
        if "rates" in value:
            value["rates"] = [tuple(rates) for rates in value["rates"]]
        return kind(**value)
    except (TypeError, ValueError):
        return None
