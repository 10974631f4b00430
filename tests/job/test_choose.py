"""Who chooses a job's scale: the rule where nothing was harvested, the predictor elsewhere, and what is said beside."""

import dataclasses
import math

import pytest
import torch
from fakes import curve_table, write_task
from small_networks import tiny_source
from wide_points import wide_points

from scalepred.data.task import read_task
from scalepred.job.choose import choose_scale, predict, warnings_of
from scalepred.job.setup import Setup
from scalepred.job.tools import Asked, Tools
from scalepred.predictor.curves import curves_of
from scalepred.predictor.rule import Constant, Rule, fit_rule
from scalepred.predictor.train import train
from scalepred.recipe import Recipe

CPU = torch.device("cpu")
F32 = torch.float32
RECIPE = Recipe(epochs=2, image_px=24, batch_size=8, optimizer="adamw", base_lr=0.001)
CONSTANT = Constant(coordinate="noise", log2=-2.0, octaves=1.0, n_points=120, n_origins=40, n_sources=5)


@pytest.fixture
def setup(tmp_path):
    task = read_task(write_task(tmp_path / "birds", n=20), image_px=24)
    asked = Asked(predictor=train(curve_table()), folder=tmp_path / "predictor", note="predictor: made")
    tools = Tools(
        source=tiny_source(),
        recipe=RECIPE,
        recipe_name="mine",
        device=CPU,
        asked=asked,
        rule=Rule(constants={"adamw, noise head": CONSTANT}),
    )
    return Setup(task=task, tools=tools, dtype=torch.float32, scan_seconds=0.1)


def with_tools(setup, **changes):
    return dataclasses.replace(setup, tools=dataclasses.replace(setup.tools, **changes))


def met(setup):
    """Return the same with a predictor that has met this source and recipe."""
    ids = {"source_ids": (setup.tools.source.source_id,) * 40, "recipe_ids": (RECIPE.recipe_id,) * 40}
    predictor = train(dataclasses.replace(curve_table(), **ids))
    return with_tools(setup, asked=dataclasses.replace(setup.tools.asked, predictor=predictor))


def test_a_network_and_recipe_that_were_never_harvested_get_a_constant_times_the_critical_rate(setup):
    choice = choose_scale(setup).choice
    assert choice.by == "rule"
    assert choice.scale == choice.rule.scale == pytest.approx(choice.rule.critical_scale / 4, rel=0.01)
    assert choice.reason == (
        "nothing was harvested with this source and recipe, so it is 0.25 of the critical rate of this start "
        f"({choice.rule.critical_scale:g}), as suited 120 harvested points of 5 networks best; "
        "within a factor of 2 of that lay a scale within two points of the best for 8 in 10"
    )


def test_with_harvested_curves_it_is_told_what_is_expected_around_the_rules_scale(setup):
    points = wide_points(24, per_octave_of_steps=0.5)
    curves = curves_of(points, fit_rule(points, {"sgd": "both, damped", "adamw": "noise"}))
    chosen = choose_scale(with_tools(setup, curves=curves))
    told = chosen.choice.outlook
    assert told.lowest <= chosen.scale <= told.highest * 4
    assert len(told.nearest) == 3
    assert chosen.to_json()["outlook"]["nearest"][0]["kind"] == "adamw, noise head"
    assert choose_scale(setup).choice.outlook is None
    assert choose_scale(met(with_tools(setup, curves=curves))).choice.outlook is None
    assert choose_scale(with_tools(setup, curves=curves), 2.0).choice.outlook is None


def test_the_scale_is_the_same_whatever_the_base_rate_is_called(setup):
    slow = with_tools(setup, recipe=dataclasses.replace(RECIPE, base_lr=0.00025, weight_decay=RECIPE.weight_decay * 4))
    first, second = (choose_scale(each).choice.scale for each in (setup, slow))
    assert second == pytest.approx(4 * first, rel=0.05)


def test_where_the_recipe_was_harvested_the_predictor_chooses_and_the_rule_is_told_beside_it(setup):
    choice = choose_scale(met(setup)).choice
    assert choice.by in ("predicted", "fallback")
    assert choice.rule.scale > 0
    without = choose_scale(with_tools(met(setup), rule=None)).choice
    assert (without.scale, without.reason, without.rule) == (choice.scale, choice.reason, None)


