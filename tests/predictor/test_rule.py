"""The rule: constants that are known come back, what can't be told is not guessed, and its file is checked."""

import dataclasses
import json
import math

import numpy as np
import pytest

from scalepred.errors import VersionError
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.points import Point
from scalepred.predictor.rule import FILE, Constant, Rule, answer, fit_rule, kind_of, load_rule, save_rule
from scalepred.recipe import Recipe, content_id

SGD = Recipe(momentum=0.9, base_lr=0.01)
ADAMW = Recipe(optimizer="adamw", base_lr=0.001)


def make_point(index, recipe, *, best, facts):
    """Return a point whose accuracy falls by 5 points for each squared octave from its best log2 scale."""
    scales = np.arange(-16.0, 17.0)
    return Point(
        task=f"t{index}",
        origin=f"o{index % 7}",
        source=f"s{index % 3}",
        architecture="tiny",
        task_id=f"t{index}",
        source_id=f"id{index % 3}",
        recipe=recipe,
        facts=facts,
        log2_scales=scales,
        accuracies=np.clip(0.9 - 0.05 * (scales - best) ** 2, 0.1, 1),
        diverged=np.zeros(len(scales), bool),
        chance=0.1,
        n_train=50,
        n_images=200,
        n_seeds=np.ones(len(scales), int),
        honest_best=0.9,
        job_seconds=10.0,
        facts_seconds=1.0,
    )


def points_of(recipe, *, log2_constant, n=30, noise=0.0, seed=0):
    """Return points whose best rate is a constant times the critical rate at a new head."""
    rng = np.random.default_rng(seed)
    points = []
    for index in range(n):
        critical = rng.uniform(-9, 3)
        best = critical + log2_constant - math.log2(recipe.base_lr) + noise * rng.normal()
        facts = {
            "noise_log2_critical": critical,
            "half_log2_critical": critical - 2,
            "noise_log2_minimum": critical - 1,
        }
        points.append(make_point(index, recipe, best=best, facts=facts))
    return points


@pytest.mark.parametrize(("recipe", "log2_constant"), [(SGD, -1.0), (ADAMW, -2.25), (ADAMW, 1.5)])
def test_a_constant_that_all_points_share_is_found_to_a_quarter_of_an_octave(recipe, log2_constant):
    rule = fit_rule(points_of(recipe, log2_constant=log2_constant), {recipe.optimizer: "noise"})
    constant = rule.constants[kind_of(recipe)]
    assert constant.log2 == pytest.approx(log2_constant, abs=0.25)
    assert (constant.n_points, constant.n_origins, constant.n_sources) == (30, 7, 3)
    assert constant.octaves <= 0.75  # the scales that were run are octaves


def test_a_fixed_rate_is_found_however_low_it_is():
    points = [make_point(index, ADAMW, best=-2.0, facts={}) for index in range(9)]
    constant = fit_rule(points, {"adamw": "rate"}).constants["adamw, noise head"]
    assert constant.log2 == pytest.approx(math.log2(0.001) - 2, abs=0.25)


def test_the_factor_that_is_told_holds_a_good_scale_of_eight_in_ten():
    rule = fit_rule(points_of(ADAMW, log2_constant=-2, n=400, noise=1.0), {"adamw": "noise"})
    assert rule.constants["adamw, noise head"].octaves == pytest.approx(1.28, abs=0.3)  # 80 % of a normal distribution


def test_momentum_counts_with_sgd_alone():
    facts = {"noise_log2_critical": -3.0, "half_log2_critical": -5.0}
    assert coordinate("noise, damped", facts, SGD) == pytest.approx(-3 + math.log2(0.1))
    assert coordinate("noise, damped", facts, ADAMW) == -3
    assert coordinate("both", facts, SGD) == -4
    assert coordinate("both", {"half_log2_critical": -5.0}, SGD) == -5
    assert coordinate("noise", {}, SGD) is None
    assert coordinate("rate", {}, SGD) == 0


def test_a_start_is_answered_with_scale_critical_scale_and_factor():
    constant = Constant(coordinate="noise, damped", log2=1.0, octaves=1.0, n_points=40, n_origins=9, n_sources=3)
    told = answer(Rule(constants={"sgd, noise head": constant}), {"noise_log2_critical": math.log2(0.08)}, SGD)
    assert told.critical_scale == pytest.approx(8, rel=0.01)
    assert told.scale == pytest.approx(8 * 2 * 0.1, rel=0.01)
    assert (told.safe_factor, told.n_points, told.n_sources) == (2.0, 40, 3)


FIXED = Constant(coordinate="rate", log2=-6.0, octaves=1.0, n_points=40, n_origins=9, n_sources=3)


def test_a_fixed_rate_is_what_it_is_up_to_the_critical_rate_and_no_more():
    rule = Rule(constants={"sgd, noise head": FIXED})
    gentle = answer(rule, {"noise_log2_critical": -3.0, "half_log2_critical": -5.0}, SGD)
    assert gentle.scale == pytest.approx(2**-6 / SGD.base_lr, rel=0.01)
    assert gentle.critical_scale == pytest.approx(2**-4 / SGD.base_lr, rel=0.01)
    assert gentle.is_fixed
    sharp = answer(rule, {"noise_log2_critical": -9.0, "half_log2_critical": -11.0}, SGD)
    assert sharp.scale == sharp.critical_scale == pytest.approx(2**-10 / SGD.base_lr, rel=0.01)
    assert not sharp.is_fixed
    assert answer(rule, {}, SGD) is None


