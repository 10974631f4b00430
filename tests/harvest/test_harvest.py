"""The harvest on real images, a real journal and a real DuckDB file; only finetunes and processes are faked."""

import dataclasses
import shutil
from collections import Counter

import duckdb
import numpy as np
import pytest
from fakes import QUICK
from inline import FROZEN, LARGER, best_at_20, calls, go, go_until, harvest_of, log_of, notes_of, opened, stored
from PIL import Image

from scalepred.data.task import read_task
from scalepred.predictor.context import probe_set, start_set
from scalepred.predictor.harvested import build
from scalepred.predictor.targets import unpack_correct
from scalepred.predictor.train import train
from scalepred.recipe import baseline_of
from scalepred.store.journal import journal_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


def test_a_harvest_stores_everything_and_a_second_one_does_nothing(tasks, warehouse):
    _, first = go(harvest_of(tasks, warehouse))
    rows = stored(warehouse)
    assert sorted(run.run_id for run in first) == [run.run_id for run in rows["runs"]]
    assert (len(rows["tasks"]), len(rows["sources"]), len(rows["runs"])) == (2, 1, 24)
    assert {recipe.name for recipe in rows["recipes"]} == {"quick", "baseline of quick"}
    again = harvest_of(tasks, warehouse)
    plan, runs = go(again)
    assert (plan.bundles, plan.n_stored, runs, opened(again)) == ((), 24, [], [])


@pytest.mark.parametrize("done", [0, 1, 7, 23])
def test_a_stopped_harvest_is_finished_by_the_same_command(tasks, warehouse, done):
    go_until(harvest_of(tasks, warehouse), done)
    assert len(journal_of(warehouse).keys("runs")) == done
    _, rest = go(harvest_of(tasks, warehouse))
    assert len(rest) == 24 - done
    assert len(stored(warehouse)["runs"]) == 24


def test_changed_images_are_another_task(tasks, warehouse, tmp_path):
    go(harvest_of(tasks[:1], warehouse))
    Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert len(runs) == 12
    rows = stored(warehouse)
    assert (len({task.task_id for task in rows["tasks"]}), len(rows["runs"])) == (2, 24)


def test_images_that_change_while_they_are_harvested_give_no_run_of_another_task(tasks, warehouse, tmp_path):
    go(harvest_of(tasks[:1], warehouse))
    harvest = harvest_of(tasks[:1], warehouse, n_seeds=2)
    with harvest.held():
        harvest.plan()
        Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
        list(harvest.run())
    rows = stored(warehouse)
    assert sorted(Counter(run.task_id for run in rows["runs"]).values()) == [12, 24]
    assert len(rows["runs"]) == 36


def test_features_are_computed_once_for_each_task_source_and_size(tasks, warehouse):
    everything = {"quick": QUICK, "frozen": FROZEN, "larger": LARGER}
    for recipes, n_asked in (({"quick": QUICK}, 2), ({"quick": QUICK}, 0), (everything, 4), (everything, 0)):
        harvest = harvest_of(tasks[:1], warehouse, sources=("tiny", "other"), recipes=recipes)
        go(harvest)
        assert len(calls(harvest, "features")) == n_asked
    features = stored(warehouse)["features"]
    starts = {start_set(recipe) for recipe in everything.values()}
    sets = {"basic-1@16px", "basic-1@24px", "probe-2/16px", "probe-2/24px"}
    assert {f.feature_set for f in features} == sets | starts
    assert len({(f.source_id, f.feature_set, f.name) for f in features}) == len(features)


def test_a_finished_harvest_of_before_gets_the_facts_of_its_starts_and_its_probe_and_no_run_twice(tasks, warehouse):
    go(harvest_of(tasks, warehouse, recipes={"quick": QUICK, "frozen": FROZEN}))
    before = stored(warehouse)
    with duckdb.connect(warehouse) as file:
        file.execute("DELETE FROM features WHERE feature_set LIKE 'start-1%' OR feature_set LIKE 'probe-2%'")
    shutil.rmtree(journal_of(warehouse).folder)
    harvest = harvest_of(tasks, warehouse, recipes={"quick": QUICK, "frozen": FROZEN})
    plan, runs = go(harvest)
    assert (plan.n_runs, runs) == (plan.n_runs, [])
    assert [arguments[0] for _, arguments in calls(harvest, "features")] == [
        [start_set(QUICK), start_set(FROZEN), probe_set(16)] for _ in tasks
    ]
    after = stored(warehouse)
    assert [(f.name, f.value) for f in after["features"]] == [(f.name, f.value) for f in before["features"]]
    assert after["runs"] == before["runs"]


def test_recipes_and_image_sizes_keep_their_own_runs(tasks, warehouse):
    recipes = {"quick": QUICK, "frozen": FROZEN, "larger": LARGER}
    _, runs = go(harvest_of(tasks[:1], warehouse, recipes=recipes))
    rows = stored(warehouse)
    by_recipe = {r.recipe_id: sum(run.recipe_id == r.recipe_id for run in rows["runs"]) for r in rows["recipes"]}
    assert by_recipe == {
        m.recipe_id: n for recipe in recipes.values() for m, n in ((recipe, 11), (baseline_of(recipe), 1))
    }
    names = {name for each in recipes for name in (each, f"baseline of {each}")}
    assert {recipe.name for recipe in rows["recipes"]} == names
    assert len(runs) == 36