def test_without_a_rule_an_unknown_network_and_recipe_leave_the_rates_as_they_are(setup):
    choice = choose_scale(with_tools(setup, rule=None)).choice
    assert (choice.by, choice.scale) == ("fallback", 1.0)


def test_an_optimizer_that_the_rule_does_not_know_falls_back_too(setup):
    choice = choose_scale(with_tools(setup, recipe=dataclasses.replace(RECIPE, optimizer="sgd"))).choice
    assert (choice.by, choice.scale, choice.rule) == ("fallback", 1.0, None)


@pytest.mark.parametrize(("factor", "warns"), [(0.5, False), (4.0, True)])
def test_a_users_own_scale_is_taken_and_doubted_where_it_lies_above_the_critical_rate(setup, factor, warns):
    critical = choose_scale(setup).choice.rule.critical_scale
    choice = choose_scale(setup, factor * critical).choice
    assert (choice.scale, choice.by) == (factor * critical, "given")
    words = warnings_of(choice)
    assert len(words) == warns
    if warns:
        assert words[0].startswith(
            f"scale {choice.scale:g} is 4.0 times the critical rate of this start ({critical:g}), "
        )
        assert words[0].endswith(f"expect training to be unstable, or to diverge. The rule gives {choice.rule.scale:g}")


def test_a_start_that_is_not_finite_falls_back(setup):
    source = tiny_source()
    with torch.no_grad():
        source.architecture.network.stages[3][0].weight.fill_(math.nan)
    choice = choose_scale(with_tools(setup, source=source)).choice
    assert (choice.by, choice.rule) == ("fallback", None)


@pytest.mark.parametrize(("batchnorm", "n_starts"), [("frozen", 2), ("batch", 2)])
def test_what_was_measured_serves_the_finetune_too(setup, batchnorm, n_starts):
    fitted = with_tools(setup, recipe=dataclasses.replace(RECIPE, head_start="fitted", batchnorm=batchnorm))
    choose_scale(fitted)
    assert fitted.bundle is fitted.bundle
    assert fitted.bundle.start_of(fitted.tools.recipe) is fitted.bundle.start_of(fitted.tools.recipe)
    assert len(fitted.bundle._starts) == n_starts  # that of the job, and the probe, which keeps the source's statistics


def test_probe_facts_and_fitted_head_share_one_pass_through_the_network(setup, monkeypatch):
    frozen = with_tools(setup, recipe=dataclasses.replace(RECIPE, head_start="fitted", batchnorm="frozen"), rule=None)
    images = []
    frozen.tools.source.architecture.network.stages[0].register_forward_pre_hook(lambda _, x: images.append(len(x[0])))
    choose_scale(frozen)
    frozen.bundle.start_of(frozen.tools.recipe)
    assert images == [1, len(frozen.task.train.labels)]  # a blank one tells where stages end


def test_features_are_those_of_a_pass_of_their_own(setup):
    own = predict(setup.task, setup.tools.source, setup.tools.asked.predictor, recipe=RECIPE, device=CPU)
    assert choose_scale(setup).features == own.features


@pytest.mark.parametrize("head_start", ["noise", "fitted"])
def test_the_choice_is_the_same_whatever_dtype_the_job_takes(setup, head_start):
    asked = with_tools(setup, recipe=dataclasses.replace(RECIPE, head_start=head_start))
    whole, half = (
        choose_scale(dataclasses.replace(asked, dtype=dtype), measures_start=True) for dtype in (F32, torch.bfloat16)
    )
    assert (whole.choice, whole.lines, whole.features) == (half.choice, half.lines, half.features)
    assert set(whole.lines) == {"noise", "half"}


@pytest.mark.parametrize("scale", ["auto", 1.0])
def test_the_probe_is_told_whoever_chooses_the_scale(setup, scale):
    probe, start = choose_scale(setup, scale).probe, setup.bundle.probe_start()
    assert (probe.accuracy, probe.n) == (start.probe.accuracy, start.probe.n_scored)
    assert probe.interval[0] < probe.accuracy <= probe.interval[1]
    assert probe.seconds > 0
