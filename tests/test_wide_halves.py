"""What there is to win, on curves whose truth is known: what is luck is gone where others read, what is true stays."""

import numpy as np
import pytest
from wide_curves_made import drawn_curve

from benchmarks.wide_halves import (
    BASE,
    BEST,
    BOTH,
    GROUP,
    IMAGES,
    NAIVE,
    OTHERS,
    OWN,
    SEEDS,
    halves,
    halves_rows,
    read_on,
    repeat_rows,
)

SURE = np.array([0.0, 0.0, 1.0, 0.0, 0.0])


def gain(curves, what, way=BEST, over=OWN):
    return read_on(curves, what).gain(way, over)[0]


def test_the_best_of_curves_without_a_best_gains_on_the_images_that_chose_and_nothing_on_the_others():
    rng = np.random.default_rng(0)
    curves = [drawn_curve(index, [0.7] * 9, rng, n_images=60) for index in range(40)]
    assert gain(curves, NAIVE) > 0.05
    assert abs(gain(curves, IMAGES)) < 0.02


def test_a_seeds_luck_is_on_both_halves_of_its_images_and_not_on_another_seed():
    rng = np.random.default_rng(0)
    curves = [
        drawn_curve(index, np.clip(rng.normal(0.7, 0.1, (9, 2)), 0, 1), rng, n_seeds=2, n_images=400)
        for index in range(40)
    ]
    assert gain(curves, IMAGES) > 0.05
    assert abs(gain(curves, SEEDS)) < 0.03
    assert abs(gain(curves, BOTH)) < 0.03


@pytest.mark.parametrize("what", [NAIVE, IMAGES, SEEDS, BOTH])
def test_what_is_truly_better_stays_so_on_whatever_reads(what):
    rng = np.random.default_rng(0)
    curves = [
        drawn_curve(index, np.roll(SURE, index % 2), rng, n_seeds=2, group=f"g{index % 2}", network=f"n{index % 2}")
        for index in range(20)
    ]
    of = read_on(curves, what).of
    means = {way: values.mean() for way, values in of.items()}
    assert (means[BASE], means[OTHERS], means[OWN], means[GROUP], means[BEST]) == (0.5, 0.0, 1.0, 1.0, 1.0)


def test_the_curve_itself_chooses_its_groups_rate_only_where_it_is_said_to():
    rng = np.random.default_rng(0)
    curves = [drawn_curve(0, SURE, rng), drawn_curve(1, np.roll(SURE, 1), rng)]
    of = read_on(curves, NAIVE).of
    assert of[OWN].tolist() == [0.0, 0.0]
    assert of[GROUP].tolist() == [0.5, 0.5]  # two rates tie


def test_above_a_curve_that_ends_in_divergence_there_is_chance():
    rng = np.random.default_rng(0)
    curves = [
        drawn_curve(0, [0.0, 1.0], rng, diverges=True),
        drawn_curve(1, [0.0, 1.0], rng),
        drawn_curve(2, [0.0, 0.0, 0.0, 1.0], rng),
    ]
    assert read_on(curves, NAIVE).of[BASE].tolist() == [0.1, 1.0, 0.0]


@pytest.mark.parametrize("what", [IMAGES, SEEDS, BOTH])
def test_no_outcome_is_in_both_halves_and_none_is_left_out_where_all_seeds_or_images_are_read(what):
    rng = np.random.default_rng(0)
    numbers = np.arange(2 * 3 * 8, dtype=float).reshape(2, 3, 8)
    curve = drawn_curve(0, [0.5, 0.5], rng, n_seeds=3, n_images=8, right=numbers)
    weights = []
    for place in range(numbers[0].size):  # which half an outcome of the first scale moves
        moved = numbers.copy()
        moved[0].flat[place] += 1
        other = drawn_curve(0, [0.5, 0.5], rng, n_seeds=3, n_images=8, right=moved)
        pairs = [halves(each, what, np.random.default_rng(5)) for each in (curve, other)]
        weights.append([pairs[1][side][0] != pairs[0][side][0] for side in (0, 1)])
    sides = np.array(weights)
    assert not sides.all(axis=1).any()
    assert sides.any(axis=1).sum() == {IMAGES: 24, SEEDS: 24, BOTH: 4 + 8}[what]


def test_the_rows_tell_each_way_with_its_number_of_curves_and_an_interval_over_origins_and_networks():
    rng = np.random.default_rng(0)
    curves = [drawn_curve(index, np.roll(SURE, index % 3), rng, n_seeds=2) for index in range(12)]
    rows = list(halves_rows(curves))
    assert [row.split(" | ")[0] for row in rows] == [f"| {way}" for way in (BASE, OTHERS, OWN, GROUP, BEST)]
    assert rows[-1].startswith(f"| {BEST} | 12 | 100.0 | 100.0 | +66.7 (+")
    (naive, *_, both) = repeat_rows("curves", curves)
    assert naive.startswith("| curves | 12 | all of it | ")
    assert both.startswith("| curves | 12 | both | ")
    assert list(halves_rows([])) == list(repeat_rows("none", [])) == []
