"""Which points of the wide harvest are left out since a warehouse knows their curves."""

import argparse
import dataclasses

import pytest
from fakes import run_record, source_record, task_record
from small_suite import write_suite

from benchmarks.wild.points import add_options, chosen, keys_of, known_curves, origins_of, without_known
from scalepred.harvest.draw import DesignPoint
from scalepred.recipe import Recipe
from scalepred.records import RecipeRecord
from scalepred.store.warehouse import open_warehouse

RECIPE, ICONS = Recipe(), "/somewhere/icons"
FALLS = {-2: 2, -1: 5, 0: 8, 1: 5, 2: 2}
"""Octave -> right images of eight: a curve that is known."""


def records(name="moss-010", **changes):
    task = dataclasses.replace(task_record(name, n_val=80, n_test=80), task_id=f"id-of-{name}")
    return task, dataclasses.replace(source_record("s"), name="icons", **changes)


def runs_of(task, curve, *, seed=0, role="point"):
    for octave, n_right in curve.items():
        right = None if n_right is None else [1] * (10 * n_right) + [0] * (80 - 10 * n_right)
        run = run_record(task, 2.0**octave, val=right, test=right, recipe=RECIPE, seed=seed, source_id="s")
        yield dataclasses.replace(run, role=role)


def known(curve, *, name="moss-010", role="point", second=None):
    task, source = records(name)
    runs = [*runs_of(task, curve, role=role), *runs_of(task, second or {}, seed=1, role=role)]
    return known_curves([task], [source], runs)


KEY = ("moss-010", "icons", RECIPE.recipe_id)


def test_a_curve_that_has_ended_on_both_sides_is_known_also_of_a_task_that_was_cut_down():
    assert known(FALLS) == known(FALLS, name="moss-010~24") == {(*KEY, 0)}


@pytest.mark.parametrize(
    "curve",
    [{octave: FALLS[octave] for octave in (-2, -1, 0)}, {octave + 2: octave + 2 for octave in range(-2, 3)}, {}],
)
def test_a_curve_that_is_in_work_or_still_rises_is_not_known(curve):
    assert known(curve) == set()


def test_the_runs_of_a_grid_make_no_point_known():
    assert known(FALLS, role="grid") == set()


def test_a_second_seed_is_known_once_it_has_all_octaves_of_the_first():
    assert known(FALLS, second=FALLS) == {(*KEY, 0), (*KEY, 1)}
    assert known(FALLS, second={0: 8}) == {(*KEY, 0)}


def test_points_that_a_warehouse_knows_are_left_out_unless_their_second_seed_is_missing(tmp_path):
    task, source = records()
    with open_warehouse(tmp_path / "w.duckdb") as store:
        recipe = RecipeRecord(recipe_id=RECIPE.recipe_id, name="r", json=RECIPE.to_json())
        store.add_all([task, source, recipe, *runs_of(task, FALLS)])
    point = DesignPoint(index=0, data="tasks/moss-010", source=ICONS, recipe=RECIPE, n_images=None, n_seeds=1)
    others = [dataclasses.replace(point, **changed) for changed in ({"n_seeds": 2}, {"data": "tasks/moss-020"})]
    assert keys_of(others[0]) == {(*KEY, 0), (*KEY, 1)}
    assert without_known([point, *others], tmp_path / "w.duckdb") == others


def test_a_suites_tasks_have_their_origins_also_where_their_images_are_not_there(tmp_path):
    suite = write_suite(tmp_path / "suite")
    (suite / "tasks" / "sand-010" / "manifest.csv").unlink()
    named = {folder.rpartition("/")[2]: origin for folder, origin in origins_of(suite).items()}
    assert named == {"moss-010": "moss", "moss-020": "moss", "sand-010": "sand"}


def test_a_network_gets_points_of_the_sizes_alone_that_it_takes(tmp_path):
    parser = argparse.ArgumentParser()
    add_options(parser)
    vit = "timm/vit_tiny_patch16_224:depth=5,embed_dim=16,img_size=64,num_heads=2,patch_size=8"
    options = parser.parse_args(["--draw", "64", "--source", vit, "resnet27/8", "--passes", "1e9"])
    options.suite, options.warehouse = write_suite(tmp_path / "suite"), tmp_path / "w.duckdb"
    points = chosen(options)
    sizes = {name: {point.recipe.image_px for point in points if point.source == name} for name in (vit, "resnet27/8")}
    assert sizes[vit] == {64}
    assert len(sizes["resnet27/8"]) > 1


def test_points_can_be_those_that_learn_from_so_many_images(tmp_path):
    parser = argparse.ArgumentParser()
    add_options(parser)
    suite, n_points = write_suite(tmp_path / "suite"), []
    for at_least in ("1", "20"):
        options = parser.parse_args(["--draw", "64", "--source", "resnet27/8", "--passes", "1e9", "--images", at_least])
        options.suite, options.warehouse = suite, tmp_path / "w.duckdb"
        points = chosen(options)
        n_points.append(len(points))
    assert 0 < n_points[1] < n_points[0] == 64
    assert all(point.n_images is None or point.n_images >= 20 for point in points)


def test_points_can_be_those_of_some_networks_of_the_draw(tmp_path):
    parser = argparse.ArgumentParser()
    add_options(parser)
    suite, chosen_by = write_suite(tmp_path / "suite"), {}
    for only in ((), ("resnet27/8",)):
        options = parser.parse_args(["--draw", "32", "--source", "resnet27/8", "resnet27/16", "--passes", "1e9"])
        options.suite, options.warehouse, options.only = suite, tmp_path / "w.duckdb", only or None
        chosen_by[only] = chosen(options)
    assert chosen_by["resnet27/8",] == [point for point in chosen_by[()] if point.source == "resnet27/8"]
    assert 0 < len(chosen_by["resnet27/8",]) < 32
