"""Pairwise formulations: which of two scales of a point is better, learnt from all pairs that noise does not tie."""

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
from scipy.special import erf, expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scalepred.predictor.model import BOOSTING_ROUNDS, PARAMETERS
from scalepred.predictor.placing import Places, by_rule, filled, from_curves, medians
from scalepred.predictor.points import Point
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.targets import accuracy_noise
from scalepred.predictor.wide_table import RUN_NOISE, WideTable, scale_inputs

LEAST_WEIGHT = 0.05
"""Pairs that are less sure than this are left out."""

FEWEST_PAIRS = 30
"""Of fewer pairs than these nothing is learnt: it is the rule."""

STRENGTH = 0.1
"""Inverse of the logistic regression's penalty, on standardized differences."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of rows of a table's scales, points one after the other.

    Attributes:
        better, worse: (p,) int64 row numbers.
        weights: (p,) float64.
    """

    better: np.ndarray
    worse: np.ndarray
    weights: np.ndarray


def pairs_of(points: tuple[Point, ...]) -> Pairs:
    """Return all pairs of scales of the same point, each weighed by how sure it is which is better.

    A pair that differs by d with noise s weighs P(|normal| < d / s); then the pairs of a point weigh as many as it has
    scales, so that long curves do not count by their square. The test images are the same for both scales, so the noise
    is less than is reckoned with here.

    Source: Thurstone 1927 (A law of comparative judgment), case V, for the normal difference.
    """
    parts, first = [], 0
    for point in points:
        i, j = np.triu_indices(len(point.log2_scales), 1)
        noise = accuracy_noise(point.accuracies, point.n_images) ** 2 + RUN_NOISE**2 / point.n_seeds
        apart = point.accuracies[i] - point.accuracies[j]
        sure = erf(np.abs(apart) / np.sqrt(2 * (noise[i] + noise[j])))
        kept = sure >= LEAST_WEIGHT
        better, worse = np.where(apart > 0, i, j)[kept], np.where(apart > 0, j, i)[kept]
        weights = sure[kept] * len(point.log2_scales) / max(float(sure[kept].sum()), 1e-12)
        parts.append((better + first, worse + first, weights))
        first += len(point.log2_scales)
    better, worse, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Pairs(better=better, worse=worse, weights=weights)


def pairwise_boosting(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn what a scale is worth, from facts and coordinates, by LightGBM on the logistic loss of pairs.

    Source: Burges et al. 2005 (Learning to rank using gradient descent), section 3; Plackett 1975 (The analysis of
    permutations) for the chance that a scale is the best, which the place averages over.
    """
    inputs, pairs, rule = _inputs(table, start)
    if len(pairs.better) < FEWEST_PAIRS:
        return rule

    def loss(scores: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return gradients(scores, pairs)

    parameters = dict(PARAMETERS) | {"objective": loss}
    booster = lightgbm.train(parameters, lightgbm.Dataset(inputs, np.zeros(len(inputs))), BOOSTING_ROUNDS)
    return from_curves(lambda rows: np.asarray(booster.predict(rows, num_threads=1)), rule, temperature=1.0)


def gradients(scores: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivatives by each score of the weighted sum of log(1 + exp(worse - better)), (r,)."""
    wrong = expit(scores[pairs.worse] - scores[pairs.better])
    slope, bend = pairs.weights * wrong, pairs.weights * wrong * (1 - wrong)
    n = len(scores)
    first = np.bincount(pairs.worse, slope, n) - np.bincount(pairs.better, slope, n)
    return first, np.bincount(pairs.worse, bend, n) + np.bincount(pairs.better, bend, n)


def pairwise_logistic(table: WideTable, *, start: Mapping[str, str] = DECLARED) -> Places:
    """Learn what a scale is worth as a parabola whose place moves with the facts, by logistic regression of pairs.

    Source: Bradley and Terry 1952 (Rank analysis of incomplete block designs); Plackett 1975 for the place.
    """
    inputs, pairs, rule = _inputs(table, start)
    if len(pairs.better) < FEWEST_PAIRS:
        return rule
    fill = medians(inputs)
    scaler = StandardScaler().fit(filled(inputs, fill))

    def basis(rows: np.ndarray) -> np.ndarray:
        """Return octaves from the rule's scale, their square, and their products with all facts."""
        octaves = rows[:, -1:]
        facts = scaler.transform(filled(rows, fill))[:, : len(table.fact_names)]
        return np.column_stack([octaves, octaves**2, octaves * facts])

    told = basis(inputs)
    apart = told[pairs.better] - told[pairs.worse]
    first_is_better = np.arange(len(apart)) % 2 == 0  # a model of differences has no constant, so either order will do
    signed = np.where(first_is_better[:, None], apart, -apart)
    model = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(C=STRENGTH, fit_intercept=False))
    model.fit(signed, first_is_better, logisticregression__sample_weight=pairs.weights)
    return from_curves(lambda rows: np.asarray(model.decision_function(basis(rows))), rule, temperature=1.0)


def _inputs(table: WideTable, start: Mapping[str, str]) -> tuple[np.ndarray, Pairs, Places]:
    rule = by_rule(start)(table)
    inputs = scale_inputs(table, [point.log2_scales for point in table.points], rule(table))
    return inputs, pairs_of(table.points), rule
