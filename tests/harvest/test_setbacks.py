"""What workers that die and calls that fail cost a harvest."""

from collections import Counter

import pytest
from fakes import InlineEngine, fake_finetune, write_task
from inline import calls, dying, failing, go, harvest_of, log_of, opened, stored

from scalepred.errors import DataError, ScalepredError, UsageError
from scalepred.harvest import setbacks
from scalepred.harvest.bundles import MAX_DEATHS
from scalepred.harvest.setbacks import MAX_FAILURES
from scalepred.recipe import GRID
from scalepred.store.journal import journal_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


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
    assert "a worker died" in log_of(warehouse)


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


def test_a_run_that_three_workers_died_of_is_given_up_and_the_rest_goes_on(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)
    dying(monkeypatch, harvest, lambda _, method, arguments: method == "run" and arguments[0].scale == 3.0)
    _, runs = go(harvest)
    assert len(runs) == 11
    assert list(harvest.failed.values()) == ["3 workers died of it"]
    _, rest = go(harvest_of(tasks[:1], warehouse))
    assert [run.scale for run in rest] == [3.0]


@pytest.mark.parametrize("error", [DataError, OSError])
def test_a_worker_that_opens_nothing_costs_no_task(more_tasks, warehouse, monkeypatch, error):
    failing(monkeypatch, of={1}, error=error)
    harvest = harvest_of(more_tasks, warehouse, max_workers=2)
    assert len(go(harvest)[1]) == 60
    assert (harvest.refused, harvest.failed) == ({}, {})
    tried = Counter(arguments[0] for worker, arguments in calls(harvest, "open") if worker == 1)
    assert set(tried.values()) == {1}


def test_a_helper_that_cannot_open_what_another_has_in_hand_lets_go_of_it(tasks, warehouse, monkeypatch):
    failing(monkeypatch, of={1, 2})
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (12, {})
    assert Counter(worker for worker, _ in calls(harvest, "open")) == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize(("n_workers", "n_opened"), [(1, 1), (2, 2), (4, 3)])
def test_a_task_that_all_workers_or_three_cannot_open_is_refused(tasks, warehouse, monkeypatch, n_workers, n_opened):
    failing(monkeypatch, only={"birds"})
    harvest = harvest_of(tasks, warehouse, max_workers=n_workers)
    inline = harvest.engine

    def wait(timeout_seconds):  # all have started before any has opened a task
        inline.calls.sort(key=lambda call: call[1] != "hello")
        return InlineEngine.wait(inline, timeout_seconds)

    monkeypatch.setattr(inline, "wait", wait)
    go(harvest)
    assert harvest.refused == {tasks[0]: f"There is nothing at {tasks[0]}."}
    assert (harvest.n_done, opened(harvest).count("birds")) == (12, n_opened)


def test_the_workers_of_one_machine_are_not_believed_before_one_of_another(more_tasks, warehouse, monkeypatch):
    failing(monkeypatch, of={0, 1, 2}, hosts=["bad", "bad", "bad", "good"])
    harvest = harvest_of(more_tasks, warehouse, max_workers=4)
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (60, {})


def test_a_task_that_could_not_be_opened_waits_for_workers_that_start_but_not_for_ever(tasks, warehouse, monkeypatch):
    failing(monkeypatch, only={"birds"})
    monkeypatch.setattr(setbacks, "START_SECONDS", 0.2)
    harvest = harvest_of(tasks, warehouse, max_workers=2, pending=[1])
    _, runs = go(harvest)
    assert (len(runs), list(harvest.refused)) == (12, [tasks[0]])


def test_errors_of_one_workers_opens_do_not_end_the_harvest(tmp_path, warehouse, monkeypatch):
    tasks = [str(write_task(tmp_path / f"t{index}", seed=index)) for index in range(MAX_FAILURES + 2)]
    failing(monkeypatch, of={0}, error=OSError)
    harvest = harvest_of(tasks, warehouse, max_workers=2)
    assert len(go(harvest)[1]) == 12 * len(tasks)
    assert harvest.refused == {}


def test_helpers_that_die_of_opening_a_task_cost_nothing_but_themselves(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2)
    dying(monkeypatch, harvest, lambda worker, method, _: worker != 0 and method == "open")
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (12, {})
    assert opened(harvest) == ["birds"] * (1 + MAX_DEATHS)


def test_a_machine_on_which_workers_die_of_opening_tasks_costs_none(more_tasks, warehouse, monkeypatch):
    failing(monkeypatch, of=(), hosts=["good", *["bad"] * 40])
    harvest = harvest_of(more_tasks, warehouse, max_workers=2)
    dying(monkeypatch, harvest, lambda worker, method, _: worker != 0 and method == "open")
    _, runs = go(harvest)
    assert (len(runs), harvest.refused) == (60, {})
    assert max(Counter(opened(harvest)).values()) <= 1 + MAX_DEATHS


def test_a_task_that_three_workers_died_of_opening_is_refused(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks, warehouse)
    dying(monkeypatch, harvest, lambda _, method, arguments: method == "open" and arguments[0] == tasks[0])
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
    assert [worker for worker, _ in calls(harvest, "hello")] == [0, 1, 2, 3]


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
    log = log_of(warehouse)
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
