"""The harvest: finds which finetunes are missing, has workers run them, and keeps what they find."""

import datetime
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalepred.data.task import survey
from scalepred.errors import DataError, ScalepredError, UsageError
from scalepred.harvest.calls import Engine, Event, Failure, Hello, Opened
from scalepred.harvest.plan import in_turns, missing_runs, wanted_runs
from scalepred.predictor.context import feature_set
from scalepred.recipe import Recipe, baseline_of, content_id
from scalepred.records import DIVERGED, Outcome, RecipeRecord, RunRecord, SourceRecord
from scalepred.store.journal import Journal, journal_of
from scalepred.store.keeping import Keeper
from scalepred.training.planned import PlannedRun

MAX_DEATHS = 3
"""A bundle or run during which workers died so often is given up."""

MAX_FAILURES = 5
"""So many unexpected errors in a row, with no run done between them, end the harvest."""

START_SECONDS = 60.0
"""So long a bundle that could not be opened waits for workers that still start, once nothing else is left to do."""

FLUSH_SECONDS = 10.0

CONTEXT_BYTES = 600 << 20
"""What CUDA itself takes on a device for every process, roughly."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a harvest is asked for.

    Attributes:
        data: tasks, as ``tasks.read_task`` takes them.
        recipes: name -> graduated recipe; the baseline belongs to each.
        n_seeds: seeds 0..n_seeds-1.
        warehouse: a DuckDB file, which need not exist.
        max_workers: workers at a time.
        extends: go beyond the edges of the grid where the best scale lies there.
        grows: on CUDA devices, begin with one worker on each, and start more as they fit.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
    """

    data: Sequence[str]
    recipes: Mapping[str, Recipe]
    n_seeds: int
    warehouse: Path
    max_workers: int
    extends: bool = True
    grows: bool = False
    lock_timeout_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class PlannedBundle:
    """A task and source with missing runs, as the plan shows it; a task not read before counts in full."""

    data: str
    source: str
    image_px: int
    n_runs: int
    is_read: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a harvest has to do, as far as it is known before tasks are read.

    Attributes:
        bundles: what is missing, in the order in which it will be done.
        n_stored: wanted runs that are done already.
        refused: task -> why it can't be harvested.
    """

    bundles: tuple[PlannedBundle, ...]
    n_stored: int
    refused: Mapping[str, str]

    @property
    def n_runs(self) -> int:
        """Number of missing runs."""
        return sum(bundle.n_runs for bundle in self.bundles)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a harvest is.

    Attributes:
        run: the run that has just been finished, if one has.
        notes: what a user should know.
        n_done, n_diverged, n_left: runs.
        images_per_second: training images, over the whole harvest so far.
        seconds_left: at the speed so far.
        workers: number -> what it does, in words.
    """

    run: RunRecord | None
    notes: tuple[str, ...]
    n_done: int
    n_diverged: int
    n_left: int
    images_per_second: float
    seconds_left: float | None
    workers: Mapping[int, str]


@dataclass(kw_only=True, eq=False)
class _Bundle:
    """A task and source in work; ``task_id`` is None until it is known, and so is what there is to do.

    Attributes:
        failed_at: worker -> its machine, of those that could not open it, or died of it.
        failed_seconds: when the last of these did, by ``time.monotonic``.
        reason: what it said.
    """

    data: str
    origin: str
    source: int
    image_px: int
    n_guessed: int = 0
    task_id: str | None = None
    todo: deque[PlannedRun] = field(default_factory=deque)
    wants_features: bool = False
    n_train: int = 0
    n_running: int = 0
    is_given_up: bool = False
    failed_at: dict[int, str] = field(default_factory=dict)
    failed_seconds: float = 0.0
    reason: str = ""

    @property
    def n_left(self) -> int:
        return self.n_guessed if self.task_id is None else len(self.todo) + self.n_running

    @property
    def lacks_something(self) -> bool:
        return self.n_left > 0 or self.wants_features


