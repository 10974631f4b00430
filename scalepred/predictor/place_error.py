"""The error of a place: how far to lean from it, since curves are lopsided, so that expected accuracy is highest."""

import numpy as np

from scalepred.predictor.wide_table import WideTable, smoothed

STEP = 0.25
"""Octaves between the places that are looked at."""

REACH = 12.0
"""A mean curve is known so many octaves either way of the best place; beyond, it is level."""

FARTHEST = 6.0
"""No place is left by more octaves than this."""


def lopsided(table: WideTable) -> np.ndarray:
    """Return the mean curve around the best place: accuracy relative to each point's best, by octaves from it, (g,).

    The octaves are ``STEP`` apart, from ``-REACH`` to ``REACH``.
    """
    octaves = _octaves(REACH)
    curves = [
        point.accuracies_at(place + octaves) - smoothed(point).max()
        for point, place in zip(table.points, table.places, strict=True)
    ]
    mean: np.ndarray = np.mean(curves, axis=0)
    return mean


def lean(shape: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the octaves by which to leave places for the best expected accuracy, were their errors normal, (n,).

    The nearest of equals is taken.

    Source: Raiffa and Schlaifer 1961 (Applied statistical decision theory), chapter 1: the act of the highest expected
    utility.

    Args:
        shape: as ``lopsided`` returns it.
        errors: (n,) standard deviations in octaves.
    """
    moves, misses = _octaves(FARTHEST), _octaves(REACH)
    moves = moves[np.argsort(np.abs(moves), kind="stable")]
    worth = np.interp(moves[:, None] - misses[None, :], _octaves(REACH), shape)
    weights = np.exp(-0.5 * (misses[None, :] / np.maximum(errors[:, None], STEP / 2)) ** 2)
    expected = (weights / weights.sum(axis=1, keepdims=True)) @ worth.T
    best: np.ndarray = moves[expected.argmax(axis=1)]
    return best


def _octaves(reach: float) -> np.ndarray:
    return np.arange(-reach, reach + STEP, STEP)
