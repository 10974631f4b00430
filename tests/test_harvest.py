"""The harvest on real pictures and a real DuckDB file; only the finetune is faked, but for one."""

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from fakes import QUICK, fake_finetune, write_task
from networks import tiny_source
from PIL import Image

import scalepred.harvest as module
from scalepred.config import GRID, baseline_of
from scalepred.errors import UsageError
from scalepred.harvest import device_name, make_plan, run_plan, wanted_runs
from scalepred.predictor import train
from scalepred.table import build
from scalepred.targets import unpack_correct
from scalepred.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
FROZEN = dataclasses.replace(QUICK, batchnorm="frozen")


SHORT = (0.5, 2.0, 10.0)


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    """Fake the finetune, shorten the grid, and open the DuckDB file once; real training does none of that."""
    if "real_training" in request.keywords:
        yield
        return
    monkeypatch.setattr(module, "finetune", fake_finetune)
    monkeypatch.setattr(module, "GRID", SHORT)
    with contextlib.ExitStack() as stack:
        opened = {}

        @contextlib.contextmanager
        def open_once(path, **_):
            if path not in opened:
                opened[path] = stack.enter_context(open_warehouse(path))
            yield opened[path]

        monkeypatch.setattr(module, "open_warehouse", open_once)
        yield


@pytest.fixture
def _whole_grid(monkeypatch, _quick):
    monkeypatch.setattr(module, "GRID", GRID)


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture
def tasks(tmp_path):
    return [str(write_task(tmp_path / name, seed=seed)) for seed, name in enumerate(("birds", "fish"))]


@pytest.fixture
def warehouse(tmp_path):
    return tmp_path / "w.duckdb"


def plan_of(tasks, source, warehouse, *, recipes=(QUICK,), n_seeds=1, sources=None, **more):
    return make_plan(tasks, sources or [source], list(recipes), n_seeds=n_seeds, warehouse=warehouse, **more)


def go(plan, warehouse):
    names = {QUICK.recipe_id: "quick", baseline_of(QUICK).recipe_id: "baseline"}
    return run_plan(plan, warehouse=warehouse, recipe_names=names, device=CPU, dtype=torch.float32)


def stored(warehouse):
    with module.open_warehouse(warehouse) as store:
        assert store.verify() == []
        return {"tasks": store.tasks(), "sources": store.sources(), "recipes": store.recipes(),
                "features": store.features(), "runs": store.runs()}  # fmt: skip


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_whole_grid")
def test_a_grid_is_the_baseline_and_eleven_scales_for_every_seed():
    runs = wanted_runs("task", "source", [QUICK], n_seeds=2)
    assert [(run.seed, run.scale) for run in runs] == [(seed, x) for seed in (0, 1) for x in (None, *GRID)]
    assert {run.recipe for run in runs if run.scale is None} == {baseline_of(QUICK)}
    assert len({run.run_id for run in runs}) == 24


def test_recipes_that_differ_in_multipliers_only_share_a_baseline():
    other = dataclasses.replace(QUICK, multipliers=(1, 1, 1, 1, 1, 1))
    runs = wanted_runs("task", "source", [QUICK, other], n_seeds=1)
    assert len(runs) == 1 + 2 * len(SHORT)
    assert len(wanted_runs("task", "source", [QUICK, FROZEN], n_seeds=1)) == 2 * (1 + len(SHORT))


@pytest.mark.usefixtures("_whole_grid")
def test_a_plan_counts_twelve_runs_for_every_task(tasks, source, warehouse):
    seen = []
    plan = plan_of(tasks, source, warehouse, on_task=lambda *told: seen.append(told))
    assert (plan.n_runs, plan.n_stored, plan.refused) == (24, 0, {})
    assert [bundle.task.record.name for bundle in plan.bundles] == ["birds", "fish"]
    assert all(bundle.lacks_features for bundle in plan.bundles)
    assert seen == [(1, 2, "birds"), (2, 2, "fish")]
    assert not warehouse.exists()


def test_a_bad_task_is_refused_with_its_reason_and_the_others_go_on(tasks, source, warehouse, tmp_path):
    alone = write_task(tmp_path / "alone", classes=("only",))
    plan = plan_of([tasks[0], str(alone), str(tmp_path / "nowhere"), tasks[1]], source, warehouse)
    assert plan.n_runs == 8
    assert plan.refused == {
        str(alone): f"{alone}: found one class, 'only'; at least two classes with pictures are needed.",
        str(tmp_path / "nowhere"): f"There is nothing at {tmp_path / 'nowhere'}: "
        "give a folder of class folders or a CSV manifest.",
    }


