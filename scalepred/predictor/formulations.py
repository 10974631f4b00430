"""Formulations: ways of learning from design points where the best scale of another lies, beside the rule's."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightgbm
import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scalepred.predictor.model import BOOSTING_ROUNDS, PARAMETERS
from scalepred.predictor.pairwise import pairwise_boosting, pairwise_logistic
from scalepred.predictor.placing import (
    Formulation,
    Places,
    Predict,
    by_rule,
    filled,
    from_curves,
    medians,
    on_place,
)
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.wide_table import WideTable, relative_to_best, row_weights, scale_inputs

TREES = 40
LEAST_IN_LEAF = 5

STRENGTHS = tuple(10.0**k for k in range(-1, 5))
"""Of ridge regression's penalty; the best is chosen by leaving out points of the training set."""

FEW = ("z_noise", "z_half", "z_noise_minimum", "z_rate", "log2_steps", "recipe_adamw", "recipe_fitted_head")
"""Columns of the Gaussian process: more dimensions than these have too few points."""


# --- joint models: accuracy of a point at a scale ---------------------------------------------------------------------


def joint_boosting(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the accuracy relative to a point's best, from facts and coordinates, by LightGBM."""
    inputs, targets, weights, rule = _joint(table, start)
    booster = lightgbm.train(dict(PARAMETERS), lightgbm.Dataset(inputs, targets, weight=weights), BOOSTING_ROUNDS)
    return from_curves(lambda rows: np.asarray(booster.predict(rows, num_threads=1)), rule)


def joint_trees(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the same by extra trees.

    Source: Geurts et al. 2006 (Extremely randomized trees).
    """
    inputs, targets, weights, rule = _joint(table, start)
    fill = medians(inputs)
    forest = _forest(max_features=0.3).fit(filled(inputs, fill), targets, sample_weight=weights)
    return from_curves(lambda rows: forest.predict(filled(rows, fill)), rule)


def _joint(table: WideTable, start: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Places]:
    rule = by_rule(start)(table)
    inputs = scale_inputs(table, [point.log2_scales for point in table.points], rule(table))
    targets = np.concatenate([relative_to_best(point) for point in table.points])
    return inputs, targets, row_weights(table.points), rule


# --- models of the place: octaves of the best scale from the rule's ---------------------------------------------------


def ridge_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn the octaves of a point's best scale from the rule's by ridge regression, of standardized columns.

    Source: Hoerl and Kennard 1970 (Ridge regression).
    """

    def fit(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> Predict:
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=STRENGTHS))
        return _sure(model.fit(x, y, ridgecv__sample_weight=1 / errors**2))

    return on_place(table, start, fit)


def nearest_point(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Take the octaves of the best scale from the rule's that the nearest point has, by standardized columns.

    Source: Cover and Hart 1967 (Nearest neighbor pattern classification).
    """

    def fit(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> Predict:
        return _sure(make_pipeline(StandardScaler(), KNeighborsRegressor(1)).fit(x, y))

    return on_place(table, start, fit)


def _sure(model: Any) -> Predict:
    """Return a model that tells no error as one that has none."""
    return lambda rows: (model.predict(rows), np.zeros(len(rows)))


def trees_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED, leaning: bool = False) -> Places:
    """Learn the octaves of a point's best scale from the rule's by extra trees; trees differ by their error.

    Source: Geurts et al. 2006 (Extremely randomized trees).
    """

    def fit(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> Predict:
        forest = _forest().fit(x, y, sample_weight=1 / errors**2)

        def predict(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            unsure = np.std([tree.predict(rows) for tree in forest.estimators_], axis=0) if leaning else 0.0
            return forest.predict(rows), np.broadcast_to(unsure, len(rows))

        return predict

    return on_place(table, start, fit, leaning=leaning)


def process_on_place(table: WideTable, *, start: Mapping[str, str] = DECLARED, leaning: bool = False) -> Places:
    """Learn the octaves of a point's best scale from the rule's by a Gaussian process on few coordinates.

    Source: Rasmussen and Williams 2006 (Gaussian processes for machine learning), section 2.2, with each point's own
    noise.
    """

    def fit(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> Predict:
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(3.0, (0.5, 50.0))
        model = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, alpha=errors**2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound that is reached is an answer too
            model.fit(x, y)
        return lambda rows: model.predict(rows, return_std=True)

    few = on_place(table.columns(FEW), start, fit, leaning=leaning)
    return lambda others: few(others.columns(FEW))


def _forest(max_features: float = 1.0) -> Any:
    return ExtraTreesRegressor(
        TREES, min_samples_leaf=LEAST_IN_LEAF, max_features=max_features, random_state=0, n_jobs=1
    )


FORMULATIONS: dict[str, Formulation] = {
    "joint LightGBM": joint_boosting,
    "joint extra trees": joint_trees,
    "extra trees on the place": trees_on_place,
    "ridge on the place": ridge_on_place,
    "Gaussian process on the place": process_on_place,
    "pairwise LightGBM": pairwise_boosting,
    "pairwise logistic regression": pairwise_logistic,
}
"""Name -> formulation. What they place is moved by one constant more, chosen in :mod:`nested` for expected accuracy."""

LEANING: dict[str, tuple[str, Formulation]] = {
    "extra trees on the place, by its own error": (
        "extra trees on the place",
        partial(trees_on_place, leaning=True),
    ),
    "Gaussian process on the place, by its own error": (
        "Gaussian process on the place",
        partial(process_on_place, leaning=True),
    ),
}
"""Those that tell an error of each place, moved to the best expected accuracy under it before that: name -> the
formulation without that, and what places points in both ways by one model."""
