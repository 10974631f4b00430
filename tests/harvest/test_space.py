"""Spaces of recipes: what is drawn from which numbers, and what is refused in words."""

import json
import re

import pytest

from scalepred.errors import UsageError
from scalepred.harvest.space import describe, load_space, parse_space
from scalepred.recipe import Recipe, layer_decay

OPTIMIZER = {"name": "optimizer", "kind": "choice", "values": [{"value": "sgd", "weight": 3}, {"value": "adamw"}]}
MOMENTUM = {
    "name": "momentum",
    "kind": "choice",
    "values": [{"value": 0}, {"value": 0.9}],
    "where": {"optimizer": ["sgd"]},
}
EPOCHS = {"name": "epochs", "kind": "log_integer", "low": 3, "high": 40}
RATE = {"name": "base_lr", "kind": "log_uniform", "low": 0.001, "high": 0.1}
IMAGES = {"name": "n_images", "kind": "choice", "values": [{"value": 12}, {"value": 500}]}
LAST = 1 - 2**-53
"""The largest number below 1."""


def space_of(*dimensions):
    return parse_space(json.dumps({"name": "mine", "dimensions": dimensions}), where="mine.json")


def test_numbers_stand_for_values_in_the_order_of_the_dimensions():
    recipe, extra = space_of(OPTIMIZER, MOMENTUM, EPOCHS, IMAGES).draw([0.1, 0.7, 0.0, 0.9])
    assert (recipe.optimizer, recipe.momentum, recipe.epochs) == ("sgd", 0.9, 3)
    assert extra == {"n_images": 500}


def test_a_field_whose_condition_does_not_hold_keeps_its_default_and_uses_its_number_up():
    space = space_of(OPTIMIZER, MOMENTUM, EPOCHS)
    sgd, adamw = (space.draw([u, 0.1, 0.0])[0] for u in (0.1, 0.9))
    assert (sgd.momentum, adamw.momentum) == (0.0, Recipe().momentum)
    assert sgd.epochs == adamw.epochs == 3


def test_a_field_may_be_drawn_differently_under_two_conditions():
    decays = [
        {"name": "weight_decay", "kind": "choice", "values": [{"value": value}], "where": {"optimizer": [optimizer]}}
        for optimizer, value in (("sgd", 0.001), ("adamw", 0.1))
    ]
    space = space_of(OPTIMIZER, *decays)
    assert [space.draw([u, 0.5, 0.5])[0].weight_decay for u in (0.1, 0.9)] == [0.001, 0.1]


def test_values_are_drawn_by_their_weights():
    space = space_of(OPTIMIZER)
    drawn = [space.draw([(at + 0.5) / 400])[0].optimizer for at in range(400)]
    assert drawn.count("adamw") == 100
    assert [space.draw([u])[0].optimizer for u in (0.0, 0.7499, 0.7501, LAST)] == ["sgd", "sgd", "adamw", "adamw"]


def test_a_range_has_both_ends_and_whole_numbers_as_likely_as_their_share_of_the_logarithm():
    epochs = [space_of(EPOCHS).draw([u])[0].epochs for u in (0.0, LAST)]
    rates = [space_of(RATE).draw([u])[0].base_lr for u in (0.0, 0.5, LAST)]
    assert epochs == [3, 40]
    assert rates == pytest.approx([0.001, 0.01, 0.1])
    few = [space_of(EPOCHS | {"low": 1, "high": 3}).draw([(at + 0.5) / 1000])[0].epochs for at in range(1000)]
    assert [few.count(n) for n in (1, 2, 3)] == [500, 292, 208]  # log2 of 2, 3/2 and 4/3, over log2 of 4


def test_a_warm_up_ends_before_the_run():
    space = space_of(
        EPOCHS | {"low": 1, "high": 40}, {"name": "warmup_epochs", "kind": "choice", "values": [{"value": 2}]}
    )
    assert [space.draw([u, 0.5])[0].warmup_epochs for u in (0.0, 0.2, 0.9)] == [0, 1, 2]


def test_the_decays_of_the_shipped_space_are_those_of_the_helper():
    (multipliers,) = (each for each in load_space().dimensions if each.name == "multipliers")
    drawn = {tuple(map(float, values)) for values in multipliers.values}
    assert {layer_decay(decay) for decay in (0.35, 0.5, 0.65, 0.85)} < drawn


def test_a_space_may_draw_steps_in_place_of_epochs():
    steps = {"name": "steps", "kind": "choice", "values": [{"value": None}, {"value": 300}]}
    space = space_of(steps, EPOCHS | {"where": {"steps": [None]}})
    assert [(r.epochs, r.steps) for r, _ in (space.draw([0.1, 0.0]), space.draw([0.9, 0.0]))] == [(3, None), (20, 300)]


def test_the_shipped_space_draws_valid_recipes_at_all_of_its_corners():
    space = load_space()
    assert space.name == "wide-1"
    for u in (0.0, 0.3, 0.5, 0.7, LAST):
        recipe, extra = space.draw([u] * len(space.dimensions))
        assert 12 <= extra["n_images"] <= 1500
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_drawn_recipe_has_a_short_name_that_tells_it_from_others():
    one, other = Recipe(), Recipe(epochs=7)
    assert describe(one) == f"sgd 0,1,2,4,8,16 batch 64px {one.recipe_id[:8]}"
    assert describe(one) != describe(other)


