"""The honest evaluation: every origin held out in turn, every rival scored on the same test images."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.choice import error_interval
from scalepred.predictor.harvested import Harvested
from scalepred.predictor.honest import honest_best
from scalepred.predictor.model import fit, predict_curves
from scalepred.predictor.nearness import abstains
from scalepred.predictor.scores import (
    CONTROL,
    FIXED,
    HEAD_ONLY,
    PREDICTED,
    SEARCH,
    Evaluation,
    GroupEvaluation,
    Scoring,
)
from scalepred.predictor.table import TrainingTable, origin_folds, rows_by_group
from scalepred.predictor.targets import TIE, most_frequent_best, naive_best
from scalepred.predictor.threshold import choose_columns, columns_by_group, fixed_columns, inner_threshold
from scalepred.predictor.train import MIN_ORIGINS, Predictor, train

CONTROLS = 5
"""Permutations that the control is the mean of: of few tasks, a single one gains or loses by luck."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices of a pipeline for held-out bundles.

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

    Everything that is chosen (trees, threshold, fixed scale) sees the other origins only; test images score and never
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
    """Score what was chosen for held-out bundles, and its rivals, on the same test images."""
    table = harvested.table
    best = np.array([honest_of_repeats(correct, seed=seed) for correct in harvested.correct])
    at = Scoring(harvested.test, table.origins, real.fixed, best)
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
        held_out, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), held_out.features, table.scales)
        frequent[held] = columns_by_group(others, held_out, lambda group: most_frequent_best(group.accuracies))
        abstained[held] |= abstains(others, held_out)
        chosen[held] = choose_columns(curves[held], fixed[held], inner_threshold(others, seed=seed))
    chosen = np.where(abstained, fixed, chosen)
    return Choices(chosen=chosen, fixed=fixed, frequent=frequent, abstained=abstained, curves=curves)


def fixed_held_out(table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for every bundle, (n,), taken from the other origins."""
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

    Each seed is one search, of as many jobs as there are scales. NaN for tasks without test images: there
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

    It is what eleven jobs would show; the best of means over seeds would be less biased, but that of more jobs.
    """
    return np.array([naive_best(correct.mean(axis=2).T).mean() for correct in harvested.correct])


def honest_of_repeats(correct: np.ndarray, *, seed: int) -> float:
    """Return a bundle's honest best accuracy from (s, n_seeds, n_images), NaN where it has one seed.

    With one seed, its luck would be on the half that chooses and on the half that scores.
    """
    return honest_best(correct, seed=seed) if correct.shape[1] > 1 else math.nan


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
        held_out = errors[origins == origin]
        covered += ((held_out >= interval[0]) & (held_out <= interval[1])).tolist()
    return float(np.mean(covered)) if covered else None
