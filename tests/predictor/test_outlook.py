"""What is told of the width of a choice: known curves give known ranges and losses, and near points are named."""

import dataclasses
import math

import numpy as np
import pytest

from scalepred.predictor.curves import KINDS, OCTAVES, Curve, Curves
from scalepred.predictor.outlook import N_NEAREST, PER_KIND, USUAL, is_unlike, moved_by, nearest, outlook
from scalepred.recipe import Recipe

SGD = Recipe()
NEVER = len(OCTAVES)
FACTS = {"log2_steps": 8.0, "noise_log2_critical": -5.0, "half_log2_critical": -6.0}


def curve(relative, *, source="tiny", kind="sgd, noise head", log2_steps=8.0, diverges=NEVER, **critical_rates):
    return Curve(
        source=source,
        kind=kind,
        log2_steps=log2_steps,
        critical_rates=critical_rates,
        best_scale=4.0,
        rule_scale=2.0,
        relative=tuple(relative.tolist()),
        diverges=diverges,
    )


def outlook_of(*curves, **changes):
    return outlook(Curves(curves=curves, rule_id="r"), FACTS, SGD, **{"scale": 2.0, "chance": 0.2} | changes)


def test_the_range_and_the_losses_are_those_of_a_known_curve():
    lopsided = -np.where(OCTAVES < 0, 0.004 * -OCTAVES, 0.06 * OCTAVES)
    told = outlook_of(curve(lopsided))
    assert (told.lowest, told.highest) == (pytest.approx(2 * 2**-1.25, rel=0.01), 2.0)
    assert (told.lost_half, told.lost_double) == (pytest.approx(0.004), pytest.approx(0.06))
    assert told.in_words()[:2] == [
        "scales from 0.841 to 2 are expected within half a point of the best",
        "half the scale is expected to lose 0.4 points, twice the scale to lose 6.0 points",
    ]


def test_a_better_scale_beside_the_chosen_one_is_told_as_a_gain():
    told = outlook_of(curve(-0.05 * np.abs(OCTAVES - 1)))
    assert "half the scale is expected to lose 5.0 points, twice the scale to gain 5.0 points" in told.in_words()
    assert told.lowest == told.highest == 4.0


def test_where_the_scale_hardly_matters_it_says_so():
    flat, narrow = outlook_of(curve(np.zeros(len(OCTAVES)))), outlook_of(curve(-0.05 * np.abs(OCTAVES)))
    assert flat.octaves == pytest.approx(12, abs=0.01)
    assert "the scale hardly matters here" in flat.in_words()
    assert "the scale hardly matters here" not in narrow.in_words()


def test_a_cliff_costs_down_to_chance():
    edge = int(np.flatnonzero(OCTAVES == 1)[0])
    told = outlook_of(curve(np.zeros(len(OCTAVES)), diverges=edge))
    assert told.lost_double == pytest.approx(0.63 - 0.2)
    assert told.highest < 4


def test_curves_of_the_same_kind_of_recipe_say_most():
    falling, rising = -0.05 * (OCTAVES + 8), 0.05 * (OCTAVES - 8)
    told = outlook_of(curve(falling), curve(rising, kind="adamw, noise head"))
    assert told.lost_double == pytest.approx(0.05 * (1 - 0.1) / 1.1)


def test_the_nearest_points_are_those_of_like_steps_critical_rates_and_recipes():
    flat, at = np.zeros(len(OCTAVES)), {"noise": -5.0, "half": -6.0}
    curves = Curves(
        curves=(
            curve(flat, source="other optimizer", kind="adamw, noise head", **at),
            curve(flat, source="three octaves longer", log2_steps=11.0, **at),
            curve(flat, source="the same", **at),
            curve(flat, source="an octave more critical", **at | {"half": at["half"] + 1}),
            curve(flat, source="both differ", kind="adamw, fitted head", **at),
        ),
        rule_id="r",
    )
    near = nearest(curves, FACTS, SGD)
    assert [each.source for each in near] == ["the same", "an octave more critical", "other optimizer"]
    told = outlook(curves, FACTS, SGD, scale=2.0, chance=0.2).in_words()[-1]
    assert told.startswith("nearest harvested points: the same (sgd, noise head, 256 steps), best at 4 where the rule")
    fitted = dataclasses.replace(SGD, optimizer="adamw", head_start="fitted")
    assert nearest(curves, FACTS, fitted)[0].source == "both differ"


def test_a_critical_scale_that_is_not_known_is_passed_over():
    flat = np.zeros(len(OCTAVES))
    near = nearest(Curves(curves=(curve(flat), curve(flat, noise=99.0)), rule_id="r"), {"log2_steps": 8.0}, SGD)
    assert len(near) == 2


def starts(n, *, source="tiny", steps=8.0):
    """Return n starts, an octave apart in both critical rates; that of FACTS lies at the second."""
    return tuple(
        curve(np.zeros(len(OCTAVES)), source=source, log2_steps=steps, noise=shift - 6.0, half=shift - 7.0)
        for shift in range(n)
    )


