"""Tests of the pure functions from accuracies to targets, best scales and regret."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scalepred.errors import DataError
from scalepred.predictor import honest as honest_module
from scalepred.predictor import targets
from scalepred.recipe import GRID

NAN = math.nan
SCALES = (0.5, 1.0, 2.0)


def _fractions(shape, *, missing=True):
    elements = st.integers(0, 50).map(lambda right: right / 50)
    return arrays(np.float64, shape, elements=st.one_of(elements, st.just(NAN)) if missing else elements)


# ------------------------------------------------------------------------------------------------------------- bits


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


# -------------------------------------------------------------------------------------- divergence, means and noise


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


@given(_fractions(array_shapes(min_dims=2, max_dims=2, max_side=6)))
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


# ---------------------------------------------------------------------------------------------------- the best scale


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


@given(_fractions(st.tuples(st.integers(1, 8), st.just(3)), missing=False))
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


@given(_fractions(array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_the_naive_best_is_what_a_plain_loop_gives(accuracies):
    expected = [max((a for a in row if not math.isnan(a)), default=NAN) for row in accuracies]
    np.testing.assert_array_equal(targets.naive_best(accuracies), expected)


# ---------------------------------------------------------------------------------------------------- the honest best


def _slow_honest(accuracies: np.ndarray, n_first: set[int]) -> float:
    """The definition, letter by letter, for repeats or images as columns: every half of these sizes, both ways."""
    n = accuracies.shape[1]
    total = weight = 0.0
    for chosen in (set(c) for size in n_first for c in itertools.combinations(range(n), size)):
        choose = [np.nanmean(row) if (row := a[sorted(chosen)])[~np.isnan(row)].size else NAN for a in accuracies]
        rest = sorted(set(range(n)) - chosen)
        score = [np.nanmean(row) if (row := a[rest])[~np.isnan(row)].size else NAN for a in accuracies]
        usable = [i for i in range(len(choose)) if not math.isnan(choose[i] + score[i])]
        if usable:
            top = max(choose[i] for i in usable)
            total += len(rest) * np.mean([score[i] for i in usable if choose[i] > top - 1e-9])
            weight += len(rest)
    return float(total / weight) if weight else NAN


@settings(max_examples=60)
@given(_fractions(st.tuples(st.integers(1, 4), st.integers(1, 5))))
def test_the_honest_best_from_repeats_is_what_a_plain_loop_gives(accuracies):
    n = accuracies.shape[1]
    expected = _slow_honest(accuracies, {n // 2, n - n // 2} - {0})
    np.testing.assert_allclose(honest_module.honest_best_from_repeats(accuracies), expected, atol=1e-9)


def test_two_repeats_score_each_others_choice():
    accuracies = np.array([[0.9, 0.5], [0.6, 0.8]])
    assert honest_module.honest_best_from_repeats(accuracies) == pytest.approx((0.5 + 0.6) / 2)


def test_scales_that_tie_are_averaged_over():
    assert honest_module.honest_best_from_repeats(np.array([[0.5, 0.2], [0.5, 0.4]])) == pytest.approx((0.3 + 0.5) / 2)


def test_one_repeat_cannot_be_honest():
    assert math.isnan(honest_module.honest_best_from_repeats(np.array([[0.9], [0.8]])))
    assert math.isnan(honest_module.honest_best_from_repeats(np.array([[0.9, NAN], [NAN, 0.8]])))


def test_a_scale_that_is_truly_best_is_found_by_every_honest_way():
    correct = np.zeros((3, 4, 40))
    correct[1, :, :36] = 1
    assert honest_module.honest_best_from_repeats(correct.mean(axis=2)) == pytest.approx(0.9)
    assert honest_module.honest_best_from_images(correct[:, 0], seed=0) == pytest.approx(0.9)
    assert honest_module.honest_best(correct, seed=0) == pytest.approx(0.9, abs=0.03)


def test_missing_runs_leave_their_scale_out():
    correct = np.ones((2, 2, 10))
    correct[0] = 0
    correct[1, 0] = NAN
    assert honest_module.honest_best(correct, seed=0) == 0  # scale 1 can choose or be scored, never both
    correct[1] = NAN
    assert honest_module.honest_best(correct, seed=0) == 0
    assert honest_module.honest_best_from_images(correct[:, 0], seed=0) == 0
    assert math.isnan(honest_module.honest_best(np.full((2, 2, 10), NAN), seed=0))


def test_the_halves_depend_on_the_seed_alone():
    correct = np.random.default_rng(0).random((5, 3, 30)) < 0.7
    assert honest_module.honest_best(correct, seed=1) == honest_module.honest_best(correct, seed=1)
    assert honest_module.honest_best(correct, seed=1) != honest_module.honest_best(correct, seed=2)


@given(_fractions(st.tuples(st.integers(1, 5), st.integers(2, 12)), missing=False))
def test_the_honest_best_from_repeats_is_never_above_the_naive_one(accuracies):
    naive = targets.naive_best(accuracies.mean(axis=1)[None])[0]
    assert honest_module.honest_best_from_repeats(accuracies) <= naive + 1e-9


@given(arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(2, 30))), st.integers(0, 9))
def test_the_honest_best_from_images_is_never_above_the_naive_one(correct, seed):
    naive = targets.naive_best(correct.mean(axis=1)[None])[0]
    assert honest_module.honest_best_from_images(correct, n_splits=5, seed=seed) <= naive + 1e-9


@pytest.mark.parametrize("accuracy", [0.86, 0.9, 0.95])
def test_eleven_identical_scales_and_50_images_show_a_naive_gain_of_4_to_8_points_and_no_honest_one(accuracy):
    correct = np.random.default_rng(0).random((300, len(GRID), 2, 50)) < accuracy
    one_seed = correct[:, :, 0]
    naive = targets.naive_best(one_seed.mean(axis=2)).mean() - accuracy
    from_images = np.mean([honest_module.honest_best_from_images(c, n_splits=10, seed=0) for c in one_seed]) - accuracy
    from_repeats = np.mean([honest_module.honest_best_from_repeats(c.mean(axis=2)) for c in correct]) - accuracy
    from_both = np.mean([honest_module.honest_best(c, n_splits=10, seed=0) for c in correct]) - accuracy
    assert 0.04 < naive < 0.08
    for honest in (from_images, from_repeats, from_both):
        assert abs(honest) < 0.006


def test_repeats_that_share_lucky_images_are_too_high_and_splitting_the_images_too_is_not():
    # each scale is right on the same images in every repeat, so the images' luck is on both halves
    luck = np.random.default_rng(0).random((300, len(GRID), 1, 50)) < 0.9
    correct = np.repeat(luck, 2, axis=2)
    assert np.mean([honest_module.honest_best_from_repeats(c.mean(axis=2)) for c in correct]) - 0.9 > 0.05
    assert abs(np.mean([honest_module.honest_best(c, n_splits=10, seed=0) for c in correct]) - 0.9) < 0.006


# ----------------------------------------------------------------------------------------- regret, gap and intervals


def test_regret_is_best_minus_chosen():
    np.testing.assert_allclose(honest_module.regret(np.array([0.9, 0.5]), np.array([0.8, 0.6])), [0.1, -0.1])


def test_the_gap_closed_is_a_ratio_of_sums_over_tasks_that_have_all_three():
    chosen, fixed, best = np.array([0.9, 0.5, NAN, 0.1]), np.array([0.8, 0.5, 0.1, NAN]), np.array([1.0, 0.7, 0.9, 0.9])
    assert honest_module.gap_closed(chosen, fixed, best) == pytest.approx(0.1 / 0.4)
    assert honest_module.gap_closed(fixed[:2], fixed[:2], best[:2]) == 0
    assert honest_module.gap_closed(best[:2], fixed[:2], best[:2]) == 1


def test_there_is_nothing_to_close_where_the_fixed_scale_is_best():
    for best in (0.5, 0.4, NAN):
        assert math.isnan(honest_module.gap_closed(np.array([0.6]), np.array([0.5]), np.array([best])))


def test_the_bootstrap_is_what_a_plain_loop_gives():
    values, origins = np.array([1.0, 2.0, 3.0, 10.0]), ["b", "a", "b", "c"]
    draws = np.random.default_rng(7).integers(3, size=(50, 3))
    means = []
    for draw in draws:
        kept = [value for code in draw for value, origin in zip(values, origins, strict=True) if origin == "abc"[code]]
        means.append(sum(kept) / len(kept))
    expected = (np.quantile(means, 0.05), np.quantile(means, 0.95))
    found = honest_module.bootstrap_interval(values, origins, np.mean, n_resamples=50, level=0.9, seed=7)
    assert found == pytest.approx(expected)


def test_tasks_of_one_origin_that_are_alike_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).normal(size=10), 20)
    low, high = honest_module.bootstrap_interval(values, [str(i // 20) for i in range(200)], np.mean, seed=0)
    naive_low, naive_high = honest_module.bootstrap_interval(values, [str(i) for i in range(200)], np.mean, seed=0)
    assert high - low > 3 * (naive_high - naive_low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    origins = [str(i // 3) for i in range(90)]
    hits = 0
    for trial in range(100):
        values = np.repeat(rng.normal(size=30), 3) + rng.normal(size=90)
        low, high = honest_module.bootstrap_interval(values, origins, np.mean, n_resamples=200, level=0.9, seed=trial)
        hits += low <= 0 <= high
    assert 80 <= hits <= 97


def test_the_interval_of_the_gap_closed_uses_whole_rows():
    rng = np.random.default_rng(0)
    fixed = rng.random(40)
    table = np.column_stack([fixed + 0.01, fixed, fixed + 0.02])
    interval = honest_module.bootstrap_interval(
        table, [str(i % 8) for i in range(40)], lambda v: honest_module.gap_closed(v[:, 0], v[:, 1], v[:, 2]), seed=0
    )
    assert interval == pytest.approx((0.5, 0.5))


def test_there_is_no_interval_from_one_origin_or_from_a_statistic_that_is_often_undefined():
    values = np.array([1.0, -1.0, 1.0])
    assert all(map(math.isnan, honest_module.bootstrap_interval(values, ["a", "a", "a"], np.mean, seed=0)))
    assert all(map(math.isnan, honest_module.bootstrap_interval(values[:0], [], np.mean, seed=0)))
    assert all(map(math.isnan, honest_module.bootstrap_interval(values, list("abc"), lambda _: NAN, seed=0)))
    rarely = honest_module.bootstrap_interval(values, list("abc"), lambda v: NAN if v.sum() < -2 else v.mean(), seed=0)
    assert rarely[0] < rarely[1]


def test_every_task_needs_its_origin():
    with pytest.raises(ValueError, match=r"^There are 2 tasks and 1 origins\.$"):
        honest_module.bootstrap_interval(np.ones(2), ["a"], np.mean, seed=0)


# ------------------------------------------------------------------------------------------------- the smooth optimum


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
    found = targets.smooth_optimum(np.array([curve]), (0.5, 1, 2, 8), weights=np.array([weights]))
    assert found[0] == pytest.approx(expected)


def test_the_smooth_optimum_of_a_task_without_runs_is_missing():
    curves = np.array([[NAN] * 3, [NAN, 0.1, NAN]])
    np.testing.assert_array_equal(targets.smooth_optimum(curves, SCALES), [NAN, 0.0])


@given(_fractions(st.tuples(st.integers(1, 4), st.just(11))))
def test_the_smooth_optimum_lies_on_the_axis_and_ignores_the_level(curves):
    found = targets.smooth_optimum(curves, GRID)
    np.testing.assert_allclose(targets.smooth_optimum(curves - 0.3, GRID), found, atol=1e-9)
    assert np.isnan(found).tolist() == np.isnan(curves).all(axis=1).tolist()
    inside = found[~np.isnan(found)]
    assert ((inside >= math.log2(0.25) - 1e-9) & (inside <= math.log2(10) + 1e-9)).all()


@pytest.mark.parametrize("best", GRID)
def test_smoothing_keeps_the_top_of_a_noiseless_curve(best):
    curve = 0.8 - 0.02 * (np.log2(GRID) - np.log2(best))[None] ** 2
    assert GRID[targets.best_fixed_scale(curve, GRID)] == best
