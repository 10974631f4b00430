"""Design points as arrays: each a task, source and recipe with whatever scales were run, and the facts of its start."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scalepred.predictor.context import start_set
from scalepred.predictor.harvested import right_images
from scalepred.predictor.honest import honest_best_from_images
from scalepred.predictor.merged import are_apart, collections_in
from scalepred.recipe import Recipe
from scalepred.records import (
    DIVERGED,
    EXTENSION,
    GRID_RUN,
    POINT,
    FeatureRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)

FEWEST_SCALES = 5
"""A point of fewer scales is in work still, and its curve is not known."""

GOOD = 0.02
"""A scale counts as about as good as the best of a point's curve where it is no more than two points below."""


@dataclass(frozen=True, kw_only=True)
class JobsSeen:
    """What one job at each scale of a point showed, of the lowest seed there.

    Attributes:
        val_accuracies: (s,) float64 on the validation images; NaN where it diverged or there are none.
        losses: (s,) float64, mean training loss of the last epoch, in nats; NaN where it diverged.
        right: (s, n_images) float64, which of the images behind the point's accuracies it got right; chance where it
            diverged.
        n_val: validation images.
    """

    val_accuracies: np.ndarray
    losses: np.ndarray
    right: np.ndarray
    n_val: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """A task, a source and a recipe, run at several scales.

    Attributes:
        task, origin, source, architecture: names.
        task_id, source_id: of the task and the network.
        recipe: of all its runs.
        facts: name -> value, of its start.
        log2_scales: (s,) float64, ascending.
        accuracies: (s,) float64, mean over seeds of the accuracy on the test images, or on the validation images where
            there are none; chance where a run diverged.
        diverged: (s,) bool, where one of the runs diverged.
        chance: 1 / n_classes.
        n_train: training images.
        n_images: images behind each accuracy.
        n_seeds: (s,) int64, runs behind each accuracy.
        honest_best: the accuracy at the scale that is best on one half of those images, on the other half.
        job_seconds: median wall time of its runs.
        facts_seconds: what the facts of its start took.
        fact_seconds: name -> seconds, of the facts that any were booked on.
        epoch_losses: (s, e) float64, training loss of each epoch, mean over seeds; NaN from where a run diverged.
        val_accuracies: (s,) float64, as ``accuracies`` on the validation images; none where there are none.
        jobs: what a user would have seen of a job at each scale; None where only the curve is known.
        has_test: its accuracies are on test images, and not on the validation images.
    """

    task: str
    origin: str
    source: str
    architecture: str
    task_id: str
    source_id: str
    recipe: Recipe
    facts: Mapping[str, float]
    log2_scales: np.ndarray
    accuracies: np.ndarray
    diverged: np.ndarray
    chance: float
    n_train: int
    n_images: int
    n_seeds: np.ndarray
    honest_best: float
    job_seconds: float
    facts_seconds: float
    fact_seconds: Mapping[str, float] = field(default_factory=dict)
    epoch_losses: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    val_accuracies: np.ndarray = field(default_factory=lambda: np.empty(0))
    jobs: JobsSeen | None = None
    has_test: bool = True

    def accuracy_at(self, log2_scale: float) -> float:
        """Return the accuracy at a scale; see :meth:`accuracies_at`."""
        return float(self.accuracies_at(np.array([log2_scale]))[0])

    def accuracies_at(self, log2_scales: np.ndarray) -> np.ndarray:
        """Return the accuracies at scales of any shape, interpolated between those that were run, in log2.

        Below the lowest it is the lowest's. Above the highest it is chance if a run diverged there, else the highest's.
        """
        inside = np.interp(log2_scales, self.log2_scales, self.accuracies)
        return np.where((log2_scales > self.log2_scales[-1]) & self.diverged[-1], self.chance, inside)

    def diverges_at(self, log2_scale: float) -> bool:
        """Say whether the nearest scale that was run diverged; above the highest, whether that did."""
        return bool(self.diverged[int(np.abs(self.log2_scales - log2_scale).argmin())])

    def is_apart(self, other: "Point") -> bool:
        """Say whether two points have no collection in common, so that neither tells of the other's images."""
        return are_apart(self.origin, other.origin)

    @property
    def key(self) -> str:
        """What tells it from all other points."""
        return f"{self.task_id} {self.source_id} {self.recipe.recipe_id}"

    def octaves_off(self, log2_scale: float) -> float:
        """Return how far a scale is from the nearest of those that are about as good as the best of the curve."""
        good = self.log2_scales[self.accuracies >= self.accuracies.max() - GOOD]
        return float(np.abs(good - log2_scale).min())

    @property
    def best_log2_scale(self) -> float:
        """The middle of the scales whose accuracy is the highest."""
        best = self.log2_scales[self.accuracies >= self.accuracies.max() - 1e-12]
        return float(np.median(best))


def of_one_collection(points: Iterable[Point]) -> list[Point]:
    """Return the points that can be judged, and dealt into folds: those whose images are of one collection.

    One of several would be in several folds. It may teach what is judged on points that are apart from it.
    """
    return [point for point in points if len(collections_in(point.origin)) == 1]


