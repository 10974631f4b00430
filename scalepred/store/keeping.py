"""Keeps the records of a harvest: in the journal at once, and from there, in batches, in the warehouse."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scalepred.errors import DamagedError, ScalepredError, UsageError, WarehouseBusyError
from scalepred.recipe import content_id
from scalepred.records import KINDS, FeatureRecord, Outcome
from scalepred.store.connection import beside, move_aside
from scalepred.store.faults import reason_of
from scalepred.store.journal import Journal, Record, key_of
from scalepred.store.snapshot import check_snapshot
from scalepred.store.text import file_of
from scalepred.store.warehouse import Warehouse, check_usable, open_warehouse

BATCH = 5_000


@dataclass(frozen=True)
class Stored:
    """The finished work that a warehouse holds.

    Attributes:
        tasks: ids of the tasks that have their row.
        outcomes: of runs, by id.
        features: (task, source, feature set) of all sets that are whole.
    """

    tasks: set[str]
    outcomes: dict[str, Outcome]
    features: set[tuple[str, str, str]]


class Keeper:
    """The only writer of a warehouse during a harvest.

    Records that ``add`` has taken are in the journal and can't be lost. They reach the warehouse by ``flush``, or, if
    there is none any more, by the next ``catch_up``.
    """

    def __init__(self, warehouse: Path, journal: Journal, *, lock_timeout_seconds: float) -> None:
        self.warehouse, self.journal, self.lock_timeout_seconds = warehouse, journal, lock_timeout_seconds
        self._pending: list[Record] = []
        self._flushed = time.monotonic()

    def check(self) -> None:
        """Check that records can be kept here, before there are any; makes nothing.

        A warehouse that another process holds is no error: till it is free, the journal has the records.

        Raises:
            UsageError: if the journal or the warehouse can't be written.
            VersionError: if the warehouse is none, is damaged, or was written by a newer scalepred.
        """
        with suppress(WarehouseBusyError):
            check_usable(self.warehouse)
        self.journal.check_writable()

    def add(self, records: Sequence[Record]) -> None:
        """Journal records.

        Raises:
            UsageError: if the journal can't be written.
        """
        for record in records:
            self.journal.add(record)
            self._pending.append(record)

    def add_features(self, features: Sequence[FeatureRecord]) -> None:
        """Journal a set of features; their names are noted first, so that a part of the set is told from the whole.

        Raises:
            UsageError: if the journal can't be written.
        """
        first = features[0]
        key = _set_key(first.task_id, first.source_id, first.feature_set)
        self.journal.note("feature_sets", key, {"names": [feature.name for feature in features]})
        self.add(features)

    def flush_if_due(self, *, every_seconds: float) -> list[str]:
        """Store what is pending once in a while, unless another process reads the warehouse; returns warnings."""
        if not self._pending or time.monotonic() - self._flushed < every_seconds:
            return []
        self._flushed = time.monotonic()
        try:
            return self.flush(lock_timeout_seconds=0)
        except WarehouseBusyError:  # it is in the journal, and will be tried again
            return []

    def store(self, *, lock_timeout_seconds: float | None = None) -> None:
        """Store what is pending, in one transaction.

        Raises:
            WarehouseBusyError: if another process holds the warehouse for longer than the timeout.
            DamagedError: if the warehouse is damaged, or was never one; it is left as it is.
        """
        timeout = self.lock_timeout_seconds if lock_timeout_seconds is None else lock_timeout_seconds
        with open_warehouse(self.warehouse, lock_timeout_seconds=timeout) as store:
            store.add_all(self._pending)
        self._pending.clear()

    def flush(self, *, lock_timeout_seconds: float | None = None) -> list[str]:
        """Store what is pending, in one transaction; returns warnings.

        A warehouse that is damaged is renamed, and another is made from the journal, which the caller must hold.

        Raises:
            WarehouseBusyError: if another process holds the warehouse for longer than the timeout.
        """
        try:
            self.store(lock_timeout_seconds=lock_timeout_seconds)
        except DamagedError as error:
            return self._replace(error)
        return []

    def catch_up(self) -> list[str]:
        """Store what the journal holds and the warehouse lacks, as after a harvest that was killed; returns warnings.

        A warehouse that is damaged is renamed, and another is made from the journal.
        """
        if not self.warehouse.exists() and not any(map(self.journal.keys, KINDS)):
            return []
        try:
            with open_warehouse(self.warehouse, lock_timeout_seconds=self.lock_timeout_seconds) as store:
                return self._add_journal(store)
        except DamagedError as error:
            return self._replace(error)

    def _replace(self, error: DamagedError) -> list[str]:
        if not self.journal.keys("runs"):
            raise error  # it may be anything, and there is nothing to make it again from
        renamed = move_aside(self.warehouse, ending="corrupt")
        with open_warehouse(self.warehouse, lock_timeout_seconds=self.lock_timeout_seconds) as store:
            warnings = self._add_journal(store)
        self._pending.clear()
        return [
            f"THE WAREHOUSE WAS DAMAGED: {error}",
            f"It was moved to {renamed} and made again from {self.journal.folder}. "
            "Rows that came from a snapshot must be imported again.",
            *warnings,
        ]

    def _add_journal(self, store: Warehouse) -> list[str]:
        """Add what a warehouse lacks, kind by kind, so that what is referred to comes first."""
        warnings = []
        for kind in KINDS:
            lacking = self.journal.keys(kind) - _keys(store, kind)
            batch: list[Record] = []
            n = 0
            for record in self.journal.records(kind, lacking):
                batch.append(record)
                n += 1
                if len(batch) == BATCH:
                    store.add_all(batch)
                    batch = []
            store.add_all(batch)
            if n < len(lacking):
                warnings.append(
                    f"{len(lacking) - n} damaged files of {kind} in the journal were renamed to end in .corrupt"
                )
        return warnings

    def rebuild(self, snapshots: Sequence[Path]) -> tuple[Path | None, list[str]]:
        """Make another warehouse from the journal and from snapshots, and once it is whole, rename the old one, if any.

        Returns where the old one lies now, and warnings.

        Raises:
            UsageError: if there is neither a journal nor a snapshot to make it from, or it can't be written.
            WarehouseBusyError: if another process has the warehouse open.
            VersionError: if it is a newer one, or another program's.
            DataError: if a snapshot can't be imported.
            All of these leave the warehouse where it is, but for a ``UsageError`` that says where it is now.
        """
        if not self.journal.keys("runs") and not snapshots:
            raise UsageError(
                f"There is nothing to make {self.warehouse} again from: the journal {self.journal.folder} holds no "
                "runs. Give a snapshot with --snapshot."
            )
        for folder in snapshots:
            check_snapshot(folder)
        self._runs_there()  # what can't be replaced is told before the work
        with beside(self.warehouse) as temporary:
            with open_warehouse(temporary) as store:
                warnings = self._add_journal(store)
                for folder in snapshots:
                    store.import_parquet(folder)
                made = store.keys("runs")
                store.checkpoint()
            before = self._runs_there()
            aside = self._put_in_place(temporary, ending="corrupt" if before is None else "before-rebuild")
        lacking = len((before or set()) - made)
        if lacking:
            warnings.append(
                f"{lacking} of its runs are neither in the journal nor in a snapshot that was given. To have them too: "
                f"scalepred warehouse export FOLDER --warehouse {aside}, "
                f"and scalepred warehouse import FOLDER --warehouse {self.warehouse}"
            )
        try:  # jobs may have been journalled meanwhile, and stored in the old one
            return aside, warnings + self.catch_up()
        except ScalepredError as error:
            return aside, [*warnings, str(error)]

    def _runs_there(self) -> set[str] | None:
        """Return the ids of the warehouse's runs, which are none where there is no warehouse; None if it is damaged.

        Raises:
            WarehouseBusyError: if another process has it open.
            VersionError: if it is a newer one, or another program's.
        """
        if not self.warehouse.exists():
            return set()
        try:
            with open_warehouse(self.warehouse, lock_timeout_seconds=self.lock_timeout_seconds) as store:
                return store.keys("runs")
        except DamagedError:
            return None

    def _put_in_place(self, made: Path, *, ending: str) -> Path | None:
        """Rename the warehouse, if there is one, and give its name to another; return where the old one lies."""
        aside = move_aside(self.warehouse, ending=ending) if self.warehouse.exists() else None
        try:
            made.replace(file_of(self.warehouse))
        except OSError as error:
            kept = "" if aside is None else f" The old one was kept as {aside}: rename it to have it back."
            raise UsageError(
                f"The new warehouse can't be put at {self.warehouse}: {reason_of(error)}.{kept}"
            ) from error
        return aside

    def stored(self, source_ids: Sequence[str]) -> tuple[Stored, list[str]]:
        """Return what the warehouse holds of these sources, and warnings; mends it first as ``catch_up`` does."""
        if not self.warehouse.exists():
            return Stored(set(), {}, set()), []
        try:
            return self._stored(source_ids), []
        except DamagedError as error:
            warnings = self._replace(error)
            return self._stored(source_ids), warnings

    def _stored(self, source_ids: Sequence[str]) -> Stored:
        with open_warehouse(self.warehouse, read_only=True, lock_timeout_seconds=self.lock_timeout_seconds) as store:
            rows = store.outcomes(source_ids)
            outcomes = {run_id: Outcome(status, val, loss, test) for run_id, status, val, loss, test in rows}
            names = store.feature_names(source_ids)
            return Stored(store.keys("tasks"), outcomes, {each for each in names if self._is_whole(each, names[each])})

    def _is_whole(self, feature_set: tuple[str, str, str], names: set[str]) -> bool:
        """Say whether a set has all features that the journal notes of it; it notes none of a snapshot's."""
        noted = self.journal.noted("feature_sets", _set_key(*feature_set))
        return noted is None or names >= set(noted["names"])


def _set_key(task_id: str, source_id: str, feature_set: str) -> str:
    return content_id("feature_set", [task_id, source_id, feature_set])


def _keys(store: Warehouse, kind: str) -> set[str]:
    """Return the keys under which a journal would hold what a warehouse does."""
    return set(map(key_of, store.features())) if kind == "features" else store.keys(kind)
