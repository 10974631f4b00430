"""Where a point's scales are placed, on curves that are known."""

import numpy as np
import pytest

from scalepred.harvest.octaves import MOST, Seen, best_octaves, next_octaves, open_sides


def follow(curve, *, guess=0, n_images=100):
    """Run what is asked for until nothing is; returns octaves and what came out."""
    seen = {}
    while wanted := next_octaves(seen, guess=guess, n_images=n_images):
        assert not set(wanted) & set(seen)
        seen |= {octave: Seen(accuracy=curve(octave)) for octave in wanted}
    return seen


def hump(best, *, drop=0.05, top=0.9):
    return lambda octave: max(0.1, top - drop * (octave - best) ** 2)


def test_it_starts_with_three_around_the_guess():
    assert next_octaves({}, guess=-3, n_images=50) == [-5, -3, -1]
    assert next_octaves({-3: Seen(accuracy=0.5)}, guess=-3, n_images=50) == [-5, -1]


def test_it_goes_outwards_by_twos_and_then_looks_beside_the_best():
    asked, seen = [], {}
    while wanted := next_octaves(seen, guess=0, n_images=1000):
        asked.append(wanted)
        seen |= {octave: Seen(accuracy=hump(2.9)(octave)) for octave in wanted}
    assert asked == [[-2, 0, 2], [4], [6], [1, 3]]


@pytest.mark.parametrize("best", [-6, -2, 0, 1, 5])
def test_a_hump_is_surrounded_wherever_it_lies_and_not_much_more(best):
    seen = follow(hump(best))
    assert best_octaves(seen) == [best]
    assert min(seen) <= best - 2
    assert max(seen) >= best + 2
    assert len(seen) <= 7 + abs(best) / 2


def test_a_cliff_ends_its_side_at_once_and_the_other_side_goes_on():
    seen = follow(lambda octave: None if octave > 1 else 0.9 - 0.1 * (1 - octave))
    assert max(seen) == 2
    assert best_octaves(seen) == [1]
    assert min(seen) == -2


def test_a_curve_that_rises_to_the_end_is_followed_as_far_as_is_allowed():
    seen = follow(lambda octave: 0.5 + 0.02 * octave)
    assert len(seen) == MOST
    assert best_octaves(seen) == [max(seen)]


def test_a_flat_curve_ends_soon():
    assert len(follow(lambda octave: 0.8)) <= 9


def test_below_a_fitted_head_that_training_does_not_improve_it_does_not_go_on_for_ever():
    seen = follow(lambda octave: 0.8 if octave < 2 else 0.3)
    assert len(seen) <= 11
    assert max(seen) >= 3


def test_of_two_humps_the_higher_one_is_found_where_the_first_five_see_it():
    def two(octave):
        return max(hump(-2, drop=0.1, top=0.7)(octave), hump(2, drop=0.1, top=0.9)(octave))

    seen = follow(two)
    assert best_octaves(seen) == [2]
    assert max(seen) >= 4


def test_where_all_diverge_it_goes_down_until_one_does_not():
    seen = follow(lambda octave: None if octave > -6 else 0.9 - 0.1 * (-6 - octave), guess=0)
    assert best_octaves(seen) == [-6]
    assert min(seen) <= -8


@pytest.mark.parametrize("n_images", [20, 100, 1000])
def test_noise_seldom_cuts_a_curve_off_where_it_still_rises(n_images):
    rng = np.random.default_rng(0)
    lost = []
    for _ in range(300):
        best = int(rng.integers(-5, 6))
        true = hump(best, drop=0.03)

        def noisy(octave, true=true):
            return float(rng.binomial(n_images, true(octave)) / n_images)

        seen = follow(noisy, n_images=n_images)
        lost.append(true(best) - max(true(octave) for octave in seen))
    assert np.mean(np.array(lost) > 0.02) <= 0.05


def test_the_sides_that_are_open_are_those_on_which_a_curve_has_not_ended():
    def sides(*accuracies):
        return open_sides({at: Seen(accuracy=each) for at, each in enumerate(accuracies)}, n_images=1000)

    assert sides(0.5, 0.6, 0.9, 0.6, 0.5) == []
    assert sides(0.5, 0.6, 0.9) == [1]
    assert sides(0.9, 0.8, None) == [-1]
    assert sides(0.6, 0.9, 0.6) == [-1, 1]
