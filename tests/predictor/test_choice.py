"""A choice is predicted, or falls back to the best fixed scale, and says why."""

import dataclasses
import math

import numpy as np
import pytest
from fakes import RECIPE, SCALES, SOURCE, ask, curve_table, true_accuracies

from scalepred.predictor import choice as choice_module
from scalepred.predictor import nearness as nearness_module
from scalepred.predictor.choice import by_rule, choose
from scalepred.predictor.rule import RuleAnswer
from scalepred.predictor.train import Group, train


def test_a_choice_says_what_it_is_and_why(predictor):
    choice = ask(predictor, 1.4)
    assert (choice.by, choice.scale, choice.fixed_scale) == ("predicted", 7.0, 2.0)
    gain = 100 * choice.predicted_gain
    assert gain > 3
    other = next(name for name in choice.contributions if name not in ("hint", "log2_scale"))
    assert choice.reason == (
        f"predicted {gain:.1f} points above the best fixed scale of 2, because of hint and {other}; "
        f"{choice_module._span(choice.same_scales)}"
    )
    assert choice.scale in choice.same_scales
    assert len(choice.neighbours) == 3
    assert set(choice.neighbours.values()) <= set(SCALES)


def test_where_the_fixed_scale_is_predicted_best_the_reason_says_so(predictor):
    hints = np.linspace(-1, 1, 41)
    choice = next(c for c in (ask(predictor, h) for h in hints) if c.scale == c.fixed_scale and not c.contributions)
    assert choice.reason.startswith("2, the best fixed scale, is also predicted best for this task; any scale from ")
    assert choice.predicted_gain == 0
    assert choice.gain_interval is None


def test_a_gain_under_the_threshold_leaves_the_fixed_scale(predictor):
    careful = dataclasses.replace(predictor, threshold=0.5)
    choice = ask(careful, 1.4)
    gain = 100 * sum(choice.contributions.values())
    assert (choice.scale, choice.by, choice.predicted_gain) == (2.0, "predicted", 0)
    assert choice.reason.startswith(
        f"7 is predicted {gain:.1f} points above 2, no more than the 50.00 points that pay on held-out tasks, "
        "so that stays; "
    )


def test_where_no_gain_paid_the_reason_says_so(predictor):
    choice = ask(dataclasses.replace(predictor, threshold=math.inf), 1.4)
    assert choice.scale == 2
    assert ", but leaving the best fixed scale did not pay on held-out tasks, so that stays; " in choice.reason


def test_the_curve_has_every_scale_of_the_grid(predictor):
    choice = ask(predictor, 1.4)
    assert [scale for scale, _ in choice.curve] == list(SCALES)
    best = max(choice.curve, key=lambda point: point[1])
    assert best[0] == choice.scale
    curve = dict(choice.curve)
    assert choice.predicted_gain == curve[choice.scale] - curve[choice.fixed_scale]


