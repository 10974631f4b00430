"""The facts of a start: what they are called, parity with slow ways, and what is left out."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from fakes import write_task
from small_networks import tiny_source
from torch import nn

from scalepred.data.task import read_task
from scalepred.predictor.context import start_set
from scalepred.predictor.start_facts import (
    affordable_draws,
    direction_facts,
    feature_facts,
    measure_start,
    schedule_facts,
    start_facts_of,
)
from scalepred.recipe import Recipe
from scalepred.training.bundle import Bundle
from scalepred.training.critical import CriticalRate
from scalepred.training.direction import Direction
from scalepred.training.rates import schedule_factor

RECIPE = Recipe(epochs=6, batch_size=8, image_px=32, schedule="cosine", warmup_epochs=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    task = read_task(write_task(tmp_path_factory.mktemp("tasks") / "task", n=30), image_px=32)
    return Bundle(task=task, source=tiny_source(), device=torch.device("cpu"))


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "adamw"}, {"batchnorm": "frozen", "head_start": "fitted"}], ids=str
)
def test_a_start_has_its_facts_by_name_for_its_recipe_with_their_seconds(bundle, changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    records = start_facts_of(bundle, recipe)
    values = {record.name: record.value for record in records}
    assert {record.feature_set for record in records} == {start_set(recipe)}
    assert all(math.isfinite(value) for value in values.values())
    assert sum(record.seconds for record in records) > 0
    needed = {"log2_steps", "log2_area", "fitted_accuracy", "fitted_log_loss", "features_log2_eigenvalue", "noise_loss"}
    assert needed | {"half_loss", "noise_is_placed", "half_depth", "noise_log2_update_head"} <= set(values)
    assert values["noise_loss"] == pytest.approx(math.log(2), rel=0.1)


@pytest.mark.parametrize(
    ("n_train", "epochs", "expected"), [(400, 20, 3), (240, 32, 3), (380, 20, 1), (50, 20, 1), (8, 2, 1)]
)
def test_three_draws_are_measured_where_they_take_a_tenth_of_the_job_at_most(n_train, epochs, expected):
    assert affordable_draws(n_train=n_train, epochs=epochs) == expected


def test_a_start_that_is_not_finite_has_no_place_and_no_line(bundle):
    broken = dataclasses.replace(bundle, source=tiny_source(), _starts={}, _prepared={})
    with torch.no_grad():
        broken.source.architecture.network.stages[3][0].weight.fill_(math.nan)
    start = measure_start(broken, RECIPE)
    assert (start.values["noise_is_placed"], start.values["half_is_placed"], start.lines) == (0.0, 0.0, {})
    assert "noise_log2_critical" not in start.values
    assert start.values["log2_steps"] > 0


def test_the_lines_of_a_start_are_those_its_facts_tell_of(bundle):
    start = measure_start(bundle, RECIPE)
    assert set(start.lines) == {"noise", "half"}
    for head, line in start.lines.items():
        assert start.values[f"{head}_log2_critical"] == pytest.approx(math.log2(line.factor * RECIPE.base_lr))
        assert line.curve[0] == (0.0, pytest.approx(start.values[f"{head}_loss"], rel=0.2))


def test_the_schedule_of_so_many_steps_has_the_facts_of_as_many_epochs(bundle):
    n = len(bundle.task.train.labels)
    by_steps = dataclasses.replace(RECIPE, epochs=20, steps=RECIPE.epochs * math.ceil(n / 8))
    assert schedule_facts(bundle, by_steps) == schedule_facts(bundle, RECIPE)
    assert schedule_facts(bundle, dataclasses.replace(by_steps, steps=16))["log2_steps"] == 4


def test_a_recipe_that_freezes_a_stage_has_no_update_of_it(bundle):
    names = {record.name for record in start_facts_of(bundle, RECIPE)}
    assert "noise_log2_update_conv1" not in names
    assert "noise_log2_update_conv2" in names


def test_steps_and_area_are_those_of_the_loop(bundle):
    facts = schedule_facts(bundle, RECIPE)
    per_epoch = math.ceil(len(bundle.task.train.labels) / 8)
    n_steps = 6 * per_epoch
    area = sum(schedule_factor("cosine", step=k, n_steps=n_steps, n_warmup=per_epoch) for k in range(n_steps))
    assert 2 ** facts["log2_steps"] == pytest.approx(n_steps)
    assert 2 ** facts["log2_area"] == pytest.approx(area)


@pytest.mark.parametrize("shape", [(20, 6), (6, 20)])
def test_feature_facts_agree_with_plain_loops(shape):
    features = np.random.default_rng(0).normal(1, 2, shape).astype(np.float32)
    facts = feature_facts(features)
    mean = sum(np.outer(row, row) for row in features.astype(np.float64)) / len(features)
    assert 2 ** facts["features_log2_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(mean)[-1])
    assert 2 ** facts["features_log2_norm"] == pytest.approx(np.trace(mean))
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    assert 2 ** facts["features_log2_variance"] == pytest.approx((centred**2).sum() / len(features))


def test_the_eigenvalue_bounds_the_dense_hessian_of_the_heads_loss():
    torch.manual_seed(0)
    features = torch.randn(12, 4, dtype=torch.float64)
    labels = torch.arange(12) % 3

    def loss(weight):
        return nn.functional.cross_entropy(features @ weight.view(3, 4).T, labels)

    hessian = torch.autograd.functional.hessian(loss, 0.1 * torch.randn(12, dtype=torch.float64))
    top = float(torch.linalg.eigvalsh(hessian)[-1])
    bound = 2 ** feature_facts(features.numpy())["features_log2_eigenvalue"]
    assert 0.1 * bound < top <= 0.5 * bound * (1 + 1e-6)


def test_constant_features_and_those_that_are_not_finite_have_no_logarithms():
    assert feature_facts(np.full((3, 2), np.nan, np.float32)) == {}
    assert "features_log2_variance" not in feature_facts(np.ones((3, 2), np.float32))


@pytest.mark.parametrize("factor", [0.0, math.inf, math.nan])
def test_a_loss_that_never_comes_back_or_never_falls_is_told_as_such(factor):
    critical = CriticalRate(
        factor=factor, minimum=factor, depth=0.5, loss=0.7, spread=math.nan, curve=((0.0, 0.7),), lines=()
    )
    measured = Direction(critical=critical, update_shares={"head": 0.25}, noise_images=None)
    facts = direction_facts(measured, head="noise", base_lr=0.001)
    assert facts == {
        "noise_loss": 0.7,
        "noise_is_placed": 0.0,
        "noise_depth": 0.5,
        "noise_log2_update_head": math.log2(250),
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("changes", [{}, {"batchnorm": "frozen"}, {"optimizer": "adamw"}], ids=str)
def test_on_cuda_a_start_has_the_facts_of_the_cpu(bundle, changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    there = Bundle(task=bundle.task, source=bundle.source, device=torch.device("cuda"))
    cpu, cuda = (measure_start(each, recipe).values for each in (bundle, there))
    assert cuda == {name: pytest.approx(value, rel=0.02, abs=0.05) for name, value in cpu.items()}
