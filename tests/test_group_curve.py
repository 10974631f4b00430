import numpy as np
import pytest
from wide_points import SGD, wide_points

from benchmarks.group_curve import (
    OCTAVES,
    Shrinkage,
    TaskRuns,
    group_curve,
    learn_shrinkage,
    log_likelihood,
    task_runs,
)
from scalepred.predictor.search import LEVEL, LEVEL_SPREAD, Prior

RAN = np.arange(-3.0, 6.0)
SHRINKAGE = Shrinkage(group=0.08, task=0.04, length=2.0, kept=0.0)


def hill(top, octaves=OCTAVES, steep=0.04):
    return -steep * np.minimum(np.abs(octaves - top), 4.0) ** 1.5


def prior(*curves, diverged=None, chance=0.2):
    relative = np.array(curves)
    diverged = np.zeros_like(relative) if diverged is None else np.array(diverged, dtype=np.float64)
    weights = np.full(len(curves), 1 / len(curves))
    return Prior(
        octaves=OCTAVES, relative=relative, diverged=diverged, weights=weights, chance=chance, n_images=1
    )  # fmt: skip


def task(top, *, place=0.0, level=0.8, error=0.03, rng=None, deviation=0.0, length=2.0):
    accuracies = level + hill(top, RAN)
    if rng is not None:
        apart = (RAN[:, None] - RAN[None, :]) / length
        covariance = deviation**2 * np.exp(-0.5 * apart**2) + error**2 * np.eye(len(RAN))
        accuracies = rng.multivariate_normal(accuracies, covariance)
    return TaskRuns(place=place, log2_scales=RAN, accuracies=accuracies, errors=np.full(len(RAN), error))


def test_without_tasks_the_choice_is_that_of_the_harvested_curves_beside_the_rule():
    curve = group_curve(prior(hill(1), hill(1)), [], SHRINKAGE)
    assert curve.best_octave == 1
    assert curve.log2_scale(-2.5) == -1.5


def test_many_tasks_tend_to_the_best_fixed_scale_of_the_group():
    rng = np.random.default_rng(0)
    tasks = [task(3, level=rng.uniform(0.4, 0.9), rng=rng, deviation=0.04) for _ in range(40)]
    known = prior(hill(0), hill(-1), hill(1))
    best = RAN[int(np.mean([each.accuracies for each in tasks], axis=0).argmax())]
    off = [abs(group_curve(known, tasks[:n], SHRINKAGE).log2_scale(0.0) - best) for n in (0, 40)]
    assert best == 3
    assert off[0] == 3
    assert off[1] <= 0.5


def test_one_noisy_task_moves_little_and_one_of_many_images_moves_much():
    known = prior(hill(0))
    moved = [group_curve(known, [task(3, error=error)], SHRINKAGE).best_octave for error in (0.3, 0.1, 0.005)]
    assert moved == sorted(moved)
    assert moved[0] <= 0.5
    assert moved[-1] >= 1.5


def test_the_more_tasks_say_the_same_the_further_the_choice_goes():
    places = [group_curve(prior(hill(0)), [task(3, error=0.1)] * n, SHRINKAGE).best_octave for n in (0, 1, 3, 10, 100)]
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == pytest.approx(3, abs=0.25)


def test_a_curve_like_the_tasks_weighs_more_than_one_unlike_them():
    tight = Shrinkage(group=0.01, task=0.02, length=2.0, kept=0.0)
    assert group_curve(prior(hill(-2), hill(3)), [task(3)], tight).best_octave == pytest.approx(3, abs=0.25)


def test_tasks_that_ran_nowhere_near_leave_a_cliff_where_curves_diverged():
    cliff = prior(hill(0), diverged=[OCTAVES >= 2])
    assert group_curve(cliff, [], SHRINKAGE).mean[OCTAVES == 2] == pytest.approx(0.2)


def test_the_information_form_is_plain_conditioning_of_gaussians():
    tasks = [task(2, place=0.25, rng=np.random.default_rng(1), deviation=0.1), task(1, place=0.75, level=0.5)]
    known, shrinkage = prior(hill(0), hill(2)), Shrinkage(group=0.08, task=0.04, length=2.0, kept=1.0)
    at = np.concatenate([np.searchsorted(OCTAVES, RAN - each.place) for each in tasks])
    same = np.repeat([0, 1], len(RAN))[:, None] == np.repeat([0, 1], len(RAN))[None, :]

    def alike(rows, columns, deviation):
        apart = (OCTAVES[rows][:, None] - OCTAVES[columns][None, :]) / 2.0
        return deviation**2 * np.exp(-0.5 * apart**2)

    noise = same * (alike(at, at, 0.04) + LEVEL_SPREAD**2) + np.eye(len(at)) * 0.03**2
    covariance = alike(at, at, 0.08) + noise
    seen = np.concatenate([each.accuracies for each in tasks]) - LEVEL
    places = np.arange(len(OCTAVES))
    means, fits = [], []
    for curve in known.relative:
        off = seen - curve[at]
        means.append(LEVEL + curve + alike(places, at, 0.08) @ np.linalg.solve(covariance, off))
        fits.append(-0.5 * (off @ np.linalg.solve(covariance, off) + np.linalg.slogdet(2 * np.pi * covariance)[1]))
    weights = np.exp(np.array(fits) - max(fits))
    expected = weights @ np.array(means) / weights.sum()
    assert group_curve(known, tasks, shrinkage).mean == pytest.approx(expected, abs=1e-6)
    assert log_likelihood(known, tasks, shrinkage) == pytest.approx(np.logaddexp(*fits) - np.log(2), abs=1e-5)


@pytest.mark.parametrize(("deviation", "kept"), [(0.02, 0.0), (0.16, 1.0)])
def test_how_much_tasks_vary_and_whether_they_follow_the_rule_is_learnt(deviation, kept):
    rng = np.random.default_rng(3)
    groups = []
    for _ in range(3):
        places = rng.uniform(-1.5, 1.5, size=12)
        tasks = [task(1 + kept * p, place=p, rng=rng, deviation=deviation, error=0.01) for p in places]
        groups.append((prior(hill(0), hill(1)), tasks))
    learnt = learn_shrinkage(groups)
    assert learnt.task == deviation
    assert learnt.kept == kept


def test_a_kept_place_moves_a_new_task_and_one_that_is_not_kept_does_not():
    tasks = [task(1, place=1.0), task(1, place=-1.0)]
    for kept in (0.0, 0.5, 1.0):
        curve = group_curve(prior(hill(0)), tasks, Shrinkage(group=0.08, task=0.04, length=2.0, kept=kept))
        assert curve.log2_scale(2.0) - curve.log2_scale(0.0) == 2 * kept


def test_a_harvested_point_is_a_task_whose_errors_are_of_images_and_luck():
    point = wide_points(1, recipes=(SGD,))[0]
    runs = task_runs(point, 1.5)
    assert runs.place == 1.5
    assert np.array_equal(runs.accuracies, point.accuracies)
    assert (runs.errors > 0.03 / np.sqrt(point.n_seeds)).all()
