"""The harvest on real images, a real journal and a real DuckDB file; only finetunes and processes are faked."""

import contextlib
import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from fakes import QUICK, InlineEngine, fake_finetune, write_task
from PIL import Image
from small_networks import tiny_source

from scalepred.data.task import read_task
from scalepred.errors import (
    DamagedError,
    DataError,
    ScalepredError,
    UsageError,
    VersionError,
    WarehouseBusyError,
    WeightsError,
)
from scalepred.harvest import harvest as harvest_module
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.harvest import Harvest, Wanted, workers_that_fit
from scalepred.harvest.worker import Worker
from scalepred.predictor.harvested import build
from scalepred.predictor.targets import unpack_correct
from scalepred.predictor.train import train
from scalepred.recipe import GRID, Recipe, baseline_of
from scalepred.records import FeatureRecord
from scalepred.store.journal import Journal, journal_of
from scalepred.store.warehouse import Warehouse, open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

FROZEN = dataclasses.replace(QUICK, batchnorm="frozen")
LARGER = dataclasses.replace(QUICK, image_px=24)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch, source):
    other = tiny_source(seed=1)
    monkeypatch.setattr(
        "scalepred.harvest.worker.load_source", lambda name, weights: {"tiny": source, "other": other}[name]
    )
    monkeypatch.setattr("scalepred.training.bundle.finetune", fake_finetune)


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture
def tasks(tmp_path):
    return [str(write_task(tmp_path / name, seed=seed)) for seed, name in enumerate(("birds", "fish"))]


@pytest.fixture
def warehouse(tmp_path):
    return tmp_path / "w.duckdb"


def harvest_of(data, warehouse, *, recipes=None, sources=("tiny",), deaths=(), pending=(), dtype="float32", **wanted):
    settings = WorkerSettings(sources=tuple((name, None) for name in sources), device="cpu", dtype=dtype)
    asked = {"n_seeds": 1, "max_workers": 1, "lock_timeout_seconds": 0.2} | wanted
    return Harvest(
        Wanted(data=data, recipes=recipes or {"quick": QUICK}, warehouse=warehouse, **asked),
        InlineEngine(lambda: Worker(settings), deaths=deaths, pending=pending),
    )


def go(harvest):
    """Run a harvest to its end; return its plan and its runs."""
    with harvest.held():
        plan = harvest.plan()
        return plan, [progress.run for progress in harvest.run() if progress.run]


def stored(warehouse):
    with open_warehouse(warehouse) as store:
        assert store.verify() == []
        return {"tasks": store.tasks(), "sources": store.sources(), "recipes": store.recipes(),
                "features": store.features(), "runs": store.runs()}  # fmt: skip


def opened(harvest):
    return [Path(arguments[0]).name for _, method, arguments in harvest.engine.asked if method == "open"]


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_counts_unread_tasks_in_full_and_reads_none(tasks, warehouse):
    harvest = harvest_of(tasks, warehouse, n_seeds=2)
    plan = harvest.plan()
    assert [(bundle.data, bundle.source, bundle.n_runs, bundle.is_read) for bundle in plan.bundles] == [
        (tasks[0], "tiny", 24, False),
        (tasks[1], "tiny", 24, False),
    ]
    assert (plan.n_runs, plan.n_stored, plan.refused) == (48, 0, {})
    assert opened(harvest) == []
    assert not warehouse.exists()


def test_a_bad_task_is_refused_with_its_reason_and_the_others_go_on(tasks, warehouse, tmp_path):
    alone, nowhere = str(write_task(tmp_path / "alone", classes=("only",))), str(tmp_path / "nowhere")
    harvest = harvest_of([tasks[0], alone, nowhere, tasks[1]], warehouse)
    plan, runs = go(harvest)
    why = f"There is nothing at {nowhere}: give a folder of class folders or a CSV manifest."
    assert plan.refused == {nowhere: why}
    assert harvest.refused == {
        nowhere: why,
        alone: f"{alone}: found one class, 'only'; at least two classes with images are needed.",
    }
    assert len(runs) == 24
    assert f"refused: {nowhere}: {why}" in journal_of(warehouse).folder.joinpath("harvest.log").read_text()


def test_one_task_under_two_names_is_done_once(tasks, warehouse, tmp_path):
    twin = str(write_task(tmp_path / "twin", seed=0))
    _, runs = go(harvest_of([tasks[0], twin, tasks[0]], warehouse, sources=("tiny", "tiny")))
    assert len(runs) == 12
    plan, runs = go(harvest_of([tasks[0], twin], warehouse))
    assert (plan.n_runs, plan.n_stored, runs) == (0, 12, [])


