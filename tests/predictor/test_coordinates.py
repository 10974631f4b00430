"""The coordinates of a scale: known answers, momentum with SGD alone, and what can't be told is NaN."""

import dataclasses
import math

import numpy as np
import pytest

from scalepred.predictor.coordinates import coordinates_at, head_curvature, movement
from scalepred.recipe import Recipe

SGD = Recipe(base_lr=0.25, momentum=0.75, multipliers=(1.0, 1.0, 1.0, 1.0, 1.0, 8.0))
ADAMW = dataclasses.replace(SGD, optimizer="adamw", head_start="fitted")
FACTS = {
    "noise_log2_critical": -3.0,
    "half_log2_critical": -5.0,
    "noise_log2_minimum": -4.0,
    "half_log2_minimum": -7.0,
    "log2_area": 6.0,
    "features_log2_eigenvalue": 10.0,
    "noise_log2_update_conv5": -2.0,
    "half_log2_update_conv5": 1.5,
}


def test_a_scale_is_told_as_rate_and_over_every_critical_rate_and_minimum():
    at = coordinates_at(FACTS, SGD, 1.0)  # a base rate of 0.5
    assert (at["log2_scale"], at["z_rate"]) == (1.0, -1.0)
    assert (at["z_noise"], at["z_half"], at["z_both"]) == (2.0, 4.0, 3.0)
    assert (at["z_noise_minimum"], at["z_half_minimum"]) == (3.0, 6.0)


def test_damped_coordinates_are_two_octaves_higher_at_a_momentum_of_three_quarters_with_sgd_alone():
    sgd, adamw = coordinates_at(FACTS, SGD, 1.0), coordinates_at(FACTS, ADAMW, 1.0)
    for name in ("noise", "half", "both", "noise_minimum", "half_minimum"):
        assert sgd[f"z_{name}_damped"] == sgd[f"z_{name}"] + 2
        assert adamw[f"z_{name}_damped"] == adamw[f"z_{name}"]
    assert sgd["z_damped_rate"] == sgd["z_rate"] + 2


def test_movement_with_sgd_is_rate_times_area_times_update_over_weights_over_one_less_momentum():
    told = 2 ** movement(FACTS, SGD, math.log2(0.5))["movement_conv5"]
    assert told == pytest.approx(0.5 * 64 * 0.25 / (1 - 0.75))


def test_movement_with_adamw_is_rate_times_multiplier_times_area_times_root_of_weights_over_their_norm():
    multiplier, weights = 8.0, np.random.default_rng(0).normal(size=1000)
    share = multiplier * np.linalg.norm(np.sign(weights)) / np.linalg.norm(weights)  # a first step of signs
    facts = {"log2_area": 6.0, "half_log2_update_head": math.log2(share)}
    told = 2 ** movement(facts, ADAMW, math.log2(0.5))["movement_head"]
    assert told == pytest.approx(0.5 * multiplier * 64 * math.sqrt(1000) / np.linalg.norm(weights))


def test_a_job_from_a_fitted_head_moves_by_the_update_half_way():
    noise, fitted = (movement(FACTS, recipe, 0.0)["movement_conv5"] for recipe in (SGD, ADAMW))
    assert (noise, fitted) == (6.0 - 2.0 + 2.0, 6.0 + 1.5)


def test_the_heads_curvature_is_its_rate_times_half_the_top_eigenvalue():
    assert head_curvature(FACTS, SGD, math.log2(0.5)) == pytest.approx(math.log2(0.5 * 8 * 1024 / 2))


def test_a_head_that_does_not_learn_has_no_curvature():
    frozen = dataclasses.replace(SGD, multipliers=(1.0, 1.0, 1.0, 1.0, 1.0, 0.0))
    assert math.isnan(head_curvature(FACTS, frozen, 0.0))


def test_what_facts_do_not_tell_is_nan_and_never_an_error():
    at = coordinates_at({}, SGD, 0.0)
    assert {name for name, value in at.items() if not math.isnan(value)} == {"log2_scale", "z_rate", "z_damped_rate"}


def test_every_coordinate_rises_by_an_octave_with_the_scale():
    low, high = coordinates_at(FACTS, SGD, -3.0), coordinates_at(FACTS, SGD, 1.5)
    told = [name for name in low if not math.isnan(low[name])]
    assert len(told) > 14
    assert [high[name] - low[name] for name in told] == pytest.approx([4.5] * len(told))


def test_a_critical_rate_far_above_its_lines_minimum_counts_as_five_octaves_above_it():
    facts = FACTS | {"noise_log2_minimum": -17.0}  # the first step leaves next to no loss
    at = coordinates_at(facts, SGD, 1.0)
    assert (at["z_noise"], at["z_both"]) == (11.0, 7.5)
    untold = coordinates_at({"noise_log2_critical": -3.0}, SGD, 1.0)
    assert untold["z_noise"] == 2.0
