"""What points cost beside grids of eleven, on curves for which both can be told by hand."""

import dataclasses
import math

import numpy as np
import pytest
from fakes import SOURCE, run_record, task_record
from wide_points import ADAMW, wide_point

from benchmarks.wide_cost import PER_OCTAVE, cost_of, cost_row, cost_words, costs, lost_outside, summary, total_share
from benchmarks.wide_curves import Grid, point_curves

N = 200
GUESS = 5
FACTS = {"noise_log2_critical": GUESS + 2 + math.log2(ADAMW.base_lr), "noise_is_placed": 1.0}
"""The octave that is guessed for AdamW: log2 of the critical rate, two octaves less, less log2 of the base rate."""


def hump(best, *, drop=0.1, diverges_from=math.inf):
    return lambda octave: None if octave >= diverges_from else max(0.1, 0.9 - drop * abs(octave - best))


def made(curve, octaves, *, seconds=2.0, number=0):
    """Return a design point and its runs; each of 100 validation and 100 test images."""
    task = task_record(f"t{number}", origin=f"o{number % 4}", n_val=N // 2, n_test=N // 2)
    runs = {}
    for octave in octaves:
        accuracy = curve(octave)
        right = None if accuracy is None else [1] * round(accuracy * N // 2) + [0] * (N // 2 - round(accuracy * N // 2))
        run = run_record(task, 2.0**octave, val=right, test=right, recipe=ADAMW)
        runs[2.0**octave] = [dataclasses.replace(run, seconds=seconds, role="point")]
    accuracies = np.array([curve(octave) or 0.2 for octave in octaves])
    point = dataclasses.replace(
        wide_point(number, ADAMW, best=0, facts=FACTS),
        task_id=task.task_id,
        source_id=SOURCE,
        origin=task.origin,
        log2_scales=np.array(octaves, float),
        accuracies=accuracies,
        diverged=np.array([curve(octave) is None for octave in octaves]),
        facts_seconds=1.0,
    )
    return point, Grid(task=task, source_id=SOURCE, recipe=ADAMW, runs=runs)


def test_eleven_scales_around_a_hump_know_it_and_octaves_cost_their_share_of_them():
    cost = cost_of(*made(hump(0), range(-2, 3)), is_moved=False)
    assert (cost.n_runs, cost.is_known, cost.is_close, cost.is_known_to_eleven, cost.n_equal) == (
        5,
        True,
        True,
        True,
        11,
    )
    assert cost.share_of_eleven == pytest.approx((5 * 2 + 1) / (11 * 2))
    assert cost.share_at_equal_knowledge == cost.share_at_own_spacing == cost.share_of_eleven


def test_a_hump_six_octaves_up_is_beyond_the_eleven_and_they_go_on_until_it_has_fallen():
    point, grid = made(hump(6), range(4, 9))
    cost = cost_of(point, grid, is_moved=False)
    assert not cost.is_close
    assert not cost.is_known_to_eleven
    assert cost.n_equal == 11 + 5  # 20, 40, 80, 160 and 320: the first that is beyond the octaves
    assert cost.share_at_equal_knowledge == pytest.approx(11 / (16 * 2))
    assert cost.share_at_own_spacing == pytest.approx(11 / ((11 + 5 * PER_OCTAVE) * 2))
    moved = cost_of(point, grid, is_moved=True)  # the guess is five
    assert moved.is_close
    assert moved.n_equal < cost.n_equal


def test_a_cliff_ends_a_side_for_octaves_and_eleven_alike():
    cost = cost_of(*made(hump(0, diverges_from=2), range(-2, 3)), is_moved=False)
    assert cost.is_known
    assert cost.is_known_to_eleven


def test_a_curve_that_still_rises_at_its_end_is_not_known():
    cost = cost_of(*made(hump(9), range(-2, 4)), is_moved=False)
    assert not cost.is_known


def test_what_lies_beyond_the_eleven_is_read_on_images_that_did_not_choose_it():
    points, grids = zip(*(made(hump(best), range(-3, 10), number=best) for best in (0, 6)), strict=True)
    lost = lost_outside(points, point_curves(points, grids), is_moved=False)
    assert lost[0] == 0
    assert lost[1] == pytest.approx(0.3, abs=0.02)  # three octaves below, at 8
    assert lost_outside(points, point_curves(points, grids), is_moved=True)[1] == 0


def test_the_summary_tells_means_with_intervals_and_the_row_shows_them():
    bests = (0, 1, 6, 7)
    points, grids = zip(*(made(hump(b), range(b - 2, b + 3), number=n) for n, b in enumerate(bests)), strict=True)
    points = [dataclasses.replace(point, source_id=SOURCE) for point in points]
    some = costs(points, grids, is_moved=False)
    figures = summary(some)
    assert (figures["n"], figures["n_known"], figures["n_runs"]) == (4, 4, 5)
    assert figures["eleven_close"][0] == 0.5
    assert figures["share_of_eleven"][0] == pytest.approx(0.5)
    assert total_share(some) == pytest.approx(4 * 11 / (2 * sum(cost.n_equal for cost in some)))
    assert math.isnan(figures["share_of_eleven"][1])  # one network gives no interval
    row = cost_row("scale 1", figures | {"lost_outside": [0.1, 0.05, 0.15]})
    assert row.startswith("| scale 1 | 4 | 50% (nan% to nan%) | 50% (nan% to nan%) | +10.0 (+5.0 to +15.0) | ")
    assert "A point took 5.0 runs in the mean, and facts for 10% of their seconds: 0.50 (" in cost_words(figures)
