"""The gain that a prediction must promise to leave the best fixed scale, found by cross-validation."""

import math
from collections.abc import Callable

import numpy as np

from scalepred.predictor.model import fit, predict_curves
from scalepred.predictor.table import TrainingTable, origin_folds, rows_by_group
from scalepred.predictor.targets import TIE, best_fixed_scale

SAME_POINTS = 0.005
"""Scales whose predicted accuracies lie within half a point are called the same."""

THRESHOLDS = (SAME_POINTS, 0.01, 0.02, 0.04, 0.08, math.inf)
"""Predicted gains to choose from, fractions: less is called the same, and the last one never leaves the fixed scale."""

INNER_FOLDS = 5


def inner_threshold(table: TrainingTable, *, seed: int = 0) -> float:
    """Return the predicted gain to pass: that whose choices score best in a cross-validation; of equals, the highest.

    Origins are held out whole. Where nothing gains, nothing is lost either: the highest never leaves the fixed scale.
    """
    curves = np.full(table.accuracies.shape, np.nan)
    fixed = np.zeros(len(table.names), dtype=np.int64)
    for held, rest in origin_folds(table.origins, n_folds=INNER_FOLDS, seed=seed):
        held_out, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), held_out.features, table.scales)
        fixed[held] = fixed_columns(others, held_out)
    rows = np.arange(len(fixed))
    means = [table.accuracies[rows, choose_columns(curves, fixed, threshold)].mean() for threshold in THRESHOLDS]
    return max(threshold for threshold, mean in zip(THRESHOLDS, means, strict=True) if mean >= max(means) - TIE)


def choose_columns(curves: np.ndarray, fixed: np.ndarray, threshold: float) -> np.ndarray:
    """Return each row's column: the best of its curve if that gains more than the threshold over ``fixed``, else that.

    Args:
        curves: (n, s) predicted relative accuracies.
        fixed: (n,) column of each row's best fixed scale.
        threshold: predicted gain to pass, a fraction.
    """
    rows = np.arange(len(curves))
    best = curves.argmax(axis=1)
    return np.where(curves[rows, best] - curves[rows, fixed] > threshold, best, fixed)


def fixed_columns(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for each bundle of ``table``; see :func:`columns_by_group`."""
    return columns_by_group(train_table, table, fixed_column)


def columns_by_group(
    train_table: TrainingTable, table: TrainingTable, rule: Callable[[TrainingTable], int]
) -> np.ndarray:
    """Return the column that a rule finds for each bundle of ``table``, (n,) int64.

    The rule sees the training bundles of the same source and recipe, or all of them where there are none.
    """
    trained = rows_by_group(train_table)
    columns = np.zeros(len(table.names), dtype=np.int64)
    for key, rows in rows_by_group(table).items():
        columns[rows] = rule(train_table.rows(trained[key]) if key in trained else train_table)
    return columns


def fixed_column(table: TrainingTable) -> int:
    """Return the column of the best fixed scale over all bundles of the table."""
    return best_fixed_scale(table.accuracies, table.scales.tolist())


def same_around(curve: np.ndarray, at: int) -> tuple[int, int]:
    """Return the first and the last of the unbroken run around a place of a curve within half a point of it."""
    first = last = at
    alike = curve >= curve[at] - SAME_POINTS
    while first > 0 and alike[first - 1]:
        first -= 1
    while last + 1 < len(curve) and alike[last + 1]:
        last += 1
    return first, last
