"""What comes of workers' calls: answers go where they belong, deaths and failures are setbacks."""

from collections import defaultdict
from collections.abc import Sequence

from scalepred.harvest.bundles import BundleState
from scalepred.harvest.calls import Event, Failure, Opened
from scalepred.harvest.hands import Hand, Hands
from scalepred.harvest.log import Log
from scalepred.harvest.prepare import scan_key
from scalepred.harvest.setbacks import Setbacks
from scalepred.harvest.worklist import Worklist
from scalepred.predictor.context import start_set
from scalepred.records import DIVERGED, FeatureRecord, RunRecord
from scalepred.store.keeping import Keeper


class Results:
    """Takes what comes of workers' calls.

    Attributes:
        n_done, n_diverged: runs.
        n_images: training images of all runs so far, each as often as it was trained on.
    """

    def __init__(self, worklist: Worklist, hands: Hands, *, keeper: Keeper, log: Log) -> None:
        self.worklist, self.hands, self.keeper, self.log = worklist, hands, keeper, log
        self.setbacks = Setbacks(worklist, hands, log)
        self.n_done = self.n_diverged = 0
        self.n_images = 0

    def take(self, event: Event, *, is_ending: bool) -> RunRecord | None:
        """Take what came of a worker's call; returns the run if one was finished.

        Args:
            event: the answer, failure or death.
            is_ending: no worker is started in a dead one's place.

        Raises:
            UsageError: if the journal can't be written, or workers keep dying while they start.
            ScalepredError: if calls keep failing.
        """
        hand = self.hands.by_number[event.worker]
        call, run, bundle = hand.call, hand.run, hand.bundle
        hand.call = hand.run = None
        if bundle and run:
            bundle.n_running -= 1
        if event.died:
            self.setbacks.take_death(hand, call, run, words=event.words, is_ending=is_ending)
        elif call == "starting":
            self.hands.take_started(hand, event.value)
        elif bundle and isinstance(event.value, Failure):
            self.setbacks.take_failure(hand, bundle, call, run, event.value)
        elif bundle and call == "open":
            self._take_opened(hand, bundle, event.value)
        elif bundle and call == "features":
            self._take_features(bundle, event.value)
        elif bundle and run:
            self._take_run(bundle, event.value)
            return event.value  # type: ignore[no-any-return]  # run's answer
        return None

    def _take_opened(self, hand: Hand, bundle: BundleState, opened: Opened) -> None:
        """Keep a task's row, and see what the bundle lacks, unless it is in work under another name."""
        task = opened.task
        held_out = {"n_val": task.n_val, "n_test": task.n_test}
        self.log.opened(bundle.data, opened)
        if opened.fingerprint:
            scan = {"task_id": task.task_id, **held_out}
            self.log.journal.note("scans", scan_key(opened.fingerprint, bundle.n_images), scan)
        if bundle.task_id != task.task_id and not self.worklist.settle(bundle, task.task_id, **held_out):
            hand.bundle = None
            self.worklist.close(bundle)
            return
        bundle.n_train = task.n_train
        self.keeper.add([task, *bundle.recipe_records])
        self.worklist.finish_if_done(bundle)

    def _take_features(self, bundle: BundleState, features: Sequence[FeatureRecord]) -> None:
        """Keep sets of features; where a point starts is noted before them, and so it is never worked out again."""
        sets: dict[str, list[FeatureRecord]] = defaultdict(list)
        for feature in features:
            sets[feature.feature_set].append(feature)
        if bundle.recipe:
            start = sets.get(start_set(bundle.recipe), [])
            self.worklist.place(bundle, {feature.name: feature.value for feature in start})
        for of_set in sets.values():
            self.keeper.add_features(of_set)
        self.worklist.take_features(bundle, sets)

    def _take_run(self, bundle: BundleState, run: RunRecord) -> None:
        """Keep a run and count it; it may show that more workers fit."""
        self.keeper.add([run])
        self.worklist.add_outcome(run)
        self.setbacks.n_errors = 0
        self.n_done += 1
        self.n_diverged += run.status == DIVERGED
        self.n_images += bundle.n_train * len(run.epoch_losses)
        self.log.run(bundle.label, run)
        self.worklist.finish_if_done(bundle)
        self.hands.grow(run, n_left=self.worklist.n_left)
