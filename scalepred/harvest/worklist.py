"""What is left to do: the bundles of a harvest, what each lacks, and what was refused or given up."""

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalepred.harvest.plan import missing_runs, wanted_runs
from scalepred.harvest.request import Wanted
from scalepred.predictor.context import feature_set
from scalepred.records import Outcome, RunRecord, SourceRecord
from scalepred.store.keeping import Stored
from scalepred.training.planned import PlannedRun

MAX_DEATHS = 3
"""A bundle or run during which workers died so often is given up."""


@dataclass(kw_only=True, eq=False)
class BundleState:
    """A task and source in a harvest, and what it lacks.

    Attributes:
        data: the task, as it was asked for.
        origin: of the task.
        source: number of the source, as workers hold it.
        source_id: of the source.
        image_px: side of the images.
        dtype: that its runs are computed in.
        n_expected: runs to expect while the task was never read.
        task_id: None until the task is read, and so is what there is to do.
        todo: runs that nobody has in hand.
        wants_features: its features are missing, and no worker computes them.
        n_train: training images, once a worker has opened it.
        n_running: runs that workers have in hand.
        is_given_up: it is refused, and nothing more of it is done.
        failed_at: worker -> its machine, of those that could not open it, or died of it.
        failed_seconds: when the last of these did, by ``time.monotonic``.
        reason: what it said.
    """

    data: str
    origin: str
    source: int
    source_id: str
    image_px: int
    dtype: str
    n_expected: int = 0
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
    def name(self) -> str:
        """The task's folder or file, without the way there."""
        return Path(self.data).name

    @property
    def n_left(self) -> int:
        """Number of runs that are not done."""
        return self.n_expected if self.task_id is None else len(self.todo) + self.n_running

    @property
    def lacks_something(self) -> bool:
        """Whether runs or features are missing."""
        return self.n_left > 0 or self.wants_features

    def may_be_opened_by(self, worker: int, *, host: str) -> bool:
        """Say whether a worker may try: none that failed before, and none of a machine where ``MAX_DEATHS`` did."""
        n_failed = sum(each == host for each in self.failed_at.values())
        return worker not in self.failed_at and n_failed < MAX_DEATHS


@dataclass(kw_only=True, eq=False)
class Worklist:
    """The bundles of a harvest: those that wait, and those that workers have opened.

    A bundle is in one of the two as long as it lacks something.

    Attributes:
        wanted: what the harvest is asked for.
        sources: rows of the sources, by their numbers.
        dtypes: (number of a source, image size) -> what its runs are computed in.
        stored: what was done before this harvest or in it.
        waiting: bundles that no worker has, in the order in which they are opened.
        open: bundles that workers have.
        refused: task -> why it can't be harvested.
        failed: run_id -> why the run was given up.
    """

    wanted: Wanted
    sources: tuple[SourceRecord, ...] = ()
    dtypes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    stored: Stored = field(default_factory=lambda: Stored(set(), {}, set()))
    waiting: deque[BundleState] = field(default_factory=deque)
    open: list[BundleState] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _claimed: dict[tuple[str, str, int], BundleState] = field(default_factory=dict)

    @property
    def n_left(self) -> int:
        """Number of runs that are still to do, as far as the tasks were read."""
        return sum(bundle.n_left for bundle in (*self.waiting, *self.open))

    @property
    def lacks_something(self) -> bool:
        """Whether runs or features are missing of any bundle."""
        return any(bundle.lacks_something for bundle in (*self.waiting, *self.open))

    def new_bundles(self, data: str, *, origin: str) -> list[BundleState]:
        """Return the bundles of a task, one for each source and image size; they are not on the list yet."""
        return [
            BundleState(
                data=data,
                origin=origin,
                source=number,
                source_id=source.source_id,
                image_px=image_px,
                dtype=self.dtypes[number, image_px],
            )
            for (number, source), image_px in itertools.product(enumerate(self.sources), self.wanted.sizes_px())
        ]

    def settle(self, bundle: BundleState, task_id: str) -> bool:
        """Take which task a bundle is, and work out what it lacks; False if it is in work under another name."""
        key = (task_id, bundle.source_id, bundle.image_px)
        if self._claimed.setdefault(key, bundle) is not bundle:
            return False
        bundle.task_id = task_id
        features = (task_id, bundle.source_id, feature_set(bundle.image_px))
        bundle.wants_features = features not in self.stored.features
        bundle.todo = deque(self._missing(bundle))
        return True

    def grid(self, bundle: BundleState, *, task_id: str) -> list[PlannedRun]:
        """Return all runs that are wanted of a bundle, done or not, but for those beyond the grid's edges."""
        recipes = self.wanted.recipes_at(bundle.image_px)
        return wanted_runs(task_id, bundle.source_id, recipes, n_seeds=self.wanted.n_seeds)

    def _missing(self, bundle: BundleState) -> list[PlannedRun]:
        return missing_runs(
            bundle.task_id or "",
            bundle.source_id,
            self.wanted.recipes_at(bundle.image_px),
            n_seeds=self.wanted.n_seeds,
            outcomes=self.stored.outcomes,
            given_up=self.failed,
            extends=self.wanted.extends,
        )

    def take_out(self, bundle: BundleState) -> None:
        """Count a bundle that waits as open."""
        self.waiting.remove(bundle)
        self.open.append(bundle)

    def put_back(self, bundle: BundleState) -> None:
        """Have a bundle wait before all others."""
        self.close(bundle)
        self.waiting.appendleft(bundle)

    def close(self, bundle: BundleState) -> None:
        """Count a bundle as open no more."""
        if bundle in self.open:
            self.open.remove(bundle)

    def add_outcome(self, run: RunRecord) -> None:
        """Take what came out of a run."""
        self.stored.outcomes[run.run_id] = Outcome(run.status, run.val_accuracy, run.val_loss)

    def finish_if_done(self, bundle: BundleState) -> None:
        """See whether a bundle whose runs are done needs more, beyond the grid's edges; else it is finished."""
        if not bundle.todo and not bundle.n_running and not bundle.is_given_up:
            bundle.todo.extend(self._missing(bundle))
            if not bundle.todo and not bundle.wants_features:
                self.close(bundle)

    def give_up_run(self, bundle: BundleState, run: PlannedRun, reason: str) -> None:
        """Go on without a run."""
        self.failed[run.run_id] = reason
        self.finish_if_done(bundle)

    def refuse(self, bundle: BundleState, reason: str) -> None:
        """Go on without a bundle."""
        self.refused[bundle.data] = reason
        bundle.todo.clear()
        bundle.n_expected, bundle.wants_features, bundle.is_given_up = 0, False, True
        self.close(bundle)
        if bundle in self.waiting:
            self.waiting.remove(bundle)
