"""The honest evaluation: every origin held out in turn, every rival scored on the same test pictures."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from scalepred.predictor import (
    MIN_ORIGINS,
    Predictor,
    TrainingTable,
    abstains,
    choose_columns,
    columns_by_group,
    error_interval,
    fit,
    fixed_columns,
    inner_threshold,
    origin_folds,
    predict_curves,
    rows_by_group,
    train,
)
from scalepred.table import Harvested
from scalepred.targets import TIE, bootstrap_interval, gap_closed, honest_best, most_frequent_best, naive_best, regret

PREDICTED = "predicted scale"
FIXED = "best fixed scale"
HEAD_ONLY = "head only (the paper's baseline)"
CONTROL = "predicted, features permuted (control)"
SEARCH = "search: best of all scales on validation"
POINT = 0.01
CONTROLS = 5
"""Permutations that the control is the mean of: of few tasks, a single one gains or loses by luck."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does over held-out tasks; accuracies and regrets are fractions of test pictures.

    Attributes:
        method: its name.
        jobs: finetunes that a user pays for.
        n_tasks: tasks that it could be scored on.
        accuracy: mean over tasks.
        over_fixed, over_fixed_interval: mean gain over the best fixed scale, and its 95 % interval over origins.
        regret_mean, regret_median, regret_p90: against the honest best, over tasks with repeats; None without any.
        gap_closed: over the same, part of the way from the fixed scale to the honest best; None where no gap is shown,
            that is, its own 95 % interval over origins is not above 0.
        worse_share: share of tasks more than a point below the best fixed scale.
    """

    method: str
    jobs: int
    n_tasks: int
    accuracy: float
    over_fixed: float
    over_fixed_interval: tuple[float, float] | None
    regret_mean: float | None
    regret_median: float | None
    regret_p90: float | None
    gap_closed: float | None
    worse_share: float


@dataclass(frozen=True, kw_only=True)
class GroupEvaluation:
    """The leave-one-origin-out table of one source and recipe.

    Attributes:
        source_id, recipe_id: which.
        rows: a row per method.
        n_tasks, n_origins: behind every row.
        n_moved: held-out tasks for which the predictor left the fixed scale.
        n_abstained: held-out tasks for which it predicted nothing, because they are unlike the others.
    """

    source_id: str
    recipe_id: str
    rows: tuple[Row, ...]
    n_tasks: int
    n_origins: int
    n_moved: int
    n_abstained: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a predictor does on origins that it has not seen, for each source and recipe that it predicts for.

    They are never pooled: the same tasks meet several, and a mean over all would tell of none.

    Attributes:
        groups: those of at least ``MIN_ORIGINS`` origins, most tasks first.
        gain_errors: real less predicted gain over the fixed scale, where it was left, of all groups.
        interval_coverage: share of these that lie in the 80 % interval made without their own origin's; None where
            there are too few.
    """

    groups: tuple[GroupEvaluation, ...]
    gain_errors: tuple[float, ...]
    interval_coverage: float | None

    def to_json(self) -> dict[str, object]:
        """Return JSON values, without the errors."""
        values = asdict(self)
        del values["gain_errors"]
        return values


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a pipeline did for held-out bundles.

    Attributes:
        chosen, fixed, frequent: (n,) int64 columns: its choice, the best fixed scale, the most frequently best one.
        abstained: (n,) bool, where it predicted nothing.
        curves: (n, s) predicted relative accuracies.
    """

    chosen: np.ndarray
    fixed: np.ndarray
    frequent: np.ndarray
    abstained: np.ndarray
    curves: np.ndarray


def train_and_evaluate(harvested: Harvested, *, seed: int = 0) -> tuple[Predictor, Evaluation | None]:
    """Train a predictor on all bundles and attach its leave-one-origin-out evaluation; None with too few origins."""
    predictor = train(harvested.table, seed=seed)
    if predictor.booster is None:
        return predictor, None
    evaluation = leave_one_origin_out(harvested, seed=seed)
    return (
        dataclasses.replace(predictor, gain_errors=evaluation.gain_errors, evaluation=evaluation.to_json()),
        evaluation,
    )


def leave_one_origin_out(harvested: Harvested, *, seed: int = 0) -> Evaluation:
    """Hold out every origin once, with all its tasks, and score what the rest would have chosen for it.

    Everything that is chosen (trees, threshold, fixed scale) sees the other origins only; test pictures score and never
    choose. The control goes the same way, ``CONTROLS`` times, with the tasks' features permuted.

    Raises:
        ValueError: with fewer than ``MIN_ORIGINS`` origins.
    """
    table = harvested.table
    if len(set(table.origins)) < MIN_ORIGINS:
        raise ValueError(f"{len(set(table.origins))} origins are too few: {MIN_ORIGINS} are needed.")
    controls = [choices(permuted(table, seed=seed + draw), seed=seed) for draw in range(CONTROLS)]
    return score_choices(harvested, choices(table, seed=seed), controls=controls, seed=seed)


def score_choices(harvested: Harvested, real: Choices, *, controls: Sequence[Choices], seed: int = 0) -> Evaluation:
    """Score what was chosen for held-out bundles, and its rivals, on the same test pictures."""
    table = harvested.table
    best = np.array([honest_of_repeats(correct, seed=seed) for correct in harvested.correct])
    at = _At(harvested.test, table.origins, real.fixed, best)
    scores = {
        PREDICTED: (1, at.scores(real.chosen)),
        FIXED: (1, at.scores(real.fixed)),
        "most frequently best scale (the paper's)": (1, at.scores(real.frequent)),
        HEAD_ONLY: (1, harvested.baseline),
        CONTROL: (1, np.mean([at.scores(c.chosen) for c in controls], axis=0)),
        SEARCH: (len(table.scales), searched(harvested)),
        "honest best": (len(table.scales), best),
        "naive best, chosen on test (biased)": (len(table.scales), naive_of_seeds(harvested)),
    }
    errors = _gain_errors(real, table.accuracies)
    moved = np.isfinite(errors)
    few = _of_few_origins(table)
    groups = [
        GroupEvaluation(
            source_id=key[0],
            recipe_id=key[1],
            rows=tuple(row for name, (jobs, all_of) in scores.items() if (row := at.row(name, jobs, all_of, rows))),
            n_tasks=len(rows),
            n_origins=len({table.origins[row] for row in rows}),
            n_moved=int(moved[rows].sum()),
            n_abstained=int(real.abstained[rows].sum()),
        )
        for key, rows in rows_by_group(table).items()
        if not few[rows].any()
    ]
    return Evaluation(
        groups=tuple(sorted(groups, key=lambda group: -group.n_tasks)),
        gain_errors=tuple(errors[moved].tolist()),
        interval_coverage=_coverage(errors[moved], np.array(table.origins)[moved]),
    )


def choices(table: TrainingTable, *, seed: int) -> Choices:
    """Choose for every bundle from the bundles of other origins, as ``predictor.choose`` does for a new task."""
    n = len(table.names)
    chosen, frequent = (np.zeros(n, dtype=np.int64) for _ in range(2))
    fixed = fixed_held_out(table)
    abstained = _of_few_origins(table)
    curves = np.zeros(table.accuracies.shape)
    for held, rest in origin_folds(table.origins, seed=seed):
        own, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), own.features, table.scales)
        frequent[held] = columns_by_group(others, own, lambda known: most_frequent_best(known.accuracies))
        abstained[held] |= abstains(others, own)
        chosen[held] = choose_columns(curves[held], fixed[held], inner_threshold(others, seed=seed))
    chosen = np.where(abstained, fixed, chosen)
    return Choices(chosen=chosen, fixed=fixed, frequent=frequent, abstained=abstained, curves=curves)


def fixed_held_out(table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for every bundle, (n,), found from the other origins."""
    fixed = np.zeros(len(table.names), dtype=np.int64)
    for held, rest in origin_folds(table.origins):
        fixed[held] = fixed_columns(table.rows(rest), table.rows(held))
    return fixed


