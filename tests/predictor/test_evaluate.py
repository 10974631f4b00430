"""The evaluation keeps what it promises: what is held out chooses nothing, and a control gains nothing."""

import dataclasses
import json
import math

import numpy as np
import pytest
from fakes import as_harvested, curve_table

from scalepred.predictor import evaluate as evaluate_module
from scalepred.predictor import scores as scores_module
from scalepred.predictor.evaluate import (
    choices,
    fixed_held_out,
    leave_one_origin_out,
    permuted,
    score_choices,
    searched,
    train_and_evaluate,
)
from scalepred.predictor.targets import best_fixed_scale
from scalepred.predictor.train import MIN_ORIGINS

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

N_ORIGINS = 10
N = 2 * N_ORIGINS
METHODS = [
    "predicted scale",
    "best fixed scale",
    "most frequently best scale (the paper's)",
    "head only (the paper's baseline)",
    "predicted, features permuted (control)",
    "search: best of all scales on validation",
    "honest best",
    "naive best, chosen on test (biased)",
]


@pytest.fixture(scope="module")
def harvested():
    """A harvest of two seeds."""
    first, second = (as_harvested(curve_table(N_ORIGINS), seed=seed) for seed in range(2))
    correct = [np.concatenate(pair, axis=1) for pair in zip(first.correct, second.correct, strict=True)]
    return dataclasses.replace(
        first,
        val=[np.concatenate(pair, axis=1) for pair in zip(first.val, second.val, strict=True)],
        test=np.array([each.mean(axis=(1, 2)) for each in correct]),
        correct=correct,
    )


@pytest.fixture(scope="module")
def score(harvested):
    """Score a variant of the harvest at the choices that were made for it; they don't depend on test images."""
    controls = [choices(permuted(harvested.table, seed=draw), seed=0) for draw in range(2)]
    real = choices(harvested.table, seed=0)

    def call(**changes):
        return score_choices(dataclasses.replace(harvested, **changes), real, controls=controls)

    return call


@pytest.fixture(scope="module")
def evaluation(score):
    return score()


def rows(evaluation):
    (group,) = evaluation.groups
    return {row.method: row for row in group.rows}


# --- the table --------------------------------------------------------------------------------------------------------


def test_there_is_a_row_for_every_method_and_the_counts_are_right(evaluation):
    by_method = rows(evaluation)
    assert list(by_method) == METHODS
    assert [row.jobs for row in by_method.values()] == [1, 1, 1, 1, 1, 11, 11, 11]
    assert {row.n_tasks for row in by_method.values()} == {N}
    (group,) = evaluation.groups
    assert (group.source_id, group.recipe_id) == ("source-a", "recipe-a")
    assert (group.n_tasks, group.n_origins) == (N, N_ORIGINS)
    assert 0 < group.n_moved == len(evaluation.gain_errors) <= N


def test_the_predictor_closes_much_of_the_gap_and_the_control_about_none(evaluation):
    by_method = rows(evaluation)
    assert by_method["predicted scale"].gap_closed > 0.6
    assert by_method["predicted, features permuted (control)"].gap_closed < 0.15
    assert by_method["best fixed scale"].gap_closed == by_method["best fixed scale"].over_fixed == 0


def test_the_honest_best_is_below_the_naive_one_in_the_mean(evaluation):
    by_method = rows(evaluation)
    assert by_method["honest best"].accuracy < by_method["naive best, chosen on test (biased)"].accuracy
    assert by_method["honest best"].regret_mean == 0


def test_intervals_hold_the_mean_and_gains_fit_accuracies(evaluation):
    fixed = rows(evaluation)["best fixed scale"].accuracy
    for row in rows(evaluation).values():
        low, high = row.over_fixed_interval
        assert low <= row.over_fixed <= high
        assert row.over_fixed == pytest.approx(row.accuracy - fixed)
        assert 0 <= row.worse_share <= 1
        assert row.regret_p90 >= row.regret_median


