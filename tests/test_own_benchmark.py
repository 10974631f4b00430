"""What own tasks are worth beside the rule: the weight that is learnt, and who moves what."""

import dataclasses
import json

import numpy as np
import pytest
from wide_points import ADAMW, SGD, wide_point, wide_points

from benchmarks.own import OWN, RULE, WEIGHTS, Data, Placed, learn_weight, show, show_weights
from benchmarks.timed import ROOT
from scalepred.predictor.curves import curves_of
from scalepred.predictor.own_runs import PRIOR_TASKS
from scalepred.predictor.rule import fit_rule

POINTS = wide_points(60)
RULE_OF_ALL = fit_rule(POINTS, {"sgd": "both, damped", "adamw": "noise"})
CURVES = curves_of(POINTS, RULE_OF_ALL)
FACTS = {"noise_log2_critical": -7.0, "half_log2_critical": -7.0, "log2_steps": 6.0}


def group(recipe, source, off):
    """Return tasks of a group whose best scales lie so many octaves from the rule's."""
    place = RULE_OF_ALL.bounded_log2_scale(FACTS, recipe)
    made = [wide_point(at, recipe, best=place + octaves, facts=FACTS) for at, octaves in enumerate(off)]
    return [dataclasses.replace(point, source=source, source_id=source, origin=f"o{point.task}") for point in made]


def data(**of_groups):
    groups = {(source, tasks[0].recipe.recipe_id): tasks for source, tasks in of_groups.items()}
    folds = {point.origin: 0 for tasks in groups.values() for point in tasks} | {"none": 1}
    return Data(
        points=POINTS, grid_points=[], groups=groups, recipes={}, grids=None, folds=folds, networks={}, families={}
    )


def weight(off):
    same_recipe = group(SGD, "third", [4.0] * 12)
    made = data(mine=group(SGD, "mine", [0.0] * 12), other=group(ADAMW, "other", off), third=same_recipe)
    seen = []

    def learnt(networks, fold):
        seen.append((networks, fold))
        return RULE_OF_ALL, CURVES

    found = learn_weight(made, ("mine", SGD.recipe_id), 1, learnt)
    assert seen == [(frozenset({"mine", "other"}), 1)]  # what shares network or recipe teaches no weight
    return found


def test_what_ships_is_what_was_learnt():
    told = json.loads((ROOT / "benchmarks" / "results" / "own.json").read_text(encoding="utf-8"))
    assert told["weight_of_all"] == PRIOR_TASKS


def test_where_groups_lie_far_from_the_rule_own_tasks_weigh_more_than_where_tasks_scatter_about_it():
    far, scattered = [4.0] * 14, np.random.default_rng(0).normal(0, 2, 14).tolist()
    assert weight(far) == WEIGHTS[0]
    assert weight(scattered) > WEIGHTS[0]


def test_without_own_tasks_it_is_the_rules_scale_and_with_many_theirs():
    tasks = [Placed(task, RULE_OF_ALL, CURVES) for task in group(SGD, "mine", [3.0] * 40)]
    assert tasks[0].moved([], 1.0) == tasks[0].place
    assert tasks[0].moved(tasks[1:], 0.5) == pytest.approx(tasks[0].place + 3, abs=0.75)
    assert tasks[0].accuracy(tasks[0].place + 3) > tasks[0].accuracy(tasks[0].place)


def test_gains_are_over_tasks_and_not_over_draws(capsys):
    ways = dict.fromkeys(("best fixed scale of the n", "best fixed scale of all others"), 0.5)
    about = {"size": 1, "network": "s", "recipe": "r", "scales": {}} | ways
    rows = [
        about | {"origin": origin, OWN: own, RULE: 0.6} | dict.fromkeys(WEIGHTS, own)
        for origin, owns in (("a", [0.7, 0.7, 0.7]), ("b", [0.6]))
        for own in owns
    ]
    (row,) = show(rows)
    assert (row["tasks"], row["n"], row["own_over_rule"][0]) == (1, 2, 5.0)
    assert [each["1"][0] for each in show_weights(rows)] == [5.0] * len(WEIGHTS)
    assert "| 0.5 | +5.0 (" in capsys.readouterr().out
