"""Pairs of scales: which count how much, the loss's derivatives, and what can't be learnt from ties."""

import dataclasses

import numpy as np
import pytest
from wide_points import SGD, wide_point, wide_points

from scalepred.predictor.pairwise import Pairs, gradients, pairs_of, pairwise_boosting, pairwise_logistic
from scalepred.predictor.placing import by_rule
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.wide_table import wide_table


def curve(*accuracies, n_images=200):
    point = wide_point(0, SGD, best=0.0, facts={})
    return dataclasses.replace(
        point,
        log2_scales=np.arange(float(len(accuracies))),
        accuracies=np.array(accuracies),
        diverged=np.zeros(len(accuracies), bool),
        n_seeds=np.ones(len(accuracies), int),
        n_images=n_images,
    )


def test_a_sure_pair_weighs_more_than_one_within_the_noise_and_a_tie_nothing():
    pairs = pairs_of((curve(0.2, 0.8, 0.8, 0.85),))
    weight = {
        (better, worse): w
        for better, worse, w in zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.weights.tolist(), strict=True)
    }
    assert set(weight) == {(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)}
    assert weight[3, 0] > 1.3 * weight[3, 1] > 0


def test_the_pairs_of_a_point_weigh_as_many_as_it_has_scales_and_are_of_it_alone():
    pairs = pairs_of((curve(0.2, 0.5, 0.8), curve(*np.linspace(0.1, 0.9, 10))))
    first = (pairs.better < 3) & (pairs.worse < 3)
    assert pairs.weights[first].sum() == pytest.approx(3)
    assert pairs.weights[~first].sum() == pytest.approx(10)
    assert ((pairs.better < 3) == (pairs.worse < 3)).all()


def test_the_weight_is_the_chance_that_the_difference_is_no_noise():
    pairs = pairs_of((curve(0.5, 0.6, 0.9, n_images=10**9),))
    sure = {
        (b, w): x for b, w, x in zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.weights.tolist(), strict=True)
    }
    draws = np.random.default_rng(0).normal(size=200_000)
    noise = 0.03 * np.sqrt(2)
    chance = {apart: (np.abs(draws) < apart / noise).mean() for apart in (0.1, 0.4)}
    assert sure[1, 0] / sure[2, 0] == pytest.approx(chance[0.1] / chance[0.4], rel=0.01)


def test_derivatives_are_those_of_the_loss():
    pairs = Pairs(better=np.array([0, 2, 1]), worse=np.array([1, 1, 3]), weights=np.array([1.0, 0.5, 2.0]))
    scores = np.array([0.3, -0.2, 1.0, 0.4])

    def loss(at):
        return float((pairs.weights * np.log1p(np.exp(at[pairs.worse] - at[pairs.better]))).sum())

    first, second = gradients(scores, pairs)
    step = 1e-4
    for k, moved in enumerate(step * np.eye(4)):
        up, down = loss(scores + moved), loss(scores - moved)
        assert first[k] == pytest.approx((up - down) / (2 * step), abs=1e-6)
        assert second[k] == pytest.approx((up - 2 * loss(scores) + down) / step**2, abs=1e-5)


@pytest.mark.parametrize("formulation", [pairwise_boosting, pairwise_logistic])
def test_of_level_curves_nothing_is_learnt_and_it_is_the_rule(formulation):
    points = [
        dataclasses.replace(point, accuracies=np.full(21, 0.5), diverged=np.zeros(21, bool))
        for point in wide_points(24)
    ]
    table = wide_table(points)
    assert formulation(table)(table).tolist() == by_rule(DECLARED)(table)(table).tolist()
