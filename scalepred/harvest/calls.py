"""What a harvest's parent and its workers say to each other, and what an engine that carries it must do."""

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scalepred.errors import ScalepredError
from scalepred.records import SourceRecord, TaskRecord

DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """All that a worker needs to know when it starts.

    Attributes:
        sources: name of every network, and its weights file or None.
        device: "auto", "cpu" or "cuda".
        n_threads: threads of torch on a CPU.
        device_index: which of several CUDA devices.
        max_bytes: decoded images and outputs of frozen fronts that it keeps in memory, together.
        dtype: one of ``DTYPES``; "auto" takes bfloat16 where three steps show that it pays.
    """

    sources: tuple[tuple[str, Path | None], ...]
    device: str = "auto"
    n_threads: int = 1
    device_index: int = 0
    max_bytes: int = 1 << 30
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a worker says once it has started: its sources' rows, its device, how many there are, and their memory.

    ``dtype`` is what it was told: one of ``DTYPES``; ``host`` names its machine.
    """

    process: int
    sources: tuple[SourceRecord, ...]
    device: str
    n_devices: int = 1
    device_bytes: int | None = None
    dtype: str = "auto"
    host: str = ""


@dataclass(frozen=True)
class Squares:
    """What a worker is to make of a task's images: squares of this side, in a way that a recipe's ``resize`` names."""

    px: int
    resize: str = "squash"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a worker says of a bundle that it has opened.

    Attributes:
        task: its row.
        fingerprint: of the files that were read.
        skipped: paths that are not used, each with its reason.
        warnings: what a user should know of the task, in words.
    """

    task: TaskRecord
    fingerprint: str | None
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error of a worker: the one that scalepred raised on purpose, or else an unexpected one's traceback."""

    words: str
    on_purpose: ScalepredError | None = None
    traceback: str = ""

    def as_error(self) -> Exception:
        """Return the error to raise where the harvest can't go on."""
        return self.on_purpose or RuntimeError(self.traceback)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What became of a worker's call: its answer, a Failure, or None if the worker has died; ``words`` may say why."""

    worker: int
    value: Any
    died: bool = False
    words: str = ""


class Engine(Protocol):
    """Runs ``worker.Worker`` objects somewhere; each has a number, and does one call at a time."""

    def start(self, worker: int, *, device_index: int = 0) -> None:
        """Start a worker."""

    def call(self, worker: int, method: str, *arguments: object) -> None:
        """Ask a worker for something; what comes of it is an event."""

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return what has happened, waiting for something if nothing has."""

    def stop(self) -> None:
        """End all workers at once, whatever they do."""


def answer(worker: Any, method: str, arguments: tuple[object, ...]) -> Any:
    """Call a worker, and return its answer or a Failure."""
    try:
        return getattr(worker, method)(*arguments)
    except ScalepredError as error:
        return Failure(words=str(error), on_purpose=error)
    except Exception as error:  # the parent decides what an error means for the harvest
        return Failure(words=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