def test_the_fixed_scale_of_a_task_is_that_of_all_other_origins():
    table = curve_table(6, slope=0)
    odd = np.array([origin == "origin-005" for origin in table.origins])
    accuracies = np.where(odd[:, None], np.linspace(1, 0, len(table.scales)), table.accuracies)
    chosen = fixed_held_out(dataclasses.replace(table, accuracies=accuracies))
    assert odd.sum() == 2
    assert (chosen[odd] == best_fixed_scale(table.accuracies[~odd], table.scales.tolist())).all()


def test_a_known_case_by_hand():
    test = np.array([[0.5, 0.9], [0.8, 0.7], [0.6, 0.6]])
    at = scores_module.Scoring(test, ("a", "a", "b"), np.array([0, 0, 0]), np.array([0.8, 0.9, 0.7]))
    row = at.row("second", 1, at.scores(np.array([1, 1, 1])), np.arange(3))
    assert row.accuracy == pytest.approx((0.9 + 0.7 + 0.6) / 3)
    assert row.over_fixed == pytest.approx((0.4 - 0.1 + 0) / 3)
    assert row.regret_mean == pytest.approx((-0.1 + 0.2 + 0.1) / 3)
    assert row.regret_median == pytest.approx(0.1)
    assert row.gap_closed == pytest.approx(0.3 / 0.5)
    assert row.worse_share == pytest.approx(1 / 3)
    assert row.over_fixed_interval == pytest.approx((0.0, 0.15))


@pytest.mark.parametrize("best", [[0.9, 0.9, 0.5], [0.8, 0.8, 0.6]])
def test_no_share_is_told_of_a_gap_that_may_be_none(best):
    test = np.array([[0.5, 0.9], [0.8, 0.7], [0.6, 0.6]])
    at = scores_module.Scoring(test, ("a", "a", "b"), np.array([0, 0, 0]), np.array(best))
    row = at.row("second", 1, at.scores(np.array([1, 1, 1])), np.arange(3))
    assert (row.gap_closed, row.n_tasks) == (None, 3)


def test_the_naive_best_is_that_of_each_seed_alone(score):
    luck = np.zeros((11, 2, 10))  # a scale of each seed has one image right that the others have wrong
    luck[3, 0, 0] = luck[7, 1, 0] = 1
    (naive,) = (row for row in rows(score(correct=[luck] * N)).values() if row.method.startswith("naive best"))
    assert naive.accuracy == pytest.approx(0.1)


def test_regret_is_of_the_tasks_whose_honest_best_is_known():
    test = np.array([[0.5, 0.9], [0.8, 0.7], [0.6, 0.6]])
    for best, expected in (([math.nan, 0.8, 0.6], (0.05, 0.05, None)), ([math.nan] * 3, (None, None, None))):
        at = scores_module.Scoring(test, ("a", "a", "b"), np.array([0, 0, 0]), np.array(best))
        row = at.row("second", 1, at.scores(np.array([1, 1, 1])), np.arange(3))
        assert row.accuracy == pytest.approx((0.9 + 0.7 + 0.6) / 3)
        assert (row.regret_mean, row.regret_median, row.gap_closed) == pytest.approx(expected)


def test_a_method_that_some_tasks_lack_is_scored_on_the_others(score):
    row = rows(score(baseline=np.where(np.arange(N) < 3, 0.5, np.nan)))["head only (the paper's baseline)"]
    assert (row.n_tasks, row.accuracy) == (3, 0.5)


def test_a_method_that_no_task_has_gets_no_row(score):
    evaluation = score(baseline=np.full(N, np.nan))
    assert list(rows(evaluation)) == [*METHODS[:3], *METHODS[4:]]
    assert json.dumps(evaluation.to_json(), allow_nan=False)


def test_with_one_seed_there_is_no_honest_best_and_no_regret(harvested, score):
    by_method = rows(
        score(correct=[correct[:, :1] for correct in harvested.correct], val=[v[:, :1] for v in harvested.val])
    )
    assert "honest best" not in by_method
    assert {(row.regret_mean, row.gap_closed) for row in by_method.values()} == {(None, None)}
    assert by_method["predicted scale"].over_fixed > 0


