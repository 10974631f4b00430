"""The workers of a harvest as it sees them: starts them, gives them what there is to do, and counts them."""

import itertools
from collections import Counter
from dataclasses import dataclass

from scalepred.errors import UsageError
from scalepred.harvest.bundles import MAX_DEATHS, BundleState
from scalepred.harvest.calls import Engine, Failure, Hello, Squares
from scalepred.harvest.log import Log
from scalepred.harvest.worklist import Worklist
from scalepred.records import RunRecord
from scalepred.training.planned import PlannedRun

CONTEXT_BYTES = 600 << 20
"""What CUDA itself takes on a device for every process, roughly."""


@dataclass(kw_only=True, eq=False)
class Hand:
    """A worker: its number, device and machine, and its call, bundle and run, if it has any.

    ``host`` is empty until the worker has said where it runs; ``call`` is None while it waits.
    """

    number: int
    device_index: int
    host: str = ""
    call: str | None = None
    bundle: BundleState | None = None
    run: PlannedRun | None = None

    def words(self) -> str:
        """Return what it does, for a person."""
        if self.call is None or self.bundle is None:
            return self.call or "waiting"
        if self.run is None:
            return f"{self.bundle.name}: {self.call}"
        what = "baseline" if self.run.scale is None else f"scale {self.run.scale:g}"
        return f"{self.bundle.name}: {what}, seed {self.run.seed}"

    def may_open(self, bundle: BundleState) -> bool:
        """Say whether this worker may try to open a bundle."""
        return bundle.may_be_opened_by(self.number, host=self.host)


class Hands:
    """All workers of a harvest.

    Attributes:
        engine: where they run.
        by_number: those that are alive or start.
        max_workers: at a time; where they grow it begins with one on each device.
    """

    def __init__(self, engine: Engine, log: Log, *, max_workers: int, grows: bool) -> None:
        self.engine, self.log, self.max_workers = engine, log, max_workers
        self.by_number: dict[int, Hand] = {}
        self._at_most, self._grows = max_workers, grows
        self._numbers = itertools.count()
        self._n_devices, self._device_bytes = 1, 0
        self._n_failed_starts = 0
        self._peak_bytes = 0

    def start(self) -> Hand:
        """Start a worker on the device that has the fewest."""
        n_workers = Counter(hand.device_index for hand in self.by_number.values())
        device_index = min(range(self._n_devices), key=lambda index: n_workers[index])
        hand = Hand(number=next(self._numbers), device_index=device_index)
        self.by_number[hand.number] = hand
        self.engine.start(hand.number, device_index=device_index)
        self._ask_hello(hand)
        return hand

    def start_for(self, n_calls: int) -> None:
        """Start workers until there is one for every call that is to do, or as many as may be."""
        for _ in range(len(self.by_number), min(self.max_workers, n_calls)):
            self.start()

    def _ask_hello(self, hand: Hand) -> None:
        hand.call = "starting"
        self.engine.call(hand.number, "hello")

    def ask(self, hand: Hand, method: str, *arguments: object) -> None:
        """Ask a worker for something."""
        hand.call = method
        self.engine.call(hand.number, method, *arguments)

    def greet_first(self, hand: Hand, hello: Hello) -> None:
        """Take from the first worker what devices there are."""
        self._n_devices, self._device_bytes = hello.n_devices, hello.device_bytes or 0
        if self._device_bytes and self._grows:
            self.max_workers = self._n_devices
        self._greet(hand, hello)

    def _greet(self, hand: Hand, hello: Hello) -> None:
        hand.host = hello.host
        self.log.hello(hand.number, hello)

    def take_started(self, hand: Hand, answer: Hello | Failure) -> None:
        """Greet a worker that has started; one that hit an unexpected error is asked again, as if it had died of it.

        Raises:
            ScalepredError: the one that the worker raised on purpose.
            UsageError: if ``MAX_DEATHS`` workers failed since one started.
        """
        if isinstance(answer, Hello):
            self._n_failed_starts = 0
            self._greet(hand, answer)
            return
        if answer.on_purpose:
            raise answer.on_purpose
        self.log.note(f"a worker failed to start: {answer.words}", details=answer.traceback)
        self.count_failed_start(answer.words)
        self._ask_hello(hand)

    def count_failed_start(self, words: str) -> None:
        """Count a worker that died, or failed, while it started.

        Raises:
            UsageError: if ``MAX_DEATHS`` workers did since one started.
        """
        self._n_failed_starts += 1
        if self._n_failed_starts >= MAX_DEATHS:
            question = words or "Is there memory enough for so many?"
            raise UsageError(f"{MAX_DEATHS} workers died while they started. {question}")

    def replace_dead(self) -> None:
        """Start a worker in the place of one that died, unless there are as many as may be."""
        if len(self.by_number) < self.max_workers:
            self.start()

    def grow(self, run: RunRecord, *, n_left: int) -> None:
        """Start more workers on a CUDA device once runs show what one takes of its memory; the baseline takes least."""
        peak_bytes = run.execution.get("peak_bytes")
        if isinstance(peak_bytes, int) and run.scale is not None and self._device_bytes and self._grows:
            self._peak_bytes = max(self._peak_bytes, peak_bytes)
            at_most = self._at_most // self._n_devices
            fit = workers_that_fit(self._peak_bytes, device_bytes=self._device_bytes, at_most=at_most)
            self.max_workers = fit * self._n_devices
            self.start_for(n_left)

    @property
    def are_idle(self) -> bool:
        """Whether all workers wait or start; one that starts may never find room."""
        return all(hand.call in (None, "starting") for hand in self.by_number.values())

    def hold(self, bundle: BundleState) -> bool:
        """Say whether any worker has a bundle."""
        return any(hand.bundle is bundle for hand in self.by_number.values())

    def may_open(self, bundle: BundleState) -> bool:
        """Say whether any worker may try to open a bundle."""
        return any(hand.may_open(bundle) for hand in self.by_number.values())