def test_images_that_a_network_cannot_take_are_refused_before_any_task_is_read(tasks, warehouse, monkeypatch):
    def refuse(*_, **__):
        raise UsageError("too small")

    monkeypatch.setattr("scalepred.harvest.worker.check_takes", refuse)
    harvest = harvest_of(tasks, warehouse)
    with pytest.raises(ScalepredError, match="too small"):
        harvest.plan()
    assert opened(harvest) == []


def test_what_a_probe_finds_holds_for_the_warehouse_and_what_is_asked_for_goes_before_it(tasks, warehouse, monkeypatch):
    def dtypes_of(n_seeds, dtype):
        _, done = go(harvest_of(tasks[:1], warehouse, n_seeds=n_seeds, dtype=dtype))
        return {run.execution["dtype"] for run in done}

    monkeypatch.setattr("scalepred.harvest.worker.pick_dtype", lambda *_: torch.bfloat16)
    assert dtypes_of(1, "auto") == {"bfloat16"}
    monkeypatch.setattr("scalepred.harvest.worker.pick_dtype", None)  # it would fail if it was called
    assert dtypes_of(2, "auto") == {"bfloat16"}
    assert dtypes_of(3, "float32") == {"float32"}
    assert dtypes_of(4, "auto") == {"bfloat16"}


