"""The wide table: smoothing, the place of the best and its error, weights, and what is not known."""

import dataclasses
import math

import numpy as np
import pytest
from wide_points import ADAMW, SGD, wide_point, wide_points

from scalepred.predictor.wide_table import (
    best_place,
    facts_of,
    point_inputs,
    relative_to_best,
    row_weights,
    scale_inputs,
    smoothed,
    wide_table,
)


def curve(*accuracies, n_seeds=None, diverged=()):
    """Return a point with these accuracies an octave apart, from scale 1/2 on."""
    point = wide_point(0, SGD, best=0.0, facts={})
    return dataclasses.replace(
        point,
        log2_scales=np.arange(-1.0, len(accuracies) - 1),
        accuracies=np.array(accuracies),
        diverged=np.isin(np.arange(len(accuracies)), diverged),
        n_seeds=np.ones(len(accuracies), int) if n_seeds is None else np.array(n_seeds),
    )


def test_a_neighbour_an_octave_off_weighs_by_a_gaussian_of_half_an_octave():
    near = math.exp(-2)
    assert smoothed(curve(0.0, 1.0, 0.0))[1] == pytest.approx(1 / (1 + 2 * near))
    assert smoothed(curve(0.0, 1.0, 0.0, n_seeds=[1, 4, 1]))[1] == pytest.approx(4 / (4 + 2 * near))


def test_a_level_curve_stays_what_it_is():
    assert smoothed(curve(0.6, 0.6, 0.6, 0.6)) == pytest.approx([0.6] * 4)


def test_a_cliff_is_not_smoothed_over():
    assert smoothed(curve(0.7, 0.7, 0.2, diverged=[2])) == pytest.approx([0.7, 0.7, 0.2])
    assert smoothed(curve(0.7, 0.7, 0.2))[1] < 0.65


def test_the_target_is_relative_to_the_best_of_the_smoothed_curve():
    point = curve(0.5, 0.5, 0.9, 0.5, 0.5)
    assert relative_to_best(point)[2] == pytest.approx(0.9 - smoothed(point)[2])
    assert relative_to_best(point)[2] > 0


def test_the_best_place_of_a_peak_is_sure_and_that_of_a_level_curve_is_its_middle_and_unsure():
    place, error = best_place(curve(0.2, 0.5, 0.8, 0.5, 0.2))
    assert place == pytest.approx(1.0)
    assert error < 0.4
    place, error = best_place(curve(*[0.5] * 13))
    assert place == pytest.approx(5.0)
    assert error == pytest.approx(12 / math.sqrt(12), rel=0.02)


def test_more_images_and_more_seeds_weigh_more():
    few, many = curve(0.5, 0.5), dataclasses.replace(curve(0.5, 0.5, n_seeds=[1, 4]), n_images=1000)
    weights = row_weights([few, many])
    assert weights[0] == weights[1] < weights[2] < weights[3]
    binomial = 0.25 / 1004
    assert weights[3] / weights[2] == pytest.approx((binomial + 0.03**2) / (binomial + 0.03**2 / 4))


def test_facts_that_one_point_lacks_are_nan_and_every_point_has_its_row():
    points = [wide_point(0, SGD, best=0.0, facts={"log2_steps": 5.0}), wide_point(1, ADAMW, best=0.0, facts={})]
    table = wide_table(points)
    steps = table.facts[:, table.fact_names.index("log2_steps")]
    assert steps[0] == 5.0
    assert math.isnan(steps[1])
    assert table.facts[:, table.fact_names.index("recipe_adamw")].tolist() == [0.0, 1.0]


def test_images_per_label_are_images_over_classes():
    assert facts_of(wide_point(0, SGD, best=0.0, facts={}))["log2_images_per_label"] == pytest.approx(math.log2(10))


def test_rows_and_columns_pick_what_they_name():
    table = wide_table(wide_points(6))
    part = table.rows(np.array([4, 1])).columns(["log2_steps", "z_noise", "no such column"])
    assert [point.task for point in part.points] == ["t4", "t1"]
    assert (part.fact_names, part.coordinate_names) == (("log2_steps",), ("z_noise",))
    assert part.facts[:, 0].tolist() == [table.points[i].facts["log2_steps"] for i in (4, 1)]
    assert part.places.tolist() == table.places[[4, 1]].tolist()


def test_inputs_hold_coordinates_at_the_scales_that_are_asked_for():
    table = wide_table(wide_points(2)).columns(["log2_steps", "log2_scale"])
    steps = table.facts[:, 0]
    assert point_inputs(table, np.array([1.0, -2.0])).tolist() == [[steps[0], 1.0], [steps[1], -2.0]]
    rows = scale_inputs(table, [np.array([0.0, 3.0]), np.array([1.0])], np.array([1.0, -2.0]))
    assert rows.tolist() == [[steps[0], 0.0, -1.0], [steps[0], 3.0, 2.0], [steps[1], 1.0, 3.0]]


def test_best_places_of_made_points_are_found():
    points = wide_points(30)
    table = wide_table(points)
    true = np.array([point.log2_scales[point.accuracies.argmax()] for point in points])
    assert np.abs(table.places - true).max() < 1.2