@pytest.mark.parametrize("hint", [-1.4, -0.7, 0.5, 1.4])
def test_contributions_sum_to_the_predicted_gain(predictor, hint):
    choice = ask(predictor, hint)
    curve = dict(choice.curve)
    gain = max(curve.values()) - curve[choice.fixed_scale]
    assert sum(choice.contributions.values()) == pytest.approx(gain, abs=1e-5)
    sizes = [abs(value) for value in choice.contributions.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_same_scales_are_an_unbroken_run_around_the_best():
    scales = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    assert choice_module._same_scales(np.array([0.1, 0.0, 0.098, 0.1001, 0.0]), scales) == (2.0, 4.0)
    assert choice_module._same_scales(np.array([0.1, 0.0, 0.0, 0.0, 0.0]), scales) == (0.5,)
    assert choice_module._same_scales(np.zeros(5), scales) == tuple(scales)


def test_the_span_of_good_scales_is_said_in_words():
    assert (
        choice_module._span((1.5, 2.0, 4.0)) == "any scale from 1.5 to 4 is predicted within half a point of the best"
    )
    assert choice_module._span((4.0,)) == "no scale beside it is predicted within half a point of the best"


def test_the_gain_interval_adds_held_out_errors_to_the_predicted_gain(predictor):
    errors = tuple(np.linspace(-0.1, 0.0, 11).tolist())
    choice = ask(dataclasses.replace(predictor, gain_errors=errors), 1.4)
    assert choice.gain_interval == pytest.approx((choice.predicted_gain - 0.1, choice.predicted_gain))
    assert ask(dataclasses.replace(predictor, gain_errors=errors[:9]), 1.4).gain_interval is None


@pytest.mark.parametrize("n_errors", [10, 19, 40])
def test_a_further_error_lies_in_the_interval_as_often_as_promised_however_few_are_known(n_errors):
    drawn = np.random.default_rng(0).normal(size=(4000, n_errors + 1))
    intervals = np.array([choice_module.error_interval(row[1:].tolist()) for row in drawn])
    inside = (drawn[:, 0] >= intervals[:, 0]) & (drawn[:, 0] <= intervals[:, 1])
    assert 0.78 < inside.mean() < 0.84


def test_missing_features_are_harmless(predictor):
    absent = choose(predictor, {"hint": 1.4}, source_id=SOURCE, recipe_id=RECIPE)
    unknown = choose(
        predictor, {"hint": 1.4, "nothing": math.nan, "size": math.nan}, source_id=SOURCE, recipe_id=RECIPE
    )
    assert absent == unknown
    assert absent.by == "predicted"
    assert absent.scale > absent.fixed_scale
    assert choose(predictor, {}, source_id=SOURCE, recipe_id=RECIPE).by == "predicted"


def test_few_origins_give_the_fixed_scale_and_say_how_many():
    trained = train(curve_table(7, per_origin=3))
    choice = ask(trained)
    assert trained.booster is None
    assert (choice.by, choice.scale, choice.curve) == ("fallback", trained.groups[0].fixed_scale, ())
    assert choice.reason == (
        "only 21 tasks of 7 collections harvested with this source and recipe, and predicting takes 8 collections; "
        f"{choice.scale:g} is the best fixed scale of those"
    )


def test_a_source_with_few_origins_is_not_predicted_for_beside_one_with_many():
    choice = ask(train(two_groups(n_other=1)), source_id="source-b")
    assert choice.by == "fallback"
    assert choice.reason.startswith("only 1 task of 1 collection harvested with this source and recipe, ")


def test_each_source_and_recipe_has_its_own_fixed_scale_and_neighbours():
    table = two_groups(n_other=8)
    trained = train(table)
    assert [group.fixed_scale for group in trained.groups] == [2.0, 0.25]
    assert (trained.groups[1].n_tasks, trained.groups[1].n_origins) == (8, 8)
    assert all(name.startswith("b-") for name in ask(trained, source_id="source-b").neighbours)
    assert not any(name.startswith("b-") for name in ask(trained).neighbours)


RULE = RuleAnswer(scale=0.25, critical_scale=4.0, safe_factor=2.0, n_points=9, n_origins=8, n_sources=3)


def test_an_unknown_recipe_gets_a_guess_of_its_source_that_is_called_one(predictor):
    choice = ask(predictor, source_id=SOURCE, recipe_id="other")
    assert (choice.by, choice.scale) == ("fallback", 2.0)
    assert choice.reason == (
        "this source with this recipe was not harvested; 2, the best fixed scale of this source with another recipe, "
        "is a guess"
    )


def test_an_unknown_source_gets_what_suits_its_recipe_on_others_before_the_rule(predictor):
    choice = ask(predictor, source_id="other", rule=RULE)
    assert (choice.by, choice.scale, choice.rule) == ("fallback", 2.0, RULE)
    assert choice.reason == ("this source was not harvested; 2 suited this recipe best on 1 other network (48 tasks)")


OCTAVES = Group(source_id="mine", recipe_id="r", fixed_scale=24.7, n_tasks=3, n_origins=2)


def test_what_was_run_over_octaves_has_its_fixed_scale_and_no_prediction(predictor):
    with_octaves = dataclasses.replace(predictor, octave_groups=(OCTAVES,))
    choice = ask(with_octaves, source_id="mine", recipe_id="r", rule=RULE)
    assert (choice.by, choice.scale, choice.curve) == ("fallback", 24.7, ())
    assert choice.reason == (
        "24.7 is the best fixed scale of 3 tasks that this source and recipe were run on over octaves; predicting "
        "takes whole grids"
    )
    other = ask(with_octaves, source_id="other", recipe_id="r", rule=None)
    assert (other.by, other.scale) == ("fallback", 24.7)
    assert "24.7 suited this recipe best on 1 other network (3 tasks)" in other.reason


def test_the_rule_says_whether_it_is_a_fixed_rate_or_a_share_of_the_critical_one():
    share, fixed = (by_rule(dataclasses.replace(RULE, is_fixed=is_fixed)).reason for is_fixed in (False, True))
    assert "so it is 0.062 of the critical rate of this start (4), as suited 9 harvested points of 3 networks" in share
    assert "so it is the rate, 0.062 of the critical rate of this start (4), that suited 9 harvested points" in fixed


def test_of_several_other_sources_it_is_the_geometric_mean_whatever_their_numbers_of_tasks():
    trained = train(two_groups(n_other=8))  # their fixed scales are 2 and 0.25
    choice = ask(trained, source_id="other")
    assert choice.scale == 0.707
    assert "on 2 other networks (32 tasks)" in choice.reason


def test_what_suits_others_gives_way_to_the_rule_where_it_lies_above_the_critical_scale(predictor):
    sharp = dataclasses.replace(RULE, critical_scale=1.9)
    assert [ask(predictor, source_id="other", rule=each).by for each in (RULE, sharp)] == ["fallback", "rule"]
    assert ask(predictor, source_id="other", rule=sharp).scale == 0.25


def test_an_unknown_source_and_recipe_get_the_rule(predictor):
    assert ask(predictor, source_id="other", recipe_id="other", rule=RULE).by == "rule"


def test_with_neither_source_nor_recipe_known_no_scale_is_carried_over(predictor):
    choice = ask(predictor, source_id="other", recipe_id="other")
    assert (choice.by, choice.scale, choice.fixed_scale) == ("fallback", 1.0, 1.0)
    assert choice.reason == (
        "neither this source nor this recipe was harvested, and the scales of others mean nothing for them; "
        "1 leaves the recipe's rates as they are"
    )


def test_a_guess_is_taken_from_the_same_source_before_the_larger_group():
    assert ask(train(two_groups(n_other=8)), source_id="source-b", recipe_id="other").scale == 0.25


def test_a_task_unlike_all_others_gets_the_fixed_scale(predictor):
    choice = ask(predictor, 50.0)
    assert (choice.by, choice.scale, choice.predicted_gain) == ("fallback", 2.0, 0)
    assert choice.reason == (
        "this task is unlike all 48 that were harvested; 2 is the best fixed scale of those"
    )  # fmt: skip
    assert len(choice.neighbours) == 3


def test_a_task_is_alike_up_to_one_and_a_half_times_the_largest_gap_between_origins():
    table = curve_table(8, per_origin=1)
    table = dataclasses.replace(table, features=np.column_stack([np.arange(8.0), np.zeros(8), np.zeros(8)]))
    trained = train(table)
    assert trained.reach == pytest.approx(1.5 / np.arange(8.0).std())
    assert ask(trained, 8.49, nothing=0, size=0).by == "predicted"
    assert ask(trained, 8.51, nothing=0, size=0).by == "fallback"
    for beyond, expected in ((1.49, False), (1.51, True)):
        moved = dataclasses.replace(table, features=table.features + np.array([beyond, 0, 0]))
        assert nearness_module.abstains(table, moved)[-1] == expected


def two_groups(*, n_other):
    """Return 24 tasks of one source, and others of a second, whose optimum is 0.25."""
    first = curve_table(12)
    second = curve_table(n_other, per_origin=1, seed=5, prefix="b-")
    low = true_accuracies(np.full(n_other, -2.0))
    both = {
        name: (*getattr(first, name), *getattr(second, name)) for name in ("names", "origins", "recipe_ids")
    }  # fmt: skip
    return dataclasses.replace(
        first,
        **both,
        source_ids=(*first.source_ids, *("source-b",) * n_other),
        features=np.concatenate([first.features, second.features]),
        accuracies=np.concatenate([first.accuracies, low]),
        n_held_out=np.concatenate([first.n_held_out, second.n_held_out]),
        n_seeds=np.concatenate([first.n_seeds, second.n_seeds]),
    )
