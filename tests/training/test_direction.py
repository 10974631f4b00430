"""A recipe's first update on a task: parity with any optimizer's critical rate, with plain loops, and its draws."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from fakes import write_task
from small_networks import tiny_source
from torch import nn
from torch.nn import functional

from scalepred.data.task import read_task
from scalepred.networks.source import new_network, normalise
from scalepred.recipe import GRADUATED, STAGES, Recipe
from scalepred.training.bundle import Bundle
from scalepred.training.critical import critical_rate
from scalepred.training.direction import HEADS, draw_rows, measure_direction, noise_images
from scalepred.training.start import half_way

RECIPE = Recipe(epochs=2, batch_size=64, image_px=32, weight_decay=0.0)


@pytest.fixture
def bundle(tmp_path):
    task = read_task(write_task(tmp_path / "task", n=40), image_px=32)
    return Bundle(task=task, source=tiny_source(), device=torch.device("cpu"))


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"batchnorm": "frozen"}], ids=str)
def test_it_is_the_critical_rate_of_an_optimizer_with_the_recipes_rates(bundle, changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    measured = measure_direction(bundle, recipe, head="noise", n_draws=2)
    source, train = bundle.source, bundle.task.train
    network = new_network(source, n_classes=2, generator=torch.Generator().manual_seed(0))
    network.train(recipe.batchnorm == "batch")
    network.stages[0].eval().requires_grad_(False)
    stages = [[p for n, p in network.named_parameters() if source.architecture.stages[n] == k] for k in range(1, 6)]
    groups = [
        {"params": parameters, "lr": 0.001 * multiplier}
        for parameters, multiplier in zip(stages, GRADUATED[1:], strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0) if "optimizer" in changes else torch.optim.SGD(groups)
    batches = [
        (normalise(torch.from_numpy(train.images[rows]), source.architecture), torch.from_numpy(train.labels[rows]))
        for rows in draw_rows(len(train.labels), n_draws=2, seed=0)
    ]
    plain = critical_rate(network, lambda n, b: functional.cross_entropy(n(b[0]), b[1]), batches, optimizer)
    assert measured.critical.factor == pytest.approx(plain.factor, rel=0.03)
    assert measured.critical.loss == pytest.approx(plain.loss, rel=1e-4)


def test_statistics_are_those_of_batches_as_large_as_the_recipes(bundle):
    losses = {
        size: measure_direction(bundle, dataclasses.replace(RECIPE, batch_size=size), head="noise").critical.loss
        for size in (4, 64)
    }
    assert losses[4] != losses[64]


def test_update_shares_are_norms_of_updates_over_norms_of_weights(bundle):
    recipe = dataclasses.replace(RECIPE, optimizer="adamw", base_lr=0.01, multipliers=(1.0,) * 6)
    shares = measure_direction(bundle, recipe, head="noise", n_draws=1).update_shares
    network = new_network(bundle.source, n_classes=2, generator=torch.Generator().manual_seed(0)).train()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    train, (rows,) = bundle.task.train, draw_rows(len(bundle.task.train.labels), n_draws=1, seed=0)
    logits = network(normalise(torch.from_numpy(train.images[rows]), bundle.source.architecture))
    functional.cross_entropy(logits, torch.from_numpy(train.labels[rows])).backward()
    torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.0).step()
    moved, size = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)
    for name, parameter in network.named_parameters():
        stage = STAGES[bundle.source.architecture.stages[name]]
        moved[stage] += (parameter.detach() - before[name]).square().sum().item()
        size[stage] += before[name].square().sum().item()
    assert shares == pytest.approx({stage: math.sqrt(moved[stage] / size[stage]) for stage in STAGES}, rel=0.02)


def test_frozen_stages_have_no_share(bundle):
    assert list(measure_direction(bundle, RECIPE, head="noise").update_shares) == list(STAGES[1:])


@pytest.mark.parametrize("head", HEADS)
def test_every_head_starts_where_it_should(bundle, head):
    loss = measure_direction(bundle, dataclasses.replace(RECIPE, batchnorm="frozen"), head=head).critical.loss
    start = bundle.start_of(dataclasses.replace(RECIPE, batchnorm="frozen"))
    fitted = -np.log(_probabilities(start.probe.logits(start.features), bundle.task.train.labels)).mean()
    expected = {"noise": math.log(2), "fitted": fitted, "half": max(0.5 * math.log(2), fitted)}[head]
    assert loss == pytest.approx(expected, rel=0.5 if head == "fitted" else 0.1)


def _probabilities(logits, labels):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True))[np.arange(len(labels)), labels]


def test_half_way_is_where_the_training_loss_is_half_of_ln_k(bundle):
    start = bundle.start_of(dataclasses.replace(RECIPE, batchnorm="frozen"))
    labels = bundle.task.train.labels
    sharp = dataclasses.replace(start, probe=dataclasses.replace(start.probe, weight=100 * start.probe.weight))
    for each in (start, sharp):
        factor = half_way(each, labels)
        loss = -np.log(1e-300 + _probabilities(factor * each.probe.logits(each.features), labels)).mean()
        assert loss == pytest.approx(0.5 * math.log(2), rel=0.01) or (factor == 1 and loss >= 0.5 * math.log(2))


@pytest.mark.parametrize(("n", "n_draws", "size"), [(100, 3, 32), (40, 3, 32), (5, 3, 5), (1, 2, 1)])
def test_draws_are_disjoint_as_far_as_there_are_images_enough(n, n_draws, size):
    rows = draw_rows(n, n_draws=n_draws, seed=0)
    assert [len(each) for each in rows] == [size] * n_draws
    assert len(set(np.concatenate(rows))) == min(n, n_draws * size)


def test_the_noise_scale_is_that_of_gradients_with_known_noise():
    rng = np.random.default_rng(0)
    signal, spread, n_images = 1.0, 2.0, 32
    d = 4000
    mean = signal * rng.normal(size=d) / math.sqrt(d)
    gradients = [
        [torch.from_numpy(mean + spread * rng.normal(size=d) / math.sqrt(d) / math.sqrt(n_images))] for _ in range(40)
    ]
    assert noise_images(gradients, n_images=n_images) == pytest.approx(spread**2 / signal**2, rel=0.15)
    assert noise_images(gradients[:1], n_images=n_images) is None
    assert noise_images([gradients[0]] * 3, n_images=n_images) is None


def test_the_bundle_and_its_source_stay_as_they_were(bundle):
    network: nn.Module = bundle.source.architecture.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_direction(bundle, RECIPE, head="half")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
