"""Measures how near a task is to the harvested ones, beyond which distance nothing is predicted."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalepred.predictor.table import TrainingTable, rows_by_group

MIN_SPREAD = 1e-9
"""A feature that varies less is constant."""

DIGITS = 4
"""Of the standardised features that are kept of a neighbour."""

MOST_AT_ONCE = 4_000_000
"""Distances at a time: 32 MB."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A harvested task that a new one can be compared with; ``features`` are standardised, 0 where missing."""

    name: str
    source_id: str
    recipe_id: str
    best_scale: float
    features: tuple[float, ...]


def abstains(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return for which bundles of ``table`` nothing may be predicted, (n,) bool: they are unlike all training bundles.

    That is, the nearest one of the same source and recipe is beyond ``reach``, or there is none.
    """
    centre, spread = standardisation(train_table.features)
    trained_standard = standardise(train_table.features, centre, spread)
    standard = standardise(table.features, centre, spread)
    reach = reach_of(train_table, trained_standard)
    trained = rows_by_group(train_table)
    unlike = np.ones(len(table.names), dtype=np.bool_)
    for key, rows in rows_by_group(table).items():
        if key in trained:
            unlike[rows] = nearest_distances(standard[rows], trained_standard[trained[key]]) > reach
    return unlike


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each column of (n, f) features, NaN left out; 1 for constant ones."""
    present = np.isfinite(features)
    count = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, features, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(present, (features - centre) ** 2, 0.0).sum(axis=0) / count)
    return centre, np.where(spread >= MIN_SPREAD, spread, 1.0)


def standardise(features: np.ndarray, centre: Any, spread: Any) -> np.ndarray:
    """Return (n, f) standardised features, 0 where missing."""
    standard = (features - np.asarray(centre)) / np.asarray(spread)
    return np.where(np.isfinite(standard), standard, 0.0)


def reach_of(table: TrainingTable, standard: np.ndarray) -> float:
    """Return 1.5 times the largest distance of a bundle to its nearest of the same group and another origin."""
    nearest = [0.0]
    for rows in rows_by_group(table).values():
        origins = np.unique([table.origins[row] for row in rows], return_inverse=True)[1]
        distances = nearest_distances(standard[rows], standard[rows], alike=(origins, origins))
        nearest += [distance for distance in distances.tolist() if math.isfinite(distance)]
    return 1.5 * max(nearest)


def nearest_distances(
    standard: np.ndarray, others: np.ndarray, *, alike: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Return the distance of each of (n, f) rows to the nearest of (m, f) others, (n,) float64.

    The nearest is found by products of matrices, some rows at a time, and its distance is that of
    :func:`distances_between`.

    Args:
        standard: standardised features.
        others: likewise.
        alike: (n,) and (m,) labels, such as origins; others of a row's own label don't count, and where that leaves
            none the distance is infinite.
    """
    found = np.empty(len(standard))
    squares = (others**2).sum(axis=1)
    size = max(1, MOST_AT_ONCE // max(1, len(others)))
    for begin in range(0, len(standard), size):
        rows = standard[begin : begin + size]
        apart = squares - 2 * rows @ others.T  # the rows' own squares change no order
        if alike is not None:
            apart[alike[0][begin : begin + size, None] == alike[1][None, :]] = np.inf
        nearest = apart.argmin(axis=1)
        distances = np.linalg.norm(rows - others[nearest], axis=1)
        found[begin : begin + size] = np.where(np.isfinite(apart[np.arange(len(rows)), nearest]), distances, np.inf)
    return found


def distances_between(standard: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (n, m) Euclidean distances between (n, f) and (m, f) standardised features."""
    distances: np.ndarray = np.linalg.norm(standard[:, None] - others[None], axis=2)
    return distances


def neighbours_of(table: TrainingTable, standard: np.ndarray) -> tuple[Neighbour, ...]:
    """Return the bundles of the table as neighbours; ``standard`` are their standardised features."""
    best = np.argmax(table.accuracies, axis=1)
    return tuple(
        Neighbour(
            name=name,
            source_id=table.source_ids[i],
            recipe_id=table.recipe_ids[i],
            best_scale=float(table.scales[best[i]]),
            features=tuple((standard[i] + 0.0).round(DIGITS).tolist()),
        )
        for i, name in enumerate(table.names)
    )
