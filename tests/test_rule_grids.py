"""The benchmark of what grids teach the rule, on points whose best rates are known."""

import dataclasses

import numpy as np
import pytest
from wide_points import SGD, wide_point

from benchmarks import rule_grids
from scalepred.predictor.coordinates import coordinate
from scalepred.recipe import Recipe

FLAT = dataclasses.replace(SGD, multipliers=(1.0,) * 6)


def points(recipe, *, log2_constant, n=40, seed=0):
    """Return points whose best rate is a constant times the critical rate of both heads, whatever the recipe."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(n):
        noise = rng.uniform(-8, -2)
        facts = {"noise_log2_critical": noise, "half_log2_critical": noise - rng.uniform(0, 2), "log2_steps": 7.0}
        facts |= {"noise_log2_minimum": noise - 1, "half_log2_minimum": noise - 2}
        best = coordinate("both", facts, recipe) + log2_constant - np.log2(recipe.base_lr)
        made.append(wide_point(index, recipe, best=best, facts=facts, n_families=2))
    return made


@pytest.fixture
def rows(capsys):
    """Rows by what was judged, what was held out and the way; design points have another constant than grids."""
    found = rule_grids.run(points(SGD, log2_constant=-1), points(FLAT, log2_constant=-5, seed=1))
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(found)
    return {(row["judged_on"], row["held_out"], row["by"]): row for row in found}


def test_grids_are_placed_better_by_a_rule_that_met_their_recipe_on_other_networks(rows):
    both = rows["grids", "network and origin", rule_grids.BOTH]
    assert both["gain"][1] > 5
    assert both["accuracy"] > both["scale_1"]
    assert rows["grids", "network and origin, recipe too", rule_grids.BOTH]["gain"] == [0, 0, 0]


def test_a_rule_never_saw_the_points_own_origin_network_or_recipe():
    design, grids = points(SGD, log2_constant=-1), points(FLAT, log2_constant=-5, seed=1)
    point = grids[0]
    other = Recipe(momentum=0.9, multipliers=(2.0,) * 6)
    wrecked = [
        dataclasses.replace(p, accuracies=p.accuracies[::-1].copy())
        if p.origin == point.origin or p.source_id == point.source_id or p.recipe.multipliers == FLAT.multipliers
        else p
        for p in [*grids, *points(other, log2_constant=-3, seed=2)]
    ]
    sound = [*grids, *points(other, log2_constant=-3, seed=2)]
    of = rule_grids.HELD["network"]
    assert rule_grids.rules(point, design, wrecked, of, is_new=True) == rule_grids.rules(
        point, design, sound, of, is_new=True
    )
    assert rule_grids.rules(point, design, wrecked, of, is_new=False) != rule_grids.rules(
        point, design, sound, of, is_new=False
    )


def test_measured_has_no_fixed_rate(rows):
    rule = rule_grids._measured(points(SGD, log2_constant=-1), "sgd, noise head")
    assert rule.constants["sgd, noise head"].coordinate not in ("rate", "damped rate")
    assert ("design points", "family and origin, recipe too", rule_grids.MEASURED) in rows