def test_recipes_that_make_squares_in_other_ways_keep_their_own_images_and_facts(tasks, warehouse, monkeypatch):
    read = []
    monkeypatch.setattr(
        "scalepred.harvest.worker.read_task",
        lambda *args, **kw: read.append((kw["image_px"], kw["resize"])) or read_task(*args, **kw),
    )
    recipes = {resize: dataclasses.replace(QUICK, resize=resize) for resize in ("squash", "crop", "pad")}
    harvest = harvest_of(tasks[:1], warehouse, sources=("tiny", "other"), recipes=recipes | {"larger": LARGER})
    _, runs = go(harvest)
    rows = stored(warehouse)
    kinds = {(16, "squash"), (16, "crop"), (16, "pad"), (24, "squash")}
    assert set(read) == kinds
    assert {(arguments[2].px, arguments[2].resize) for _, arguments in calls(harvest, "open")} == kinds
    kinds = ("16px", "16px-crop", "16px-pad", "24px")
    sets = {f"{kind}{size}" for kind in ("basic-1@", "probe-2/") for size in kinds}
    sets |= {start_set(recipe) for recipe in (*recipes.values(), LARGER)}
    assert {feature.feature_set for feature in rows["features"]} == sets
    assert (len(runs), len(rows["runs"]), len(rows["tasks"])) == (96, 96, 1)
    again = harvest_of(tasks[:1], warehouse, sources=("tiny", "other"), recipes=recipes | {"larger": LARGER})
    plan, more = go(again)
    assert (plan.bundles, more) == ((), [])


def test_more_seeds_add_to_what_is_there(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    plan, runs = go(harvest_of(tasks[:1], warehouse, n_seeds=2))
    assert (plan.n_runs, plan.n_stored, len(runs)) == (12, 12, 12)
    assert {run.seed for run in runs} == {1}


def test_an_edge_that_is_best_is_extended_and_marked(tasks, warehouse, monkeypatch):
    monkeypatch.setattr("scalepred.training.bundle.finetune", best_at_20)
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert plan.n_runs == 12
    assert [(run.scale, run.role) for run in runs[12:]] == [(20.0, "extension"), (40.0, "extension")]
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert (plan.bundles, runs) == ((), [])


def test_a_harvest_that_was_stopped_before_its_extension_extends_it_when_run_again(tasks, warehouse, monkeypatch):
    monkeypatch.setattr("scalepred.training.bundle.finetune", best_at_20)
    go_until(harvest_of(tasks[:1], warehouse), 12)
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert [run.scale for run in runs] == [20.0, 40.0]


def test_what_is_skipped_of_a_task_is_noted_once_and_logged_with_its_reasons(tasks, warehouse, tmp_path):
    cut, copy = tmp_path / "birds" / "dark" / "0.png", tmp_path / "birds" / "dark" / "1.png"
    cut.write_bytes(cut.read_bytes()[:200])
    copy.write_bytes((tmp_path / "birds" / "light" / "1.png").read_bytes())
    harvest = harvest_of(tasks, warehouse, max_workers=2, sources=("tiny", "other"))
    _, notes = notes_of(harvest)
    file = journal_of(warehouse).folder / "harvest.log"
    assert notes == [f"{tasks[0]}: 1 paths skipped and 2 warnings; {file} lists them"]
    log = log_of(warehouse)
    assert log.count(f" skipped: {cut}: damaged: image file is truncated\n") == 1
    assert log.count(f" warning: {tasks[0]}: ") == 2


def test_a_row_says_how_the_run_went(tasks, warehouse):
    _, done = go(harvest_of(tasks[:1], warehouse))
    runs = {run.scale: run for run in done}
    (task,) = stored(warehouse)["tasks"]
    good = runs[2.0]
    assert (good.status, good.diverged_step, good.role) == ("done", None, "grid")
    assert unpack_correct(good.val_correct, task.n_val).mean() == good.val_accuracy == 1
    assert unpack_correct(good.test_correct, task.n_test).mean() == good.test_accuracy == 1
    assert runs[0.5].test_accuracy == runs[0.5].val_accuracy == 0.5
    assert good.rates == [tuple(0.001 * m * 2.0 for m in QUICK.multipliers)]
    assert runs[None].rates == [(0.0, 0.0, 0.0, 0.0, 0.0, 0.01)]
    assert runs[None].recipe_id == baseline_of(QUICK).recipe_id
    assert set(good.versions) == {"scalepred", "torch", "timm", "numpy"}
    assert good.device.startswith("cpu (")
    assert good.device.endswith("1 threads)")
    assert good.execution == {"dtype": "float32", "micro_batch": 8, "frozen_front_kept": True}
    assert good.seconds > 0
    assert good.finished_at.endswith("+00:00")
    assert good.epoch_losses == [0.0]


def test_a_diverged_run_is_stored_without_accuracies(tasks, warehouse):
    _, done = go(harvest_of(tasks[:1], warehouse))
    lost = {run.scale: run for run in done}[10.0]
    assert (lost.status, lost.diverged_step) == ("diverged", 1)
    assert {lost.val_accuracy, lost.test_accuracy, lost.val_loss, lost.val_correct, lost.test_correct} == {None}


def test_a_harvest_becomes_a_table_whose_best_scale_is_that_of_the_finetunes(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    harvested = build(**stored(warehouse))
    assert harvested.table.names == ("birds",)
    assert np.isfinite(harvested.table.features).all()
    assert harvested.table.scales[harvested.test.argmax(axis=1)].tolist() == [2.0]
    assert 1.5 <= train(harvested.table).groups[0].fixed_scale <= 2.5  # the best of smoothed means