def test_one_task_under_two_names_is_done_once(tasks, source, warehouse, tmp_path):
    twin = write_task(tmp_path / "twin", seed=0)
    plan = plan_of([tasks[0], str(twin), tasks[0]], source, warehouse, sources=[source, source])
    assert (plan.n_runs, plan.n_stored) == (4, 0)
    assert len(list(go(plan, warehouse))) == 4


def test_pictures_that_a_network_cannot_take_are_refused_before_any_task_is_read(tasks, source, warehouse, monkeypatch):
    def refuse(*_, **__):
        raise UsageError("too small")

    monkeypatch.setattr(module, "check_takes", refuse)
    monkeypatch.setattr(module, "read_task", None)
    with pytest.raises(UsageError, match="too small"):
        plan_of(tasks, source, warehouse)


# --- running ----------------------------------------------------------------------------------------------------------


def test_a_harvest_stores_everything_and_a_second_one_does_nothing(tasks, source, warehouse):
    first = list(go(plan_of(tasks, source, warehouse), warehouse))
    found = stored(warehouse)
    assert {run.run_id for run in first} == {run.run_id for run in found["runs"]}
    assert (len(found["tasks"]), len(found["sources"]), len(found["runs"])) == (2, 1, 8)
    assert {recipe.name for recipe in found["recipes"]} == {"quick", "baseline"}
    again = plan_of(tasks, source, warehouse)
    assert (again.bundles, again.n_runs, again.n_stored) == ((), 0, 8)
    assert list(go(again, warehouse)) == []


