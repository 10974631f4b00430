"""From rows to arrays, on a case that is worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from fakes import QUICK, RECIPE, SOURCE, run_record, source_record, task_record

from scalepred.errors import DataError
from scalepred.predictor.context import context_features, feature_set
from scalepred.predictor.harvested import build
from scalepred.recipe import GRID, baseline_of
from scalepred.records import POINT, FeatureRecord, RecipeRecord

ZOO = task_record("birds", n_val=2, n_test=4)
SEA = task_record("fish", origin="sea", n_val=2, n_test=0)
RIGHT = [1, 1, 1, 0]


def recipe_row(recipe=QUICK):
    return RecipeRecord(recipe_id=recipe.recipe_id, name="quick", json=recipe.to_json())


def feature(task, name, value, *, feature_set="basic-1@16px"):
    return FeatureRecord(
        task_id=task.task_id, source_id=SOURCE, feature_set=feature_set, name=name, value=value, seconds=0.1
    )


def grid(task, *, val=(1, 0), test=RIGHT, seed=0, without=(), recipe=QUICK, source_id=SOURCE):
    test = list(test) if task.n_test else None
    return [
        run_record(task, scale, val=list(val), test=test, seed=seed, recipe=recipe, source_id=source_id)
        for scale in GRID
        if scale not in without
    ]


def harvest(runs, *, tasks=(ZOO, SEA), features=(), recipes=(QUICK,), sources=(SOURCE,)):
    return build(
        tasks=tasks,
        sources=[source_record(source) for source in sources],
        recipes=[recipe_row(recipe) for recipe in recipes],
        features=features,
        runs=runs,
    )


def test_a_small_harvest_by_hand():
    best = run_record(ZOO, 2.0, val=[1, 1], test=[1, 1, 1, 1])
    harvested = harvest([*grid(ZOO, without=(2.0,)), best], features=[feature(ZOO, "knn_accuracy", 0.25)])
    table = harvested.table
    assert (table.names, table.origins) == (("birds",), ("zoo",))
    assert (table.source_ids, table.recipe_ids) == ((SOURCE,), (QUICK.recipe_id,))
    assert {name: float(table.features[0, at]) for at, name in enumerate(table.feature_names)} == {
        "knn_accuracy": 0.25,
        **context_features({"stages": {"conv1": 1000}}, QUICK),
    }
    assert table.feature_names == tuple(sorted(table.feature_names))
    assert table.scales.tolist() == list(GRID)
    at = GRID.index(2.0)
    others = [i for i in range(len(GRID)) if i != at]
    assert (harvested.val[0][at], harvested.test[0, at], table.accuracies[0, at]) == ([1], 1, 1)
    assert set(harvested.val[0][others, 0]) == {0.5}
    assert set(harvested.test[0, others]) == {0.75}
    np.testing.assert_allclose(table.accuracies[0, others], 4 / 6)
    assert (table.n_held_out.tolist(), table.n_seeds.tolist()) == ([6], [1])
    assert harvested.has_test.tolist() == [True]
    assert harvested.correct[0].shape == (11, 1, 4)
    assert harvested.correct[0][0, 0].tolist() == RIGHT
    assert harvested.n_incomplete == 0


@pytest.mark.parametrize("missing", [GRID[0], GRID[5], GRID[-1]])
def test_a_grid_with_a_gap_is_left_out_and_counted(missing):
    harvested = harvest([*grid(ZOO, without=(missing,)), *grid(SEA)])
    assert harvested.table.names == ("fish",)
    assert harvested.n_incomplete == 1


def test_a_harvest_without_a_whole_grid_gives_empty_arrays():
    harvested = harvest(grid(ZOO, without=(1.0,)))
    assert harvested.table.names == ()
    assert harvested.table.features.shape == (0, 0)
    assert harvested.table.accuracies.shape == harvested.test.shape == (0, 11)
    assert harvested.val == harvested.correct == []
    assert harvested.n_incomplete == 1
    assert harvest([]).n_incomplete == 0


def test_design_points_are_no_grids_in_work():
    points = [dataclasses.replace(run, role="point") for run in grid(ZOO)[:6]]
    assert harvest(points).n_incomplete == 0
    assert harvest([*grid(ZOO), *points]).n_incomplete == 0


def test_jobs_that_trained_on_validation_images_make_no_grid_even_where_all_scales_were_tried():
    trained_on_both = task_record("both", n_val=0, n_test=4)
    jobs = [
        dataclasses.replace(run, val_accuracy=None, val_loss=None, val_correct=None) for run in grid(trained_on_both)
    ]
    harvested = harvest([*grid(ZOO), *jobs], tasks=(ZOO, trained_on_both))
    assert harvested.table.names == ("birds",)
    assert harvested.n_incomplete == 0


def test_scales_beyond_the_grid_are_passed_over():
    extended = [*grid(ZOO), run_record(ZOO, 20.0, val=[1, 1], test=[1] * 4)]
    assert harvest(extended).table.accuracies.tolist() == harvest(grid(ZOO)).table.accuracies.tolist()


def test_a_diverged_run_counts_as_chance():
    harvested = harvest([*grid(ZOO, without=(10.0,)), run_record(ZOO, 10.0, val=None)])
    assert harvested.val[0][-1] == harvested.test[0, -1] == harvested.table.accuracies[0, -1] == 0.5
    assert harvested.correct[0][-1, 0].tolist() == [0.5] * 4


def test_seeds_are_averaged_and_kept_apart():
    harvested = harvest([*grid(ZOO), *grid(ZOO, val=(1, 1), test=[0, 0, 0, 1], seed=1)])
    assert harvested.val[0][0].tolist() == [0.5, 1]
    assert harvested.test[0, 0] == 0.5
    assert harvested.table.accuracies[0, 0] == pytest.approx((3 + 1 + 2 + 1) / 12)
    assert harvested.correct[0][0].tolist() == [RIGHT, [0, 0, 0, 1]]
    assert harvested.table.n_seeds.tolist() == [2]


@pytest.mark.parametrize("n_scales", [1, 10])
def test_a_seed_that_only_some_scales_have_changes_nothing(n_scales):
    begun = [
        *grid(ZOO, val=(1, 1), test=[1] * 4, seed=1, without=GRID[n_scales:]),
        run_record(ZOO, 1.0, seed=7, val=None),
    ]
    after, before = harvest([*grid(ZOO), *begun]), harvest(grid(ZOO))
    assert after.table.accuracies.tolist() == before.table.accuracies.tolist()
    assert after.test.tolist() == before.test.tolist()
    assert after.correct[0].shape == (11, 1, 4)
    assert harvest(begun).n_incomplete == 1


def test_the_baseline_is_that_of_the_same_recipe():
    frozen = dataclasses.replace(QUICK, batchnorm="frozen")
    runs = [
        *grid(ZOO),
        *grid(ZOO, recipe=frozen),
        run_record(ZOO, None, val=[1, 1], test=[1, 0, 0, 0], recipe=baseline_of(QUICK)),
        run_record(ZOO, None, val=[1, 1], test=[1, 1, 0, 0], recipe=baseline_of(frozen), seed=0),
        run_record(ZOO, None, val=[1, 1], test=[0, 0, 0, 0], recipe=baseline_of(frozen), seed=1),
    ]
    harvested = harvest(runs, recipes=(QUICK, frozen, baseline_of(QUICK), baseline_of(frozen)))
    of = dict(zip(harvested.table.recipe_ids, harvested.baseline, strict=True))
    assert of == {QUICK.recipe_id: 0.25, frozen.recipe_id: 0.5}  # a seed without a whole grid is passed over
    both = harvest([*runs, *grid(ZOO, recipe=frozen, seed=1)], recipes=(QUICK, frozen, baseline_of(frozen)))
    assert dict(zip(both.table.recipe_ids, both.baseline, strict=True))[frozen.recipe_id] == 0.25
    assert math.isnan(harvest(grid(ZOO)).baseline[0])


def test_a_task_without_test_images_is_scored_on_validation_and_says_so():
    harvested = harvest(grid(SEA))
    assert harvested.has_test.tolist() == [False]
    assert harvested.test.tolist() == harvested.table.accuracies.tolist() == [harvested.val[0][:, 0].tolist()]
    assert harvested.correct[0].shape == (11, 1, 2)
    assert harvested.table.n_held_out.tolist() == [2]


def test_features_that_a_task_lacks_are_nan():
    known = [feature(ZOO, "knn_accuracy", 0.5), feature(SEA, "colour", 0.1)]
    table = harvest([*grid(ZOO), *grid(SEA)], features=known).table
    columns = {name: table.features[:, i].tolist() for i, name in enumerate(table.feature_names)}
    assert columns["knn_accuracy"][0] == 0.5
    assert math.isnan(columns["knn_accuracy"][1])
    assert math.isnan(columns["colour"][0])


def test_features_of_another_image_size_are_not_used():
    known = [
        feature(ZOO, "knn_accuracy", 0.5, feature_set="basic-1@16px"),
        feature(ZOO, "knn_accuracy", 0.9, feature_set="basic-1@64px"),
        feature(ZOO, "odd", 0.9, feature_set="of another kind"),
    ]
    table = harvest(grid(ZOO), features=known).table
    assert table.features[0, 0] == 0.5
    assert "odd" not in table.feature_names


def test_the_order_of_rows_does_not_matter():
    runs = [*grid(ZOO), *grid(SEA), *grid(ZOO, source_id="source-b"), *grid(ZOO, seed=1)]
    known = [feature(ZOO, "knn_accuracy", 0.5), feature(SEA, "colour", 0.1)]
    first = harvest(runs, features=known, sources=(SOURCE, "source-b"))
    for seed in range(3):
        shuffled = [runs[i] for i in np.random.default_rng(seed).permutation(len(runs))]
        again = harvest(shuffled, tasks=(SEA, ZOO), features=known[::-1], sources=("source-b", SOURCE))
        assert again.table.names == first.table.names == ("birds", "birds", "fish")
        assert again.table.source_ids == first.table.source_ids
        for name in ("features", "accuracies", "n_held_out", "n_seeds"):
            np.testing.assert_array_equal(getattr(again.table, name), getattr(first.table, name))
        for one, other in zip(again.correct, first.correct, strict=True):
            np.testing.assert_array_equal(one, other)


def test_tasks_of_one_name_are_kept_apart():
    twin = dataclasses.replace(ZOO, task_id="another")
    assert harvest([*grid(ZOO), *grid(twin)], tasks=(ZOO, twin)).table.names == ("birds", "birds")


def test_runs_of_unknown_tasks_sources_and_recipes_are_passed_over():
    lost = task_record("lost")
    other = dataclasses.replace(QUICK, epochs=9)
    runs = [*grid(ZOO), *grid(lost), *grid(ZOO, source_id="lost"), *grid(ZOO, recipe=other)]
    harvested = harvest(runs)
    assert harvested.table.names == ("birds",)
    assert harvested.table.recipe_ids != (RECIPE,)
    assert harvested.n_incomplete == 0


def test_a_finished_run_without_its_bits_is_refused_and_never_turned_into_a_number():
    damaged = dataclasses.replace(run_record(ZOO, 1.0, val=[1, 1], test=[1] * 4), test_correct=None)
    with pytest.raises(DataError) as caught:
        harvest([*grid(ZOO, without=(1.0,)), damaged])
    assert str(caught.value) == "The correctness of 4 images takes 1 bytes, and 0 are stored."


def test_what_is_seen_of_source_and_recipe_are_numbers():
    facts = {"stages": {"conv1": 40, "head": 60}}
    features = context_features(facts, QUICK)
    assert (features["source_log10_parameters"], features["recipe_image_px"]) == (2.0, 16.0)
    changes = {"batchnorm": "frozen", "augmentation": "crop-flip", "schedule": "cosine", "warmup_epochs": 1}
    changes |= {"resize": "crop", "steps": 300, "epochs": 20}
    changes["multipliers"] = tuple(multiplier / 8 for multiplier in QUICK.multipliers)
    changed = context_features(facts, dataclasses.replace(QUICK, **changes))
    assert {name: changed[name] - features[name] for name in features if changed[name] != features[name]} == {
        "recipe_log2_rate": -3.0,
        "recipe_frozen_batchnorm": 1.0,
        "recipe_crops": 1.0,
        "recipe_flips": 1.0,
        "recipe_cosine": 1.0,
        "recipe_warmup_epochs": 1.0,
        "recipe_resize_crop": 1.0,
        "recipe_steps": 300.0,
    }
    assert context_features(facts, dataclasses.replace(QUICK, resize="pad"))["recipe_resize_pad"] == 1.0


def test_facts_of_images_made_squares_in_another_way_are_kept_apart():
    names = [feature_set(16, resize) for resize in ("squash", "crop", "pad")]
    assert names == ["basic-1@16px", "basic-1@16px-crop", "basic-1@16px-pad"]
    features = [feature(ZOO, "knn", at, feature_set=name) for at, name in enumerate(names)]
    recipes = [dataclasses.replace(QUICK, resize=resize) for resize in ("squash", "crop", "pad")]
    runs = [run for recipe in recipes for run in grid(ZOO, recipe=recipe)]
    table = harvest(runs, features=features, recipes=recipes).table
    seen = dict(zip(table.recipe_ids, table.features[:, table.feature_names.index("knn")], strict=True))
    assert [seen[recipe.recipe_id] for recipe in recipes] == [0, 1, 2]


def test_a_grid_that_was_begun_as_a_design_point_is_whole_with_those_runs():
    octaves = (0.25, 0.5, 1.0, 2.0, 4.0)
    points = [dataclasses.replace(run, role=POINT) for run in grid(ZOO) if run.scale in octaves]
    harvested = harvest([*points, *grid(ZOO, without=octaves)])
    assert (harvested.table.names, harvested.n_incomplete) == (("birds",), 0)
    assert harvest(points).n_incomplete == 0  # a design point alone is no grid at all
