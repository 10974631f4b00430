"""The paper's studies of grids: what eleven jobs seem to gain, what they do, and how many humps a curve has."""

import dataclasses
import itertools

import numpy as np
import pytest
from rows import RECIPE, SOURCE, TASK, make_run

from benchmarks.paper import humps, report, scales
from benchmarks.paper.grids import Grids, read_grids, read_rows
from scalepred.recipe import GRID, HEAD_ONLY, run_id
from scalepred.records import DIVERGED, RecipeRecord
from scalepred.store.warehouse import open_warehouse

N_SCALES = len(GRID)
BASELINE = dataclasses.replace(RECIPE, multipliers=HEAD_ONLY)


def grids_of(val, test, *, origins=None, n_images=250):
    n = len(val)
    tasks = tuple(
        dataclasses.replace(TASK, task_id=f"{at}", name=f"{at}", origin=(origins or [f"o{at}" for at in range(n)])[at],
                            n_train=n_images * 4 // 5, n_val=n_images // 5)
        for at in range(n)
    )  # fmt: skip
    half = np.full(n, 0.5)
    return Grids(source="s", recipe="r", tasks=tasks, val=np.array(val), test=np.array(test), baseline_val=half,
                 baseline_test=half, repeats={})  # fmt: skip


def noisy(n=200, *, optimum_spread=0.0, seed=0):
    """Return grids whose true curves fall by the distance from an optimum, read on 50 and 500 images."""
    rng = np.random.default_rng(seed)
    places = 5 + rng.normal(0, optimum_spread, n)
    true = 0.8 - (0.05 if optimum_spread else 0.0) * np.abs(np.arange(N_SCALES)[None] - places[:, None])
    true = true.clip(0.1, 0.9)
    return grids_of(rng.binomial(50, true) / 50, rng.binomial(500, true) / 500)


# --- section 4.3 ------------------------------------------------------------------------------------------------------


def test_eleven_scales_that_are_the_same_seem_to_gain_points_of_which_an_honest_reading_keeps_none():
    grids = noisy()
    naive, fair = scales.as_the_paper(grids), scales.honest(grids)
    assert (naive[scales.BEST] - naive[scales.FREQUENT]).mean() > 0.05
    assert abs((fair[scales.BEST] - fair[scales.FREQUENT]).mean()) < 0.005
    share, low, high = scales.share_kept(grids)
    assert low < 0 < high
    assert abs(share) < 0.1


def test_a_gain_that_is_there_is_kept_in_part():
    share, low, high = scales.share_kept(noisy(optimum_spread=3.0))
    assert 0.5 < low < share < high < 1


def test_the_most_frequent_scale_of_the_honest_version_is_that_of_other_origins():
    val = np.full((4, N_SCALES), 0.5)
    val[:2, 3], val[2:, 7] = 0.9, 0.9
    test = np.tile(np.arange(N_SCALES) / 10.0, (4, 1))
    origins = ["a", "a", "b", "b"]
    assert scales.honest(grids_of(val, test, origins=origins))[scales.FREQUENT].tolist() == [0.7, 0.7, 0.3, 0.3]
    assert scales.as_the_paper(grids_of(val, test, origins=origins))[scales.FREQUENT].tolist() == [0.9, 0.9, 0.5, 0.5]


def test_scales_that_tie_on_validation_are_read_by_their_mean_on_test():
    val, test = np.zeros((1, N_SCALES)), np.zeros((1, N_SCALES))
    val[0, [2, 4]], test[0, [2, 4]] = 0.8, [0.6, 0.7]
    assert scales.searched(val, test).tolist() == pytest.approx([0.65])


def test_tasks_like_the_papers_are_the_largest_as_many_as_bring_their_mean_next_to_250_images():
    tasks = [dataclasses.replace(TASK, n_train=n, n_val=0) for n in (400, 300, 200, 100, 50, 20)]
    assert scales.like_the_papers(tasks, n=2) == [0, 1, 2, 3]
    assert scales.like_the_papers(tasks, n=5) == [0, 1, 2, 3, 4]
    assert scales.like_the_papers(tasks, n=7) == []


# --- humps ------------------------------------------------------------------------------------------------------------

TRUE = {
    "flat": np.zeros(N_SCALES),
    "rising": np.linspace(0, 40, N_SCALES),
    "falling": -np.linspace(0, 40, N_SCALES),
    "a peak": -5.0 * np.abs(np.arange(N_SCALES) - 4),
    "a plateau and a cliff": np.array([0.0] * 9 + [-60, -60]),
    "a plateau and a leap": np.array([0.0] * 10 + [60]),
}
SPREADS = np.array([1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8], dtype=float)


def known_noise(n_tasks=40, *, seed=0):
    """Return the noise told from three seeds of many tasks, whose scales differ in it."""
    rng = np.random.default_rng(seed)
    return humps.noise_of([rng.normal(0, SPREADS, (3, N_SCALES)) for _ in range(n_tasks)], np.ones(n_tasks))


@pytest.mark.parametrize("name", TRUE)
@pytest.mark.parametrize("n_seeds", [1, 3])
def test_a_curve_of_one_hump_is_said_to_have_another_in_five_of_a_hundred_cases_at_most(name, n_seeds):
    noise, rng, n = known_noise(), np.random.default_rng(1), 4000
    curves = TRUE[name] + rng.normal(0, SPREADS, (n, n_seeds, N_SCALES)).mean(axis=1)
    alarms = humps.deepest_dips(curves, noise.spreads) > humps.critical_depth(noise, n_seeds=n_seeds)
    assert alarms.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_the_level_is_nearly_reached_by_the_hardest_curve():
    noise, rng = known_noise(), np.random.default_rng(1)
    steep = np.where(np.arange(N_SCALES) == N_SCALES - 1, 1000.0, 0.0)
    curves = steep + rng.normal(0, SPREADS, (4000, N_SCALES))
    alarms = humps.deepest_dips(curves, noise.spreads) > humps.critical_depth(noise)
    assert 0.01 < alarms.mean() < 0.06


def test_a_second_hump_beyond_noise_is_found():
    noise, rng = known_noise(), np.random.default_rng(2)
    curves = rng.normal(0, SPREADS, (1000, N_SCALES))
    curves[:, 5] -= 12
    assert (humps.deepest_dips(curves, noise.spreads) > humps.critical_depth(noise)).mean() > 0.95
    assert humps.found_share(noise, 12.0, unit=1.0) > 0.95
    assert humps.found_share(noise, 0.0, unit=1.0) < 0.05


def test_the_deepest_dip_is_that_of_a_slow_plain_loop():
    rng = np.random.default_rng(3)
    curves, spreads = rng.normal(size=(5, 6)), rng.uniform(0.5, 2, 6)
    for curve, dip in zip(curves, humps.deepest_dips(curves, spreads), strict=True):
        slow = max(
            min(
                (curve[i] - curve[j]) / np.hypot(spreads[i], spreads[j]),
                (curve[k] - curve[j]) / np.hypot(spreads[k], spreads[j]),
            )
            for i, j, k in itertools.combinations(range(6), 3)
        )
        assert dip == pytest.approx(slow)
    assert humps.deepest_dips(np.array([[1.0, 2, 3, 2, 2]]), np.ones(5)).tolist() == [0]


# --- from a warehouse -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """Twelve tasks of twelve origins with two seeds, best at scale 2, with a run that diverged at 10."""
    path = tmp_path_factory.mktemp("paper") / "w.duckdb"
    named = (("graduated", RECIPE), ("baseline", BASELINE))
    rows = [SOURCE, *(RecipeRecord(recipe_id=r.recipe_id, name=name, json=r.to_json()) for name, r in named)]
    for at in range(12):
        task = dataclasses.replace(TASK, task_id=f"{at:032}", name=f"task {at:02}", origin=f"origin {at}")
        rows.append(task)
        for scale, seed in itertools.product((None, *GRID), (0, 1)):
            recipe = BASELINE if scale is None else RECIPE
            parts = {"task_id": task.task_id, "source_id": SOURCE.source_id, "recipe_id": recipe.recipe_id}
            right = 2 if scale is None else 5 if scale == 2 else 3 + seed * (scale == 7)
            fate = (
                {"status": DIVERGED, "diverged_step": 3, "val_correct": None, "test_correct": None}
                if scale == 10
                else {}
            )
            rows.append(
                make_run(scale, seed, n_right=right, run_id=run_id(**parts, scale=scale, seed=seed), **parts, **fate)
            )
    with open_warehouse(path) as store:
        store.add_all(rows)
    return path


def test_grids_are_read_with_their_baseline_and_chance_where_a_run_diverged(warehouse):
    (grids,) = read_grids(read_rows(warehouse))
    assert (grids.name, len(grids.tasks)) == ("efficientnet_lite0, graduated", 12)
    assert grids.val[0].tolist() == [0.6] * 4 + [1.0] + [0.6] * 5 + [0.5]
    assert grids.test[0].tolist() == pytest.approx([3 / 11] * 4 + [5 / 11] + [3 / 11] * 5 + [0.5])
    assert (grids.baseline_val[0], grids.baseline_test[0]) == pytest.approx((2 / 5, 2 / 11))
    assert grids.repeats[grids.tasks[0].task_id][1, 9] == pytest.approx(4 / 11)


def test_the_study_of_scales_tells_both_readings_beside_the_papers(warehouse):
    told = scales.study(read_rows(warehouse), at_least=12)
    text = "\n".join(told.lines)
    assert "| baseline | 78.1 | 40.0 (40.0 to 40.0) | 18.2 (18.2 to 18.2) |" in text
    assert "| best of eleven | 88.0 | 100.0 (100.0 to 100.0) | 45.5 (45.5 to 45.5) |" in text
    assert "The most frequent best scale is 2 (the paper's: 0.25)." in text
    assert told.numbers["groups"]["efficientnet_lite0, graduated"]["n"] == 12
    assert set(told.figures) == {"scales.png"}


def test_a_study_of_too_few_tasks_says_so(warehouse):
    assert "No source and recipe has the whole grid of 70 tasks" in scales.study(read_rows(warehouse)).lines[-1]


def test_the_study_of_humps_tells_a_share_of_each_group(warehouse):
    told = humps.study(read_rows(warehouse))  # a scale that diverged counts as chance, and that is a second hump here
    assert told.numbers["groups"] == {"efficientnet_lite0, graduated": {"n": 12, "one_hump": 0.0}}


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_section_takes_the_place_of_the_one_before_and_leaves_the_others(tmp_path, capsys):
    for name, line in (("a", "one"), ("b", "two"), ("a", "three")):
        report.publish(report.Report(name=name, title=name.upper(), lines=(line,), numbers={"x": 1}), tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == "<!-- a -->\n## A\n\nthree\n<!-- end of a -->\n\n<!-- b -->\n## B\n\ntwo\n<!-- end of b -->\n"
    assert capsys.readouterr().out.splitlines()[-1] == '{"study": "a", "x": 1}'
