"""What a harvest tells its user, and what it writes in its log file."""

import datetime
from collections.abc import Iterable

from scalepred.harvest.calls import Hello, Opened
from scalepred.records import RunRecord
from scalepred.store.journal import Journal


class Log:
    """Notes for the user, each told once, and lines of the journal's log file."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._notes: list[str] = []
        self._told: set[tuple[str, str]] = set()

    def tell(self, notes: Iterable[str]) -> None:
        """Keep notes for the user, and leave them out of the log file."""
        self._notes.extend(notes)

    def note(self, words: str, *, details: str = "") -> None:
        """Keep a note for the user, and write it to the log file with its details."""
        self._notes.append(words)
        self.write(words, details=details)

    def write(self, words: str, *, details: str = "") -> None:
        """Write to the log file alone, with the time.

        Raises:
            UsageError: if the log file can't be written.
        """
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.journal.log(f"{time} {words}\n{details}".rstrip())

    def take_notes(self) -> tuple[str, ...]:
        """Return the notes that the user was not told yet."""
        notes = tuple(self._notes)
        self._notes.clear()
        return notes

    def hello(self, worker: int, hello: Hello) -> None:
        """Write that a worker has started."""
        self.write(f"worker {worker}: process {hello.process}, {hello.device}, on {hello.host}")

    def opened(self, data: str, opened: Opened) -> None:
        """Note once how much of a task is skipped or doubtful, and write all of it."""
        counts = {"paths skipped": len(opened.skipped), "warnings": len(opened.warnings)}
        files = (data, opened.fingerprint or opened.task.task_id)  # subsets of a task have the same
        if not any(counts.values()) or files in self._told:
            return
        self._told.add(files)
        words = " and ".join(f"{n} {what}" for what, n in counts.items() if n)
        self.note(f"{data}: {words}; {self.journal.folder / 'harvest.log'} lists them")
        for path, reason in opened.skipped:
            self.write(f"skipped: {path}: {reason}")
        for warning in opened.warnings:
            self.write(f"warning: {data}: {warning}")

    def run(self, data: str, run: RunRecord) -> None:
        """Write what came out of a run."""
        what = "baseline" if run.scale is None else f"scale {run.scale:g}"
        accuracy = "" if run.val_accuracy is None else f" val {run.val_accuracy:.3f}"
        self.write(f"{run.status}: {data} {what} seed {run.seed}{accuracy} {run.seconds:.1f} s {run.run_id}")
