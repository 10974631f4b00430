"""Formulations: ways of learning from design points where the best scale of another lies, beside the rule's."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import lightgbm
import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scalepred.predictor.model import BOOSTING_ROUNDS, PARAMETERS
from scalepred.predictor.rule import DECLARED, Rule, fit_rule
from scalepred.predictor.targets import smooth_optimum
from scalepred.predictor.wide_table import (
    TEMPERATURE,
    WideTable,
    point_inputs,
    relative_to_best,
    row_weights,
    scale_inputs,
)

Places = Callable[[WideTable], np.ndarray]
"""Table -> (n,) log2 scales, one for each point."""

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

TREES = 40
LEAST_IN_LEAF = 5

FEWEST_TO_LEARN = 8
"""Of fewer points than these models of the place learn nothing: they are the rule."""

STRENGTHS = tuple(10.0**k for k in range(-1, 5))
"""Of ridge regression's penalty; the best is chosen by leaving out points of the training set."""

FEW = ("z_noise", "z_half", "z_noise_minimum", "z_rate", "log2_steps", "recipe_adamw", "recipe_fitted_head")
"""Columns of the Gaussian process: more dimensions than these have too few points."""


def by_rule(coordinates: Mapping[str, str]) -> Fit:
    """Return the rule as a formulation: a constant for each kind of recipe, times a coordinate."""

    def fit(table: WideTable) -> Places:
        return placed_by(fit_rule(table.points, coordinates))

    return fit


def placed_by(rule: Rule) -> Places:
    """Return where a rule puts points; scale 1 where it can't tell, as the product does."""

    def places(table: WideTable) -> np.ndarray:
        log2_scales = [rule.log2_scale(point.facts, point.recipe) for point in table.points]
        return np.array([0.0 if each is None else each for each in log2_scales])

    return places


# --- joint models: accuracy of a point at a scale ---------------------------------------------------------------------


def joint_boosting(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the accuracy relative to a point's best, from facts and coordinates, by LightGBM."""
    inputs, targets, weights, rule = _joint(table, start)
    booster = lightgbm.train(dict(PARAMETERS), lightgbm.Dataset(inputs, targets, weight=weights), BOOSTING_ROUNDS)
    return _from_curves(lambda rows: np.asarray(booster.predict(rows, num_threads=1)), rule)


def joint_trees(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the same by extra trees.

    Source: Geurts et al. 2006 (Extremely randomized trees).
    """
    inputs, targets, weights, rule = _joint(table, start)
    fill = _medians(inputs)
    forest = _forest(max_features=0.3).fit(_filled(inputs, fill), targets, sample_weight=weights)
    return _from_curves(lambda rows: forest.predict(_filled(rows, fill)), rule)


def _joint(table: WideTable, start: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Places]:
    rule = by_rule(start)(table)
    inputs = scale_inputs(table, [point.log2_scales for point in table.points], rule(table))
    targets = np.concatenate([relative_to_best(point) for point in table.points])
    return inputs, targets, row_weights(table.points), rule


def _from_curves(predict: Callable[[np.ndarray], np.ndarray], rule: Places) -> Places:
    """Return the soft middle of the best scales of each predicted curve, within six octaves of the rule's."""
    scales = [float(scale) for scale in 2**OFFSETS]

    def places(table: WideTable) -> np.ndarray:
        base = rule(table)
        rows = scale_inputs(table, [place + OFFSETS for place in base], base)
        curves = predict(rows).reshape(len(base), len(OFFSETS))
        middle: np.ndarray = base + smooth_optimum(curves, scales, temperature=TEMPERATURE)
        return middle

    return places


# --- models of the place: octaves of the best scale from the rule's ---------------------------------------------------


def ridge_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the octaves of a point's best scale from the rule's by ridge regression, of standardized columns.

    Source: Hoerl and Kennard 1970 (Ridge regression).
    """
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=STRENGTHS))
    return _on_place(table, start, lambda x, y, errors: model.fit(x, y, ridgecv__sample_weight=1 / errors**2))


def trees_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the octaves of a point's best scale from the rule's by extra trees.

    Source: Geurts et al. 2006 (Extremely randomized trees).
    """
    return _on_place(table, start, lambda x, y, errors: _forest().fit(x, y, sample_weight=1 / errors**2))


def process_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the octaves of a point's best scale from the rule's by a Gaussian process on few coordinates.

    Source: Rasmussen and Williams 2006 (Gaussian processes for machine learning), section 2.2, with each point's own
    noise.
    """

    def fit(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> Any:
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(3.0, (0.5, 50.0))
        process = GaussianProcessRegressor(kernel, alpha=errors**2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound that is reached is an answer too
            return make_pipeline(StandardScaler(), process).fit(x, y)

    few = _on_place(table.columns(FEW), start, fit)
    return lambda others: few(others.columns(FEW))


def _on_place(
    table: WideTable, start: Mapping[str, str], fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
) -> Places:
    """Return the rule's places plus the octaves that a model, fitted to inputs, octaves and their errors, predicts."""
    rule = by_rule(start)(table)
    if len(table.points) < FEWEST_TO_LEARN:
        return rule
    base = rule(table)
    inputs = point_inputs(table, base)
    fill = _medians(inputs)
    octaves = table.places - base
    errors = np.sqrt(table.errors**2 + BETWEEN_POINTS**2)
    middle = float(np.average(octaves, weights=1 / errors**2))
    model = fit(_filled(inputs, fill), octaves - middle, errors)

    def places(others: WideTable) -> np.ndarray:
        where = rule(others)
        moved: np.ndarray = where + middle + model.predict(_filled(point_inputs(others, where), fill))
        return moved

    return places


def _forest(max_features: float = 1.0) -> Any:
    return ExtraTreesRegressor(
        TREES, min_samples_leaf=LEAST_IN_LEAF, max_features=max_features, random_state=0, n_jobs=1
    )


def _medians(inputs: np.ndarray) -> np.ndarray:
    """Return each column's median, and 0 for a column that has nothing."""
    there = ~np.isnan(inputs).all(axis=0)
    medians = np.zeros(inputs.shape[1])
    medians[there] = np.nanmedian(inputs[:, there], axis=0)
    return medians


def _filled(inputs: np.ndarray, fill: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(inputs), fill, inputs)


FORMULATIONS: dict[str, Formulation] = {
    "joint LightGBM": joint_boosting,
    "joint extra trees": joint_trees,
    "extra trees on the place": trees_on_place,
    "ridge on the place": ridge_on_place,
    "Gaussian process on the place": process_on_place,
}
"""Name -> formulation. What they place is moved by one constant more, chosen in :mod:`nested` for expected accuracy."""
