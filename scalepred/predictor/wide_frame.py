"""The frame of an evaluation: points with what is held out of them, and on which of them ways are judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from scalepred.predictor import nested
from scalepred.predictor.hold_outs import HoldOut
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.placing import Fit
from scalepred.predictor.points import Point
from scalepred.predictor.wide_table import WideTable

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Points, their table, what is held out, and which of them are long.

    Attributes:
        table: n points.
        hold_out: what is held out of them.
        is_long: (n,) bool.
        min_steps: that a long job takes.
    """

    table: WideTable
    hold_out: HoldOut
    is_long: np.ndarray
    min_steps: int

    @property
    def points(self) -> tuple[Point, ...]:
        """The points."""
        return self.table.points

    @property
    def cells(self) -> nested.Cells:
        """The cells that are held out."""
        return self.hold_out.cells

    def rows(self, index: np.ndarray) -> "Frame":
        """Return the points of these row numbers, in the cells that they are in."""
        cells = self.cells
        part = nested.Cells(outer=cells.outer[index], inner=cells.inner[index], folds=cells.folds[index])
        drawn = tuple(self.hold_out.drawn[i] for i in index)
        hold_out = replace(self.hold_out, cells=part, drawn=drawn)
        return replace(self, table=self.table.rows(index), hold_out=hold_out, is_long=self.is_long[index])

    def lengths(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (words, points of that length), for all and for long ones."""
        yield "all", np.ones(len(self.points), bool)
        yield f"{self.min_steps} steps or more", self.is_long

    def domains(self, words: str, counts: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (words, points that are judged), for each optimizer that has points of a length."""
        optimizers = np.array([point.recipe.optimizer for point in self.points])
        for optimizer in OPTIMIZERS:
            if (judged := (optimizers == optimizer) & counts).any():
                yield f"{optimizer}, {words}", judged

    def all_domains(self) -> dict[str, np.ndarray]:
        """Return words -> points that are judged, (n,) bool."""
        return {words: judged for length in self.lengths() for words, judged in self.domains(*length)}

    def points_in(self, judged: np.ndarray) -> list[Point]:
        """Return the points that are judged."""
        return [point for point, is_in in zip(self.points, judged, strict=True) if is_in]

    def interval(self, values: np.ndarray, judged: np.ndarray) -> tuple[float, float]:
        """Return the 95 % interval of a mean over the points that are judged; origins and groups are drawn at once.

        Args:
            values: one for each point that is judged.
            judged: (n,) bool.
        """
        drawn = [name for name, is_in in zip(self.hold_out.drawn, judged, strict=True) if is_in]
        return crossed_interval(values, [point.origin for point in self.points_in(judged)], drawn, seed=0)

    def outside(self, fit: Fit) -> np.ndarray:
        """Return where a formulation places every point without its group and origin, (n,)."""
        return nested.place_outside(fit, self.table, self.cells)

    def chosen_by(self, fit: Fit, *, usable: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return domain -> (n,) log2 scales that a formulation chooses."""
        return self.chosen_in(nested.place_held_out(fit, self.table, self.cells, usable=usable))

    def chosen_in(self, held_out: nested.HeldOut) -> dict[str, np.ndarray]:
        """Return domain -> (n,) log2 scales, by places that are held out."""
        found: dict[str, np.ndarray] = {}
        for length, counts in self.lengths():
            chosen = nested.choose(held_out, self.table, self.cells, counts=counts).log2_scales
            found |= dict.fromkeys((words for words, _ in self.domains(length, counts)), chosen)
        return found

    def gains(self, over: np.ndarray, places: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        """Return domain -> the mean gain over other scales and its interval, in points of accuracy.

        Args:
            over: (n,) log2 scales.
            places: domain -> (n,) log2 scales; domains that it lacks are left out.
        """
        found: dict[str, list[float]] = {}
        for words, judged in self.all_domains().items():
            if words in places:
                points = self.points_in(judged)
                gained = nested.accuracies_at(points, places[words][judged])
                gained -= nested.accuracies_at(points, over[judged])
                found[words] = [round(100 * float(each), 2) for each in (gained.mean(), *self.interval(gained, judged))]
        return found