def permuted(table: TrainingTable, *, seed: int) -> TrainingTable:
    """Return the table with the features of other bundles of the same source and recipe, never of the same origin.

    Bundles are laid out origin by origin, in random order, and features move on by as many bundles as the largest
    origin has; so an origin's features stay together, and only an origin with more than half of all meets its own.
    """
    rng = np.random.default_rng(seed)
    features = table.features.copy()
    for rows in rows_by_group(table).values():
        origins = np.array([table.origins[row] for row in rows])
        names, codes, counts = np.unique(origins, return_inverse=True, return_counts=True)
        laid_out = rows[np.argsort(rng.permutation(len(names))[codes], kind="stable")]
        features[laid_out] = table.features[np.roll(laid_out, counts.max())]
    return dataclasses.replace(table, features=features)


def searched(harvested: Harvested) -> np.ndarray:
    """Return the test accuracy of the scale that is best on validation, (n,): the mean over seeds, and scales that tie.

    Each seed is a search of its own, of as many jobs as there are scales. NaN for tasks without test pictures: there
    the search would be scored on what it chose by.
    """
    pairs = zip(harvested.val, harvested.correct, strict=True)
    return np.where(harvested.has_test, [_searched(val, correct.mean(axis=2)) for val, correct in pairs], np.nan)


