"""Own runs move the rule's scale: not without tasks, more with more of them, and in the end to their own best."""

import dataclasses

import numpy as np
import pytest
from fakes import RECIPE, SOURCE, ask
from wide_points import ADAMW, SGD, wide_point, wide_points

from scalepred.predictor.curves import curves_of
from scalepred.predictor.own_runs import (
    LOG2_SCALES,
    MOST_TASKS,
    OCTAVES,
    OwnCurve,
    expected_shape,
    moved_by,
    own_curve,
    own_curves,
)
from scalepred.predictor.rule import RuleAnswer, fit_rule, kind_of

SHAPE = -0.06 * np.maximum(-OCTAVES, 0) - 0.2 * np.maximum(OCTAVES, 0)


def tasks(recipe, bests):
    made = [wide_point(at, recipe, best=best, facts={}) for at, best in enumerate(bests)]
    return [dataclasses.replace(point, source_id="s") for point in made]


def rule_at(scale):
    return RuleAnswer(
        scale=scale, critical_scale=4 * scale, is_fixed=False, safe_factor=2.0, n_points=9, n_origins=5, n_sources=3
    )


def test_one_task_moves_the_rule_less_than_ten_and_a_hundred_have_their_own_best():
    places = [moved_by(own_curve(tasks(SGD, [3.0] * n)), SHAPE, log2_scale=0.0).log2_scale for n in (1, 5, 10, 100)]
    assert 0 <= places[0] <= places[1] <= places[2] <= places[3] == 3
    assert places[0] < places[3]


def test_what_harvested_curves_weigh_is_counted_in_tasks():
    own = own_curve(tasks(SGD, [3.0] * 4))
    assert moved_by(own, SHAPE, log2_scale=0.0, prior_tasks=0.01).log2_scale == 3
    assert moved_by(own, SHAPE, log2_scale=0.0, prior_tasks=1000).log2_scale == 0


def test_where_own_runs_are_level_the_rule_decides_and_the_same_range_is_told():
    level = OwnCurve(source_id="s", recipe_id="r", n_tasks=10, relative=(0.0,) * len(LOG2_SCALES))
    moved = moved_by(level, SHAPE, log2_scale=-6.0, prior_tasks=5)
    assert moved.log2_scale == -6
    assert moved.low == pytest.approx(-6 - 0.005 * 3 / 0.06, abs=0.25)
    assert moved.high == -6  # a quarter of an octave above loses 1.7 points of the mean


def test_a_curve_is_relative_to_each_tasks_best_and_held_beyond_what_ran():
    curve = own_curve(tasks(SGD, [1.0, 1.0]))
    at = dict(zip(LOG2_SCALES.tolist(), curve.relative, strict=True))
    assert (at[1.0], at[0.0], at[-9.0]) == (0.0, pytest.approx(-0.06), pytest.approx(-0.6))
    assert at[12.0] == at[11.0] == pytest.approx(-0.6)  # it diverged at the last, so chance from there on
    assert (curve.n_tasks, curve.source_id, curve.recipe_id) == (2, "s", SGD.recipe_id)


def test_groups_have_curves_of_their_own_and_those_of_many_tasks_none():
    many = tasks(ADAMW, [0.0] * (MOST_TASKS + 1))
    (curve,) = own_curves([*tasks(SGD, [2.0, 2.0]), *many])
    assert (curve.recipe_id, curve.n_tasks) == (SGD.recipe_id, 2)
    assert len(own_curves(many[:-1])) == 1


def test_harvested_curves_are_expected_to_be_best_where_the_rule_is():
    points = wide_points(40)
    curves = curves_of(points, fit_rule(points, {"sgd": "both, damped", "adamw": "noise"}))
    shape = expected_shape(curves, kind_of(SGD), chance=0.2)
    assert OCTAVES[shape.argmax()] == 0
    assert shape[OCTAVES == 1] < shape[OCTAVES == -1] < shape[OCTAVES == 0]


def test_a_choice_of_few_tasks_is_the_rules_as_they_move_it(predictor):
    own = dataclasses.replace(own_curve(tasks(SGD, [3.0] * 30)), source_id=SOURCE, recipe_id=RECIPE)
    moved = dataclasses.replace(predictor, own_curves=(own,), threshold=np.inf)
    fixed = ask(predictor).fixed_scale
    choice = ask(moved, rule=rule_at(1.0), shape=SHAPE / 4)
    assert choice.by == "own runs"
    assert 1 < choice.scale <= 8
    assert choice.fixed_scale == fixed
    assert choice.outlook.lowest <= choice.scale <= choice.outlook.highest
    assert choice.outlook.lost_double > choice.outlook.lost_half > 0
    assert choice.reason.startswith(
        f"30 tasks of this source and recipe did best at {fixed:g}, and the rule gives 1 for"
    )
    assert ask(moved, rule=rule_at(1.0)).by != "own runs"  # nothing to weigh them against
    assert ask(moved, shape=SHAPE).by != "own runs"
    assert ask(predictor, rule=rule_at(1.0), shape=SHAPE).by != "own runs"