@pytest.mark.parametrize(
    ("name", "critical"), [("noise minimum", -3.0), ("half, damped", -5.0), ("damped rate", -4.0), ("both", -4.0)]
)
def test_the_critical_rate_beside_a_coordinate_is_that_of_its_head(name, critical):
    facts = {"noise_log2_critical": -3.0, "half_log2_critical": -5.0, "noise_log2_minimum": -4.0}
    facts |= {"half_log2_minimum": -6.0}
    constant = dataclasses.replace(FIXED, coordinate=name)
    told = answer(Rule(constants={"sgd, noise head": constant}), facts, SGD)
    assert told.critical_scale == pytest.approx(2**critical / SGD.base_lr, rel=0.01)
    assert told.scale <= told.critical_scale


@pytest.mark.parametrize(("facts", "recipe"), [({}, SGD), ({"noise_log2_critical": 0.0}, ADAMW)])
def test_what_can_not_be_told_is_not_answered(facts, recipe):
    constant = Constant(coordinate="noise", log2=1.0, octaves=1.0, n_points=40, n_origins=9, n_sources=3)
    assert answer(Rule(constants={"sgd, noise head": constant}), facts, recipe) is None


def test_each_head_start_has_a_constant_of_its_own():
    fitted = dataclasses.replace(SGD, head_start="fitted")
    points = [*points_of(SGD, log2_constant=-1), *points_of(fitted, log2_constant=-4)]
    rule = fit_rule(points, {"sgd": "noise"})
    assert {kind: constant.log2 for kind, constant in rule.constants.items()} == {
        "sgd, noise head": pytest.approx(-1, abs=0.25),
        "sgd, fitted head": pytest.approx(-4, abs=0.25),
    }
    facts = {"noise_log2_critical": 0.0}
    assert rule.log2_scale(facts, SGD) - rule.log2_scale(facts, fitted) == pytest.approx(3, abs=0.5)


def test_a_scale_is_as_far_off_as_the_nearest_that_is_about_as_good_as_the_best():
    point = dataclasses.replace(
        make_point(0, SGD, best=0, facts={}),
        log2_scales=np.array([-2.0, -1.0, 0.0, 1.0, 2.0]),
        accuracies=np.array([0.5, 0.69, 0.70, 0.69, 0.1]),
    )
    assert [point.octaves_off(place) for place in (-3.0, -1.0, 0.5, 2.5)] == [2.0, 0.0, 0.5, 1.5]


def test_points_of_another_optimizer_change_nothing():
    sgd, adamw = points_of(SGD, log2_constant=-1), points_of(ADAMW, log2_constant=-3)
    both = fit_rule([*sgd, *adamw], {"sgd": "noise", "adamw": "noise"})
    assert both.constants["sgd, noise head"] == fit_rule(sgd, {"sgd": "noise"}).constants["sgd, noise head"]


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    rule = dataclasses.replace(fit_rule(points_of(SGD, log2_constant=-1), {"sgd": "noise"}), evidence={"n_points": 30})
    save_rule(rule, tmp_path)
    return rule, tmp_path


def test_a_rule_is_read_as_it_was_saved(saved):
    rule, folder = saved
    assert load_rule(folder) == rule


def test_every_prefix_of_its_file_is_refused(saved):
    _, folder = saved
    raw = (folder / FILE).read_bytes()
    for end in range(len(raw) - 1):  # the last byte is the end of the line
        (folder / FILE).write_bytes(raw[:end])
        with pytest.raises(VersionError, match=r"The rule .* can't be used: "):
            load_rule(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["constants"]["sgd, noise head"].update(log2=3.0),
        lambda values: values.update(schema=2),
        lambda values: values.pop("constants"),
    ],
)
def test_a_rule_that_was_changed_is_refused(saved, change):
    _, folder = saved
    values = json.loads((folder / FILE).read_text())
    change(values)
    (folder / FILE).write_text(json.dumps(values))
    with pytest.raises(VersionError, match=r"Copy its folder again, whole\."):
        load_rule(folder)


@pytest.mark.parametrize(
    "change", [{"log2": None}, {"coordinate": "wishes"}, {"octaves": "many"}, {"more": 1}], ids=str
)
def test_a_forged_seal_helps_nobody_to_a_constant_that_is_none(saved, change):
    _, folder = saved
    values = json.loads((folder / FILE).read_text())
    values["constants"]["sgd, noise head"] |= change
    del values["rule_id"]
    (folder / FILE).write_text(json.dumps(values | {"rule_id": content_id("rule", values)}))
    with pytest.raises(VersionError, match="can't be used"):
        load_rule(folder)


def test_a_folder_without_a_rule_is_told(tmp_path):
    with pytest.raises(VersionError, match="No such file or directory"):
        load_rule(tmp_path)
