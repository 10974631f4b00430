"""Pure functions from accuracies to targets and best scales, against slow plain loops."""

import math

import numpy as np
import pytest
from fakes import fractions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from scalepred.errors import DataError
from scalepred.predictor import targets
from scalepred.recipe import GRID

NAN = math.nan
SCALES = (0.5, 1.0, 2.0)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_correctness_survives_packing(correct):
    bits = np.packbits(correct).tobytes()
    assert targets.unpack_correct(bits, len(correct)).tolist() == correct
    assert targets.accuracy_from_bits(bits, len(correct)) == pytest.approx(sum(correct) / len(correct))


def test_the_first_image_is_in_the_highest_bit():
    assert targets.unpack_correct(b"\x80\x01", 16).tolist() == [True] + [False] * 14 + [True]


@pytest.mark.parametrize(("bits", "n", "takes"), [(b"\x00" * 6, 50, 7), (b"\x00" * 8, 50, 7), (b"", 0, 0)])
def test_bits_of_another_length_are_refused(bits, n, takes):
    with pytest.raises(DataError) as caught:
        targets.unpack_correct(bits, n)
    assert str(caught.value) == f"The correctness of {n} images takes {takes} bytes, and {len(bits)} are stored."


def test_a_diverged_run_counts_as_guessing_and_a_missing_one_stays_missing():
    accuracies = np.array([[0.9, NAN, NAN], [0.8, 0.7, NAN]])
    diverged = np.array([[False, True, False], [False, False, True]])
    filled = targets.with_divergence(accuracies, diverged, np.array([0.2, 0.5]))
    np.testing.assert_array_equal(filled, [[0.9, 0.2, NAN], [0.8, 0.7, 0.5]])
    np.testing.assert_array_equal(targets.with_divergence(accuracies, diverged, 0.1)[0], [0.9, 0.1, NAN])


def test_shapes_that_would_broadcast_wrongly_are_refused():
    square, flags = np.ones((3, 3)), np.zeros((3, 3), dtype=bool)
    for bad in ((square, flags, np.ones((3, 3))), (square, flags, np.ones(2)), (square, flags[0], 0.5)):
        with pytest.raises(ValueError, match=r"^Shapes must be \(n_tasks, n_scales\) twice and \(n_tasks,\)"):
            targets.with_divergence(*bad)