def _searched(val: np.ndarray, test: np.ndarray) -> float:
    """Return the mean test accuracy, over seeds, of what is best on validation; both are (s, n_seeds)."""
    best = val >= val.max(axis=0) - TIE
    return float((np.where(best, test, 0.0).sum(axis=0) / best.sum(axis=0)).mean())


def naive_of_seeds(harvested: Harvested) -> np.ndarray:
    """Return the test accuracy of the scale that is best on test, (n,): of each seed alone, and then their mean.

    So it is what eleven jobs would show; the best of means over seeds would be less biased, but that of more jobs.
    """
    return np.array([naive_best(correct.mean(axis=2).T).mean() for correct in harvested.correct])


def honest_of_repeats(correct: np.ndarray, *, seed: int) -> float:
    """Return a bundle's honest best accuracy from (s, n_seeds, n_images), NaN where it has one seed.

    That seed's luck would be on the half that chooses and on the half that scores.
    """
    return honest_best(correct, seed=seed) if correct.shape[1] > 1 else math.nan


@dataclass(frozen=True)
class _At:
    """What every row is scored against: test accuracies (n, s), origins, the fixed column and the honest best (n,)."""

    test: np.ndarray
    origins: tuple[str, ...]
    fixed: np.ndarray
    best: np.ndarray

    def scores(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self.test[np.arange(len(columns)), columns])

    def row(self, method: str, jobs: int, scores: np.ndarray, group: np.ndarray) -> Row | None:
        """Score the tasks of a group whose score is known; None where there are none."""
        rows = group[np.isfinite(scores[group])]
        if not len(rows):
            return None
        scored, fixed, best = scores[rows], self.scores(self.fixed)[rows], self.best[rows]
        gain, lost = scored - fixed, regret(best, scored)
        lost = lost[np.isfinite(lost)]
        origins = [self.origins[row] for row in rows]
        interval = bootstrap_interval(gain, origins, lambda drawn: float(drawn.mean()), seed=0)
        closed = gap_closed(scored, fixed, best) if self._has_gap(rows) else math.nan
        return Row(
            method=method,
            jobs=jobs,
            n_tasks=len(rows),
            accuracy=float(scored.mean()),
            over_fixed=float(gain.mean()),
            over_fixed_interval=None if math.isnan(interval[0]) else interval,
            regret_mean=float(lost.mean()) if len(lost) else None,
            regret_median=float(np.median(lost)) if len(lost) else None,
            regret_p90=float(np.quantile(lost, 0.9)) if len(lost) else None,
            gap_closed=None if math.isnan(closed) else closed,
            worse_share=float((gain < -POINT).mean()),
        )

    def _has_gap(self, rows: np.ndarray) -> bool:
        """Say whether the honest best is shown to be above the fixed scale; else a share of the gap is noise."""
        gap = self.best[rows] - self.scores(self.fixed)[rows]
        known = np.isfinite(gap)
        origins = [self.origins[row] for row in rows[known]]
        return bool(known.any()) and bootstrap_interval(gap[known], origins, np.mean, seed=0)[0] > 0


def _of_few_origins(table: TrainingTable) -> np.ndarray:
    """Return which bundles are of a source and recipe with too few origins to predict for, (n,) bool."""
    few = np.zeros(len(table.names), dtype=np.bool_)
    for rows in rows_by_group(table).values():
        few[rows] = len({table.origins[row] for row in rows}) < MIN_ORIGINS
    return few


def _gain_errors(real: Choices, accuracies: np.ndarray) -> np.ndarray:
    """Return real less predicted gain over the fixed scale, (n,); NaN where that was not left."""
    rows = np.arange(len(accuracies))
    promised = real.curves[rows, real.chosen] - real.curves[rows, real.fixed]
    came = accuracies[rows, real.chosen] - accuracies[rows, real.fixed]
    return np.where(real.chosen != real.fixed, came - promised, np.nan)


def _coverage(errors: np.ndarray, origins: np.ndarray) -> float | None:
    """Return the share of errors in the interval that the errors of other origins give; None where there is none."""
    covered = []
    for origin in sorted(set(origins)):
        interval = error_interval(errors[origins != origin].tolist())
        if interval is None:
            return None
        own = errors[origins == origin]
        covered += ((own >= interval[0]) & (own <= interval[1])).tolist()
    return float(np.mean(covered)) if covered else None
