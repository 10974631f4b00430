"""What is left to do: the bundles of a harvest, what each lacks, and what was refused or given up."""

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scalepred.harvest.bundles import BundleState
from scalepred.harvest.guess import Guesses
from scalepred.harvest.octaves import first_octaves
from scalepred.harvest.plan import missing_runs, point_runs, wanted_runs
from scalepred.harvest.request import Wanted
from scalepred.predictor.context import feature_set, probe_set, start_set
from scalepred.recipe import Recipe
from scalepred.records import Outcome, RecipeRecord, RunRecord, SourceRecord
from scalepred.store.keeping import Stored
from scalepred.training.planned import PlannedRun


@dataclass(kw_only=True, eq=False)
class Worklist:
    """The bundles of a harvest: those that wait, and those that workers have opened.

    A bundle is in one of the two as long as it lacks something.

    Attributes:
        wanted: what the harvest is asked for.
        sources: rows of the sources, by their numbers.
        dtypes: (number of a source, image size) -> what its runs are computed in; none where the source can't take it.
        guesses: where points start.
        stored: what was done before this harvest or in it.
        waiting: bundles that no worker has, in the order in which they are opened.
        open: bundles that workers have.
        refused: task or point -> why it can't be harvested.
        failed: run_id -> why the run was given up.
    """

    wanted: Wanted
    guesses: Guesses
    sources: tuple[SourceRecord, ...] = ()
    dtypes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    stored: Stored = field(default_factory=lambda: Stored(set(), {}, set()))
    waiting: deque[BundleState] = field(default_factory=deque)
    open: list[BundleState] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _claimed: dict[tuple[str, str, str | tuple[int, str]], BundleState] = field(default_factory=dict)

    @property
    def n_left(self) -> int:
        """Number of runs that are still to do, as far as the tasks were read."""
        return sum(bundle.n_left for bundle in (*self.waiting, *self.open))

    @property
    def lacks_something(self) -> bool:
        """Whether runs or features are missing of any bundle."""
        return any(bundle.lacks_something for bundle in (*self.waiting, *self.open))

    def new_bundles(self, data: str, *, origin: str) -> list[BundleState]:
        """Return the bundles of a task, one for each source and kind of images; they are not on the list yet."""
        return [
            BundleState(
                data=data,
                origin=origin,
                source=number,
                source_id=source.source_id,
                image_px=image_px,
                resize=resize,
                dtype=self.dtypes[number, image_px],
            )
            for (number, source), (image_px, resize) in itertools.product(
                enumerate(self.sources), self.wanted.image_kinds()
            )
        ]

    def new_points(self, origins: Mapping[str, str]) -> list[BundleState]:
        """Return the design points of these tasks, in their order, without those that their sources can't take.

        Args:
            origins: task -> its origin.
        """
        numbers = {name: self.wanted.number_of(name) for name in self.wanted.sources}
        return [
            BundleState(
                data=point.data,
                origin=origins[point.data],
                source=numbers[point.source],
                source_id=self.sources[numbers[point.source]].source_id,
                image_px=point.recipe.image_px,
                resize=point.recipe.resize,
                dtype=self.dtypes.get((numbers[point.source], point.recipe.image_px), ""),
                point=point,
                n_seeds=point.n_seeds,
                n_expected=len(first_octaves(0)) * point.n_seeds,
            )
            for point in self.wanted.points
            if point.data in origins
        ]

    def settle(self, bundle: BundleState, task_id: str, *, n_val: int, n_test: int) -> bool:
        """Take which task a bundle is, and work out what it lacks; False if it is in work under another name."""
        if not self._claim(bundle, task_id):
            return False
        bundle.task_id, bundle.n_val, bundle.n_test = task_id, n_val, n_test
        if bundle.recipe:
            is_measured = (task_id, bundle.source_id, start_set(bundle.recipe)) in self.stored.features
            bundle.guess = self.guesses.find(task_id, bundle.source_id, bundle.recipe, is_measured=is_measured)
        bundle.wants_features = bool(self.lacking_sets(bundle))
        bundle.n_stored, missing = self._done_and_missing(bundle)
        bundle.todo = deque(missing)
        return True

    def _claim(self, bundle: BundleState, task_id: str) -> bool:
        """Say whether a bundle is the first of its kind, or asks for more than one that is finished."""
        what = bundle.recipe.recipe_id if bundle.recipe else (bundle.image_px, bundle.resize)
        key = (task_id, bundle.source_id, what)
        first = self._claimed.setdefault(key, bundle)
        if first is not bundle and bundle.n_seeds > first.n_seeds:
            first.n_seeds = bundle.n_seeds
            if not first.lacks_something:
                self._claimed[key] = bundle
        return self._claimed[key] is bundle

    def lacking_sets(self, bundle: BundleState) -> list[str]:
        """Return the names of the sets of features that a bundle lacks now; others may have brought some.

        They are those of its task, of the start of each of its recipes and, in a grid, of the linear probe.
        """
        starts = [start_set(recipe) for recipe in self.recipes_of(bundle)]
        sets = [feature_set(bundle.image_px, bundle.resize), *starts]
        if bundle.point is None:
            sets.append(probe_set(bundle.image_px, bundle.resize))
        lacking = [each for each in sets if (bundle.task_id, bundle.source_id, each) not in self.stored.features]
        if bundle.recipe and bundle.guess is None:
            lacking += [own for own in starts if own not in lacking]
        return lacking

    def recipes_of(self, bundle: BundleState) -> tuple[Recipe, ...]:
        """Return a point's recipe, or those of a grid that have a scale."""
        return (bundle.recipe,) if bundle.recipe else tuple(self.wanted.recipes_at(bundle.image_px, bundle.resize))

    def place(self, bundle: BundleState, facts: Mapping[str, float]) -> None:
        """Guess from the facts of its start where a point's scales lie, unless it is placed, or is none."""
        if bundle.recipe and bundle.guess is None:
            bundle.guess = self.guesses.take(bundle.task_id or "", bundle.source_id, bundle.recipe, facts)

    def take_features(self, bundle: BundleState, sets: Iterable[str]) -> None:
        """Take that sets of features of a bundle are kept, and see what it lacks now."""
        self.stored.features.update((bundle.task_id or "", bundle.source_id, each) for each in sets)
        self.finish_if_done(bundle)

    def recipe_records(self) -> list[RecipeRecord]:
        """Return the rows of the recipes of all points whose tasks were read."""
        return [record for bundle in self._claimed.values() for record in bundle.recipe_records]

    def grid(self, bundle: BundleState, *, task_id: str) -> list[PlannedRun]:
        """Return all runs that are wanted of a bundle, done or not, but for those beyond the grid's edges."""
        recipes = self.wanted.recipes_at(bundle.image_px, bundle.resize)
        return wanted_runs(task_id, bundle.source_id, recipes, n_seeds=self.wanted.n_seeds, scales=self.wanted.scales)

    def _done_and_missing(self, bundle: BundleState) -> tuple[int, list[PlannedRun]]:
        """Return how many of a bundle's runs are done, but for those beyond a grid's edges, and which come next."""
        if bundle.point:
            done, following = self._of_point(bundle)
            return len(done), [run for run in following if run.run_id not in self.failed]
        grid = self.grid(bundle, task_id=bundle.task_id or "")
        return sum(run.run_id in self.stored.outcomes for run in grid), self._of_grid(bundle)

    def _of_point(self, bundle: BundleState) -> tuple[list[PlannedRun], list[PlannedRun]]:
        """Return which runs of a point are done, and which come next; none of one that is not placed."""
        if bundle.recipe is None or bundle.guess is None:
            return [], []
        return point_runs(
            bundle.task_id or "",
            bundle.source_id,
            bundle.recipe,
            guess=bundle.guess,
            n_seeds=bundle.n_seeds,
            n_val=bundle.n_val,
            n_test=bundle.n_test,
            outcomes=self.stored.outcomes,
        )

    def _of_grid(self, bundle: BundleState) -> list[PlannedRun]:
        return missing_runs(
            bundle.task_id or "",
            bundle.source_id,
            self.wanted.recipes_at(bundle.image_px, bundle.resize),
            n_seeds=self.wanted.n_seeds,
            outcomes=self.stored.outcomes,
            scales=self.wanted.scales,
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
        self.stored.outcomes[run.run_id] = Outcome(run.status, run.val_accuracy, run.val_loss, run.test_accuracy)

    def finish_if_done(self, bundle: BundleState) -> None:
        """See whether a bundle whose runs are done needs more, by what came out of them; else it is finished."""
        if not bundle.todo and not bundle.n_running and not bundle.is_given_up:
            bundle.todo.extend(self._done_and_missing(bundle)[1])
            if not bundle.lacks_something:
                self.close(bundle)

    def give_up_run(self, bundle: BundleState, run: PlannedRun, reason: str) -> None:
        """Go on without a run."""
        self.failed[run.run_id] = reason
        self.finish_if_done(bundle)

    def refuse(self, bundle: BundleState, reason: str) -> None:
        """Go on without a bundle."""
        self.refused[bundle.label] = reason
        bundle.todo.clear()
        bundle.n_expected, bundle.wants_features, bundle.is_given_up = 0, False, True
        self.close(bundle)
        if bundle in self.waiting:
            self.waiting.remove(bundle)
