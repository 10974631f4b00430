"""Where a finetune starts: with a fitted head it is the probe, whatever statistics the job takes."""

import dataclasses

import numpy as np
import pytest
import torch
from small_networks import separable, tiny_source

from scalepred.recipe import GRADUATED, Recipe
from scalepred.training.embed import embeddings
from scalepred.training.front import prepare
from scalepred.training.loop import finetune
from scalepred.training.probe import fit_probe
from scalepred.training.start import fitted_start, start_network

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=8, base_lr=0.01, image_px=32, head_start="fitted", batchnorm="frozen")
BATCH = dataclasses.replace(RECIPE, batchnorm="batch")


def settled():
    """Return the tiny network with the running statistics of such images, so that its features tell classes apart."""
    source = tiny_source()
    network = source.architecture.network.train()
    with torch.no_grad():
        for seed in range(30):
            network((torch.from_numpy(separable(40, seed=100 + seed).images).float() - 127) / 64)
    network.eval()
    return source


def drifted():
    """Return the network with running statistics that are far from those of any image here."""
    source = settled()
    for module in source.architecture.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.sub_(0.5)
            module.running_var.mul_(4.0)
    return source


def run(recipe, scale, *, source=None, **settings):
    source = source or settled()
    held_out = {"val": separable(40, seed=1), "test": separable(200, seed=2)}
    return finetune(
        source, separable(40), held_out, n_classes=2, recipe=recipe, scale=scale, seed=0, device=CPU, **settings
    )


def start_of(recipe, source):
    return fitted_start(source, separable(40), recipe, n_classes=2, device=CPU)


def test_with_frozen_statistics_the_head_is_the_probe_of_the_sources_features():
    source = settled()
    start = start_of(RECIPE, source)
    train = separable(40)
    features = embeddings(source, train.images, device=CPU, dtype=torch.float32)
    probe = fit_probe(features, train.labels, n_classes=2, is_standardised=True)
    assert start.probe.weight.equal(probe.weight)
    assert not start.statistics


def test_the_probe_that_is_told_keeps_groups_together_and_the_one_that_was_harvested_does_not():
    alone = separable(40)
    grouped = dataclasses.replace(alone, groups=tuple(row // 8 for row in range(40)))
    probes = {
        (is_standardised, bool(train.groups)): fitted_start(
            settled(), train, RECIPE, n_classes=2, device=CPU, is_standardised=is_standardised
        ).probe
        for is_standardised in (False, True)
        for train in (alone, grouped)
    }
    assert np.array_equal(probes[True, True].held_out, probes[True, False].held_out)
    assert not np.array_equal(probes[False, True].held_out, probes[False, False].held_out)


@pytest.mark.parametrize("recipe", [RECIPE, BATCH], ids=["frozen", "batch"])
@pytest.mark.parametrize("make", [settled, drifted])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_at_a_scale_near_zero_the_network_is_the_probe(recipe, make, optimizer):
    source = make()
    recipe = dataclasses.replace(recipe, optimizer=optimizer)
    start = start_of(recipe, source)
    images = separable(200, seed=2)
    network = start_network(source, n_classes=2, generator=torch.Generator(), start=start).eval()
    network.set_submodule("head", torch.nn.Identity())
    with torch.no_grad():
        inputs = (torch.from_numpy(images.images).float() - 127) / 64
        right = start.probe.logits(network(inputs).numpy()).argmax(1) == images.labels
    trained = run(recipe, 1e-9, source=source)
    assert right.mean() > 0.7  # the probe has learnt something, so that there is something to keep
    assert (trained.scores["test"].correct == right).mean() >= (1.0 if recipe.batchnorm == "frozen" else 0.95)


def test_without_the_tasks_own_statistics_the_probe_would_be_lost():
    source = drifted()
    recipe = dataclasses.replace(BATCH, epochs=20)
    of_the_source = dataclasses.replace(start_of(RECIPE, source), statistics={})
    fitted, lost = (run(recipe, 1e-9, source=source, start=start) for start in (None, of_the_source))
    assert fitted.scores["test"].accuracy > 0.8
    assert lost.scores["test"].accuracy < 0.6


def test_frozen_stages_keep_the_sources_statistics():
    source = drifted()
    start = start_of(dataclasses.replace(BATCH, multipliers=GRADUATED), source)
    assert {name.split(".")[1] for name in start.statistics} == {"1", "2", "3", "4"}
    network = start_network(source, n_classes=2, generator=torch.Generator(), start=start)
    for stage, is_same in ((0, True), (1, False)):
        own, sources = (each.stages[stage][1].running_mean for each in (network, source.architecture.network))
        assert own.equal(sources) == is_same


def test_the_source_and_torchs_random_state_stay_as_they_were():
    source = tiny_source()
    before = {name: tensor.clone() for name, tensor in source.architecture.network.state_dict().items()}
    state = torch.get_rng_state()
    start_of(BATCH, source)
    after = source.architecture.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(state, torch.get_rng_state())


def test_a_start_that_was_computed_before_gives_the_same_run():
    source = settled()
    first = run(BATCH, 1.0, source=source)
    again = run(BATCH, 1.0, source=source, start=start_of(BATCH, source))
    assert first.epoch_losses == again.epoch_losses


def test_the_frozen_front_gives_the_same_from_a_fitted_head():
    source = settled()
    splits = {"train": separable(40), "val": separable(40, seed=1), "test": separable(200, seed=2)}
    prepared = prepare(source, splits, BATCH, device=CPU, max_bytes=1 << 30)
    assert prepared.activations
    whole, kept = run(BATCH, 1.0, source=source), run(BATCH, 1.0, source=source, prepared=prepared)
    np.testing.assert_allclose(whole.epoch_losses, kept.epoch_losses, rtol=1e-4)
