"""The honest evaluation: every origin held out in turn, every rival scored on the same test pictures."""

import dataclasses
import math
from dataclasses import asdict, dataclass

import numpy as np

from scalepred.predictor import (
    MIN_ORIGINS,
    Predictor,
    TrainingTable,
    choose_columns,
    fit,
    fixed_columns,
    inner_threshold,
    origin_folds,
    predict_curves,
    train,
)
from scalepred.table import Harvested
from scalepred.targets import bootstrap_interval, gap_closed, honest_best, most_frequent_best, naive_best, regret

POINT = 0.01


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does over all held-out tasks; accuracies and regrets are fractions of test pictures.

    Attributes:
        method: its name.
        jobs: finetunes that a user pays for.
        accuracy: mean over tasks.
        over_fixed, over_fixed_interval: mean gain over the best fixed scale, and its 95 % interval over origins.
        regret_mean, regret_median, regret_p90: against the honest best.
        gap_closed: part of the way from the fixed scale to the honest best; None where there is no gap.
        worse_share: share of tasks more than a point below the best fixed scale.
    """

    method: str
    jobs: int
    accuracy: float
    over_fixed: float
    over_fixed_interval: tuple[float, float] | None
    regret_mean: float
    regret_median: float
    regret_p90: float
    gap_closed: float | None
    worse_share: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The leave-one-origin-out table.

    Attributes:
        rows: a row per method.
        n_bundles, n_origins: tasks (with their source and recipe) and collections behind every row.
        n_moved: held-out tasks for which the predictor left the fixed scale.
        gain_errors: real less predicted gain of the predicted best over the fixed scale, where they differ.
    """

    rows: tuple[Row, ...]
    n_bundles: int
    n_origins: int
    n_moved: int
    gain_errors: list[float]

    def to_json(self) -> dict[str, object]:
        """Return JSON values, without the errors."""
        values = asdict(self)
        del values["gain_errors"]
        return values


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The columns that a pipeline chose for held-out bundles, (n,) int64, and the curves it predicted, (n, s)."""

    chosen: np.ndarray
    fixed: np.ndarray
    frequent: np.ndarray
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
    choose. The control goes the same way with the tasks' features permuted.

    Raises:
        ValueError: with fewer than ``MIN_ORIGINS`` origins.
    """
    table = harvested.table
    if len(set(table.origins)) < MIN_ORIGINS:
        raise ValueError(f"{len(set(table.origins))} origins are too few: {MIN_ORIGINS} are needed.")
    real = choices(table, seed=seed)
    shuffled = np.random.default_rng(seed).permutation(len(table.names))
    control = choices(dataclasses.replace(table, features=table.features[shuffled]), seed=seed)
    best = np.array([honest_best(correct, seed=seed) for correct in harvested.correct])
    at = _At(harvested.test, table.origins, real.fixed, best)
    n_scales = len(table.scales)
    rows = (
        at.row("predicted scale", 1, at.scores(real.chosen)),
        at.row("best fixed scale", 1, at.scores(real.fixed)),
        at.row("most frequently best scale (the paper's)", 1, at.scores(real.frequent)),
        at.row("head only (the paper's baseline)", 1, harvested.baseline),
        at.row("predicted, features permuted (control)", 1, at.scores(control.chosen)),
        at.row("search: best of all scales on validation", n_scales, at.scores(harvested.val.argmax(axis=1))),
        at.row("honest best", n_scales, best),
        at.row("naive best, chosen on test (biased)", n_scales, naive_best(harvested.test)),
    )
    return Evaluation(
        rows=rows,
        n_bundles=len(table.names),
        n_origins=len(set(table.origins)),
        n_moved=int((real.chosen != real.fixed).sum()),
        gain_errors=_gain_errors(real, table.accuracies),
    )


def choices(table: TrainingTable, *, seed: int) -> Choices:
    """Choose for every bundle from the bundles of other origins."""
    n = len(table.names)
    chosen, fixed, frequent = (np.zeros(n, dtype=np.int64) for _ in range(3))
    curves = np.zeros(table.accuracies.shape)
    for held, rest in origin_folds(table.origins, seed=seed):
        own, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), own.features, table.scales)
        fixed[held] = fixed_columns(others, own)
        frequent[held] = most_frequent_best(others.accuracies)
        chosen[held] = choose_columns(curves[held], fixed[held], inner_threshold(others, seed=seed))
    return Choices(chosen=chosen, fixed=fixed, frequent=frequent, curves=curves)


@dataclass(frozen=True)
class _At:
    """What every row is scored against: test accuracies (n, s), origins, the fixed column and the honest best (n,)."""

    test: np.ndarray
    origins: tuple[str, ...]
    fixed: np.ndarray
    best: np.ndarray

    def scores(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self.test[np.arange(len(columns)), columns])

    def row(self, method: str, jobs: int, scores: np.ndarray) -> Row:
        fixed = self.scores(self.fixed)
        gain, lost = scores - fixed, regret(self.best, scores)
        interval = bootstrap_interval(gain, self.origins, lambda drawn: float(np.nanmean(drawn)), seed=0)
        closed = gap_closed(scores, fixed, self.best)
        return Row(
            method=method,
            jobs=jobs,
            accuracy=float(np.nanmean(scores)),
            over_fixed=float(np.nanmean(gain)),
            over_fixed_interval=None if math.isnan(interval[0]) else interval,
            regret_mean=float(np.nanmean(lost)),
            regret_median=float(np.nanmedian(lost)),
            regret_p90=float(np.nanquantile(lost, 0.9)),
            gap_closed=None if math.isnan(closed) else closed,
            worse_share=float(np.mean(gain < -POINT)),
        )


def _gain_errors(real: Choices, accuracies: np.ndarray) -> list[float]:
    rows = np.arange(len(accuracies))
    best = real.curves.argmax(axis=1)
    promised = real.curves[rows, best] - real.curves[rows, real.fixed]
    came = accuracies[rows, best] - accuracies[rows, real.fixed]
    return [float(error) for error in (came - promised)[best != real.fixed]]
