"""The search along a line, on lines whose answers are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalepred.training.line import search_line


def parabola(crossing, *, start=2.0, depth=0.5):
    """Return a line that is lowest half-way to its crossing, by a share of its start, and where it was looked at."""
    looks = []

    def loss_at(rate):
        looks.append(rate)
        at = rate / crossing
        return start - 4 * depth * start * at * (1 - at)

    return loss_at, looks


@given(st.floats(-12, 12), st.floats(-8, 8), st.floats(0.01, 1))
def test_the_crossing_and_the_minimum_of_a_parabola_are_found_in_a_dozen_looks(place, off, depth):
    crossing = 2.0**place
    loss_at, looks = parabola(crossing, depth=depth)
    line = search_line(loss_at, start=2.0, first=crossing * 2.0**off)
    assert line.critical == pytest.approx(crossing, rel=0.06)
    assert line.minimum == pytest.approx(crossing / 2, rel=0.25)
    assert line.depth == pytest.approx(depth, rel=0.15)
    assert len(looks) <= 14
    assert [0.0, *sorted(looks)] == [rate for rate, _ in line.curve]


def test_most_lines_take_eight_looks():
    crossing, n = 0.003, []
    for off in (-2, -1, 0, 1, 2):
        loss_at, looks = parabola(crossing)
        search_line(loss_at, start=2.0, first=crossing * 2.0**off)
        n.append(len(looks))
    assert max(n) <= 9


def test_a_cliff_is_placed_between_the_looks_on_either_side_of_it():
    line = search_line(lambda rate: 1 - rate if rate < 0.3 else math.nan, start=1.0, first=0.01)
    assert 0.3 / math.sqrt(2) <= line.critical <= 0.3 * math.sqrt(2)
    assert [loss for rate, loss in line.curve if rate >= 0.3] == [math.inf] * sum(rate >= 0.3 for rate, _ in line.curve)


def test_a_loss_that_never_comes_back_is_a_value_of_its_own():
    line = search_line(lambda rate: 1 / (1 + rate), start=1.0, first=1.0)
    assert (line.critical, line.minimum) == (math.inf, math.inf)
    assert line.depth == pytest.approx(1, abs=1e-5)


def test_a_loss_that_never_falls_is_a_value_of_its_own():
    line = search_line(lambda rate: 1 + rate, start=1.0, first=1.0)
    assert (line.critical, line.minimum, line.depth) == (0, 0, 0)


def test_a_flat_line_never_comes_back_and_is_not_deep():
    line = search_line(lambda rate: 1.0, start=1.0, first=1.0)
    assert (line.critical, line.depth) == (math.inf, 0)


def test_rounding_is_no_fall():
    line = search_line(lambda rate: 1 + rate - 5e-8 * (rate < 1e-3), start=1.0, first=1.0)
    assert (line.critical, line.depth) == (0, pytest.approx(0, abs=1e-6))


def test_a_start_that_is_not_finite_says_so_and_is_not_followed():
    line = search_line(lambda rate: math.nan, start=math.nan, first=1.0)
    assert all(map(math.isnan, (line.start, line.critical, line.minimum, line.depth)))
    assert len(line.curve) == 1


def test_of_two_humps_the_one_that_is_met_first_counts():
    def loss_at(rate):
        return 1 - rate * (1 - rate) * (1 - rate / 60) if rate < 60 else 2 + rate

    assert search_line(loss_at, start=1.0, first=0.1).critical == pytest.approx(1, rel=0.1)


def test_a_loss_that_is_level_at_first_and_then_rises_never_falls():
    line = search_line(lambda rate: 1 + 1e-8 * rate * rate, start=1.0, first=1.0)
    assert (line.critical, line.minimum, line.depth) == (0.0, 0.0, 0.0)
