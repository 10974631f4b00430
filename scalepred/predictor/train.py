"""Trains the predictor: trees, best fixed scales, and the gain that must be passed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np

from scalepred.predictor.model import fit, predict_curves
from scalepred.predictor.nearness import Neighbour, neighbours_of, reach_of, standardisation, standardise
from scalepred.predictor.table import TrainingTable, origin_folds, rows_by_group
from scalepred.predictor.targets import TIE, best_fixed_scale

MIN_ORIGINS = 8
"""With fewer origins nothing is predicted: leave-one-origin-out could not tell a good predictor from a bad one."""

SAME_POINTS = 0.005
"""Scales whose predicted accuracies lie within half a point are called the same."""

THRESHOLDS = (SAME_POINTS, 0.01, 0.02, 0.04, 0.08, math.inf)
"""Predicted gains to choose from, fractions: less is called the same, and the last one never leaves the fixed scale."""

INNER_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Group:
    """A source and recipe that the predictor has seen, with the best fixed scale of their tasks."""

    source_id: str
    recipe_id: str
    fixed_scale: float
    n_tasks: int
    n_origins: int


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained predictor; ``booster`` is None where there were too few tasks to learn from.

    Attributes:
        feature_names: the features it reads, in order; the model's last column is ``log2_scale``.
        scales: the grid.
        groups: the sources and recipes it has seen.
        threshold: predicted gain, a fraction, that the choice must pass to leave the fixed scale; infinite where none
            paid, or nothing is predicted.
        centre, spread: f numbers each, to standardise the features.
        reach: the standardised distance to the nearest harvested task beyond which a task is unlike all of them.
        neighbours: the harvested tasks.
        gain_errors: held-out errors (real less predicted gain over the fixed scale) where the choice left it.
        evaluation: the leave-one-origin-out table that is kept with it.
        facts: versions, counts and whatever else describes it.
    """

    feature_names: tuple[str, ...]
    scales: tuple[float, ...]
    groups: tuple[Group, ...]
    threshold: float
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    reach: float
    neighbours: tuple[Neighbour, ...]
    gain_errors: tuple[float, ...]
    evaluation: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    booster: lightgbm.Booster | None = None


def train(table: TrainingTable, *, seed: int = 0) -> Predictor:
    """Learn from every bundle of the table; with fewer than ``MIN_ORIGINS`` origins only the fixed scale is learnt."""
    centre, spread = standardisation(table.features)
    standard = standardise(table.features, centre, spread)
    enough = len(set(table.origins)) >= MIN_ORIGINS
    return Predictor(
        feature_names=table.feature_names,
        scales=tuple(table.scales.tolist()),
        groups=_groups(table),
        threshold=inner_threshold(table, seed=seed) if enough else math.inf,
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        reach=reach_of(table, standard),
        neighbours=neighbours_of(table, standard),
        gain_errors=(),
        booster=fit(table, seed=seed) if enough else None,
    )


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


def fixed_columns(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for each bundle of ``table``; see :func:`columns_by_group`."""
    return columns_by_group(train_table, table, _fixed_column)


def inner_threshold(table: TrainingTable, *, seed: int = 0) -> float:
    """Return the predicted gain to pass: that whose choices score best in a cross-validation; of equals, the highest.

    Origins are held out whole. Where nothing gains, nothing is lost either: the highest never leaves the fixed scale.
    """
    curves = np.full(table.accuracies.shape, np.nan)
    fixed = np.zeros(len(table.names), dtype=np.int64)
    for held, rest in origin_folds(table.origins, n_folds=INNER_FOLDS, seed=seed):
        own, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), own.features, table.scales)
        fixed[held] = fixed_columns(others, own)
    rows = np.arange(len(fixed))
    means = [table.accuracies[rows, choose_columns(curves, fixed, threshold)].mean() for threshold in THRESHOLDS]
    return max(threshold for threshold, mean in zip(THRESHOLDS, means, strict=True) if mean >= max(means) - TIE)


def _groups(table: TrainingTable) -> tuple[Group, ...]:
    return tuple(
        Group(
            source_id=key[0],
            recipe_id=key[1],
            fixed_scale=float(table.scales[_fixed_column(table.rows(rows))]),
            n_tasks=len(rows),
            n_origins=len({table.origins[row] for row in rows}),
        )
        for key, rows in rows_by_group(table).items()
    )


def _fixed_column(table: TrainingTable) -> int:
    return best_fixed_scale(table.accuracies, table.scales.tolist())