def test_sources_are_scored_apart_and_those_of_few_origins_are_not(monkeypatch):
    monkeypatch.setattr(evaluate_module, "CONTROLS", 1)
    table = curve_table(20, per_origin=1)
    sources = ("source-a",) * 8 + ("source-b",) * 9 + ("source-c",) * 3
    harvested = as_harvested(dataclasses.replace(table, source_ids=sources))
    harvested.test[8:17] += 1  # marks source-b
    groups = leave_one_origin_out(harvested).groups
    assert [(group.source_id, group.n_tasks, group.n_origins) for group in groups] == [
        ("source-b", 9, 9),
        ("source-a", 8, 8),
    ]
    assert all(row.accuracy > 1 for row in groups[0].rows if row.method == "best fixed scale")
    assert all(row.accuracy < 1 for row in groups[1].rows)


def test_the_json_has_numbers_only(evaluation):
    values = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert "gain_errors" not in values
    assert values["groups"][0]["rows"][0]["method"] == "predicted scale"
    assert "interval_coverage" in values


def test_too_few_origins_are_refused():
    with pytest.raises(ValueError, match=r"^7 origins are too few: 8 are needed\.$"):
        leave_one_origin_out(as_harvested(curve_table(7)))


def test_training_attaches_the_evaluation_and_its_errors(monkeypatch):
    monkeypatch.setattr(evaluate_module, "CONTROLS", 1)
    predictor, evaluation = train_and_evaluate(as_harvested(curve_table(8, per_origin=1)))
    assert evaluation.groups[0].n_origins == 8
    assert predictor.gain_errors == evaluation.gain_errors
    assert predictor.evaluation == evaluation.to_json()


def test_with_few_origins_there_is_a_predictor_and_no_evaluation():
    predictor, evaluation = train_and_evaluate(as_harvested(curve_table(MIN_ORIGINS - 1)))
    assert evaluation is None
    assert (predictor.booster, predictor.evaluation) == (None, {})


# --- what is held out -------------------------------------------------------------------------------------------------


def test_accuracies_of_a_held_out_origin_change_nothing_that_is_chosen_for_it():
    table = curve_table(6, per_origin=1)
    honest = choices(table, seed=0)
    for origin in ("origin-000", "origin-004"):
        own = np.array([name == origin for name in table.origins])
        accuracies = table.accuracies.copy()
        accuracies[own] = np.linspace(1, 0, 11)
        poisoned = choices(dataclasses.replace(table, accuracies=accuracies), seed=0)
        for name in ("chosen", "fixed", "frequent", "curves", "abstained"):
            np.testing.assert_array_equal(getattr(poisoned, name)[own], getattr(honest, name)[own])
        assert not np.array_equal(poisoned.curves[~own], honest.curves[~own])


def test_choices_never_see_which_images_are_test_images(harvested, score, evaluation):
    rescored = score(test=np.full_like(harvested.test, 0.5))
    assert rescored.gain_errors == evaluation.gain_errors
    assert rows(rescored)["predicted scale"].accuracy == rows(rescored)["best fixed scale"].accuracy == 0.5


def test_a_held_out_origin_that_is_unlike_the_others_gets_the_fixed_scale():
    table = curve_table(10)
    own = np.array([name == "origin-004" for name in table.origins])
    table.features[own] += 100
    picks = choices(table, seed=0)
    assert picks.abstained.tolist() == own.tolist()
    assert picks.chosen[own].tolist() == picks.fixed[own].tolist()


def test_a_source_with_few_origins_is_scored_at_its_fixed_scale():
    table = curve_table(12, per_origin=1)
    sources = ("source-a",) * 9 + ("source-b",) * 3
    picks = choices(dataclasses.replace(table, source_ids=sources), seed=0)
    assert picks.abstained.tolist() == [False] * 9 + [True] * 3
    assert picks.chosen[9:].tolist() == picks.fixed[9:].tolist()