@dataclass(kw_only=True)
class _Hand:
    """A worker as the harvest sees it: its device, its machine once that is known, its call, bundle and run, if any."""

    device_index: int
    host: str = ""
    call: str | None = None
    bundle: _Bundle | None = None
    run: PlannedRun | None = None

    def words(self) -> str:
        """Return what it does, for a person."""
        if self.call is None or self.bundle is None:
            return self.call or "waiting"
        name = Path(self.bundle.data).name
        if self.run is None:
            return f"{name}: {self.call}"
        what = "baseline" if self.run.scale is None else f"scale {self.run.scale:g}"
        return f"{name}: {what}, seed {self.run.seed}"


class Harvest:
    """One harvest, from its plan to its last stored run.

    A run is journalled if and only if its finetune finished, so a harvest may be stopped at any moment and loses the
    runs in hand at most. Every journalled run reaches the warehouse: in batches while the harvest runs, at its end, or
    at the beginning of the next. The warehouse is held only while a batch is stored.

    Attributes:
        interrupts: signals that are to end it after a step; once there is one, no worker takes a dead one's place.
        refused: task -> why it can't be harvested.
        failed: run_id -> why the run was given up.
        n_done, n_diverged: runs.
    """

    def __init__(self, wanted: Wanted, engine: Engine) -> None:
        self.wanted, self.engine = wanted, engine
        self.journal: Journal = journal_of(wanted.warehouse)
        self.keeper = Keeper(wanted.warehouse, self.journal, lock_timeout_seconds=wanted.lock_timeout_seconds)
        self.interrupts: Sequence[int] = ()
        self.refused: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.n_done = self.n_diverged = 0
        self._max_workers = wanted.max_workers
        self._sources: tuple[SourceRecord, ...] = ()
        self._dtypes: dict[tuple[int, int], str] = {}
        self._tasks: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._features: set[tuple[str, str, str]] = set()
        self._waiting: deque[_Bundle] = deque()
        self._open: list[_Bundle] = []
        self._claimed: dict[tuple[str, str, int], _Bundle] = {}
        self._hands: dict[int, _Hand] = {}
        self._numbers = itertools.count()
        self._notes: deque[str] = deque()
        self._told: set[tuple[str, str]] = set()
        self._deaths: Counter[str] = Counter()
        self._n_errors = 0
        self._n_images = 0
        self._peak_bytes = 0
        self._began = time.monotonic()
        self._hello: Any = None

    def held(self) -> AbstractContextManager[None]:
        """Keep other harvests off this warehouse for as long as the block runs.

        Raises:
            WarehouseBusyError: if another one is at work for longer than the timeout.
        """
        return self.journal.held(lock_timeout_seconds=self.wanted.lock_timeout_seconds)

    # --- the plan ---

    def plan(self) -> Plan:
        """Bring warehouse and journal together, ask a first worker about sources and device, and find what is missing.

        A task that can't be used is refused with its reason, and the others go on. What is the same task under another
        name is done once. What else a user should know is in ``take_notes``.
        """
        self._notes.extend(self.keeper.catch_up())
        self._meet_first_worker()
        stored, notes = self.keeper.stored([source.source_id for source in self._sources])
        self._notes.extend(notes)
        self._tasks, self._outcomes, self._features = stored.tasks, stored.outcomes, stored.features
        n_stored, bundles = 0, []
        for data in self.wanted.data:
            try:
                found, n = self._look_at(data)
            except DataError as error:
                self.refused[data] = str(error)
                self.journal.log(f"{_now()} refused: {data}: {error}")
                continue
            n_stored += n
            bundles += found
        self._waiting.extend(_balanced(bundles))
        planned = tuple(
            PlannedBundle(
                data=bundle.data,
                source=self._sources[bundle.source].name,
                image_px=bundle.image_px,
                n_runs=bundle.n_left,
                is_read=bundle.task_id is not None,
            )
            for bundle in self._waiting
        )
        return Plan(bundles=planned, n_stored=n_stored, refused=dict(self.refused))

    def _meet_first_worker(self) -> None:
        """Start a worker, and learn the sources' ids, and the dtype that pays for each."""
        number = self._start_worker()
        self._hello = self._first_answer()
        self._greet(number, self._hello)
        self._sources = self._hello.sources
        if self._hello.device_bytes and self.wanted.grows:
            self._max_workers = self._hello.n_devices
        sizes = {recipe.image_px: recipe for recipe in self.wanted.recipes.values()}
        for index, (image_px, recipe) in itertools.product(range(len(self._sources)), sizes.items()):
            facts = [self._sources[index].source_id, image_px, recipe.batch_size, self._hello.device]
            key = content_id("dtype", facts if self._hello.dtype == "auto" else [*facts, self._hello.dtype])
            noted = self.journal.noted("dtypes", key)
            if noted is None:
                self.engine.call(number, "pick_dtype", index, recipe)
                noted = {"dtype": self._first_answer()}
                self.journal.note("dtypes", key, noted)
            self._dtypes[index, image_px] = noted["dtype"]
        self._hands[number].call = None

    def _first_answer(self) -> Any:
        """Wait for what the first worker says, before the harvest proper."""
        while not (events := self.engine.wait(1.0)):
            pass
        if events[0].died:
            why = events[0].words or "is there memory enough? Try fewer --workers."
            raise UsageError(f"A worker died while it started: {why}")
        if isinstance(events[0].value, Failure):
            raise events[0].value.as_error()
        return events[0].value

    def _look_at(self, data: str) -> tuple[list[_Bundle], int]:
        """Return what is missing of a task on all sources and image sizes, and how many of its runs are there."""
        found = survey(data)
        known = self.journal.noted("scans", found.fingerprint) if found.fingerprint else None
        if known and known["task_id"] not in self._tasks:
            known = None  # its row is lost, or was never written
        bundles, n_stored = [], 0
        sizes = sorted({recipe.image_px for recipe in self.wanted.recipes.values()})
        for source, image_px in itertools.product(range(len(self._sources)), sizes):
            bundle = _Bundle(data=data, origin=found.origin, source=source, image_px=image_px)
            if known is None:
                bundle.n_guessed = len(self._grid(bundle, ""))
                bundles.append(bundle)
            elif self._settle(bundle, known["task_id"]):
                n_stored += sum(run.run_id in self._outcomes for run in self._grid(bundle, known["task_id"]))
                if bundle.todo or bundle.wants_features:
                    bundles.append(bundle)
        return bundles, n_stored

    def _settle(self, bundle: _Bundle, task_id: str) -> bool:
        """Find what a bundle lacks, now that its task is known; False if it is in work under another name."""
        key = (task_id, self._source_id(bundle), bundle.image_px)
        if self._claimed.setdefault(key, bundle) is not bundle:
            return False
        bundle.task_id = task_id
        bundle.wants_features = (task_id, self._source_id(bundle), feature_set(bundle.image_px)) not in self._features
        bundle.todo = deque(self._missing(bundle))
        return True

    def _source_id(self, bundle: _Bundle) -> str:
        return self._sources[bundle.source].source_id

    def _recipes(self, image_px: int) -> list[Recipe]:
        return [recipe for recipe in self.wanted.recipes.values() if recipe.image_px == image_px]

    def _grid(self, bundle: _Bundle, task_id: str) -> list[PlannedRun]:
        recipes = self._recipes(bundle.image_px)
        return wanted_runs(task_id, self._source_id(bundle), recipes, n_seeds=self.wanted.n_seeds)

    def _missing(self, bundle: _Bundle) -> list[PlannedRun]:
        return missing_runs(
            bundle.task_id or "",
            self._source_id(bundle),
            self._recipes(bundle.image_px),
            n_seeds=self.wanted.n_seeds,
            outcomes=self._outcomes,
            given_up=self.failed,
            extends=self.wanted.extends,
        )

    # --- the work ---

    def run(self) -> Iterator[Progress]:
        """Do what was planned; yields whenever there is something to tell, and every second or so.

        Raises:
            WarehouseBusyError: if another process holds the warehouse at the end; the journal has all runs.
            UsageError: if the journal or the warehouse can't be written.
            ScalepredError: if workers keep failing.
        """
        self._began = time.monotonic()
        try:
            self.keeper.add([*self._sources, *_recipe_records(self.wanted.recipes)])
            self._start_workers()
            self._assign()
            while self._is_at_work():
                # all at once, so that nothing that has come is lost if nobody asks for more
                for run in list(filter(None, map(self._take, self.engine.wait(1.0)))):
                    yield self._progress(run=run)
                self._assign()
                self._notes.extend(self.keeper.flush_if_due(every_seconds=FLUSH_SECONDS))
                yield self._progress()
        finally:
            self.engine.stop()
        self._notes.extend(self.keeper.flush())
        yield self._progress()

    def stop(self) -> list[str]:
        """End all workers and store what is journalled, as far as the warehouse takes it now; returns warnings."""
        self.engine.stop()
        try:
            return self.keeper.flush_if_due(every_seconds=0)
        except ScalepredError as error:  # such as a full disk; the journal has it for the next harvest
            return [str(error)]

    def _start_worker(self) -> int:
        """Start a worker on the device that has the fewest."""
        number = next(self._numbers)
        n_workers = Counter(hand.device_index for hand in self._hands.values())
        device_index = min(range(self._hello.n_devices if self._hello else 1), key=lambda index: n_workers[index])
        self._hands[number] = _Hand(device_index=device_index, call="starting")
        self.engine.start(number, device_index=device_index)
        self.engine.call(number, "hello")
        return number

    def _start_workers(self) -> None:
        """Start as many workers as there is work for; the first is there already."""
        n_runs = sum(bundle.n_left + bundle.wants_features for bundle in self._waiting)
        for _ in range(len(self._hands), min(self._max_workers, n_runs)):
            self._start_worker()

    def _is_at_work(self) -> bool:
        """Say whether there is more to come; a worker that starts is not waited for, since it may never find room."""
        in_hand = any(hand.call not in (None, "starting") for hand in self._hands.values())
        return in_hand or any(bundle.lacks_something for bundle in (*self._waiting, *self._open))

    def _assign(self) -> None:
        """Give every worker that waits something to do."""
        for number, hand in self._hands.items():
            if hand.call is None:
                self._assign_to(number, hand)
        self._give_up_unopened()

    def _give_up_unopened(self) -> None:
        """Give up bundles that no worker may open any more, or none that has started while nothing else is to do."""
        is_idle = all(hand.call in (None, "starting") for hand in self._hands.values())
        for bundle in [bundle for bundle in self._waiting if bundle.failed_at]:
            is_late = is_idle and time.monotonic() - bundle.failed_seconds >= START_SECONDS
            if is_late or not self._may_be_opened(bundle):
                self._give_up(bundle, None, bundle.reason)

    def _assign_to(self, number: int, hand: _Hand) -> None:
        own = hand.bundle
        if own and own.wants_features:
            own.wants_features = False
            self._call(number, hand, "features")
        elif own and own.todo:
            hand.run = own.todo.popleft()
            own.n_running += 1
            self._call(number, hand, "run", hand.run)
        elif bundle := self._next_bundle(number, hand):
            hand.bundle = bundle
            dtype = self._dtypes[bundle.source, bundle.image_px]
            self._call(number, hand, "open", bundle.data, bundle.source, bundle.image_px, dtype)

    def _next_bundle(self, number: int, hand: _Hand) -> _Bundle | None:
        """Return a bundle that nobody has begun or, when there is none left, the one in work with most left to do."""
        for bundle in self._waiting:
            if self._may_open(number, hand, bundle):
                self._waiting.remove(bundle)
                self._open.append(bundle)
                return bundle
        others = [bundle for bundle in self._open if self._may_open(number, hand, bundle)]
        helped = max(others, key=lambda bundle: len(bundle.todo), default=None)
        return helped if helped and len(helped.todo) > 1 else None

    def _may_open(self, number: int, hand: _Hand, bundle: _Bundle) -> bool:
        """Say whether a worker may try: none that failed before, and none of a machine where ``MAX_DEATHS`` did."""
        n_failed = sum(host == hand.host for host in bundle.failed_at.values())
        return number not in bundle.failed_at and n_failed < MAX_DEATHS

    def _may_be_opened(self, bundle: _Bundle) -> bool:
        return any(self._may_open(number, hand, bundle) for number, hand in self._hands.items())

    def _call(self, number: int, hand: _Hand, method: str, *arguments: object) -> None:
        hand.call = method
        self.engine.call(number, method, *arguments)

    # --- what comes of it ---

    def _take(self, event: Event) -> RunRecord | None:
        """Take what came of a worker's call; returns the run if one was finished."""
        hand = self._hands[event.worker]
        call, run, bundle = hand.call, hand.run, hand.bundle
        hand.call = hand.run = None
        if bundle and run:
            bundle.n_running -= 1
        if event.died:
            del self._hands[event.worker]
            self._take_death(event.worker, hand, call, run, event.words)
        elif call == "starting":
            self._take_started(event.worker, hand, event.value)
        elif bundle and isinstance(event.value, Failure):
            self._take_failure(event.worker, bundle, call, event.value, run)
        elif bundle and call == "open":
            self._take_opened(hand, bundle, event.value)
        elif bundle and call == "features":
            self.keeper.add_features(event.value)
        elif bundle and run:
            self._take_run(bundle, event.value)
            return event.value  # type: ignore[no-any-return]  # run's answer
        return None

    def _take_started(self, number: int, hand: _Hand, answer: Hello | Failure) -> None:
        """Greet a worker that has started; one that hit an unexpected error is asked again, as if it had died of it."""
        if isinstance(answer, Hello):
            self._deaths["starting"] = 0
            self._greet(number, answer)
            return
        if answer.on_purpose:
            raise answer.on_purpose
        self._note(f"a worker failed to start: {answer.words}")
        self.journal.log(answer.traceback.rstrip())
        self._count_failed_start(answer.words)
        hand.call = "starting"
        self.engine.call(number, "hello")

    def _greet(self, number: int, hello: Hello) -> None:
        self._hands[number].host = hello.host
        self.journal.log(f"{_now()} worker {number}: process {hello.process}, {hello.device}, on {hello.host}")

    def _take_opened(self, hand: _Hand, bundle: _Bundle, opened: Opened) -> None:
        task = opened.task
        self._tell_of(bundle, opened)
        if opened.fingerprint:
            self.journal.note("scans", opened.fingerprint, {"task_id": task.task_id})
        if bundle.task_id != task.task_id and not self._settle(bundle, task.task_id):
            hand.bundle = None  # the same task under another name
            if bundle in self._open:
                self._open.remove(bundle)
            return
        bundle.n_train = task.n_train
        self.keeper.add([task])
        self._finish_if_done(bundle)

    def _tell_of(self, bundle: _Bundle, opened: Opened) -> None:
        """Note once how much of a task is not used or doubtful, and log all of it."""
        counts = {"paths skipped": len(opened.skipped), "warnings": len(opened.warnings)}
        if not any(counts.values()) or (bundle.data, opened.task.task_id) in self._told:
            return
        self._told.add((bundle.data, opened.task.task_id))
        words = " and ".join(f"{n} {what}" for what, n in counts.items() if n)
        self._note(f"{bundle.data}: {words}; {self.journal.folder / 'harvest.log'} lists them")
        for path, reason in opened.skipped:
            self.journal.log(f"{_now()} skipped: {path}: {reason}")
        for warning in opened.warnings:
            self.journal.log(f"{_now()} warning: {bundle.data}: {warning}")

    def _take_run(self, bundle: _Bundle, run: RunRecord) -> None:
        self.keeper.add([run])
        self._outcomes[run.run_id] = Outcome(run.status, run.val_accuracy, run.val_loss)
        self._n_errors = 0
        self.n_done += 1
        self.n_diverged += run.status == DIVERGED
        self._n_images += bundle.n_train * len(run.epoch_losses)
        self.journal.log(_line(run, bundle))
        self._finish_if_done(bundle)
        self._grow(run)

    def _finish_if_done(self, bundle: _Bundle) -> None:
        """See whether a bundle whose runs are done needs more, beyond the grid's edges; else it is finished."""
        if not bundle.todo and not bundle.n_running and not bundle.is_given_up:
            bundle.todo.extend(self._missing(bundle))
            if not bundle.todo and not bundle.wants_features and bundle in self._open:
                self._open.remove(bundle)

    def _grow(self, run: RunRecord) -> None:
        """Start more workers on a CUDA device once runs show what one takes of its memory; the baseline takes least."""
        peak, whole = run.execution.get("peak_bytes"), self._hello.device_bytes
        if isinstance(peak, int) and run.scale is not None and whole and self.wanted.grows:
            self._peak_bytes = max(self._peak_bytes, peak)
            at_most = self.wanted.max_workers // self._hello.n_devices
            fit = workers_that_fit(self._peak_bytes, device_bytes=whole, at_most=at_most)
            self._max_workers = fit * self._hello.n_devices
            for _ in range(len(self._hands), min(self._max_workers, self.n_left)):
                self._start_worker()

    def _take_death(self, number: int, hand: _Hand, call: str | None, run: PlannedRun | None, words: str) -> None:
        """Put what a worker had in hand back, and start another in its place, unless the harvest is about to end."""
        bundle = hand.bundle
        why = f": {words}" if words else ""
        self._note(f"a worker died ({call or 'waiting'}{f' {bundle.data}' if bundle else ''}){why}")
        if call == "starting" and not self.interrupts:
            self._count_failed_start(words)
        if bundle and call == "open":
            n = len(bundle.failed_at) + 1
            self._doubt(bundle, number, hand.host, "a worker died of it" if n == 1 else f"{n} workers died of it")
        elif bundle:
            self._take_back(bundle, call, run)
        if len(self._hands) < self._max_workers and not self.interrupts:
            self._start_worker()

    def _count_failed_start(self, words: str) -> None:
        self._deaths["starting"] += 1
        if self._deaths["starting"] >= MAX_DEATHS:
            question = words or "Is there memory enough for so many?"
            raise UsageError(f"{MAX_DEATHS} workers died while they started. {question}")

    def _take_back(self, bundle: _Bundle, call: str | None, run: PlannedRun | None) -> None:
        """Have others do what a dead worker had in hand, unless too many have died of it."""
        what = run.run_id if run else f"{call} {bundle.data}"
        self._deaths[what] += 1
        if call and self._deaths[what] >= MAX_DEATHS:
            self._give_up(bundle, run, f"{MAX_DEATHS} workers died of it")
        elif run:
            bundle.todo.appendleft(run)
        elif call == "features":
            bundle.wants_features = True
        self._let_go(bundle)

    def _let_go(self, bundle: _Bundle) -> None:
        """Have a bundle that lacks something and that nobody holds any more wait for the next worker."""
        if bundle.lacks_something and not self._is_held(bundle):
            if bundle in self._open:
                self._open.remove(bundle)
            self._waiting.appendleft(bundle)

    def _is_held(self, bundle: _Bundle) -> bool:
        return any(hand.bundle is bundle for hand in self._hands.values())

    def _take_failure(
        self, number: int, bundle: _Bundle, call: str | None, failure: Failure, run: PlannedRun | None
    ) -> None:
        """Give up the run, or the bundle; one that can't be opened once no worker is left to try it."""
        self.journal.log(f"{_now()} failed: {call} {bundle.data}: {failure.words}\n{failure.traceback}".rstrip())
        if run is None:
            self._hands[number].bundle = None
        if call == "open":
            self._doubt(bundle, number, self._hands[number].host, failure.words)
            if self._is_held(bundle) or self._may_be_opened(bundle):
                return
        if not failure.on_purpose:
            self._n_errors += 1
        if self._n_errors >= MAX_FAILURES:
            raise ScalepredError(
                f"{MAX_FAILURES} errors in a row, the last one in {call} of {bundle.data}: {failure.words} "
                f"What is done is kept; {self.journal.folder / 'harvest.log'} has the details."
            )
        self._give_up(bundle, run, failure.words)

    def _doubt(self, bundle: _Bundle, number: int, host: str, reason: str) -> None:
        """Have others try what a worker could not open, which says something of either."""
        bundle.failed_at[number] = host
        bundle.reason, bundle.failed_seconds = reason, time.monotonic()
        self._let_go(bundle)

    def _give_up(self, bundle: _Bundle, run: PlannedRun | None, reason: str) -> None:
        """Go on without a run, or without a whole bundle if it can't be opened or looked at."""
        if run:
            self.failed[run.run_id] = reason
            self._note(f"gave up a run of {bundle.data}: {reason}")
            self._finish_if_done(bundle)
            return
        self.refused[bundle.data] = reason
        self._note(f"refused: {bundle.data}: {reason}")
        bundle.todo.clear()
        bundle.n_guessed, bundle.wants_features, bundle.is_given_up = 0, False, True
        for bundles in (self._open, self._waiting):
            if bundle in bundles:
                bundles.remove(bundle)

    # --- what it tells ---

    @property
    def n_left(self) -> int:
        """Number of runs that are still to do, as far as it is known."""
        return sum(bundle.n_left for bundle in (*self._waiting, *self._open))

    def take_notes(self) -> tuple[str, ...]:
        """Return what a user should know and was not told yet."""
        notes = tuple(self._notes)
        self._notes.clear()
        return notes

    def _note(self, words: str) -> None:
        self._notes.append(words)
        self.journal.log(f"{_now()} {words}")

    def _progress(self, run: RunRecord | None = None) -> Progress:
        seconds = time.monotonic() - self._began
        n_left = self.n_left
        return Progress(
            run=run,
            notes=self.take_notes(),
            n_done=self.n_done,
            n_diverged=self.n_diverged,
            n_left=n_left,
            images_per_second=self._n_images / max(seconds, 1e-9),
            seconds_left=seconds / self.n_done * n_left if self.n_done else None,
            workers={number: hand.words() for number, hand in self._hands.items()},
        )


