"""How far long work is: a bar on a terminal, and now and then a line where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from scalepred.cli.output import note, notes, safe

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from scalepred.harvest.request import Progress as HarvestProgress

SECONDS_BETWEEN_LINES = 10.0
QUIET_SECONDS = 2.0
"""Work that takes less is not worth a line."""


class Pace:
    """When a line of progress is due: never in the first seconds of some work, then every ten seconds at most.

    A command has one for all its work, so that short pieces in a row don't fill a log either.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_line: float | None = None
        self.begin()

    def begin(self) -> None:
        """Begin the next piece of work."""
        self._began = self._clock()

    @property
    def spent_seconds(self) -> float:
        """The seconds since this piece of work began."""
        return self._clock() - self._began

    def is_due(self) -> bool:
        """Say whether a line is due now; who asks prints it."""
        now = self._clock()
        if now - self._began < QUIET_SECONDS:
            return False
        if self._last_line is not None and now - self._last_line < SECONDS_BETWEEN_LINES:
            return False
        self._last_line = now
        return True


class Bar(Protocol):
    """A progress bar: done, all there is, and a few words."""

    def update(self, done: int, total: int, words: str = "") -> None:
        """Show how far it is."""


@contextmanager
def progress(what: str, *, total: int | None = None, pace: Pace | None = None) -> Iterator[Bar]:
    """Show on stderr what is done, what is left and when it ends.

    Args:
        what: the work, in a word or two.
        total: all there is to do, where that is known from the start.
        pace: of the command's lines, where stderr is no terminal.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = notes()
    if not console.is_terminal:
        yield _Lines(what, pace or Pace())
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _Bars(bars, bars.add_task(what, total=total, words=""))


class _Bars:
    """A bar of rich's."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self.bars, self.task = bars, task

    def update(self, done: int, total: int, words: str = "") -> None:
        self.bars.update(self.task, completed=done, total=total, words=safe(words))


class _Lines:
    """A line whenever one is due, for logs."""

    def __init__(self, what: str, pace: Pace) -> None:
        self.what, self.pace = what, pace
        pace.begin()

    def update(self, done: int, total: int, words: str = "") -> None:
        if self.pace.is_due():
            spent = self.pace.spent_seconds
            left = spent * (total - done) / max(1, done)
            tail = f", {words}" if words else ""
            note(f"{self.what}: {done} of {total}, {spent:.0f} s, {left:.0f} s left{tail}")


@contextmanager
def harvesting(pace: Pace | None = None) -> Iterator["Harvesting"]:
    """Show a harvest on stderr: a bar and what each worker does on a terminal, else a line now and then."""
    from rich.live import Live

    console = notes()
    if not console.is_terminal:
        yield Harvesting(None, pace or Pace())
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Harvesting(live, pace or Pace())


class Harvesting:
    """The progress of a harvest, with what it has to say."""

    def __init__(self, live: "Live | None", pace: Pace) -> None:
        self.live, self.pace, self.n_told = live, pace, 0

    def update(self, progress: "HarvestProgress") -> None:
        """Show how far it is, and every note."""
        for words in progress.notes:
            self.live.console.print(safe(words), soft_wrap=True) if self.live else note(words)
        if self.live:
            self.live.update(_harvest_table(progress), refresh=False)
        elif progress.n_done > self.n_told and self.pace.is_due():
            note(_harvest_words(progress))
            self.n_told = progress.n_done


def _harvest_words(progress: "HarvestProgress") -> str:
    left = "" if progress.seconds_left is None else f", {_clock(progress.seconds_left)} left"
    return (
        f"{progress.n_done} runs done, {progress.n_left} left, {progress.n_diverged} diverged, "
        f"{progress.images_per_second:.0f} images/s{left}"
    )


def _harvest_table(progress: "HarvestProgress") -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    shown = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.n_done + progress.n_left), completed=progress.n_done, width=30)
    shown.add_row(bar, _harvest_words(progress))
    for number, words in progress.workers.items():
        shown.add_row(f"worker {number}", safe(words))
    return shown


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
