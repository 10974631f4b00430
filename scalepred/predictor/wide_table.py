"""The wide table: design points with their facts and coordinates, and a target and a weight for every scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalepred.predictor.context import recipe_features
from scalepred.predictor.coordinates import coordinates_at, log2_damping
from scalepred.predictor.points import Point
from scalepred.predictor.targets import accuracy_noise, noise_weights, smooth_optimum, smooth_optimum_error
from scalepred.recipe import Recipe

RUN_NOISE = 0.03
"""Standard deviation of an accuracy between seeds, up to the best scale of a point (log of 2026-11-29)."""

SMOOTHING = 0.5
"""Standard deviation of the weights that a curve is smoothed with, in octaves; neighbours an octave off weigh 0.14."""

TEMPERATURE = 0.02
"""How far below the best of its curve a scale weighs a third in the place of the best; a fraction of accuracy."""

STEP = 0.25
"""Octaves between the places that the best is looked for at."""


@dataclass(frozen=True, kw_only=True)
class WideTable:
    """Design points as arrays.

    Attributes:
        points: n of them.
        fact_names: f names.
        facts: (n, f) float64, what is known before any run; NaN where it is not.
        coordinate_names: c names.
        coordinates: (n, c) float64, at scale 1; at another its log2 is added.
        places: (n,) float64, log2 of each point's best scale, as ``best_place`` has it.
        errors: (n,) float64, its error in octaves.
    """

    points: tuple[Point, ...]
    fact_names: tuple[str, ...]
    facts: np.ndarray
    coordinate_names: tuple[str, ...]
    coordinates: np.ndarray
    places: np.ndarray
    errors: np.ndarray

    def rows(self, index: np.ndarray) -> "WideTable":
        """Return the points of these row numbers."""
        return replace(
            self,
            points=tuple(self.points[i] for i in index),
            facts=self.facts[index],
            coordinates=self.coordinates[index],
            places=self.places[index],
            errors=self.errors[index],
        )

    def columns(self, names: Sequence[str]) -> "WideTable":
        """Return the table with these facts and coordinates alone, in its own order."""
        facts = [k for k, name in enumerate(self.fact_names) if name in names]
        coordinates = [k for k, name in enumerate(self.coordinate_names) if name in names]
        return replace(
            self,
            fact_names=tuple(self.fact_names[k] for k in facts),
            facts=self.facts[:, facts],
            coordinate_names=tuple(self.coordinate_names[k] for k in coordinates),
            coordinates=self.coordinates[:, coordinates],
        )


def wide_table(points: Sequence[Point]) -> WideTable:
    """Return design points as a table; facts that a point lacks are NaN."""
    facts = [facts_of(point) for point in points]
    coordinates = [coordinates_at(point.facts, point.recipe, 0.0) for point in points]
    best = np.array([best_place(point) for point in points], dtype=np.float64).reshape(len(points), 2)
    fact_names = tuple(dict.fromkeys(name for of_point in facts for name in of_point))
    coordinate_names = tuple(dict.fromkeys(name for of_point in coordinates for name in of_point))
    return WideTable(
        points=tuple(points),
        fact_names=fact_names,
        facts=_matrix(facts, fact_names),
        coordinate_names=coordinate_names,
        coordinates=_matrix(coordinates, coordinate_names),
        places=best[:, 0],
        errors=best[:, 1],
    )


def _matrix(rows: Sequence[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    values = [[row.get(name, math.nan) for name in names] for row in rows]
    return np.array(values, dtype=np.float64).reshape(len(rows), len(names))


def facts_of(point: Point) -> dict[str, float]:
    """Return what is known of a point before any run: of its task, its recipe and its start."""
    of_label = math.log2(point.n_train * point.chance)
    return {
        "log2_train": math.log2(point.n_train),
        "log2_classes": -math.log2(point.chance),
        "log2_images_per_label": of_label,
        **recipe_facts(point.recipe),
        **{name: value for name, value in point.facts.items() if "_log2_update_" not in name},
    }


def recipe_facts(recipe: Recipe) -> dict[str, float]:
    """Return a recipe's fields as numbers: those of the predictor of grids, and what the wide harvest draws besides."""
    learning = [m for m in recipe.multipliers if m > 0]
    return {
        **recipe_features(recipe),
        "recipe_log2_batch": math.log2(recipe.batch_size),
        "recipe_log2_damping": log2_damping(recipe),
        "recipe_log2_decay": math.log2(max(recipe.weight_decay, 1e-6)),
        "recipe_frozen_stages": float(len(recipe.multipliers) - len(learning)),
        "recipe_log2_multiplier_range": math.log2(max(learning) / min(learning)),
    }


def smoothed(point: Point) -> np.ndarray:
    """Return a point's accuracies, each a mean of those around it with Gaussian weights over log2 scale, (s,).

    Runs that diverged are no neighbours of the others: a cliff is not smoothed over.

    Source: Nadaraya 1964 (On estimating regression); Watson 1964 (Smooth regression analysis).
    """
    apart = (point.log2_scales[:, None] - point.log2_scales[None, :]) / SMOOTHING
    near = np.exp(-0.5 * apart**2) * point.n_seeds * (point.diverged[:, None] == point.diverged[None, :])
    means: np.ndarray = near @ point.accuracies / near.sum(axis=1)
    return means


def relative_to_best(point: Point) -> np.ndarray:
    """Return a point's accuracies minus the best of its smoothed curve, (s,) float64: the target of joint models."""
    relative: np.ndarray = point.accuracies - smoothed(point).max()
    return relative


def row_weights(points: Sequence[Point]) -> np.ndarray:
    """Return the weight of every row, points one after the other: inverse variance by test images and by seeds."""
    noise = np.concatenate([accuracy_noise(point.accuracies, point.n_images) for point in points])
    run_noise = RUN_NOISE / np.sqrt(np.concatenate([point.n_seeds for point in points]))
    return noise_weights(noise, run_noise=run_noise)


def best_place(point: Point) -> tuple[float, float]:
    """Return log2 of a point's best scale, softly averaged over its smoothed curve, and its error in octaves.

    A flat curve gives the middle of what was run, and a large error.
    """
    first, last = point.log2_scales[[0, -1]]
    places = np.linspace(first, last, 1 + round((last - first) / STEP))
    curve = np.interp(places, point.log2_scales, smoothed(point))[None, :]
    scales = [float(scale) for scale in 2**places]
    place = smooth_optimum(curve, scales, temperature=TEMPERATURE)
    error = smooth_optimum_error(curve, scales, temperature=TEMPERATURE)
    return float(place[0]), float(error[0])


def point_inputs(table: WideTable, places: np.ndarray) -> np.ndarray:
    """Return (n, f + c): each point's facts, and its coordinates at a log2 scale of its own."""
    return np.column_stack([table.facts, table.coordinates + places[:, None]])


def scale_inputs(table: WideTable, scales: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Return (rows, f + c + 1): facts, coordinates and octaves from a place, for each point at its log2 scales.

    Args:
        table: n points.
        scales: of each point, log2; points come one after the other.
        places: (n,) log2 scales that octaves are counted from.
    """
    of = np.repeat(np.arange(len(scales)), [len(each) for each in scales])
    at = np.concatenate(scales)
    return np.column_stack([table.facts[of], table.coordinates[of] + at[:, None], at - places[of]])