def workers_that_fit(peak_bytes: int, *, device_bytes: int, at_most: int) -> int:
    """Return how many workers of this peak fit on a device, a context of CUDA's for each and a fifth of all spared."""
    return max(1, min(at_most, int(0.8 * device_bytes / (peak_bytes + CONTEXT_BYTES))))


def _balanced(bundles: Sequence[_Bundle]) -> list[_Bundle]:
    """Order bundles so that every origin has its first on every source before it has its second, and so on."""
    return in_turns(
        bundles,
        name=lambda bundle: Path(bundle.data).name,
        group=lambda bundle: (bundle.origin, bundle.source, bundle.image_px),
    )


def _recipe_records(recipes: Mapping[str, Recipe]) -> list[RecipeRecord]:
    return [
        RecipeRecord(recipe_id=member.recipe_id, name=own_name, json=member.to_json())
        for name, recipe in recipes.items()
        for own_name, member in ((name, recipe), (_baseline_name(name), baseline_of(recipe)))
    ]


def _baseline_name(recipe: str) -> str:
    return "baseline" if recipe == "graduated" else f"baseline of {recipe}"


def _line(run: RunRecord, bundle: _Bundle) -> str:
    what = "baseline" if run.scale is None else f"scale {run.scale:g}"
    accuracy = "" if run.val_accuracy is None else f" val {run.val_accuracy:.3f}"
    return f"{_now()} {run.status}: {bundle.data} {what} seed {run.seed}{accuracy} {run.seconds:.1f} s {run.run_id}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
