"""Nested evaluation: points are placed by models that saw neither their origin nor their network."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.errors import DataError
from scalepred.predictor.placing import Fit
from scalepred.predictor.points import Point
from scalepred.predictor.rule import best_octaves
from scalepred.predictor.wide_table import WideTable

N_FOLDS = 4
"""Folds of origins; with a network each, they make the cells that are held out."""

FEWEST_TO_MOVE = 12
"""Of fewer points than these the best octave would be luck, so all lengths count."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Which cell each point is in: a network, and a fold of origins.

    Attributes:
        networks: (n,) int64, 0 to ``n_networks - 1``.
        folds: (n,) int64, 0 to ``n_folds - 1``; an origin is in one fold.
    """

    networks: np.ndarray
    folds: np.ndarray

    @property
    def ids(self) -> list[tuple[int, int]]:
        """The cells that hold points, in order."""
        return sorted({(int(network), int(fold)) for network, fold in zip(self.networks, self.folds, strict=True)})

    def held(self, networks: Sequence[int], folds: Sequence[int]) -> np.ndarray:
        """Return which points are in one of the networks and in one of the folds, (n,) bool."""
        held: np.ndarray = np.isin(self.networks, networks) & np.isin(self.folds, folds)
        return held

    def seen(self, networks: Sequence[int], folds: Sequence[int]) -> np.ndarray:
        """Return which points are in none of the networks and in none of the folds, (n,) bool."""
        seen: np.ndarray = ~np.isin(self.networks, networks) & ~np.isin(self.folds, folds)
        return seen


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Where a formulation places points that it was not fitted to.

    Attributes:
        outer: (n,) log2 scales; each by a model of all other networks and folds.
        inner: cell -> (n,) log2 scales of the points that the cell's model is fitted to, each by a model that saw
            neither the cell's network and fold nor the point's own; NaN elsewhere.
    """

    outer: np.ndarray
    inner: dict[tuple[int, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is chosen for points, and what the same way of choosing reaches inside each point's training set.

    Attributes:
        log2_scales: (n,) float64.
        inner_accuracies: (n,) float64, fractions; of the points of the same optimizer.
    """

    log2_scales: np.ndarray
    inner_accuracies: np.ndarray


def cells_of(points: Sequence[Point], *, n_folds: int = N_FOLDS, seed: int = 0) -> Cells:
    """Return the cells of points: by network, and by a random fold of their origin.

    Raises:
        DataError: if there are fewer than three networks or origins, so that nothing is left to learn from inside.
    """
    sources, networks = np.unique([point.source_id for point in points], return_inverse=True)
    origins, codes = np.unique([point.origin for point in points], return_inverse=True)
    if min(len(sources), len(origins)) < 3:
        raise DataError(
            f"Nested evaluation takes points of at least 3 networks and 3 origins, and these are of {len(sources)} and "
            f"{len(origins)}. Harvest design points of more networks: scalepred harvest --draw N --source NAME."
        )
    folds = np.random.default_rng(seed).permutation(len(origins)) % min(n_folds, len(origins))
    return Cells(networks=networks, folds=folds[codes])


def place_held_out(fit: Fit, table: WideTable, cells: Cells, *, usable: np.ndarray | None = None) -> HeldOut:
    """Place every point by models of other networks and origins, once for the outer cells and once inside each.

    A model without two networks and two folds serves four cells, so there are as many fits as pairs of pairs.

    Args:
        fit: the formulation.
        table: n points.
        cells: that are held out.
        usable: (n,) bool, the points to learn from; by default all. Every point is placed.
    """
    usable = np.ones(len(table.points), bool) if usable is None else usable
    inner = {cell: np.full(len(table.points), np.nan) for cell in cells.ids}
    for networks in itertools.combinations(range(int(cells.networks.max()) + 1), 2):
        for folds in itertools.combinations(range(int(cells.folds.max()) + 1), 2):
            held = cells.held(networks, folds) & usable
            places = np.full(len(table.points), np.nan)
            places[held] = _placed(fit, table, cells.seen(networks, folds) & usable, held)
            for out, other in itertools.product(*(((a, b), (b, a)) for a, b in (networks, folds))):
                if (out[0], other[0]) in inner:
                    inside = cells.held([out[1]], [other[1]]) & usable
                    inner[out[0], other[0]][inside] = places[inside]
    return HeldOut(outer=place_outside(fit, table, cells, usable=usable), inner=inner)


def place_outside(fit: Fit, table: WideTable, cells: Cells, *, usable: np.ndarray | None = None) -> np.ndarray:
    """Return where a formulation places every point, (n,), by models of other networks and origins."""
    places = np.full(len(table.points), np.nan)
    for network, fold in cells.ids:
        held, seen = cells.held([network], [fold]), cells.seen([network], [fold])
        places[held] = _placed(fit, table, seen if usable is None else seen & usable, held)
    return places


def _placed(fit: Fit, table: WideTable, seen: np.ndarray, held: np.ndarray) -> np.ndarray:
    if not held.any():
        return np.empty(0)
    return fit(table.rows(np.flatnonzero(seen)))(table.rows(np.flatnonzero(held)))


def average(first: HeldOut, second: HeldOut) -> HeldOut:
    """Return the ensemble of two: the mean of their places."""
    return HeldOut(
        outer=(first.outer + second.outer) / 2,
        inner={cell: (places + second.inner[cell]) / 2 for cell, places in first.inner.items()},
    )


def choose(held_out: HeldOut, table: WideTable, cells: Cells, *, counts: np.ndarray | None = None) -> Chosen:
    """Return scales of the best expected accuracy: places moved by what does best for held-out places inside.

    The octaves that they are moved by are those at which the points inside reach the highest mean accuracy by their
    curves, so what places get wrong and how lopsided curves are weigh as they do there. For each optimizer its own.
    Where fewer than 12 of the points that count are inside, all are used.

    Args:
        held_out: places of a formulation.
        table: n points.
        cells: of the points.
        counts: (n,) bool, the points inside that count; by default all.
    """
    counts = np.ones(len(table.points), bool) if counts is None else counts
    scales, reached = held_out.outer.copy(), np.full(len(table.points), -np.inf)
    optimizers = np.array([point.recipe.optimizer for point in table.points])
    for cell, places in held_out.inner.items():
        for optimizer in sorted(set(optimizers)):
            there = ~np.isnan(places) & (optimizers == optimizer)
            inside = np.flatnonzero(there & counts if (there & counts).sum() >= FEWEST_TO_MOVE else there)
            if not len(inside):
                continue
            points = [table.points[i] for i in inside]
            moved = best_octaves(points, places[inside])
            held = cells.held([cell[0]], [cell[1]]) & (optimizers == optimizer)
            scales[held] += moved
            reached[held] = accuracies_at(points, places[inside] + moved).mean()
    return Chosen(log2_scales=scales, inner_accuracies=reached)


def select(ways: Sequence[Chosen]) -> np.ndarray:
    """Return for each point the scale of the way that reaches most inside its training set, (n,); a tie: the first."""
    best = np.argmax([way.inner_accuracies for way in ways], axis=0)
    scales: np.ndarray = np.array([way.log2_scales for way in ways])[best, np.arange(len(best))]
    return scales


def accuracies_at(points: Sequence[Point], log2_scales: np.ndarray) -> np.ndarray:
    """Return each point's accuracy at a scale of its own, (n,) float64."""
    return np.array([point.accuracy_at(scale) for point, scale in zip(points, log2_scales, strict=True)])