@pytest.mark.parametrize(
    ("dimension", "problem"),
    [
        ("no", "'no' is no dimension: give name and kind"),
        ({"kind": "choice"}, "{'kind': 'choice'} is no dimension: give name and kind"),
        (EPOCHS | {"name": "epoch"}, "'epoch' is no field of a recipe, nor one of n_images"),
        (EPOCHS | {"kind": "normal"}, "the kind of epochs is 'normal', not one of choice, log_uniform, log_integer"),
        (EPOCHS | {"low": 0}, "the range of epochs is 0 to 40, not two numbers above 0, low first"),
        (EPOCHS | {"low": 50}, "the range of epochs is 50 to 40, not two numbers above 0, low first"),
        (EPOCHS | {"high": True}, "the range of epochs is 3 to True, not two numbers above 0, low first"),
        (OPTIMIZER | {"values": []}, "optimizer has no values to choose from"),
        (
            OPTIMIZER | {"values": [{"value": "sgd", "weight": 0}]},
            'each value of optimizer is {"value": …, "weight": a number above 0}',
        ),
        (OPTIMIZER | {"values": ["sgd"]}, 'each value of optimizer is {"value": …, "weight": a number above 0}'),
        (MOMENTUM, "momentum depends on optimizer, which must come before it"),
        (MOMENTUM | {"where": "sgd"}, 'the condition of momentum is no {"field": [values]}'),
    ],
)
def test_what_is_wrong_with_a_dimension_is_said(dimension, problem):
    with pytest.raises(UsageError, match=re.escape(f"The space mine.json can't be used:\n  - {problem}")):
        space_of(dimension)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UsageError) as caught:
        space_of(EPOCHS | {"kind": "normal"}, OPTIMIZER | {"values": []})
    assert str(caught.value).count("\n  - ") == 2


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        (OPTIMIZER | {"values": [{"value": "adam"}]}, "optimizer must be one of sgd, adamw, not 'adam'"),
        (EPOCHS | {"name": "batch_size", "kind": "log_uniform"}, "batch_size must be a whole number of 1 or more"),
        (RATE | {"name": "momentum", "low": 0.5, "high": 1.5}, "momentum must lie in [0, 1)"),
        (IMAGES | {"values": [{"value": 1}]}, "n_images must be a whole number of 2 or more, not 1"),
        (IMAGES | {"values": [{"value": "all"}]}, "n_images must be a whole number of 2 or more, not 'all'"),
        (RATE | {"name": "n_images"}, "n_images must be a whole number of 2 or more, not 0.001"),
        (IMAGES | {"values": [{"value": {"a": 1}}]}, "n_images must be a whole number of 2 or more, not {'a': 1}"),
    ],
)
def test_a_value_that_no_recipe_takes_is_refused_before_anything_is_drawn(dimension, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        space_of(dimension)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "mine"}', '{"name": "mine", "dimensions": 1}', "[" * 10**5])
def test_what_is_no_space_is_refused(text):
    with pytest.raises(UsageError, match=re.escape("The space mine.json is not of the form")):
        parse_space(text, where="mine.json")


def test_a_space_without_dimensions_is_refused():
    with pytest.raises(UsageError, match="it has no dimensions"):
        space_of()


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"The space .*none\.json can't be read: No such file or directory\."):
        load_space(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"The space .*bytes\.json can't be read"):
        load_space(tmp_path / "bytes.json")


SIZE = {"name": "image_px", "kind": "choice", "values": [{"value": 64, "weight": 2}, {"value": 32}, {"value": 128}]}


def test_of_the_sizes_that_a_network_takes_one_is_drawn_as_they_are_weighed():
    space = space_of(EPOCHS, SIZE)
    pixels = [space.draw([0.5, (at + 0.5) / 300], sizes=(32, 64, 200))[0].image_px for at in range(300)]
    assert (pixels.count(64), pixels.count(32)) == (200, 100)


@pytest.mark.parametrize(
    "dimensions",
    [
        (SIZE,),
        (EPOCHS,),
        ({"name": "image_px", "kind": "log_integer", "low": 16, "high": 200},),
        (OPTIMIZER, SIZE | {"where": {"optimizer": ["adamw"]}}),
    ],
)
def test_a_network_of_one_size_gets_it_whatever_the_space_has(dimensions):
    space = space_of(*dimensions)
    for u in (0.0, 0.3, 0.9):
        assert space.draw([u] * len(dimensions), sizes=(48,))[0].image_px == 48


def test_a_space_tells_the_sizes_that_it_draws():
    assert space_of(SIZE).image_sizes() == (32, 64, 128)
    assert space_of(EPOCHS).image_sizes() == (64,)
    assert space_of({"name": "image_px", "kind": "log_integer", "low": 16, "high": 200}).image_sizes() == (16, 200)
    conditional = SIZE | {"where": {"optimizer": ["sgd"]}, "values": [{"value": 32}]}
    assert space_of(OPTIMIZER, conditional).image_sizes() == (32, 64)
    assert space_of(OPTIMIZER, conditional, SIZE).image_sizes() == (32, 64, 128)
