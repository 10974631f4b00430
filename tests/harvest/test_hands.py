"""How many workers start, on which devices, and what they share."""

import dataclasses
import itertools

import pytest
from fakes import InlineEngine
from inline import calls, go, harvest_of, log_of, on_cuda, stored

from scalepred.errors import UsageError
from scalepred.harvest.hands import workers_that_fit
from scalepred.harvest.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


def test_workers_share_what_there_is_and_no_run_is_done_twice(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3)
    _, runs = go(harvest)
    workers = {worker for worker, _ in calls(harvest, "run")}
    assert (len(runs), len(workers)) == (12, 3)
    assert len(stored(warehouse)["runs"]) == 12


def test_a_worker_that_never_finds_room_is_not_waited_for(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=3, deaths=[8], pending=[1, 3])  # 3 replaces one
    harvest.plan()
    last = list(itertools.islice(harvest.run(), 200))[-1]
    assert (last.n_done, last.n_left) == (12, 0)
    assert last.workers[1] == last.workers[3] == "starting"
    assert len(stored(warehouse)["runs"]) == 12


def test_a_worker_that_takes_anothers_place_takes_its_device(tasks, warehouse, monkeypatch):
    real_hello = Worker.hello
    monkeypatch.setattr(Worker, "hello", lambda self: dataclasses.replace(real_hello(self), n_devices=2))
    harvest = harvest_of(tasks, warehouse, max_workers=2, deaths=[5])
    go(harvest)
    assert harvest.engine.devices == {0: 0, 1: 1, 2: 1}


def test_deaths_at_the_start_count_from_the_last_worker_that_started(tasks, warehouse):
    harvest = harvest_of(tasks[:1], warehouse, max_workers=2, deaths=[3, 5, 9, 11])
    _, runs = go(harvest)
    log = log_of(warehouse)
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
    log = log_of(warehouse)
    assert log.count("a worker failed to start: ZeroDivisionError: no\nTraceback (most recent call last)") == n_failures


def test_as_many_workers_fit_on_a_device_as_their_peaks_and_contexts_leave_room_for():
    gigabyte = 1 << 30
    assert workers_that_fit(2 * gigabyte, device_bytes=80 * gigabyte, at_most=64) == 24
    assert workers_that_fit(2 * gigabyte, device_bytes=80 * gigabyte, at_most=8) == 8
    assert workers_that_fit(70 * gigabyte, device_bytes=80 * gigabyte, at_most=8) == 1


def test_on_a_cuda_device_workers_are_added_once_a_run_that_is_no_baseline_shows_their_size(
    tasks, warehouse, monkeypatch
):
    harvest = harvest_of(tasks, warehouse, max_workers=16, grows=True)
    on_cuda(monkeypatch, lambda scale: {None: 4, 0.5: 10}.get(scale, 20))
    go(harvest)
    workers = [worker for worker, _ in calls(harvest, "hello")]
    runs_before = [m for _, m, _ in harvest.engine.asked[: [w for w, *_ in harvest.engine.asked].index(1)]].count("run")
    assert (workers, runs_before) == ([0, 1, 2], 2)


def test_a_larger_peak_leaves_no_room_for_more_workers_nor_for_one_that_died(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks, warehouse, max_workers=16, grows=True)
    peaks_gib = []

    def gib_of(scale):
        peaks_gib.append({0.25: 20, 0.5: 40}.get(scale, 1))
        return peaks_gib[-1]

    def wait(timeout_seconds):
        if 40 in peaks_gib and not harvest.engine.deaths:
            harvest.engine.deaths.add(harvest.engine.n_calls + 1)
        return InlineEngine.wait(harvest.engine, timeout_seconds)

    on_cuda(monkeypatch, gib_of)
    monkeypatch.setattr(harvest.engine, "wait", wait)
    _, runs = go(harvest)
    assert len(runs) == 24
    assert [worker for worker, _ in calls(harvest, "hello")] == [0, 1, 2]