def test_fixed_and_most_frequent_scales_are_those_of_the_same_source():
    table = curve_table(10, per_origin=1, slope=0, noise=0)
    sources = ("source-a",) * 5 + ("source-b",) * 5
    accuracies = table.accuracies.copy()
    accuracies[5:] = accuracies[5:, ::-1]
    picks = choices(dataclasses.replace(table, source_ids=sources, accuracies=accuracies), seed=0)
    assert picks.frequent.tolist() == [4] * 5 + [6] * 5
    columns = [best_fixed_scale(rows, table.scales) for rows in (accuracies[:5], accuracies[5:])]
    assert picks.fixed.tolist() == np.repeat(columns, 5).tolist()


# --- the control ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_control_gives_every_task_the_features_of_another_origin(seed):
    table = curve_table(9, per_origin=3)
    sources = ("source-a", "source-a", "source-b") * 9
    table = dataclasses.replace(table, source_ids=sources, features=np.arange(27.0)[:, None], feature_names=("row",))
    donors = permuted(table, seed=seed).features[:, 0].astype(int)
    assert sorted(donors) == list(range(27))
    for row, donor in enumerate(donors):
        assert table.origins[row] != table.origins[donor]
        assert table.source_ids[row] == table.source_ids[donor]
    assert table.features[:, 0].tolist() == list(range(27))


def test_the_control_differs_between_seeds():
    table = curve_table(9)
    assert not np.array_equal(permuted(table, seed=0).features, permuted(table, seed=1).features)


# --- the search -------------------------------------------------------------------------------------------------------


def test_the_search_is_scored_on_test_where_validation_is_best_and_ties_are_averaged(harvested):
    val = np.zeros((N, 11, 1))
    correct = np.tile(np.arange(11.0)[:, None, None] / 10, (N, 1, 1, 4))
    val[:, 3] = 0.9
    val[1, 7] = 0.9
    searches = searched(dataclasses.replace(harvested, val=list(val), correct=list(correct)))
    assert searches[0] == pytest.approx(0.3)
    assert searches[1] == pytest.approx(0.5)


def test_each_seed_is_a_search_of_its_own(harvested):
    val, correct = np.zeros((11, 2)), np.zeros((11, 2, 4))
    val[2, 0] = val[5, 1] = 0.9
    correct[2, 0], correct[5, 1] = 0.4, 0.8
    correct[2, 1] = correct[5, 0] = 0.1
    searches = searched(dataclasses.replace(harvested, val=[val] * N, correct=[correct] * N))
    assert searches[0] == pytest.approx(0.6)


def test_a_task_without_test_images_does_not_flatter_the_search(harvested, score):
    has_test = np.arange(N) != 2
    assert math.isnan(searched(dataclasses.replace(harvested, has_test=has_test))[2])
    assert rows(score(has_test=has_test))["search: best of all scales on validation"].n_tasks == N - 1


def test_a_search_over_equal_scales_looks_better_on_validation_than_it_is():
    flat = as_harvested(curve_table(100, per_origin=1, slope=0, noise=0))
    flat = as_harvested(dataclasses.replace(flat.table, accuracies=np.full((100, 11), 0.7)))
    assert np.mean([val.max() for val in flat.val]) > 0.77
    assert searched(flat).mean() == pytest.approx(0.7, abs=0.01)


# --- the interval's coverage ------------------------------------------------------------------------------------------


def test_coverage_is_measured_without_an_origins_own_errors():
    errors = np.concatenate([np.zeros(18), [1.0, 1.0]])
    origins = np.array([f"o{i}" for i in range(18)] + ["odd", "odd"])
    assert evaluate_module._coverage(errors, origins) == 0.9
    assert evaluate_module._coverage(errors[:9], origins[:9]) is None
    assert evaluate_module._coverage(errors[:0], origins[:0]) is None
