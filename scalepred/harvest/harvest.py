"""The harvest: plans which finetunes are missing, has workers run them, and keeps what comes out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from scalepred.errors import DamagedError, ScalepredError
from scalepred.harvest.calls import Engine
from scalepred.harvest.guess import Guesses
from scalepred.harvest.hands import Hands, assign
from scalepred.harvest.log import Log
from scalepred.harvest.prepare import fill, meet_first_worker, pick_dtypes
from scalepred.harvest.request import Plan, Progress, Wanted
from scalepred.harvest.results import Results
from scalepred.harvest.worklist import Worklist
from scalepred.records import RunRecord
from scalepred.store.journal import Journal, journal_of
from scalepred.store.keeping import Keeper

FLUSH_SECONDS = 10.0


class Harvest:
    """One harvest, from its plan to its last stored run.

    A run is journalled if and only if its finetune finished, so a harvest may be stopped at any moment and loses the
    runs in hand at most. Every journalled run reaches the warehouse: in batches while the harvest runs, at its end, or
    at the beginning of the next. The warehouse is held only while a batch is stored.

    Attributes:
        wanted: what is asked for.
        engine: where its workers run.
        interrupts: signals that are to end it after a step; once there is one, no worker takes a dead one's place.
    """

    def __init__(self, wanted: Wanted, engine: Engine) -> None:
        self.wanted, self.engine = wanted, engine
        self.journal: Journal = journal_of(wanted.warehouse)
        self.keeper = Keeper(wanted.warehouse, self.journal, lock_timeout_seconds=wanted.lock_timeout_seconds)
        self.interrupts: Sequence[int] = ()
        self._log = Log(self.journal)
        self._worklist = Worklist(wanted=wanted, guesses=Guesses(self.journal))
        self._hands = Hands(engine, self._log, max_workers=wanted.max_workers, grows=wanted.grows)
        self._results = Results(self._worklist, self._hands, keeper=self.keeper, log=self._log)
        self._began = time.monotonic()

    @property
    def refused(self) -> Mapping[str, str]:
        """Task or point -> why it can't be harvested."""
        return self._worklist.refused

    @property
    def failed(self) -> Mapping[str, str]:
        """Run_id -> why the run was given up."""
        return self._worklist.failed

    @property
    def n_done(self) -> int:
        """Number of runs that this harvest has finished."""
        return self._results.n_done

    @property
    def n_diverged(self) -> int:
        """Number of those that diverged."""
        return self._results.n_diverged

    @property
    def n_left(self) -> int:
        """Number of runs that are still to do, as far as the tasks were read."""
        return self._worklist.n_left

    def take_notes(self) -> tuple[str, ...]:
        """Return what a user should know and was not told yet."""
        return self._log.take_notes()

    def held(self) -> AbstractContextManager[None]:
        """Keep other harvests off this warehouse for as long as the block runs.

        Raises:
            WarehouseBusyError: if another one is at work for longer than the timeout.
            Others: as ``Keeper.check``; nothing is made then. A damaged warehouse that the journal has runs of is none.
        """
        try:
            self.keeper.check()
        except DamagedError:
            if not self.journal.keys("runs"):
                raise
        return self.journal.held(lock_timeout_seconds=self.wanted.lock_timeout_seconds)

    def plan(self) -> Plan:
        """Bring warehouse and journal together, ask a first worker about sources and device, and see what is missing.

        A task that can't be used is refused with its reason, and the others go on. What is the same task under another
        name is done once. What else a user should know is in ``take_notes``.
        """
        self._log.tell(self.keeper.catch_up())
        hand, hello = meet_first_worker(self._hands)
        dtypes, unfit = pick_dtypes(hand, hello, self.wanted, engine=self.engine, journal=self.journal)
        stored, notes = self.keeper.stored([source.source_id for source in hello.sources])
        self._log.tell(notes)
        self._worklist.sources, self._worklist.dtypes, self._worklist.stored = hello.sources, dtypes, stored
        return fill(self._worklist, unfit=unfit, log=self._log)

    def run(self) -> Iterator[Progress]:
        """Do what was planned; yields whenever there is something to tell, and every second or so.

        Raises:
            WarehouseBusyError: if another process holds the warehouse at the end; the journal has all runs.
            UsageError: if the journal or the warehouse can't be written.
            ScalepredError: if workers keep failing.
        """
        self._began = time.monotonic()
        try:
            self._begin()
            while self._is_at_work():
                # all at once, so that nothing that has come is lost if nobody asks for more
                for run in self._take_events():
                    yield self._progress(run=run)
                self._go_on()
                yield self._progress()
        finally:
            self.engine.stop()
        self._log.tell(self.keeper.flush())
        yield self._progress()

    def _begin(self) -> None:
        """Keep the rows of sources and recipes, and start as many workers as there is work for."""
        recipes = [*self.wanted.recipe_records(), *self._worklist.recipe_records()]
        self.keeper.add([*self._worklist.sources, *recipes])
        self._hands.start_for(sum(bundle.n_left + bundle.wants_features for bundle in self._worklist.waiting))
        self._assign()

    def _is_at_work(self) -> bool:
        """Say whether there is more to come; a worker that starts is not waited for, since it may never find room."""
        return not self._hands.are_idle or self._worklist.lacks_something

    def _take_events(self) -> list[RunRecord]:
        """Take all that has come of workers' calls; returns the runs that were finished."""
        events = self.engine.wait(1.0)
        return [run for event in events if (run := self._results.take(event, is_ending=bool(self.interrupts)))]

    def _go_on(self) -> None:
        """Give workers that wait something to do, and the warehouse its batch."""
        self._assign()
        self._log.tell(self.keeper.flush_if_due(every_seconds=FLUSH_SECONDS))

    def _assign(self) -> None:
        assign(self._hands, self._worklist)
        self._results.setbacks.give_up_unopened()

    def stop(self) -> list[str]:
        """End all workers and store what is journalled, as far as the warehouse takes it now; returns warnings."""
        self.engine.stop()
        try:
            return self.keeper.flush_if_due(every_seconds=0)
        except ScalepredError as error:  # such as a full disk; the journal has it for the next harvest
            return [str(error)]

    def _progress(self, run: RunRecord | None = None) -> Progress:
        seconds = time.monotonic() - self._began
        n_done, n_left = self.n_done, self.n_left
        return Progress(
            run=run,
            notes=self.take_notes(),
            n_done=n_done,
            n_diverged=self.n_diverged,
            n_left=n_left,
            images_per_second=self._results.n_images / max(seconds, 1e-9),
            seconds_left=seconds / n_done * n_left if n_done else None,
            workers={number: hand.words() for number, hand in self._hands.by_number.items()},
        )