def test_a_dtype_that_is_asked_for_is_taken_without_a_probe(monkeypatch):
    monkeypatch.setattr("scalepred.harvest.worker.pick_dtype", None)  # it would fail if it was called
    worker = Worker(WorkerSettings(sources=(), dtype="bfloat16"))
    worker.sources = [tiny_source()]
    assert worker.pick_dtype(0, Recipe(image_px=32)) == "bfloat16"


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("no such network"), 2), (WeightsError("no weights"), 3), (DataError("no data"), 3)]
)
def test_an_error_on_purpose_keeps_its_kind_and_exit_code_on_its_way_from_a_worker(
    tasks, warehouse, monkeypatch, error, code
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("scalepred.harvest.worker.load_source", fail)
    with pytest.raises(type(error), match=str(error)) as caught:
        harvest_of(tasks, warehouse).plan()
    assert caught.value.exit_code == code


def test_a_plan_alone_makes_no_warehouse(tasks, warehouse):
    harvest = harvest_of(tasks, warehouse)
    with harvest.held():
        harvest.plan()
    assert not warehouse.exists()


def test_every_origin_and_source_has_its_first_task_before_any_has_its_second(tmp_path, warehouse):
    tasks = []
    for index, origin in enumerate(("a", "a", "a", "b", "b", "c")):
        folder = write_task(tmp_path / f"{origin}{index}", seed=index)
        (folder / "task.json").write_text(json.dumps({"name": folder.name, "origin": origin}))
        tasks.append(str(folder))
    plan = harvest_of(tasks, warehouse, sources=("tiny", "other")).plan()
    names = [Path(bundle.data).name for bundle in plan.bundles]
    assert names[::2] == names[1::2]
    assert ["".join(sorted(name[0] for name in names[low:high:2])) for low, high in ((0, 6), (6, 10), (10, 12))] == [
        "abc",
        "ab",
        "a",
    ]


def test_an_origins_tasks_come_in_no_order_of_their_names(tmp_path, warehouse):
    tasks = []
    for size in (10, 20, 40, 80):
        folder = write_task(tmp_path / f"o-{size}", seed=size)
        (folder / "task.json").write_text(json.dumps({"name": folder.name, "origin": "o"}))
        tasks.append(str(folder))
    first, again = (
        [bundle.data for bundle in harvest_of(some, warehouse).plan().bundles] for some in (tasks, tasks[::-1])
    )
    assert first == again
    assert sorted(first) == tasks != first


# --- running ----------------------------------------------------------------------------------------------------------


def test_a_harvest_stores_everything_and_a_second_one_does_nothing(tasks, warehouse):
    _, first = go(harvest_of(tasks, warehouse))
    found = stored(warehouse)
    assert sorted(run.run_id for run in first) == [run.run_id for run in found["runs"]]
    assert (len(found["tasks"]), len(found["sources"]), len(found["runs"])) == (2, 1, 24)
    assert {recipe.name for recipe in found["recipes"]} == {"quick", "baseline of quick"}
    again = harvest_of(tasks, warehouse)
    plan, runs = go(again)
    assert (plan.bundles, plan.n_stored, runs, opened(again)) == ((), 24, [], [])


@pytest.mark.parametrize("done", [0, 1, 7, 23])
def test_a_stopped_harvest_is_finished_by_the_same_command(tasks, warehouse, done):
    first = harvest_of(tasks, warehouse)
    first.plan()
    running = first.run()
    while first.n_done < done:
        next(running)
    running.close()
    assert len(journal_of(warehouse).keys("runs")) == done
    _, rest = go(harvest_of(tasks, warehouse))
    assert len(rest) == 24 - done
    assert len(stored(warehouse)["runs"]) == 24


def test_changed_images_are_another_task(tasks, warehouse, tmp_path):
    go(harvest_of(tasks[:1], warehouse))
    Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert len(runs) == 12
    found = stored(warehouse)
    assert (len({task.task_id for task in found["tasks"]}), len(found["runs"])) == (2, 24)


def test_images_that_change_while_they_are_harvested_give_no_run_of_another_task(tasks, warehouse, tmp_path):
    go(harvest_of(tasks[:1], warehouse))
    harvest = harvest_of(tasks[:1], warehouse, n_seeds=2)
    with harvest.held():
        harvest.plan()
        Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
        list(harvest.run())
    found = stored(warehouse)
    assert sorted(Counter(run.task_id for run in found["runs"]).values()) == [12, 24]
    assert len(found["runs"]) == 36


def test_images_that_change_between_two_sources_are_read_again(tasks, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "scalepred.harvest.worker.read_task", lambda *args, **kw: read.append(args) or read_task(*args, **kw)
    )
    worker = Worker(WorkerSettings(sources=(("tiny", None), ("other", None)), device="cpu"))
    worker.hello()
    first, second = (worker.open(tasks[0], source, 16, "float32") for source in (0, 1))
    assert (first, len(read)) == (second, 1)
    Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
    third = worker.open(tasks[0], 0, 16, "float32")
    assert third.fingerprint != first.fingerprint
    assert third.task.task_id != first.task.task_id


def test_features_are_computed_once_for_each_task_source_and_size(tasks, warehouse):
    everything = {"quick": QUICK, "frozen": FROZEN, "larger": LARGER}
    for recipes, n_asked in (({"quick": QUICK}, 2), ({"quick": QUICK}, 0), (everything, 2)):
        harvest = harvest_of(tasks[:1], warehouse, sources=("tiny", "other"), recipes=recipes)
        go(harvest)
        asked = [method for _, method, _ in harvest.engine.asked]
        assert asked.count("features") == n_asked
    features = stored(warehouse)["features"]
    assert {f.feature_set for f in features} == {"basic-1@16px", "basic-1@24px"}
    assert len({(f.source_id, f.feature_set, f.name) for f in features}) == len(features)


def test_features_that_are_there_are_not_asked_for_again(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    again = harvest_of(tasks[:1], warehouse, n_seeds=2)
    go(again)
    assert "features" not in [method for _, method, _ in again.engine.asked]


def test_recipes_and_image_sizes_keep_their_own_runs(tasks, warehouse):
    recipes = {"quick": QUICK, "frozen": FROZEN, "larger": LARGER}
    _, runs = go(harvest_of(tasks[:1], warehouse, recipes=recipes))
    found = stored(warehouse)
    by_recipe = {r.recipe_id: sum(run.recipe_id == r.recipe_id for run in found["runs"]) for r in found["recipes"]}
    assert by_recipe == {
        m.recipe_id: n for recipe in recipes.values() for m, n in ((recipe, 11), (baseline_of(recipe), 1))
    }
    names = {name for each in recipes for name in (each, f"baseline of {each}")}
    assert {recipe.name for recipe in found["recipes"]} == names
    assert len(runs) == 36


def test_more_seeds_add_to_what_is_there(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    plan, runs = go(harvest_of(tasks[:1], warehouse, n_seeds=2))
    assert (plan.n_runs, plan.n_stored, len(runs)) == (12, 12, 12)
    assert {run.seed for run in runs} == {1}


def test_an_edge_that_is_best_is_extended_and_marked(tasks, warehouse, monkeypatch):
    def best_at_20(*args, **settings):
        return fake_finetune(*args, **settings, best=20.0, diverges=None)

    monkeypatch.setattr("scalepred.training.bundle.finetune", best_at_20)
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert plan.n_runs == 12
    assert [(run.scale, run.role) for run in runs[12:]] == [(20.0, "extension"), (40.0, "extension")]
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert (plan.bundles, runs) == ((), [])


def test_a_harvest_that_was_stopped_before_its_extension_extends_it_when_run_again(tasks, warehouse, monkeypatch):
    def best_at_20(*args, **settings):
        return fake_finetune(*args, **settings, best=20.0, diverges=None)

    monkeypatch.setattr("scalepred.training.bundle.finetune", best_at_20)
    first = harvest_of(tasks[:1], warehouse)
    first.plan()
    running = first.run()
    while first.n_done < 12:
        next(running)
    running.close()
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert [run.scale for run in runs] == [20.0, 40.0]


# --- several workers, and their deaths --------------------------------------------------------------------------------


def test_workers_share_what_there_is_and_no_run_is_done_twice(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3)
    _, runs = go(harvest)
    workers = {worker for worker, method, _ in harvest.engine.asked if method == "run"}
    assert (len(runs), len(workers)) == (12, 3)
    assert len(stored(warehouse)["runs"]) == 12


@pytest.mark.parametrize("death", range(2, 18))
def test_a_worker_may_die_at_any_call_and_every_run_is_done_once(tasks, warehouse, death):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2, deaths=[death])
    if death == 2:  # while the parent waits for the first worker
        with pytest.raises(UsageError, match="A worker died while it started"):
            go(harvest)
        return
    _, runs = go(harvest)
    assert sorted(run.scale or 0 for run in runs) == [0.0, *GRID]
    assert len(stored(warehouse)["runs"]) == 12
    assert len(stored(warehouse)["features"]) > 5
    assert (harvest.failed, harvest.refused) == ({}, {})
    assert "a worker died" in (journal_of(warehouse).folder / "harvest.log").read_text()


def test_a_worker_that_never_finds_room_is_not_waited_for(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3, deaths=[8], pending=[1, 3])  # 3 replaces one
    harvest.plan()
    last = list(itertools.islice(harvest.run(), 200))[-1]
    assert (last.n_done, last.n_left) == (12, 0)
    assert last.workers[1] == last.workers[3] == "starting"
    assert len(stored(warehouse)["runs"]) == 12


def test_features_whose_worker_dies_after_others_did_all_runs_are_computed_by_another(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks, warehouse, max_workers=3)
    inline = harvest.engine
    late = [True]

    def wait(timeout_seconds):
        inline.calls.sort(key=lambda call: (call[:2] == (0, "features"), call[1] == "features"))
        if late and inline.calls and inline.calls[0][:2] == (0, "features"):
            late.pop()
            inline.deaths.add(inline.n_calls + 1)
        return InlineEngine.wait(inline, timeout_seconds)

    monkeypatch.setattr(inline, "wait", wait)
    _, runs = go(harvest)
    assert (len(runs), late) == (24, [])
    of_tasks = Counter(feature.task_id for feature in stored(warehouse)["features"])
    assert len(of_tasks) == 2
    assert len(set(of_tasks.values())) == 1


def test_a_worker_that_takes_anothers_place_takes_its_device(tasks, warehouse, monkeypatch):
    real_hello = Worker.hello
    monkeypatch.setattr(Worker, "hello", lambda self: dataclasses.replace(real_hello(self), n_devices=2))
    harvest = harvest_of(tasks, warehouse, max_workers=2, deaths=[5])
    go(harvest)
    assert harvest.engine.devices == {0: 0, 1: 1, 2: 1}


def test_deaths_at_the_start_count_from_the_last_worker_that_started(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2, deaths=[3, 5, 9, 11])
    _, runs = go(harvest)
    log = (journal_of(warehouse).folder / "harvest.log").read_text()
    assert log.count("a worker died (starting)") == 3
    assert len(runs) == 12


@pytest.mark.parametrize("n_failures", [2, 3])
def test_an_unexpected_error_in_the_start_of_another_worker_counts_as_a_death(
    tasks, warehouse, monkeypatch, n_failures
):
    real_hello, n_asked = Worker.hello, itertools.count()

    def hello(self):
        if 1 <= next(n_asked) <= n_failures:
            raise ZeroDivisionError("no")
        return real_hello(self)

    monkeypatch.setattr(Worker, "hello", hello)
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2)
    if n_failures < 3:
        assert len(go(harvest)[1]) == 12
    else:
        with pytest.raises(UsageError, match=r"3 workers died while they started\. ZeroDivisionError: no"):
            go(harvest)
    log = (journal_of(warehouse).folder / "harvest.log").read_text()
    assert log.count("a worker failed to start: ZeroDivisionError: no\nTraceback (most recent call last)") == n_failures


def test_a_run_that_three_workers_died_of_is_given_up_and_the_rest_goes_on(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)
    inline = harvest.engine

    def call(worker, method, *arguments):
        if method == "run" and arguments[0].scale == 3.0:
            inline.deaths.add(inline.n_calls + 1)
        InlineEngine.call(inline, worker, method, *arguments)

    monkeypatch.setattr(inline, "call", call)
    _, runs = go(harvest)
    assert len(runs) == 11
    assert list(harvest.failed.values()) == ["3 workers died of it"]
    _, rest = go(harvest_of(tasks[:1], warehouse))
    assert [run.scale for run in rest] == [3.0]


def failing(monkeypatch, *, of=None, only=None, hosts=(), error=DataError):
    """Have the workers of these numbers, or all, fail to open tasks of these names, or all; they run on these hosts."""
    real_open, real_hello, numbers = Worker.open, Worker.hello, {}

    def hello(self):
        number = numbers.setdefault(id(self), len(numbers))
        return dataclasses.replace(real_hello(self), host=hosts[number] if hosts else "here")

    def fail(self, data, *arguments):
        if (of is None or numbers[id(self)] in of) and (only is None or Path(data).name in only):
            raise error(f"There is nothing at {data}.")
        return real_open(self, data, *arguments)

    monkeypatch.setattr(Worker, "hello", hello)
    monkeypatch.setattr(Worker, "open", fail)


@pytest.fixture
def more_tasks(tmp_path):
    return [str(write_task(tmp_path / f"t{index}", seed=index)) for index in range(5)]


@pytest.mark.parametrize("error", [DataError, OSError])
def test_a_worker_that_opens_nothing_costs_no_task(more_tasks, warehouse, monkeypatch, error):
    failing(monkeypatch, of={1}, error=error)
    harvest = harvest_of(more_tasks, warehouse, max_workers=2)
    assert len(go(harvest)[1]) == 60
    assert (harvest.refused, harvest.failed) == ({}, {})
    tried = Counter(
        arguments[0] for worker, method, arguments in harvest.engine.asked if (worker, method) == (1, "open")
    )
    assert set(tried.values()) == {1}


def test_a_helper_that_cannot_open_what_another_has_in_hand_lets_go_of_it(tasks, warehouse, monkeypatch):
    failing(monkeypatch, of={1, 2})
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (12, {})
    assert Counter(worker for worker, method, _ in harvest.engine.asked if method == "open") == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize(("n_workers", "n_opened"), [(1, 1), (2, 2), (4, 3)])
def test_a_task_that_all_workers_or_three_cannot_open_is_refused(tasks, warehouse, monkeypatch, n_workers, n_opened):
    failing(monkeypatch, only={"birds"})
    harvest = harvest_of(tasks, warehouse, max_workers=n_workers)
    harvest.plan()
    harvest._start_workers()
    while any(hand.call == "starting" for hand in harvest._hands.values()):
        harvest._take(harvest.engine.wait(0)[0])
    list(harvest.run())
    assert harvest.refused == {tasks[0]: f"There is nothing at {tasks[0]}."}
    assert (harvest.n_done, opened(harvest).count("birds")) == (12, n_opened)


def test_the_workers_of_one_machine_are_not_believed_before_one_of_another(more_tasks, warehouse, monkeypatch):
    failing(monkeypatch, of={0, 1, 2}, hosts=["bad", "bad", "bad", "good"])
    harvest = harvest_of(more_tasks, warehouse, max_workers=4)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (60, {})


def test_a_task_that_could_not_be_opened_waits_for_workers_that_start_but_not_for_ever(tasks, warehouse, monkeypatch):
    failing(monkeypatch, only={"birds"})
    monkeypatch.setattr(harvest_module, "START_SECONDS", 0.2)
    harvest = harvest_of(tasks, warehouse, max_workers=2, pending=[1])
    _, runs = go(harvest)
    assert (len(runs), list(harvest.refused)) == (12, [tasks[0]])


def test_errors_of_one_workers_opens_do_not_end_the_harvest(tmp_path, warehouse, monkeypatch):
    tasks = [str(write_task(tmp_path / f"t{index}", seed=index)) for index in range(harvest_module.MAX_FAILURES + 2)]
    failing(monkeypatch, of={0}, error=OSError)
    harvest = harvest_of(tasks, warehouse, max_workers=2)
    assert len(go(harvest)[1]) == 12 * len(tasks)
    assert harvest.refused == {}


def test_helpers_that_die_of_opening_a_task_cost_nothing_but_themselves(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2)
    inline = harvest.engine

    def wait(timeout_seconds):
        if inline.calls and inline.calls[0][:2] != (0, "open") and inline.calls[0][1] == "open":
            inline.deaths.add(inline.n_calls + 1)
        return InlineEngine.wait(inline, timeout_seconds)

    monkeypatch.setattr(inline, "wait", wait)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (12, {})
    assert opened(harvest) == ["birds"] * (1 + harvest_module.MAX_DEATHS)


def test_a_machine_on_which_workers_die_of_opening_tasks_costs_none(more_tasks, warehouse, monkeypatch):
    failing(monkeypatch, of=(), hosts=["good", *["bad"] * 40])
    harvest = harvest_of(more_tasks, warehouse, max_workers=2)
    inline = harvest.engine

    def wait(timeout_seconds):
        if inline.calls and inline.calls[0][0] != 0 and inline.calls[0][1] == "open":
            inline.deaths.add(inline.n_calls + 1)
        return InlineEngine.wait(inline, timeout_seconds)

    monkeypatch.setattr(inline, "wait", wait)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (60, {})
    assert max(Counter(opened(harvest)).values()) <= 1 + harvest_module.MAX_DEATHS


def test_a_task_that_three_workers_died_of_opening_is_refused(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks, warehouse)
    inline = harvest.engine

    def call(worker, method, *arguments):
        if method == "open" and arguments[0] == tasks[0]:
            inline.deaths.add(inline.n_calls + 1)
        InlineEngine.call(inline, worker, method, *arguments)

    monkeypatch.setattr(inline, "call", call)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (12, {tasks[0]: "3 workers died of it"})


def test_no_worker_takes_a_dead_ones_place_once_a_signal_has_come(tasks, warehouse):
    harvest = harvest_of(tasks, warehouse, max_workers=4, deaths=[3, 4, 5, 6])  # as a signal to all processes does
    harvest.plan()
    running = harvest.run()
    harvest.interrupts = [15]
    for _ in range(4):
        next(running)
    running.close()
    assert [worker for worker, method, _ in harvest.engine.asked if method == "hello"] == [0, 1, 2, 3]


def test_what_is_skipped_of_a_task_is_noted_once_and_logged_with_its_reasons(tasks, warehouse, tmp_path):
    cut, copy = tmp_path / "birds" / "dark" / "0.png", tmp_path / "birds" / "dark" / "1.png"
    cut.write_bytes(cut.read_bytes()[:200])
    copy.write_bytes((tmp_path / "birds" / "light" / "1.png").read_bytes())
    harvest = harvest_of(tasks, warehouse, max_workers=2, sources=("tiny", "other"))
    with harvest.held():
        harvest.plan()
        notes = [note for progress in harvest.run() for note in progress.notes]
    file = journal_of(warehouse).folder / "harvest.log"
    assert notes == [f"{tasks[0]}: 1 paths skipped and 2 warnings; {file} lists them"]
    log = file.read_text()
    assert log.count(f" skipped: {cut}: damaged: image file is truncated\n") == 1
    assert log.count(f" warning: {tasks[0]}: ") == 2


def test_an_unexpected_error_gives_up_its_run_and_is_logged_with_its_traceback(tasks, warehouse, monkeypatch):
    def broken(*args, **settings):
        if settings["scale"] == 4.0:
            raise ZeroDivisionError("no")
        return fake_finetune(*args, **settings)

    monkeypatch.setattr("scalepred.training.bundle.finetune", broken)
    harvest = harvest_of(tasks[:1], warehouse)
    _, runs = go(harvest)
    assert len(runs) == 11
    assert list(harvest.failed.values()) == ["ZeroDivisionError: no"]
    log = (journal_of(warehouse).folder / "harvest.log").read_text()
    assert 'raise ZeroDivisionError("no")' in log


def test_errors_that_do_not_end_end_the_harvest_and_what_is_done_is_kept(tasks, warehouse, monkeypatch):
    def broken(*args, **settings):
        if settings["scale"]:
            raise ZeroDivisionError("no")
        return fake_finetune(*args, **settings)

    monkeypatch.setattr("scalepred.training.bundle.finetune", broken)
    harvest = harvest_of(tasks, warehouse)
    with pytest.raises(ScalepredError, match=r"5 errors in a row, the last one in run of .*ZeroDivisionError: no What"):
        go(harvest)
    assert len(journal_of(warehouse).keys("runs")) == 1


def test_as_many_workers_fit_on_a_device_as_their_peaks_and_contexts_leave_room_for():
    gigabyte = 1 << 30
    assert workers_that_fit(2 * gigabyte, device_bytes=80 * gigabyte, at_most=64) == 24
    assert workers_that_fit(2 * gigabyte, device_bytes=80 * gigabyte, at_most=8) == 8
    assert workers_that_fit(70 * gigabyte, device_bytes=80 * gigabyte, at_most=8) == 1


def test_on_a_cuda_device_workers_are_added_once_a_run_that_is_no_baseline_shows_their_size(
    tasks, warehouse, monkeypatch
):
    harvest = harvest_of(tasks, warehouse, max_workers=16, grows=True)
    real_hello, real_run = Worker.hello, Worker.run

    def on_cuda(self):
        return dataclasses.replace(real_hello(self), device="cuda (a)", device_bytes=80 << 30)

    def with_peak(self, planned):
        gib = {None: 4, 0.5: 10}.get(planned.scale, 20)
        return dataclasses.replace(real_run(self, planned), execution={"peak_bytes": gib << 30})

    monkeypatch.setattr(Worker, "hello", on_cuda)
    monkeypatch.setattr(Worker, "run", with_peak)
    go(harvest)
    workers = [worker for worker, method, _ in harvest.engine.asked if method == "hello"]
    runs_before = [m for _, m, _ in harvest.engine.asked[: [w for w, *_ in harvest.engine.asked].index(1)]].count("run")
    assert (workers, runs_before) == ([0, 1, 2], 2)


def test_a_larger_peak_leaves_no_room_for_more_workers_nor_for_one_that_died(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks, warehouse, max_workers=16, grows=True)
    real_hello, real_run = Worker.hello, Worker.run

    def on_cuda(self):
        return dataclasses.replace(real_hello(self), device="cuda (a)", device_bytes=80 << 30)

    def with_peak(self, planned):
        gib = {0.25: 20, 0.5: 40}.get(planned.scale, 1)
        return dataclasses.replace(real_run(self, planned), execution={"peak_bytes": gib << 30})

    def wait(timeout_seconds):
        if harvest._peak_bytes == 40 << 30 and not harvest.engine.deaths:
            harvest.engine.deaths.add(harvest.engine.n_calls + 1)
        return InlineEngine.wait(harvest.engine, timeout_seconds)

    monkeypatch.setattr(Worker, "hello", on_cuda)
    monkeypatch.setattr(Worker, "run", with_peak)
    monkeypatch.setattr(harvest.engine, "wait", wait)
    _, runs = go(harvest)
    assert len(runs) == 24
    assert [worker for worker, method, _ in harvest.engine.asked if method == "hello"] == [0, 1, 2]


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_warehouse_can_be_read_while_a_harvest_runs_and_is_filled_meanwhile(tasks, warehouse, monkeypatch):
    monkeypatch.setattr(harvest_module, "FLUSH_SECONDS", 0.0)
    harvest = harvest_of(tasks, warehouse)
    harvest.plan()
    counts = []
    for progress in harvest.run():
        if progress.run is None and warehouse.exists():
            with open_warehouse(warehouse, read_only=True) as store:
                counts.append(store.status().n_done + store.status().n_diverged)
    assert counts[-1] == 24
    assert len(set(counts)) > 10


def test_a_warehouse_that_is_busy_at_the_end_gets_its_runs_from_the_next_harvest(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)

    @contextlib.contextmanager
    def busy(*_, **__):
        raise WarehouseBusyError("held by process 7")
        yield

    with harvest.held():
        harvest.plan()
        with monkeypatch.context() as patch:
            patch.setattr("scalepred.store.keeping.open_warehouse", busy)
            with pytest.raises(WarehouseBusyError, match="held by process 7"):
                list(harvest.run())
    assert len(journal_of(warehouse).keys("runs")) == 12
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert (plan.n_stored, runs) == (12, [])
    assert len(stored(warehouse)["runs"]) == 12


def test_a_harvest_that_is_stopped_while_the_disk_is_full_says_so_and_stops(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)
    harvest.plan()
    running = harvest.run()
    while harvest.n_done < 3:
        next(running)

    def full(*_, **__):
        raise UsageError("no space left")

    monkeypatch.setattr("scalepred.store.keeping.open_warehouse", full)
    assert harvest.stop() == ["no space left"]
    assert harvest.engine.workers == {}


def test_a_lost_warehouse_is_made_again_from_the_journal(tasks, warehouse):
    go(harvest_of(tasks, warehouse))
    before = stored(warehouse)
    warehouse.unlink()
    plan, runs = go(harvest_of(tasks, warehouse))
    assert (plan.n_stored, runs) == (24, [])
    assert stored(warehouse) == before


@pytest.mark.parametrize("damage", [b"", b"not a database at all", None])
def test_a_damaged_warehouse_is_moved_aside_and_made_again_from_the_journal(tasks, warehouse, damage):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    whole = warehouse.read_bytes()
    broken = whole[: len(whole) // 2] if damage is None else damage
    warehouse.write_bytes(broken)
    harvest = harvest_of(tasks[:1], warehouse)
    with harvest.held():
        plan = harvest.plan()
        notes = [note for progress in harvest.run() for note in progress.notes]
    assert plan.n_stored == 12
    assert notes[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    (aside,) = warehouse.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == broken
    assert stored(warehouse) == before


def test_a_damaged_log_of_the_database_is_moved_aside_with_it_and_nothing_is_lost(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    log = warehouse.with_name(f"{warehouse.name}.wal")
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("SET wal_autocheckpoint = '1GB'")
        connection.execute("CREATE TABLE more AS SELECT * FROM range(1000)")
        broken = bytearray(log.read_bytes())
    broken[len(broken) // 2] ^= 255
    log.write_bytes(broken)
    harvest = harvest_of(tasks[:1], warehouse)
    with harvest.held():
        assert harvest.plan().n_stored == 12
        notes = [note for progress in harvest.run() for note in progress.notes]
    assert notes[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    (aside,) = warehouse.parent.glob("*.corrupt-*.wal")
    assert aside.read_bytes() == broken
    assert stored(warehouse) == before


def test_a_file_that_was_never_a_warehouse_is_left_as_it_is(tasks, warehouse):
    warehouse.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(VersionError, match="It was left as it is"):
        go(harvest_of(tasks[:1], warehouse))
    assert warehouse.read_bytes() == b"a,b\n1,2\n"


def test_a_damaged_file_of_the_journal_costs_one_run(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)["runs"]
    warehouse.unlink()
    file = next((journal_of(warehouse).folder / "runs").rglob("*.json"))
    file.write_bytes(file.read_bytes()[:100])
    harvest = harvest_of(tasks[:1], warehouse)
    with harvest.held():
        plan = harvest.plan()
        progress = list(harvest.run())
    assert (plan.n_stored, plan.n_runs) == (11, 1)
    assert progress[0].notes == ("1 damaged files of runs in the journal were renamed to end in .corrupt",)
    assert [run.run_id for run in stored(warehouse)["runs"]] == [run.run_id for run in before]


@pytest.mark.parametrize("kind", ["tasks", "sources", "recipes"])
def test_what_runs_refer_to_is_written_again_if_it_is_lost(tasks, warehouse, kind):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    warehouse.unlink()
    for file in (journal_of(warehouse).folder / kind).rglob("*.json"):
        file.write_bytes(b"{")
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert runs == []
    assert stored(warehouse) == before


def test_features_that_were_written_in_part_are_computed_again(tasks, warehouse, monkeypatch):
    harvest, add = harvest_of(tasks[:1], warehouse), Journal.add

    def full(self, record):
        if isinstance(record, FeatureRecord) and len(self.keys("features")) == 3:
            raise UsageError("no space left")
        add(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", full)
        with pytest.raises(UsageError, match="no space left"):
            go(harvest)
    assert len(journal_of(warehouse).keys("features")) == 3
    go(harvest_of(tasks[:1], warehouse))
    whole = stored(warehouse)["features"]
    assert len(whole) == 10


def test_features_of_which_a_file_is_damaged_are_computed_again(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)["features"]
    warehouse.unlink()
    for file in list((journal_of(warehouse).folder / "features").rglob("*.json"))[:2]:
        file.write_bytes(file.read_bytes()[:50])
    go(harvest_of(tasks[:1], warehouse))
    assert [(f.name, f.value) for f in stored(warehouse)["features"]] == [(f.name, f.value) for f in before]
    again = harvest_of(tasks[:1], warehouse)
    assert go(again)[0].bundles == ()


def test_damage_that_only_reading_shows_is_mended_too(tasks, warehouse, monkeypatch):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    real, left = Warehouse.outcomes, ["a checksum is wrong"]

    def outcomes(self, source_ids):
        if left:
            raise DamagedError(left.pop())
        return real(self, source_ids)

    monkeypatch.setattr(Warehouse, "outcomes", outcomes)
    harvest = harvest_of(tasks[:1], warehouse)
    with harvest.held():
        plan = harvest.plan()
        notes = [note for progress in harvest.run() for note in progress.notes]
    assert (plan.n_stored, notes[0]) == (12, "THE WAREHOUSE WAS DAMAGED: a checksum is wrong")
    assert len(list(warehouse.parent.glob("*.corrupt-*"))) == 1
    assert stored(warehouse) == before


# --- what a run's row holds -------------------------------------------------------------------------------------------


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


def test_a_harvest_becomes_a_table_whose_best_scale_is_the_known_one(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    harvested = build(**stored(warehouse))
    assert harvested.table.names == ("birds",)
    assert np.isfinite(harvested.table.features).all()
    assert harvested.table.scales[harvested.test.argmax(axis=1)].tolist() == [2.0]
    assert 1.5 <= train(harvested.table).groups[0].fixed_scale <= 2.5  # the best of smoothed means