def gather_points(
    *,
    tasks: Sequence[TaskRecord],
    sources: Sequence[SourceRecord],
    recipes: Sequence[RecipeRecord],
    features: Sequence[FeatureRecord],
    runs: Sequence[RunRecord],
    of_grids: bool = False,
    needs_facts: bool = True,
) -> list[Point]:
    """Gather the design points whose facts and at least five scales are there, by origin, task, source and recipe.

    With ``of_grids`` it is the grids, and what ran beyond them, instead of the design points. Without ``needs_facts``
    those come too whose starts were not measured. A run has one role for good, so where a design point was run as a
    grid before, or the other way round, the runs of both are taken: for a design point those at whole octaves.
    """
    task_of = {task.task_id: task for task in tasks}
    source_of = {source.source_id: source for source in sources}
    recipe_of = {recipe.recipe_id: Recipe.from_json(recipe.json) for recipe in recipes}
    wanted = GRID_RUN if of_grids else POINT
    sets: dict[tuple[str, str, str], dict[str, FeatureRecord]] = defaultdict(dict)
    for feature in features:
        sets[feature.task_id, feature.source_id, feature.feature_set][feature.name] = feature
    of_curves = [run for run in runs if run.role in (GRID_RUN, EXTENSION, POINT) and run.scale is not None]
    begun = {(run.task_id, run.source_id, run.recipe_id) for run in of_curves if run.role == wanted}
    curves: dict[tuple[str, str, str], dict[float, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for run in of_curves:
        key = (run.task_id, run.source_id, run.recipe_id)
        if key in begun and (of_grids or run.role == POINT or math.log2(run.scale or 1.0).is_integer()):
            curves[key][run.scale or 1.0].append(run)
    points = []
    for (task_id, source_id, recipe_id), curve in curves.items():
        if task_id not in task_of or source_id not in source_of or recipe_id not in recipe_of:
            continue
        start = sets.get((task_id, source_id, start_set(recipe_of[recipe_id])), {})
        if (start or not needs_facts) and len(curve) >= FEWEST_SCALES:
            points.append(_point(task_of[task_id], source_of[source_id], recipe_of[recipe_id], start, curve))
    return sorted(points, key=lambda point: (point.origin, point.task, point.source, point.recipe.recipe_id))


def _point(
    task: TaskRecord,
    source: SourceRecord,
    recipe: Recipe,
    start: Mapping[str, FeatureRecord],
    curve: Mapping[float, Sequence[RunRecord]],
) -> Point:
    scales, split = sorted(curve), "test" if task.n_test else "val"
    right = [np.array([right_images(run, split, task) for run in curve[scale]]) for scale in scales]
    accuracies = [[of_seed.mean() for of_seed in of_scale] for of_scale in right]
    of_images = np.array([of_scale.mean(axis=0) for of_scale in right])
    return Point(
        task=task.name,
        origin=task.origin,
        source=source.name,
        architecture=str(source.facts["architecture"]),
        task_id=task.task_id,
        source_id=source.source_id,
        recipe=recipe,
        facts={name: fact.value for name, fact in start.items()},
        log2_scales=np.log2(np.array(scales)),
        accuracies=np.array([np.mean(of_seeds) for of_seeds in accuracies]),
        diverged=np.array([any(run.status == DIVERGED for run in curve[scale]) for scale in scales]),
        chance=1 / task.n_classes,
        n_train=task.n_train,
        n_images=of_images.shape[1],
        n_seeds=np.array([len(curve[scale]) for scale in scales]),
        honest_best=honest_best_from_images(of_images, seed=0),
        job_seconds=float(np.median([run.seconds for some in curve.values() for run in some])),
        facts_seconds=math.fsum(fact.seconds for fact in start.values()),
        jobs=_jobs_seen([min(curve[scale], key=lambda run: run.seed) for scale in scales], task, split),
        fact_seconds={name: fact.seconds for name, fact in start.items() if fact.seconds > 0},
        epoch_losses=_epoch_losses([curve[scale] for scale in scales]),
        val_accuracies=_val_accuracies([curve[scale] for scale in scales], task),
        has_test=task.n_test > 0,
    )


def _jobs_seen(runs: Sequence[RunRecord], task: TaskRecord, split: str) -> JobsSeen:
    ran = [run.status != DIVERGED for run in runs]
    accuracies = [run.val_accuracy if run.val_accuracy is not None else math.nan for run in runs]
    losses = [run.epoch_losses[-1] if run.epoch_losses else math.nan for run in runs]
    return JobsSeen(
        val_accuracies=np.where(ran, accuracies, math.nan),
        losses=np.where(ran, losses, math.nan),
        right=np.array([right_images(run, split, task) for run in runs]),
        n_val=task.n_val,
    )


def _epoch_losses(runs: Sequence[Sequence[RunRecord]]) -> np.ndarray:
    """Return (s, e) mean losses over seeds; NaN after the last epoch of any."""
    n_epochs = max(len(run.epoch_losses) for of_scale in runs for run in of_scale)
    losses = np.full((len(runs), n_epochs), np.nan)
    for row, of_scale in zip(losses, runs, strict=True):
        n = min(len(run.epoch_losses) for run in of_scale)
        row[:n] = np.mean([run.epoch_losses[:n] for run in of_scale], axis=0)
    return losses


def _val_accuracies(runs: Sequence[Sequence[RunRecord]], task: TaskRecord) -> np.ndarray:
    if not task.n_val:
        return np.empty(0)
    return np.array([np.mean([right_images(run, "val", task).mean() for run in of_scale]) for of_scale in runs])