@pytest.mark.parametrize("done", [0, 1, 4, 7])
def test_an_interrupted_harvest_is_finished_by_the_same_command(tasks, source, warehouse, done, monkeypatch):
    calls = []

    def interrupted(*args, **settings):
        calls.append(settings["scale"])
        if len(calls) == done + 1:
            raise KeyboardInterrupt
        return fake_finetune(*args, **settings)

    monkeypatch.setattr(module, "finetune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(go(plan_of(tasks, source, warehouse), warehouse))
    assert len(stored(warehouse)["runs"]) == done
    rest = plan_of(tasks, source, warehouse)
    assert (rest.n_runs, rest.n_stored) == (8 - done, done)
    list(go(rest, warehouse))
    runs = stored(warehouse)["runs"]
    assert len(runs) == len({run.run_id for run in runs}) == 8
    assert len(calls) == 9


def test_changed_pictures_are_another_task(tasks, source, warehouse, tmp_path):
    list(go(plan_of(tasks[:1], source, warehouse), warehouse))
    Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
    plan = plan_of(tasks[:1], source, warehouse)
    assert (plan.n_runs, plan.n_stored) == (4, 0)
    list(go(plan, warehouse))
    found = stored(warehouse)
    assert len({task.task_id for task in found["tasks"]}) == 2
    assert len(found["runs"]) == 8


def test_features_are_computed_once_for_each_task_and_source(tasks, source, warehouse, monkeypatch):
    calls = []
    real = module.compute_features

    def counted(which, *args, **settings):
        calls.append(which.source_id)
        return real(which, *args, **settings)

    monkeypatch.setattr(module, "compute_features", counted)
    other = tiny_source(seed=1)
    for recipes in ((QUICK,), (QUICK,), (QUICK, FROZEN)):
        list(go(plan_of(tasks[:1], source, warehouse, sources=[source, other], recipes=recipes), warehouse))
    assert sorted(calls) == sorted([source.source_id, other.source_id])
    assert {f.feature_set for f in stored(warehouse)["features"]} == {"basic-1@16px"}


def test_what_was_stopped_after_its_features_does_not_compute_them_again(tasks, source, warehouse):
    running = go(plan_of(tasks[:1], source, warehouse), warehouse)
    next(running)
    running.close()
    assert [bundle.lacks_features for bundle in plan_of(tasks[:1], source, warehouse).bundles] == [False]


def test_recipes_and_picture_sizes_keep_their_own_runs_and_features(tasks, source, warehouse):
    larger = dataclasses.replace(QUICK, image_px=24)
    plan = plan_of(tasks[:1], source, warehouse, recipes=(QUICK, FROZEN, larger))
    assert [(bundle.task.image_px, len(bundle.runs)) for bundle in plan.bundles] == [(16, 8), (24, 4)]
    list(go(plan, warehouse))
    found = stored(warehouse)
    assert {f.feature_set for f in found["features"]} == {"basic-1@16px", "basic-1@24px"}
    by_recipe = {r.recipe_id: sum(run.recipe_id == r.recipe_id for run in found["runs"]) for r in found["recipes"]}
    assert by_recipe == {
        member.recipe_id: n
        for recipe in (QUICK, FROZEN, larger)
        for member, n in ((recipe, 3), (baseline_of(recipe), 1))
    }
    assert {r.name for r in found["recipes"]} - {"quick", "baseline"} == {
        r.recipe_id[:8] for recipe in (FROZEN, larger) for r in (recipe, baseline_of(recipe))
    }


def test_more_seeds_add_to_what_is_there(tasks, source, warehouse):
    list(go(plan_of(tasks[:1], source, warehouse), warehouse))
    plan = plan_of(tasks[:1], source, warehouse, n_seeds=2)
    assert (plan.n_runs, plan.n_stored) == (4, 4)
    list(go(plan, warehouse))
    assert sorted(run.seed for run in stored(warehouse)["runs"]) == [0] * 4 + [1] * 4


def test_an_error_that_is_no_divergence_stops_the_harvest_and_stores_no_run(tasks, source, warehouse, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "finetune", broken)
    with pytest.raises(ZeroDivisionError):
        list(go(plan_of(tasks, source, warehouse), warehouse))
    assert stored(warehouse)["runs"] == []


# --- what a run's row holds -------------------------------------------------------------------------------------------


def test_a_row_says_how_the_run_went(tasks, source, warehouse):
    plan = plan_of(tasks[:1], source, warehouse)
    runs = {run.scale: run for run in go(plan, warehouse)}
    task = plan.bundles[0].task
    good = runs[2.0]
    assert (good.status, good.diverged_step) == ("done", None)
    assert unpack_correct(good.val_correct, task.record.n_val).mean() == good.val_accuracy == 1
    assert unpack_correct(good.test_correct, task.record.n_test).mean() == good.test_accuracy == 1
    assert runs[0.5].test_accuracy == runs[0.5].val_accuracy == 0.5
    assert good.rates == [tuple(0.001 * m * 2.0 for m in QUICK.multipliers)]
    assert runs[None].rates == [(0.0, 0.0, 0.0, 0.0, 0.0, 0.01)]
    assert runs[None].recipe_id == baseline_of(QUICK).recipe_id
    assert set(good.versions) == {"scalepred", "torch", "timm", "numpy"}
    assert good.device == device_name(CPU)
    assert good.device.startswith("cpu (")
    assert good.seconds > 0
    assert good.finished_at.endswith("+00:00")
    assert good.epoch_losses == [0.0]


def test_a_diverged_run_is_stored_without_accuracies(tasks, source, warehouse):
    runs = {run.scale: run for run in go(plan_of(tasks[:1], source, warehouse), warehouse)}
    lost = runs[10.0]
    assert (lost.status, lost.diverged_step) == ("diverged", 1)
    assert {lost.val_accuracy, lost.test_accuracy, lost.val_loss, lost.val_correct, lost.test_correct} == {None}


@pytest.mark.usefixtures("_whole_grid")
def test_a_harvest_becomes_a_table_whose_best_scale_is_the_known_one(tasks, source, warehouse):
    list(go(plan_of(tasks[:1], source, warehouse), warehouse))
    harvested = build(**stored(warehouse))
    assert harvested.table.names == ("birds",)
    assert np.isfinite(harvested.table.features).all()
    assert harvested.table.scales[harvested.test.argmax(axis=1)].tolist() == [2.0]
    assert 1.5 <= train(harvested.table).groups[0].fixed_scale <= 2.5  # the best of smoothed means


@pytest.mark.real_training
def test_a_real_harvest_that_is_interrupted_ends_with_the_numbers_of_one_that_is_not(tasks, source, tmp_path):
    found = []
    for name, stops in (("a.duckdb", (3, 12)), ("b.duckdb", (12,))):
        for stop in stops:
            running = go(plan_of(tasks[:1], source, tmp_path / name), tmp_path / name)
            list(itertools.islice(running, stop))
            running.close()
        runs = stored(tmp_path / name)["runs"]
        assert len(runs) == 12
        found.append([(run.run_id, run.status, run.val_correct, run.test_correct, run.epoch_losses) for run in runs])
    assert found[0] == found[1]
