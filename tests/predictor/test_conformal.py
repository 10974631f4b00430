"""Conformal intervals of the place: the rank, coverage on exchangeable points, and what an odd group does to it."""

import math

import numpy as np
import pytest
from wide_points import wide_points

from scalepred.predictor.conformal import half_width, half_widths, is_covered
from scalepred.predictor.nested import HeldOut, cells_of
from scalepred.predictor.wide_table import wide_table


def held_out_with(points, errors):
    """Return places that miss the best by so many octaves, outside and inside."""
    cells, table = cells_of(points), wide_table(points)
    places = table.places + errors
    inner = {cell: np.where(cells.seen(cell), places, np.nan) for cell in cells.ids}
    return HeldOut(outer=places, inner=inner), table, cells


def covered(points, errors):
    held_out, table, cells = held_out_with(points, errors)
    widths = half_widths(held_out, table, cells, counts=np.ones(len(points), bool))
    return is_covered(held_out, table, widths), widths


def test_the_width_is_the_ninth_of_nine_and_the_eighteenth_of_nineteen():
    assert half_width(np.array([-9.0, 1, 2, 3, -4, 5, 6, 7, 8])) == 9
    assert half_width(np.arange(1.0, 20.0)) == 18
    assert half_width(np.arange(8.0)) == math.inf
    assert half_width(np.arange(1.0, 20.0), level=0.5) == 10


def test_coverage_is_about_what_is_meant_on_exchangeable_points():
    shares = [
        covered(points, np.random.default_rng(seed).standard_t(3, size=240))[0].mean()
        for seed in range(5)
        for points in [wide_points(240, seed=seed)]
    ]
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)


def test_a_network_whose_places_are_far_off_is_not_held_by_what_the_others_err():
    points = wide_points(240)
    odd = np.array([point.source_id == "s0" for point in points])
    is_in, _ = covered(points, np.where(odd, 5.0, np.random.default_rng(0).normal(size=240)))
    assert not is_in[odd].any()
    assert is_in[~odd].mean() > 0.9


def test_optimizers_have_widths_of_their_own_and_points_that_do_not_count_set_none():
    points = wide_points(240)
    adamw = np.array([point.recipe.optimizer == "adamw" for point in points])
    errors = np.where(adamw, 0.5, 2.0) * np.random.default_rng(0).normal(size=240)
    _, widths = covered(points, errors)
    assert widths[adamw].max() < widths[~adamw].min()
    held_out, table, cells = held_out_with(points, errors)
    assert np.isinf(half_widths(held_out, table, cells, counts=np.zeros(240, bool))).all()
