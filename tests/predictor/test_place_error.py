"""Leaning from a place that is unsure: to the side that costs little, the more the less sure it is."""

import dataclasses

import numpy as np
import pytest
from wide_points import wide_points

from scalepred.predictor.place_error import REACH, STEP, lean, lopsided
from scalepred.predictor.wide_table import wide_table

OCTAVES = np.arange(-REACH, REACH + STEP, STEP)


def test_a_sure_place_is_kept_and_an_unsure_one_is_left_for_the_side_that_costs_little():
    leant = lean(lopsided(wide_table(wide_points(60))), np.array([0.0, 1.0, 2.0, 3.0]))
    assert abs(leant[0]) <= STEP
    assert (np.diff(leant) < 0).all()
    assert leant[-1] <= -1


def test_a_curve_that_falls_alike_on_both_sides_is_not_leant_from():
    assert lean(-0.1 * np.abs(OCTAVES), np.array([0.0, 1.0, 3.0])).tolist() == [0, 0, 0]


def test_a_level_curve_gives_no_reason_to_move():
    assert lean(np.zeros(len(OCTAVES)), np.array([2.0])).tolist() == [0]


def test_the_lean_is_that_of_the_best_mean_over_drawn_errors():
    shape = -np.where(OCTAVES < 0, -0.03 * OCTAVES, 0.2 * OCTAVES)
    misses = 1.5 * np.random.default_rng(0).normal(size=20_000)
    moves = np.arange(-6, 6.25, 0.25)
    means = [np.interp(move - misses, OCTAVES, shape).mean() for move in moves]
    assert lean(shape, np.array([1.5]))[0] == pytest.approx(moves[int(np.argmax(means))], abs=0.25)


def test_the_mean_curve_is_relative_to_each_points_best_and_where_it_lies():
    points = wide_points(40)
    moved = [dataclasses.replace(p, log2_scales=p.log2_scales + 3) for p in points]
    shape = lopsided(wide_table(points))
    assert lopsided(wide_table(moved)) == pytest.approx(shape)
    middle = len(OCTAVES) // 2
    assert shape[middle] > shape[middle - 8] > shape[middle + 8]
