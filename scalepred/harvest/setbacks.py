"""What a harvest does about workers that die and calls that fail: others try again, or it goes on without."""

import time
from collections import Counter

from scalepred.errors import ScalepredError
from scalepred.harvest.bundles import MAX_DEATHS, BundleState
from scalepred.harvest.calls import Failure
from scalepred.harvest.hands import Hand, Hands
from scalepred.harvest.log import Log
from scalepred.harvest.worklist import Worklist
from scalepred.training.planned import PlannedRun

MAX_FAILURES = 5
"""So many unexpected errors in a row, with no run done between them, end the harvest."""

START_SECONDS = 60.0
"""So long a bundle that could not be opened waits for workers that still start, once nothing else is left to do."""


class Setbacks:
    """Counts deaths and errors, and decides what they cost.

    Attributes:
        n_errors: unexpected errors in a row, since the last run that was done.
    """

    def __init__(self, worklist: Worklist, hands: Hands, log: Log) -> None:
        self.worklist, self.hands, self.log = worklist, hands, log
        self.n_errors = 0
        self._deaths: Counter[str] = Counter()

    def take_death(self, hand: Hand, call: str | None, run: PlannedRun | None, *, words: str, is_ending: bool) -> None:
        """Put what a worker had in hand back, and start another in its place, unless the harvest is about to end.

        Raises:
            UsageError: if too many workers died while they started.
        """
        del self.hands.by_number[hand.number]
        bundle = hand.bundle
        why = f": {words}" if words else ""
        self.log.note(f"a worker died ({call or 'waiting'}{f' {bundle.label}' if bundle else ''}){why}")
        if call == "starting" and not is_ending:
            self.hands.count_failed_start(words)
        if bundle and call == "open":
            n = len(bundle.failed_at) + 1
            self._doubt(bundle, hand, "a worker died of it" if n == 1 else f"{n} workers died of it")
        elif bundle:
            self._take_back(bundle, call, run)
        if not is_ending:
            self.hands.replace_dead()

    def take_failure(
        self, hand: Hand, bundle: BundleState, call: str | None, run: PlannedRun | None, failure: Failure
    ) -> None:
        """Give up the run, or the bundle; one that can't be opened once no worker is left to try it.

        Raises:
            ScalepredError: if this is the last of ``MAX_FAILURES`` unexpected errors in a row.
        """
        self.log.write(f"failed: {call} {bundle.label}: {failure.words}", details=failure.traceback)
        if run is None:
            hand.bundle = None
        if call == "open":
            self._doubt(bundle, hand, failure.words)
            if self.hands.hold(bundle) or self.hands.may_open(bundle):
                return
        self._count_error(f"{call} of {bundle.label}", failure)
        self._give_up(bundle, run, failure.words)

    def _count_error(self, what: str, failure: Failure) -> None:
        if not failure.on_purpose:
            self.n_errors += 1
        if self.n_errors >= MAX_FAILURES:
            raise ScalepredError(
                f"{MAX_FAILURES} errors in a row, the last one in {what}: {failure.words} "
                f"What is done is kept; {self.log.journal.folder / 'harvest.log'} has the details."
            )

    def _take_back(self, bundle: BundleState, call: str | None, run: PlannedRun | None) -> None:
        """Have others do what a dead worker had in hand, unless too many have died of it."""
        what = run.run_id if run else f"{call} {bundle.label}"
        self._deaths[what] += 1
        if call and self._deaths[what] >= MAX_DEATHS:
            self._give_up(bundle, run, f"{MAX_DEATHS} workers died of it")
        elif run:
            bundle.todo.appendleft(run)
        elif call == "features":
            bundle.wants_features = True
        self._let_go(bundle)

    def _doubt(self, bundle: BundleState, hand: Hand, reason: str) -> None:
        """Have others try what a worker could not open: the fault may be either's."""
        bundle.failed_at[hand.number] = hand.host
        bundle.reason, bundle.failed_seconds = reason, time.monotonic()
        self._let_go(bundle)

    def _let_go(self, bundle: BundleState) -> None:
        """Have a bundle that lacks something and that no worker has wait for the next one."""
        if bundle.lacks_something and not self.hands.hold(bundle):
            self.worklist.put_back(bundle)

    def give_up_unopened(self) -> None:
        """Give up bundles that no worker may open any more, or none that has started while nothing else is to do."""
        for bundle in [bundle for bundle in self.worklist.waiting if bundle.failed_at]:
            is_late = self.hands.are_idle and time.monotonic() - bundle.failed_seconds >= START_SECONDS
            if is_late or not self.hands.may_open(bundle):
                self._give_up(bundle, None, bundle.reason)

    def _give_up(self, bundle: BundleState, run: PlannedRun | None, reason: str) -> None:
        """Go on without a run, or without a whole bundle if it can't be opened or looked at."""
        if run:
            self.worklist.give_up_run(bundle, run, reason)
            self.log.note(f"gave up a run of {bundle.label}: {reason}")
        else:
            self.worklist.refuse(bundle, reason)
            self.log.note(f"refused: {bundle.label}: {reason}")