def test_a_start_that_is_sharper_than_most_is_told_so_and_momentum_where_the_rule_has_it():
    curves = Curves(curves=starts(5), rule_id="r")
    sharp, damped = moved_by(curves, FACTS | {"noise_log2_critical": -6.2}, SGD, is_damped=True)
    assert sharp == (
        "along the first step the loss is back where it was at 14.6 of the recipe's rates, sooner than at 80% of "
        "harvested starts: a sharp start, so slower"
    )
    assert damped == "momentum 0.9 makes steps up to 10 times as long, so slower"
    (gentle,) = moved_by(curves, FACTS | {"half_log2_critical": 1.0}, SGD, is_damped=False)
    assert "later than at 100% of harvested starts: a gentle start, so faster" in gentle
    middle = moved_by(curves, {name: value + 1.5 for name, value in FACTS.items()}, SGD, is_damped=False)
    assert "about where it does at harvested starts" in middle[0]


def test_a_fixed_rate_is_said_to_be_moved_by_no_start():
    curves = Curves(curves=starts(5), rule_id="r")
    for moved in ({"noise_log2_critical": -6.2}, {"half_log2_critical": 1.0}):
        (sharp,) = moved_by(curves, FACTS | moved, SGD, is_damped=False, is_fixed=True)
        assert sharp.endswith(("a sharp start", "a gentle start"))


def test_a_start_without_a_critical_scale_is_moved_by_none():
    assert moved_by(Curves(curves=starts(5), rule_id="r"), {"log2_steps": 8.0}, SGD, is_damped=False) == []


def test_a_start_is_unlike_where_it_is_farther_than_points_of_different_networks_are_apart():
    curves = Curves(curves=(*starts(4), *starts(4, source="other", steps=9.0)), rule_id="r")
    assert not is_unlike(curves, FACTS | {"log2_steps": 7.5}, SGD)
    assert is_unlike(curves, FACTS | {"log2_steps": 6.5}, SGD)
    told = outlook(curves, FACTS | {"log2_steps": 6.5}, SGD, scale=2.0, chance=0.2)
    assert told.in_words()[-1].startswith("this start is unlike all 8 that were harvested")


def test_points_of_one_network_alone_say_nothing_of_how_far_others_are():
    assert not is_unlike(Curves(curves=starts(4), rule_id="r"), FACTS | {"log2_steps": 99.0}, SGD)


def test_a_recipes_base_rate_moves_neither_how_sharp_a_start_is_nor_what_it_is_like():
    curves = Curves(curves=(*starts(4), *starts(4, source="other", steps=9.0)), rule_id="r")
    sharp = FACTS | {"noise_log2_critical": -6.2}
    told = {
        (
            moved_by(curves, sharp, recipe, is_damped=False)[0].partition("rates, ")[2],
            is_unlike(curves, sharp, recipe),
            tuple(each.source for each in nearest(curves, sharp, recipe)),
        )
        for recipe in (dataclasses.replace(SGD, base_lr=rate) for rate in (0.1, 0.001, 1e-6))
    }
    assert len(told) == 1


def apart(one, other):
    """Return the distance of two curves, one number after the other."""
    octaves = [one.log2_steps - other.log2_steps]
    octaves += [
        one.critical_rates[head] - other.critical_rates[head]
        for head in {*one.critical_rates} & {*other.critical_rates}
    ]
    parts = zip(one.kind.split(", "), other.kind.split(", "), strict=True)
    return math.hypot(*octaves, *(PER_KIND for mine, its in parts if mine != its))


def random_curve(rng, number):
    rates = {head: float(rng.normal()) for head in ("noise", "half") if rng.random() < 0.8}
    return dataclasses.replace(
        curve(
            np.zeros(len(OCTAVES)), kind=str(rng.choice(sorted(KINDS))), log2_steps=float(rng.uniform(4, 9)), **rates
        ),
        source=f"network {rng.integers(5)}",
        best_scale=float(number + 1),
    )


def test_all_distances_at_once_are_those_of_pairs():
    rng = np.random.default_rng(0)
    curves = Curves(curves=tuple(random_curve(rng, number) for number in range(60)), rule_id="r")
    usual = [
        min(apart(each, other) for other in curves.curves if other.source != each.source) for each in curves.curves
    ]
    told = []
    for shift in np.linspace(-6, 6, 25):
        facts = {"log2_steps": 6.5 + shift, "noise_log2_critical": 0.5}
        start = dataclasses.replace(curve(np.zeros(1), log2_steps=6.5 + shift, noise=0.5), source="")
        near = sorted(curves.curves, key=lambda other, start=start: apart(start, other))
        assert [each.best_scale for each in nearest(curves, facts, SGD)] == [
            each.best_scale for each in near[:N_NEAREST]
        ]
        told.append(is_unlike(curves, facts, SGD))
        assert told[-1] == (apart(start, near[0]) > np.quantile(usual, USUAL))
    assert {*told} == {True, False}