@given(fractions(array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_relative_accuracy_is_what_a_plain_loop_gives(accuracies):
    expected = np.full(accuracies.shape, NAN)
    for i, row in enumerate(accuracies):
        present = [a for a in row if not math.isnan(a)]
        for j, a in enumerate(row):
            expected[i, j] = a - sum(present) / len(present) if present else NAN
    np.testing.assert_allclose(targets.relative_accuracy(accuracies), expected, atol=1e-12)


def test_noise_is_the_binomial_one_for_many_images_and_never_0():
    assert targets.accuracy_noise(np.array([0.8]), 100_000)[0] == pytest.approx(math.sqrt(0.16 / 100_000), rel=1e-3)
    np.testing.assert_allclose(targets.accuracy_noise(np.array([0.0, 1.0, NAN]), 50), [0.0257] * 2 + [NAN], atol=1e-4)


def test_noise_covers_the_spread_of_real_draws():
    rng = np.random.default_rng(0)
    drawn = rng.binomial(50, 0.9, size=20_000) / 50
    assert targets.accuracy_noise(drawn, 50).mean() == pytest.approx(drawn.std(), rel=0.1)


def test_weights_have_mean_1_and_fall_with_the_variance():
    weights = targets.noise_weights(np.array([[0.01, 0.02], [NAN, 0.02]]))
    assert weights[0, 0] == pytest.approx(4 * weights[0, 1])
    assert weights[1, 0] == 0
    assert weights[[0, 0, 1], [0, 1, 1]].mean() == pytest.approx(1)
    assert targets.noise_weights(np.array([NAN])).tolist() == [0]


def test_the_noise_between_seeds_evens_the_weights():
    weights = targets.noise_weights(np.array([0.001, 0.02]), run_noise=0.02)
    assert weights[0] / weights[1] == pytest.approx(0.0008 / 0.000401)


def test_one_lucky_scale_does_not_win_against_a_smooth_top():
    accuracies = np.array([[0.60, 0.70, 0.60, 0.66, 0.68, 0.67, 0.66]])
    scales = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    assert targets.best_fixed_scale(accuracies, scales, octaves=0) == 1
    assert targets.best_fixed_scale(accuracies, scales) == 4


def test_the_best_fixed_scale_has_the_best_mean_accuracy():
    assert targets.best_fixed_scale(np.array([[0.9, 0.8, 0.1], [0.1, 0.6, 0.2]]), SCALES, octaves=0) == 1


def test_a_tie_goes_to_the_smaller_scale_wherever_it_stands():
    accuracies = np.array([[0.5, 0.4, 0.5], [0.1, 0.4, 0.1]])
    assert targets.best_fixed_scale(accuracies[:, [0, 2]], (0.5, 2.0), octaves=0) == 0
    assert targets.best_fixed_scale(accuracies[:, [0, 2]], (2.0, 0.5), octaves=0) == 1


def test_a_missing_run_on_a_hard_task_does_not_make_a_scale_good():
    accuracies = np.full((20, 2), [0.9, 0.88])
    accuracies[0] = [0.3, NAN]
    assert targets.best_fixed_scale(accuracies, (1.0, 2.0), octaves=0) == 0


def test_a_scale_beyond_the_grid_that_few_tasks_have_cannot_win():
    accuracies = np.array([[0.9, 0.8, NAN], [0.9, 0.8, NAN], [0.5, 0.6, 0.9]])
    assert targets.best_fixed_scale(accuracies, SCALES, octaves=0) == 0
    assert targets.best_fixed_scale(accuracies, SCALES, min_share=0.3, octaves=0) == 2


@given(fractions(st.tuples(st.integers(1, 8), st.just(3)), missing=False))
def test_the_best_fixed_scale_of_a_full_grid_has_the_least_mean_regret(accuracies):
    mean_regrets = [np.mean(accuracies.max(axis=1) - accuracies[:, scale]) for scale in range(3)]
    assert mean_regrets[targets.best_fixed_scale(accuracies, SCALES, octaves=0)] == pytest.approx(
        min(mean_regrets), abs=1e-9
    )


@pytest.mark.parametrize("accuracies", [np.full((2, 3), NAN), np.ones((2, 2)), np.ones(3), np.ones((0, 3))])
def test_no_scale_is_best_where_there_are_no_runs(accuracies):
    with pytest.raises(ValueError, match=r"^No scale is best among 3 scales and accuracies of shape "):
        targets.best_fixed_scale(accuracies, SCALES)


def test_the_most_frequent_best_splits_ties_within_a_task():
    accuracies = np.array([[0.9, 0.1, 0.9], [0.9, 0.1, 0.9], [0.1, 0.9, 0.9], [NAN, NAN, NAN]])
    assert targets.most_frequent_best(accuracies) == 2
    assert targets.most_frequent_best(np.array([[0.5, 0.5, NAN]])) == 0


@given(fractions(array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_the_naive_best_is_what_a_plain_loop_gives(accuracies):
    expected = [max((a for a in row if not math.isnan(a)), default=NAN) for row in accuracies]
    np.testing.assert_array_equal(targets.naive_best(accuracies), expected)


def test_a_sharp_optimum_is_found_and_a_flat_curve_gives_the_middle_of_the_axis():
    sharp = np.where(np.array(GRID) == 4, 0.5, 0.0)[None]
    assert targets.smooth_optimum(sharp, GRID)[0] == pytest.approx(2.0)
    middle = (math.log2(0.25) + math.log2(10)) / 2
    assert targets.smooth_optimum(np.zeros((1, 11)), GRID)[0] == pytest.approx(middle)


def test_the_smooth_optimum_is_what_a_plain_loop_gives():
    curve, weights = [0.0, 0.01, NAN, -0.005], [1.0, 2.0, 3.0, 0.5]
    logs, stretches = [-1.0, 0.0, 1.0, 3.0], [0.5, 2.0, NAN, 1.5]
    parts = [
        math.exp(c / 0.01) * w * s if not math.isnan(c) else 0
        for c, w, s in zip(curve, weights, stretches, strict=True)
    ]
    expected = sum(p * x for p, x in zip(parts, logs, strict=True)) / sum(parts)
    optima = targets.smooth_optimum(np.array([curve]), (0.5, 1, 2, 8), weights=np.array([weights]))
    assert optima[0] == pytest.approx(expected)


def test_the_smooth_optimums_error_is_that_of_an_even_spread_where_all_is_level_and_none_at_a_peak():
    scales = [float(scale) for scale in 2 ** np.linspace(-3, 3, 241)]
    error = targets.smooth_optimum_error(np.zeros((1, 241)), scales)[0]
    assert error == pytest.approx(6 / math.sqrt(12), rel=0.01)
    peak = np.where(np.array(GRID) == 2.0, 1.0, 0.0)[None, :]
    assert targets.smooth_optimum_error(peak, GRID)[0] == pytest.approx(0, abs=1e-6)


def test_the_smooth_optimum_of_a_task_without_runs_is_missing():
    curves = np.array([[NAN] * 3, [NAN, 0.1, NAN]])
    np.testing.assert_array_equal(targets.smooth_optimum(curves, SCALES), [NAN, 0.0])


@given(fractions(st.tuples(st.integers(1, 4), st.just(11))))
def test_the_smooth_optimum_lies_on_the_axis_and_ignores_the_level(curves):
    optima = targets.smooth_optimum(curves, GRID)
    np.testing.assert_allclose(targets.smooth_optimum(curves - 0.3, GRID), optima, atol=1e-9)
    assert np.isnan(optima).tolist() == np.isnan(curves).all(axis=1).tolist()
    inside = optima[~np.isnan(optima)]
    assert ((inside >= math.log2(0.25) - 1e-9) & (inside <= math.log2(10) + 1e-9)).all()


@pytest.mark.parametrize("best", GRID)
def test_smoothing_keeps_the_top_of_a_noiseless_curve(best):
    curve = 0.8 - 0.02 * (np.log2(GRID) - np.log2(best))[None] ** 2
    assert GRID[targets.best_fixed_scale(curve, GRID)] == best
