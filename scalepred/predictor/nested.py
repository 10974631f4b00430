"""Nested evaluation: points are placed by models that saw neither their origin nor, say, their network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.errors import DataError
from scalepred.predictor.placing import Fit, Places
from scalepred.predictor.points import Point
from scalepred.predictor.rule import best_octaves
from scalepred.predictor.wide_table import WideTable

N_FOLDS = 4
"""Folds of origins; with a group each, they make the cells that are held out."""

FEWEST_TO_MOVE = 12
"""Of fewer points than these the best octave would be luck, so all lengths count."""

KEPT = -1
"""The group of points of which none is held out: their origin alone is."""

Cell = tuple[int, int]
"""A group, and a fold of origins."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Which cell each point is in: a group, such as its network, and a fold of origins.

    Attributes:
        outer: (n,) int64, the group that is held out outside, with the point's fold; ``KEPT`` where none is.
        inner: (n,) int64, the group that is held out once more inside, likewise.
        folds: (n,) int64; an origin is in one fold.
    """

    outer: np.ndarray
    inner: np.ndarray
    folds: np.ndarray

    @property
    def ids(self) -> list[Cell]:
        """The outer cells that hold points, in order."""
        return _ids(self.outer, self.folds)

    def held(self, cell: Cell) -> np.ndarray:
        """Return which points are in an outer cell, (n,) bool."""
        return _held(self.outer, self.folds, cell)

    def seen(self, cell: Cell) -> np.ndarray:
        """Return which points are in neither the group nor the fold of an outer cell, (n,) bool."""
        return _seen(self.outer, self.folds, cell)

    def inside(self, cell: Cell) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the points that each cell inside holds, and those that are seen without it too, each (n,) bool."""
        seen = self.seen(cell)
        for within in _ids(self.inner[seen], self.folds[seen]):
            yield seen & _held(self.inner, self.folds, within), seen & _seen(self.inner, self.folds, within)


def _ids(groups: np.ndarray, folds: np.ndarray) -> list[Cell]:
    return sorted({(int(group), int(fold)) for group, fold in zip(groups, folds, strict=True)})


def _held(groups: np.ndarray, folds: np.ndarray, cell: Cell) -> np.ndarray:
    held: np.ndarray = (groups == cell[0]) & (folds == cell[1])
    return held


def _seen(groups: np.ndarray, folds: np.ndarray, cell: Cell) -> np.ndarray:
    seen: np.ndarray = ((groups != cell[0]) | (groups == KEPT)) & (folds != cell[1])
    return seen


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Where a formulation places points that it was not fitted to.

    Attributes:
        outer: (n,) log2 scales; each by a model of all other groups and folds.
        inner: cell -> (n,) log2 scales of the points that the cell's model is fitted to, each by a model that saw
            neither the cell's group and fold nor the point's own; NaN elsewhere.
    """

    outer: np.ndarray
    inner: dict[Cell, np.ndarray]


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
    n_origins = len({point.origin for point in points})
    if min(len(sources), n_origins) < 3:
        raise DataError(
            f"Nested evaluation takes points of at least 3 networks and 3 origins, and these are of {len(sources)} and "
            f"{n_origins}. Harvest design points of more networks: scalepred harvest --draw N --source NAME."
        )
    return Cells(outer=networks, inner=networks, folds=folds_of(points, n_folds=n_folds, seed=seed))


def folds_of(points: Sequence[Point], *, n_folds: int = N_FOLDS, seed: int = 0) -> np.ndarray:
    """Return a random fold for each point's origin, (n,) int64; all points of an origin are in one."""
    origins, codes = np.unique([point.origin for point in points], return_inverse=True)
    folds: np.ndarray = (np.random.default_rng(seed).permutation(len(origins)) % min(n_folds, len(origins)))[codes]
    return folds


def place_held_out(fit: Fit, table: WideTable, cells: Cells, *, usable: np.ndarray | None = None) -> HeldOut:
    """Place every point, as :func:`place_ways`, in one way."""
    return place_ways(fit, table, cells, n_ways=1, usable=usable)[0]


def place_ways(
    fit: Fit, table: WideTable, cells: Cells, *, n_ways: int, usable: np.ndarray | None = None
) -> list[HeldOut]:
    """Place every point by models that saw neither its group nor its origin, outside and once more inside each cell.

    A model without two groups and two folds serves up to four pairs of cells, so it is fitted once.

    Args:
        fit: the formulation.
        table: n points.
        cells: that are held out.
        n_ways: in which a model places points.
        usable: (n,) bool, the points to learn from; by default all. Every point is placed outside.
    """
    usable = np.ones(len(table.points), bool) if usable is None else usable
    fitted: dict[bytes, Places] = {}

    def placed(held: np.ndarray, seen: np.ndarray) -> np.ndarray:
        model = fitted.get(seen.tobytes())
        if model is None:
            model = fitted[seen.tobytes()] = _fitted(fit, table, seen)
        return model(table.rows(np.flatnonzero(held)))

    inner = {}
    for cell in cells.ids:
        places = np.full((n_ways, len(table.points)), np.nan)
        for held, seen in cells.inside(cell):
            if (held & usable).any():
                places[:, held & usable] = placed(held & usable, seen & usable)
        inner[cell] = places
    outer = _outside(fit, table, cells, n_ways=n_ways, usable=usable)
    return [
        HeldOut(outer=outer[way], inner={cell: places[way] for cell, places in inner.items()}) for way in range(n_ways)
    ]


def place_outside(fit: Fit, table: WideTable, cells: Cells, *, usable: np.ndarray | None = None) -> np.ndarray:
    """Return where a formulation places every point, (n,), by models that saw neither its group nor its origin."""
    places: np.ndarray = _outside(fit, table, cells, n_ways=1, usable=usable)[0]
    return places


def _outside(fit: Fit, table: WideTable, cells: Cells, *, n_ways: int, usable: np.ndarray | None) -> np.ndarray:
    places = np.full((n_ways, len(table.points)), np.nan)
    for cell in cells.ids:
        held, seen = cells.held(cell), cells.seen(cell)
        model = _fitted(fit, table, seen if usable is None else seen & usable)
        places[:, held] = model(table.rows(np.flatnonzero(held)))
    return places


def _fitted(fit: Fit, table: WideTable, seen: np.ndarray) -> Places:
    """Return what is learnt from the points that are seen; of none, that the rates stay as they are."""
    if not seen.any():
        return lambda others: np.zeros(len(others.points))
    return fit(table.rows(np.flatnonzero(seen)))


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
            held = cells.held(cell) & (optimizers == optimizer)
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
