"""Critical rates measured while a run trains: where that is affordable, and that they change nothing."""

import dataclasses
import math

import pytest
import torch
from small_networks import separable, tiny_source

from scalepred.recipe import Recipe
from scalepred.training.course import epochs_to_measure
from scalepred.training.front import prepare
from scalepred.training.loop import finetune

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=4, batch_size=8, base_lr=0.01, image_px=32)


@pytest.mark.parametrize(
    ("n_train", "epochs", "expected"),
    [
        (20, 5, ()),  # the run itself costs little
        (60, 20, ()),
        (100, 20, (1,)),
        (200, 20, (1, 10)),
        (400, 20, (1, 2, 10)),
        (1000, 20, (1, 2, 10)),
        (5000, 2, (1,)),
        (5000, 1, ()),
        (5000, 1.25, (1,)),  # steps cut the second epoch short
        (5000, 0.5, ()),
        (1000, 20.5, (1, 2, 10)),
    ],
)
def test_it_is_measured_first_after_one_epoch_then_half_way_then_after_two_as_cost_allows(n_train, epochs, expected):
    assert epochs_to_measure(n_train=n_train, epochs=epochs) == expected


def run(recipe, **settings):
    held_out = {"val": separable(10, seed=1)}
    return finetune(
        tiny_source(), separable(40), held_out, n_classes=2, recipe=recipe, scale=1.0, seed=0, device=CPU, **settings
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw", "base_lr": 1e-3}, {"batchnorm": "frozen", "augmentation": "crop-flip"}],
    ids=str,
)
@pytest.mark.parametrize("keeps_front", [False, True])
def test_measuring_changes_no_other_number(changes, keeps_front):
    recipe = dataclasses.replace(RECIPE, **changes)
    splits = {"train": separable(40), "val": separable(10, seed=1)}
    prepared = prepare(tiny_source(), splits, recipe, device=CPU, max_bytes=1 << 30) if keeps_front else None
    plain = run(recipe, prepared=prepared)
    measured = run(recipe, prepared=prepared, measure_after=(1, 3))
    assert measured.epoch_losses == plain.epoch_losses
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(tensor, measured.network.state_dict()[name]), name
    assert plain.course == {}
    assert list(measured.course) == ["1", "3"]
    assert all(value is None or 0 < value < math.inf for value in measured.course.values())
    assert any(measured.course.values()) or "optimizer" in changes


def test_the_front_gives_the_same_critical_scale_as_the_whole_network():
    splits = {"train": separable(40), "val": separable(10, seed=1)}
    recipe = dataclasses.replace(RECIPE, batchnorm="frozen")
    prepared = prepare(tiny_source(), splits, recipe, device=CPU, max_bytes=1 << 30)
    assert prepared.activations
    whole, front = run(recipe, measure_after=(1,)), run(recipe, prepared=prepared, measure_after=(1,))
    assert front.course["1"] == pytest.approx(whole.course["1"], rel=0.05)


def test_parts_as_small_as_memory_asks_for_give_the_same_critical_scale():
    recipe = dataclasses.replace(RECIPE, batchnorm="frozen", batch_size=32)
    whole, parts = run(recipe, measure_after=(1,)), run(recipe, measure_after=(1,), micro_batch=3)
    assert parts.course["1"] == pytest.approx(whole.course["1"], rel=0.05)
