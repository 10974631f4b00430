"""The honest best, regret, the gap closed and intervals, against slow plain loops."""

import itertools
import math

import numpy as np
import pytest
from fakes import fractions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scalepred.predictor import honest, targets
from scalepred.recipe import GRID

NAN = math.nan


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
@given(fractions(st.tuples(st.integers(1, 4), st.integers(1, 5))))
def test_the_honest_best_from_repeats_is_what_a_plain_loop_gives(accuracies):
    n = accuracies.shape[1]
    expected = _slow_honest(accuracies, {n // 2, n - n // 2} - {0})
    np.testing.assert_allclose(honest.honest_best_from_repeats(accuracies), expected, atol=1e-9)


def test_two_repeats_score_each_others_choice():
    accuracies = np.array([[0.9, 0.5], [0.6, 0.8]])
    assert honest.honest_best_from_repeats(accuracies) == pytest.approx((0.5 + 0.6) / 2)


def test_scales_that_tie_are_averaged_over():
    assert honest.honest_best_from_repeats(np.array([[0.5, 0.2], [0.5, 0.4]])) == pytest.approx((0.3 + 0.5) / 2)


def test_one_repeat_cannot_be_honest():
    assert math.isnan(honest.honest_best_from_repeats(np.array([[0.9], [0.8]])))
    assert math.isnan(honest.honest_best_from_repeats(np.array([[0.9, NAN], [NAN, 0.8]])))


def test_a_scale_that_is_truly_best_is_found_by_every_honest_way():
    correct = np.zeros((3, 4, 40))
    correct[1, :, :36] = 1
    assert honest.honest_best_from_repeats(correct.mean(axis=2)) == pytest.approx(0.9)
    assert honest.honest_best_from_images(correct[:, 0], seed=0) == pytest.approx(0.9)
    assert honest.honest_best(correct, seed=0) == pytest.approx(0.9, abs=0.03)


def test_missing_runs_leave_their_scale_out():
    correct = np.ones((2, 2, 10))
    correct[0] = 0
    correct[1, 0] = NAN
    assert honest.honest_best(correct, seed=0) == 0  # scale 1 can choose or be scored, never both
    correct[1] = NAN
    assert honest.honest_best(correct, seed=0) == 0
    assert honest.honest_best_from_images(correct[:, 0], seed=0) == 0
    assert math.isnan(honest.honest_best(np.full((2, 2, 10), NAN), seed=0))


def test_the_halves_depend_on_the_seed_alone():
    correct = np.random.default_rng(0).random((5, 3, 30)) < 0.7
    assert honest.honest_best(correct, seed=1) == honest.honest_best(correct, seed=1)
    assert honest.honest_best(correct, seed=1) != honest.honest_best(correct, seed=2)


@given(fractions(st.tuples(st.integers(1, 5), st.integers(2, 12)), missing=False))
def test_the_honest_best_from_repeats_is_never_above_the_naive_one(accuracies):
    naive = targets.naive_best(accuracies.mean(axis=1)[None])[0]
    assert honest.honest_best_from_repeats(accuracies) <= naive + 1e-9


@given(arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(2, 30))), st.integers(0, 9))
def test_the_honest_best_from_images_is_never_above_the_naive_one(correct, seed):
    naive = targets.naive_best(correct.mean(axis=1)[None])[0]
    assert honest.honest_best_from_images(correct, n_splits=5, seed=seed) <= naive + 1e-9


@pytest.mark.parametrize("accuracy", [0.86, 0.9, 0.95])
def test_eleven_identical_scales_and_50_images_show_a_naive_gain_of_4_to_8_points_and_no_honest_one(accuracy):
    correct = np.random.default_rng(0).random((300, len(GRID), 2, 50)) < accuracy
    one_seed = correct[:, :, 0]
    naive = targets.naive_best(one_seed.mean(axis=2)).mean() - accuracy
    from_images = np.mean([honest.honest_best_from_images(c, n_splits=10, seed=0) for c in one_seed]) - accuracy
    from_repeats = np.mean([honest.honest_best_from_repeats(c.mean(axis=2)) for c in correct]) - accuracy
    from_both = np.mean([honest.honest_best(c, n_splits=10, seed=0) for c in correct]) - accuracy
    assert 0.04 < naive < 0.08
    for bias in (from_images, from_repeats, from_both):
        assert abs(bias) < 0.006


def test_repeats_that_share_lucky_images_are_too_high_and_splitting_the_images_too_is_not():
    # each scale is right on the same images in every repeat, so the images' luck is on both halves
    luck = np.random.default_rng(0).random((300, len(GRID), 1, 50)) < 0.9
    correct = np.repeat(luck, 2, axis=2)
    assert np.mean([honest.honest_best_from_repeats(c.mean(axis=2)) for c in correct]) - 0.9 > 0.05
    assert abs(np.mean([honest.honest_best(c, n_splits=10, seed=0) for c in correct]) - 0.9) < 0.006


def test_regret_is_best_minus_chosen():
    np.testing.assert_allclose(honest.regret(np.array([0.9, 0.5]), np.array([0.8, 0.6])), [0.1, -0.1])


