"""Conformal intervals: within how many octaves of a place the best scale lies, by errors on points held out inside."""

import math

import numpy as np

from scalepred.predictor.nested import Cells, HeldOut
from scalepred.predictor.wide_table import WideTable

NOMINAL = 0.9
"""Share of points whose best place an interval is to hold."""


def half_width(residuals: np.ndarray, *, level: float = NOMINAL) -> float:
    """Return the least distance that holds a new residual with this probability, were it exchangeable with these.

    It is infinite where there are too few residuals to say so.

    Source: Lei et al. 2018 (Distribution-free predictive inference for regression), section 2.2: split conformal.

    Args:
        residuals: (n,) of points that the model was not fitted to.
        level: the probability, below 1.
    """
    rank = math.ceil((len(residuals) + 1) * level)
    return float(np.sort(np.abs(residuals))[rank - 1]) if rank <= len(residuals) else math.inf


def half_widths(
    held_out: HeldOut, table: WideTable, cells: Cells, *, counts: np.ndarray, level: float = NOMINAL
) -> np.ndarray:
    """Return the octaves either way of each point's place that are to hold its best place, (n,) float64.

    A cell's come from the points inside: those of other groups and other origins, each placed by a model that saw
    neither its own group and origin nor the cell's. Each optimizer has its own.

    What is exchangeable is groups, not points, so with few groups the coverage is as good as they are alike.

    Source: Dunn et al. 2023 (Distribution-free prediction sets for two-layer hierarchical models), which pools groups.

    Args:
        held_out: places of a formulation.
        table: n points with their best places.
        cells: of the points.
        counts: (n,) bool, points inside whose errors count.
        level: nominal coverage.
    """
    widths = np.full(len(table.points), math.inf)
    optimizers = np.array([point.recipe.optimizer for point in table.points])
    for cell, places in held_out.inner.items():
        for optimizer in sorted(set(optimizers)):
            inside = ~np.isnan(places) & (optimizers == optimizer) & counts
            held = cells.held(cell) & (optimizers == optimizer)
            widths[held] = half_width(table.places[inside] - places[inside], level=level)
    return widths


def is_covered(held_out: HeldOut, table: WideTable, widths: np.ndarray) -> np.ndarray:
    """Return for which points the best place lies within these octaves of the place, (n,) bool."""
    covered: np.ndarray = np.abs(table.places - held_out.outer) <= widths
    return covered
