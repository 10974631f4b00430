"""The predictor learns from harvests whose answer is known: trees, folds, columns and threshold."""

import dataclasses
import math

import numpy as np
from fakes import RECIPE, SCALES, SOURCE, ask, curve_table, true_accuracies

from scalepred.predictor import model as model_module
from scalepred.predictor import table as table_module
from scalepred.predictor import threshold
from scalepred.predictor.choice import choose
from scalepred.predictor.train import train


def test_it_chooses_near_the_optimum_of_unseen_tasks_and_beats_the_fixed_scale(predictor):
    new = curve_table(60, per_origin=1, noise=0, seed=9)
    choices = [choose(predictor, dict(zip(new.feature_names, row, strict=True)), source_id=SOURCE, recipe_id=RECIPE)
               for row in new.features]  # fmt: skip
    rows, columns = np.arange(60), [list(SCALES).index(choice.scale) for choice in choices]
    fixed = list(SCALES).index(choices[0].fixed_scale)
    chosen, best = new.accuracies[rows, columns].mean(), new.accuracies.max(axis=1).mean()
    assert best - chosen < 0.2 * (best - new.accuracies[:, fixed].mean())
    assert {choice.by for choice in choices} == {"predicted"}


def test_with_noise_only_it_stays_at_the_fixed_scale():
    left, lost = [], []
    for seed in range(6):
        trained = train(curve_table(24, per_origin=1, slope=0, noise=0.02, seed=seed))
        truth = true_accuracies(np.array([1.0]))[0]
        for row in curve_table(40, per_origin=1, slope=0, seed=100 + seed).features:
            choice = ask(trained, row[0], nothing=row[1], size=row[2])
            left.append(choice.scale != choice.fixed_scale)
            at = [list(SCALES).index(scale) for scale in (choice.scale, choice.fixed_scale)]
            lost.append(truth[at[1]] - truth[at[0]])
    assert np.mean(left) < 0.2
    assert np.mean(lost) < 0.001


def test_a_bundle_of_many_seeds_weighs_more():
    table = curve_table(12)
    many = dataclasses.replace(table, n_seeds=np.where(np.arange(len(table.names)) == 0, 30, 1))
    other = dataclasses.replace(table, n_seeds=np.full(len(table.names), 1))
    low = other.accuracies.copy()
    low[0] = low[0][::-1]  # a bundle that contradicts the rest
    bent = [
        model_module.predict_curves(
            model_module.fit(dataclasses.replace(each, accuracies=low)), table.features[:1], table.scales
        )[0]
        for each in (many, other)
    ]
    wanted = low[0] - low[0].mean()
    assert np.abs(bent[0] - wanted).mean() < np.abs(bent[1] - wanted).mean()


def test_it_learns_from_tasks_whose_features_are_not_all_known():
    table = curve_table(12)
    table.features[::3, 1:] = np.nan
    choice = ask(train(table), 1.3)
    assert choice.by == "predicted"
    assert all(math.isfinite(value) for _, value in choice.curve)


def test_folds_hold_out_every_row_once_and_never_split_an_origin():
    origins = [f"o{i % 7}" for i in range(30)]
    for n_folds, expected in ((None, 7), (5, 5), (20, 7)):
        folds = table_module.origin_folds(origins, n_folds=n_folds, seed=1)
        assert len(folds) == expected
        assert sorted(np.concatenate([held for held, _ in folds])) == list(range(30))
        for held, rest in folds:
            assert {origins[i] for i in held}.isdisjoint({origins[i] for i in rest})
            assert len(held) + len(rest) == 30


def test_a_column_is_left_only_for_more_than_the_threshold():
    curves = np.array([[0.0, 0.01, 0.02], [0.03, 0.01, 0.02], [0.0, 0.0, 0.0]])
    fixed = np.array([1, 1, 1])
    assert threshold.choose_columns(curves, fixed, 0.0).tolist() == [2, 0, 1]
    assert threshold.choose_columns(curves, fixed, 0.015).tolist() == [1, 0, 1]
    assert threshold.choose_columns(curves, fixed, math.inf).tolist() == [1, 1, 1]


def test_of_thresholds_that_score_the_same_the_highest_is_taken_whatever_rounding_does(monkeypatch):
    table = curve_table(10, per_origin=1)
    table = dataclasses.replace(table, accuracies=np.tile([0.1, 0.7, 0.3], (10, 4))[:, :11])
    monkeypatch.setattr(threshold, "predict_curves", lambda *_: np.tile(np.arange(11) % 3 == 1, (2, 1)) * 0.3)
    monkeypatch.setattr(threshold, "fixed_columns", lambda _, table: np.arange(len(table.names)) * 3 + 1)
    assert threshold.inner_threshold(table) == math.inf


def test_the_threshold_is_low_where_predicted_gains_come_true(predictor):
    assert predictor.threshold <= 0.02


def test_joint_inputs_run_through_the_scales_for_each_task():
    inputs = model_module.joint_inputs(np.array([[7.0], [8.0]]), np.array([1.0, 4.0]))
    assert inputs.tolist() == [[7, 0], [7, 2], [8, 0], [8, 2]]


def test_a_row_of_several_collections_is_learnt_from_only_where_none_of_them_is_held_out():
    origins = ("a", "b", "a + b", "c")
    held_and_rest = {tuple(held.tolist()): rest.tolist() for held, rest in table_module.origin_folds(origins)}
    assert held_and_rest == {(0,): [1, 3], (1,): [0, 3], (2,): [3], (3,): [0, 1, 2]}