def test_the_gap_closed_is_a_ratio_of_sums_over_tasks_that_have_all_three():
    chosen, fixed, best = np.array([0.9, 0.5, NAN, 0.1]), np.array([0.8, 0.5, 0.1, NAN]), np.array([1.0, 0.7, 0.9, 0.9])
    assert honest.gap_closed(chosen, fixed, best) == pytest.approx(0.1 / 0.4)
    assert honest.gap_closed(fixed[:2], fixed[:2], best[:2]) == 0
    assert honest.gap_closed(best[:2], fixed[:2], best[:2]) == 1


def test_there_is_nothing_to_close_where_the_fixed_scale_is_best():
    for best in (0.5, 0.4, NAN):
        assert math.isnan(honest.gap_closed(np.array([0.6]), np.array([0.5]), np.array([best])))


def test_the_bootstrap_is_what_a_plain_loop_gives():
    values, origins = np.array([1.0, 2.0, 3.0, 10.0]), ["b", "a", "b", "c"]
    draws = np.random.default_rng(7).integers(3, size=(50, 3))
    means = []
    for draw in draws:
        kept = [value for code in draw for value, origin in zip(values, origins, strict=True) if origin == "abc"[code]]
        means.append(sum(kept) / len(kept))
    expected = (np.quantile(means, 0.05), np.quantile(means, 0.95))
    interval = honest.bootstrap_interval(values, origins, np.mean, n_resamples=50, level=0.9, seed=7)
    assert interval == pytest.approx(expected)


def test_tasks_of_one_origin_that_are_alike_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).normal(size=10), 20)
    low, high = honest.bootstrap_interval(values, [str(i // 20) for i in range(200)], np.mean, seed=0)
    naive_low, naive_high = honest.bootstrap_interval(values, [str(i) for i in range(200)], np.mean, seed=0)
    assert high - low > 3 * (naive_high - naive_low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    origins = [str(i // 3) for i in range(90)]
    hits = 0
    for trial in range(100):
        values = np.repeat(rng.normal(size=30), 3) + rng.normal(size=90)
        low, high = honest.bootstrap_interval(values, origins, np.mean, n_resamples=200, level=0.9, seed=trial)
        hits += low <= 0 <= high
    assert 80 <= hits <= 97


def test_the_interval_of_the_gap_closed_uses_whole_rows():
    rng = np.random.default_rng(0)
    fixed = rng.random(40)
    table = np.column_stack([fixed + 0.01, fixed, fixed + 0.02])
    interval = honest.bootstrap_interval(
        table, [str(i % 8) for i in range(40)], lambda v: honest.gap_closed(v[:, 0], v[:, 1], v[:, 2]), seed=0
    )
    assert interval == pytest.approx((0.5, 0.5))


def test_there_is_no_interval_from_one_origin_or_from_a_statistic_that_is_often_undefined():
    values = np.array([1.0, -1.0, 1.0])
    assert all(map(math.isnan, honest.bootstrap_interval(values, ["a", "a", "a"], np.mean, seed=0)))
    assert all(map(math.isnan, honest.bootstrap_interval(values[:0], [], np.mean, seed=0)))
    assert all(map(math.isnan, honest.bootstrap_interval(values, list("abc"), lambda _: NAN, seed=0)))
    rarely = honest.bootstrap_interval(values, list("abc"), lambda v: NAN if v.sum() < -2 else v.mean(), seed=0)
    assert rarely[0] < rarely[1]


def test_every_task_needs_its_origin():
    with pytest.raises(ValueError, match=r"^There are 2 tasks and 1 origins\.$"):
        honest.bootstrap_interval(np.ones(2), ["a"], np.mean, seed=0)


def test_the_crossed_interval_holds_the_mean_nine_times_in_ten_where_origins_and_networks_both_matter():
    rng = np.random.default_rng(0)
    origin, network = np.divmod(np.arange(240), 12)  # 20 origins, each on all of 12 networks
    names = [str(each) for each in origin], [str(each) for each in network]
    hits = 0
    for trial in range(100):
        values = rng.normal(size=20)[origin] + rng.normal(size=12)[network] + rng.normal(size=240)
        low, high = honest.crossed_interval(values, *names, n_resamples=300, level=0.9, seed=trial)
        hits += low <= 0 <= high
    assert 80 <= hits <= 99


def test_the_crossed_interval_is_wider_than_that_of_origins_where_networks_differ():
    rng = np.random.default_rng(0)
    origin, network = np.divmod(np.arange(120), 6)
    values = rng.normal(size=6)[network] + 0.1 * rng.normal(size=120)
    names = [str(each) for each in origin], [str(each) for each in network]
    of_origins = honest.bootstrap_interval(values, names[0], np.mean, seed=0)
    crossed = honest.crossed_interval(values, *names, seed=0)
    assert crossed[1] - crossed[0] > 5 * (of_origins[1] - of_origins[0])


def test_there_is_no_crossed_interval_from_one_origin_or_one_network():
    values = np.array([1.0, -1.0, 1.0])
    assert all(map(math.isnan, honest.crossed_interval(values, ["a"] * 3, list("xyz"), seed=0)))
    assert all(map(math.isnan, honest.crossed_interval(values, list("abc"), ["x"] * 3, seed=0)))