def workers_that_fit(peak_bytes: int, *, device_bytes: int, at_most: int) -> int:
    """Return how many workers of this peak fit on a device, a context of CUDA's for each and a fifth of all spared."""
    return max(1, min(at_most, int(0.8 * device_bytes / (peak_bytes + CONTEXT_BYTES))))


def assign(hands: Hands, worklist: Worklist) -> None:
    """Give every worker that waits something to do."""
    for hand in hands.by_number.values():
        if hand.call is None:
            _assign_to(hand, hands, worklist)


def _assign_to(hand: Hand, hands: Hands, worklist: Worklist) -> None:
    """Have a worker go on with its bundle or, when that lacks nothing, open another."""
    bundle = hand.bundle
    if bundle and bundle.wants_features:
        bundle.wants_features = False
        hands.ask(hand, "features", worklist.lacking_sets(bundle), worklist.recipes_of(bundle))
    elif bundle and bundle.todo:
        hand.run = bundle.todo.popleft()
        bundle.n_running += 1
        hands.ask(hand, "run", hand.run)
    elif following := _next_bundle(hand, worklist):
        hand.bundle = following
        squares = Squares(following.image_px, following.resize)
        hands.ask(hand, "open", following.data, following.source, squares, following.dtype, following.n_images)


def _next_bundle(hand: Hand, worklist: Worklist) -> BundleState | None:
    """Return a bundle that nobody has begun or, when there is none left, the open one with most left to do."""
    for bundle in worklist.waiting:
        if hand.may_open(bundle):
            worklist.take_out(bundle)
            return bundle
    others = [bundle for bundle in worklist.open if hand.may_open(bundle)]
    helped = max(others, key=lambda bundle: len(bundle.todo), default=None)
    return helped if helped and len(helped.todo) > 1 else None
