"""Recipes, the grid and identities."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalepred.errors import UsageError
from scalepred.networks.names import SOURCE_FILES, default_recipe
from scalepred.recipe import (
    GRADUATED,
    GRID,
    RECIPES,
    Recipe,
    at_size,
    baseline_of,
    canonical_json,
    changed,
    check_scale,
    layer_decay,
    load_recipe,
    run_id,
)
from scalepred.training.rates import stage_rates

PARTS = {"task_id": "t", "source_id": "s", "recipe_id": "r", "scale": 1.0, "seed": 0}


def test_what_is_asked_for_changes_those_fields_alone_and_the_name_tells_them():
    plain = Recipe()
    assert changed("x", plain, resize=None) == changed("x", plain, class_weights="none") == ("x", plain)
    assert changed("x", plain, class_weights="balanced") == ("x-balanced", Recipe(class_weights="balanced"))
    assert changed("y", Recipe(class_weights="balanced"), class_weights="none") == ("y-none", plain)
    both = Recipe(resize="pad", class_weights="balanced")
    assert changed("x", plain, resize="pad", class_weights="balanced") == ("x-pad-balanced", both)
    with pytest.raises(UsageError, match="class_weights must be one of none, balanced, not 'even'"):
        changed("x", plain, class_weights="even")
    with pytest.raises(UsageError, match="resize must be one of squash, crop, pad, not 'stretch'"):
        changed("x", plain, resize="stretch")


def test_the_named_recipes_are_the_papers():
    assert RECIPES["graduated"].multipliers == GRADUATED == (0, 1, 2, 4, 8, 16)
    assert RECIPES["baseline"].multipliers == (0, 0, 0, 0, 0, 10)
    assert {recipe.base_lr for recipe in RECIPES.values()} == {0.001}
    assert {recipe.epochs for recipe in RECIPES.values()} == {20}
    assert len(GRID) == 11


def test_the_ids_of_the_named_recipes_stay_what_they_are():
    assert RECIPES["graduated"].recipe_id == "bdaa368b7868ea5ec8577208404af828"
    assert RECIPES["cosine"].recipe_id == "2640faceaa0e26104232f7607902be06"
    assert RECIPES["baseline"].recipe_id == "4d771d71c5152ac5017624661c0bee30"


def test_a_field_that_came_later_is_left_out_while_it_changes_nothing():
    assert "warmup_epochs" not in Recipe().to_json()
    assert Recipe.from_json('{"warmup_epochs": 0}').recipe_id == Recipe().recipe_id
    assert {"resize", "steps"}.isdisjoint(json.loads(Recipe().to_json()))
    assert Recipe.from_json('{"resize": "squash", "steps": null}').recipe_id == Recipe().recipe_id


def test_steps_take_the_place_of_epochs_in_what_identifies_a_recipe():
    fields = json.loads(Recipe(steps=100).to_json())
    assert (fields["steps"], "epochs" in fields) == (100, False)
    assert Recipe.from_json('{"steps": 100}') == Recipe(steps=100)
    assert (Recipe(steps=100).length, Recipe(steps=1).length, Recipe(epochs=1).length) == (
        "100 steps",
        "1 step",
        "1 epoch",
    )


def test_epochs_and_steps_together_are_refused_by_both_names():
    words = (
        "This recipe can't be used: epochs and steps can't both be given: leave epochs at 20 where steps decide, or "
        "steps away, not (30, 100)."
    )
    for make in (lambda: Recipe(epochs=30, steps=100), lambda: Recipe.from_json('{"epochs": 30, "steps": 100}')):
        with pytest.raises(UsageError) as caught:
            make()
        assert str(caught.value) == words


def test_multipliers_of_another_kind_are_told_which_is_wanted():
    with pytest.raises(UsageError) as caught:
        Recipe(multipliers=[0, 1, 2, 4, 8, 16])
    assert str(caught.value) == (
        "This recipe can't be used: multipliers must be a tuple of 6 numbers of 0 or more, not all 0, not "
        "[0, 1, 2, 4, 8, 16]."
    )


def test_layer_wise_decay_falls_by_the_same_factor_from_stage_to_stage():
    assert layer_decay(0.5) == (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)
    assert layer_decay(1, head=10) == (1.0,) * 5 + (10.0,)
    found = layer_decay(0.65, head=3)
    assert found == pytest.approx((0.65**5, 0.65**4, 0.65**3, 0.65**2, 0.65, 3), abs=5e-7)
    assert found == tuple(round(each, 6) for each in found)


@pytest.mark.parametrize(
    ("decay", "head", "words"),
    [
        (0.05, 1, "decay must lie in [0.1, 1], not 0.05"),
        (1.5, 1, "decay must lie in [0.1, 1], not 1.5"),
        ("a", 1, "decay must lie in [0.1, 1], not 'a'"),
        (0.5, -1, "head must be 0 or more, not -1"),
        (0.5, float("inf"), "head must be 0 or more, not inf"),
        (2, -1, "decay must lie in [0.1, 1], not 2; head must be 0 or more, not -1"),
    ],
)
def test_a_layer_wise_decay_out_of_range_is_refused(decay, head, words):
    with pytest.raises(UsageError) as caught:
        layer_decay(decay, head=head)
    assert str(caught.value) == f"This layer-wise decay can't be used: {words}."


def test_a_recipes_file_may_name_a_layer_wise_decay_instead_of_its_multipliers():
    written = Recipe.from_json('{"multipliers": {"decay": 0.65, "head": 10}}')
    assert written == Recipe(multipliers=layer_decay(0.65, head=10))
    assert Recipe.from_json('{"multipliers": {"decay": 0.5}}').multipliers == layer_decay(0.5)
    assert Recipe.from_json(written.to_json()).recipe_id == written.recipe_id


@pytest.mark.parametrize("multipliers", [{}, {"head": 1}, {"decay": 0.5, "heads": 1}])
def test_a_layer_wise_decay_of_another_form_is_refused(multipliers):
    with pytest.raises(UsageError, match=r'6 numbers, or a layer-wise decay of the form \{"decay": 0.65, "head": 1\}'):
        Recipe.from_json(json.dumps({"multipliers": multipliers}))


@pytest.mark.parametrize("warmup_epochs", [-1, 3, 0.5, True])
def test_a_warm_up_is_shorter_than_the_training(warmup_epochs):
    with pytest.raises(UsageError, match="warmup_epochs must be a whole number of 0 or more, less than epochs"):
        Recipe(epochs=3, warmup_epochs=warmup_epochs)


def test_one_setting_has_one_id_however_it_is_written():
    whole = Recipe(base_lr=1, multipliers=(0, 1, 2, 4, 8, 16), momentum=0)
    real = Recipe(base_lr=1.0, multipliers=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0), momentum=0.0)
    assert whole.recipe_id == real.recipe_id
    assert Recipe.from_json('{"momentum": 0, "base_lr": 1}').recipe_id == real.recipe_id


@pytest.mark.parametrize(
    "change",
    [
        {"base_lr": 0.01},
        {"multipliers": (0, 1, 1, 1, 1, 1)},
        {"epochs": 3},
        {"batch_size": 8},
        {"momentum": 0},
        {"weight_decay": 0},
        {"schedule": "cosine"},
        {"image_px": 96},
        {"augmentation": "flip"},
        {"batchnorm": "frozen"},
        {"warmup_epochs": 1},
        {"resize": "crop"},
        {"resize": "pad"},
        {"steps": 100},
        {"steps": 100, "warmup_epochs": 30},
    ],
)
def test_every_field_is_part_of_the_identity(change):
    changed = dataclasses.replace(Recipe(), **change)
    assert changed.recipe_id != Recipe().recipe_id
    assert Recipe.from_json(changed.to_json()) == changed


def test_all_that_is_wrong_with_a_recipe_comes_in_one_error():
    with pytest.raises(UsageError) as caught:
        Recipe(base_lr=-1, epochs=0, batchnorm="odd")
    assert str(caught.value) == (
        "This recipe can't be used: base_lr must be above 0, not -1; "
        "epochs must be a whole number of 1 or more, not 0; "
        "batchnorm must be one of batch, frozen, not 'odd'."
    )


@pytest.mark.parametrize(
    "field",
    [
        {"base_lr": float("nan")},
        {"base_lr": "fast"},
        {"multipliers": (1, 2, 3)},
        {"multipliers": (0,) * 6},
        {"multipliers": (0, 1, 2, 4, 8, -1)},
        {"multipliers": "012345"},
        {"epochs": True},
        {"epochs": 2.5},
        {"batch_size": 0},
        {"momentum": 1},
        {"weight_decay": -1e-4},
        {"schedule": "linear"},
        {"image_px": 8},
        {"image_px": 4096},
        {"augmentation": "rotate"},
        {"resize": "stretch"},
        {"resize": ["crop"]},
        {"steps": 0},
        {"steps": 2.5},
        {"steps": True},
    ],
)
def test_a_wrong_field_is_refused(field):
    with pytest.raises(UsageError, match=f"{next(iter(field))} must"):
        Recipe(**field)


def test_recipes_are_loaded_by_name_or_from_a_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"epochs": 5, "multipliers": [1, 1, 1, 1, 1, 1]}))
    assert load_recipe("baseline") == RECIPES["baseline"]
    assert load_recipe(str(tmp_path / "mine.json")) == Recipe(epochs=5, multipliers=(1,) * 6)
    with pytest.raises(UsageError, match=r"No recipe 'other': give one of graduated, .*, baseline, or the path"):
        load_recipe("other")


def test_a_recipe_file_that_is_no_text_is_refused_by_its_path(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes('{"epochs": 5}'.encode("utf-16"))
    with pytest.raises(UsageError) as caught:
        load_recipe(str(path))
    assert str(caught.value) == f"The recipe {path} is no text in UTF-8: save it as UTF-8."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "this is no JSON"),
        ("[]", "Unknown recipe fields: not an object"),
        ('{"lr": 1}', "Unknown recipe fields: lr. Known: base_lr,"),
    ],
)
def test_a_recipe_file_that_is_none_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        Recipe.from_json(text)


def test_the_baseline_differs_in_the_multipliers_alone():
    recipe = Recipe(epochs=3, image_px=96)
    assert dataclasses.replace(baseline_of(recipe), multipliers=recipe.multipliers) == recipe


@pytest.mark.parametrize(
    "change",
    [{name: "x"} for name in ("task_id", "source_id", "recipe_id")] + [{"scale": None}, {"scale": 2.0}, {"seed": 1}],
)
def test_a_run_is_another_when_any_part_is(change):
    assert run_id(**PARTS | change) != run_id(**PARTS)


def test_a_run_is_the_same_on_any_machine():
    assert run_id(**PARTS) == run_id(**PARTS | {"scale": 1}) == "23488f428307bac61993f74b062a23d2"


@given(st.floats(max_value=0) | st.just(float("nan")) | st.just(float("inf")))
def test_only_finite_numbers_above_0_are_scales(value):
    with pytest.raises(UsageError, match="A scale is a finite number above 0"):
        check_scale(value)


def test_a_recipe_at_another_size_says_so_in_its_name():
    usual = RECIPES["frozen-statistics"]
    assert at_size("usual", usual, None) == at_size("usual", usual, 64) == ("usual", usual)
    name, larger = at_size("usual", usual, 160)
    assert (name, larger.image_px) == ("usual-160", 160)
    assert dataclasses.replace(larger, image_px=64) == usual
    assert at_size(name, larger, 96)[0] == "usual-96"
    assert at_size("frozen-statistics-128", RECIPES["frozen-statistics-128"], 64) == ("frozen-statistics", usual)
    with pytest.raises(UsageError, match="image_px must lie in"):
        at_size("usual", usual, 8)


def test_canonical_json_is_one_text():
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_pretrained_networks_keep_their_statistics_and_those_of_a_domain_do_not(tmp_path):
    (tmp_path / SOURCE_FILES[-1]).write_text("{}", encoding="utf-8")
    assert default_recipe("efficientnet_lite0") == default_recipe("timm/resnet18") == "frozen-statistics-128"
    assert default_recipe(str(tmp_path)) == "cosine"
    frozen, paper = RECIPES["frozen-statistics"], RECIPES["graduated"]
    assert frozen.recipe_id == "df844e842eded2247a7569562b045d25"
    assert stage_rates(frozen, 10) == pytest.approx(stage_rates(paper, 1))
    assert baseline_of(frozen) == dataclasses.replace(baseline_of(paper), batchnorm="frozen")
