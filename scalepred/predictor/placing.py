"""Placing: what formulations share, from the rule's places on; by curves of accuracy, or by the place and its error."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np

from scalepred.predictor.place_error import lean, lopsided
from scalepred.predictor.rule import DECLARED, Rule, fit_rule
from scalepred.predictor.targets import smooth_optimum
from scalepred.predictor.wide_table import TEMPERATURE, WideTable, point_inputs, scale_inputs

Places = Callable[[WideTable], np.ndarray]
"""Table -> (n,) log2 scales, one for each point; or (ways, n) of what places them in several ways."""

Fit = Callable[[WideTable], Places]
"""Learns from the points of a table where the best scale of others lies."""


class Formulation(Protocol):
    """A way of learning, from the places of a rule with these coordinates on."""

    def __call__(self, table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
        """Fit to a table."""


OFFSETS = np.arange(-6.0, 6.25, 0.5)
"""Octaves from the rule's scale at which joint models are asked."""

BETWEEN_POINTS = 1.5
"""Octaves that best places scatter by besides their own errors, so that a steep curve is not worth many flat ones."""

FEWEST_TO_LEARN = 8
"""Of fewer points than these models of the place learn nothing: they are the rule."""


def by_rule(coordinates: Mapping[str, str]) -> Fit:
    """Return the rule as a formulation: a constant for each kind of recipe, times a coordinate."""
    return partial(_by_constants, coordinates=coordinates)


def _by_constants(table: WideTable, *, coordinates: Mapping[str, str]) -> Places:
    return placed_by(fit_rule(table.points, coordinates))


def placed_by(rule: Rule) -> Places:
    """Return where a rule puts points; scale 1 where it can't tell, as the product does.

    The product keeps it below the critical rate besides, which changed none of 277 points (2026-11-30).
    """

    def places(table: WideTable) -> np.ndarray:
        log2_scales = [rule.log2_scale(point.facts, point.recipe) for point in table.points]
        return np.array([0.0 if each is None else each for each in log2_scales])

    return places


# --- by curves: what each scale of a point is worth -------------------------------------------------------------------


def from_curves(
    predict: Callable[[np.ndarray], np.ndarray], rule: Places, *, temperature: float = TEMPERATURE
) -> Places:
    """Return the soft middle of the best scales of each predicted curve, within six octaves of the rule's.

    Args:
        predict: (rows, columns) of ``scale_inputs`` -> (rows,) what a scale is worth.
        rule: whose places octaves are counted from.
        temperature: how far below the best a scale weighs a third, in units of worth.
    """
    scales = [float(scale) for scale in 2**OFFSETS]

    def places(table: WideTable) -> np.ndarray:
        base = rule(table)
        rows = scale_inputs(table, [place + OFFSETS for place in base], base)
        curves = predict(rows).reshape(len(base), len(OFFSETS))
        middle: np.ndarray = base + smooth_optimum(curves, scales, temperature=temperature)
        return middle

    return places


# --- by the place: octaves of the best scale from the rule's ----------------------------------------------------------

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(n, columns) of ``point_inputs`` -> (n,) octaves and (n,) their errors."""


def on_place(
    table: WideTable,
    start: Mapping[str, str],
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Predict],
    *,
    leaning: bool = False,
) -> Places:
    """Return the rule's places plus the octaves that a model predicts.

    Args:
        table: to fit to.
        start: the coordinates of the rule.
        fit: inputs, octaves and their errors -> the model.
        leaning: whether places are told twice, (2, n): as they are predicted, and each moved to the scale of the best
            expected accuracy under its own error.
    """
    rule = by_rule(start)(table)
    if len(table.points) < FEWEST_TO_LEARN:
        return rule
    base = rule(table)
    inputs = point_inputs(table, base)
    fill = medians(inputs)
    octaves = table.places - base
    errors = np.sqrt(table.errors**2 + BETWEEN_POINTS**2)
    middle = float(np.average(octaves, weights=1 / errors**2))
    predict = fit(filled(inputs, fill), octaves - middle, errors)
    shape = lopsided(table) if leaning else None

    def places(others: WideTable) -> np.ndarray:
        where = rule(others)
        moved, unsure = predict(filled(point_inputs(others, where), fill))
        placed: np.ndarray = where + middle + moved
        if shape is None:
            return placed
        return np.array([placed, placed + lean(shape, np.sqrt(unsure**2 + BETWEEN_POINTS**2))])

    return places


def medians(inputs: np.ndarray) -> np.ndarray:
    """Return each column's median, and 0 for a column that has nothing."""
    there = ~np.isnan(inputs).all(axis=0)
    medians = np.zeros(inputs.shape[1])
    medians[there] = np.nanmedian(inputs[:, there], axis=0)
    return medians


def filled(inputs: np.ndarray, fill: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(inputs), fill, inputs)
