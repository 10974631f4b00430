"""The training table: a row for each bundle (task, source, recipe), a column for each scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalepred.predictor.merged import collections_in


@dataclass(frozen=True, kw_only=True)
class TrainingTable:
    """The bundles of a warehouse as arrays: a row per bundle, a column per scale.

    Attributes:
        names, origins, source_ids, recipe_ids: of the bundles, n strings each.
        feature_names: f names, in the order of the columns.
        features: (n, f) float64, NaN where a feature is missing.
        scales: (s,) the grid.
        accuracies: (n, s) float64, mean over seeds of the accuracy on all held-out images, validation and test, which
            no run has seen; a diverged run counts as chance, and none is missing.
        n_held_out: (n,) int64, held-out images behind each accuracy.
        n_seeds: (n,) int64, runs behind each accuracy.
    """

    names: tuple[str, ...]
    origins: tuple[str, ...]
    source_ids: tuple[str, ...]
    recipe_ids: tuple[str, ...]
    feature_names: tuple[str, ...]
    features: np.ndarray
    scales: np.ndarray
    accuracies: np.ndarray
    n_held_out: np.ndarray
    n_seeds: np.ndarray

    def rows(self, index: np.ndarray) -> "TrainingTable":
        """Return the bundles of these row numbers."""
        picked: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in index)
            for name in ("names", "origins", "source_ids", "recipe_ids")
        }
        return TrainingTable(
            **picked,
            feature_names=self.feature_names,
            features=self.features[index],
            scales=self.scales,
            accuracies=self.accuracies[index],
            n_held_out=self.n_held_out[index],
            n_seeds=self.n_seeds[index],
        )


def rows_by_group(table: TrainingTable) -> dict[tuple[str, str], np.ndarray]:
    """Return (source_id, recipe_id) -> row numbers, keys in order."""
    keys = list(zip(table.source_ids, table.recipe_ids, strict=True))
    return {key: np.flatnonzero([each == key for each in keys]) for key in sorted(set(keys))}


def origin_folds(
    origins: Sequence[str], *, n_folds: int | None = None, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (held out, rest) row numbers; an origin is never on both sides. By default, a fold for every origin.

    Rows whose origin names a collection that is held out are on neither side.
    """
    names = sorted(set(origins))
    order = np.random.default_rng(seed).permutation(len(names))
    of_origin = {names[at]: place % (n_folds or len(names)) for place, at in enumerate(order)}
    fold = np.array([of_origin[origin] for origin in origins])
    collections = [collections_in(origin) for origin in origins]
    folds = []
    for k in sorted(set(fold)):
        held = frozenset().union(*(each for each, of in zip(collections, fold, strict=True) if of == k))
        apart = np.array([each.isdisjoint(held) for each in collections])
        folds.append((np.flatnonzero(fold == k), np.flatnonzero(apart)))
    return folds
