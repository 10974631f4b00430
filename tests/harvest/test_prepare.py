"""The plan: what is missing, what is refused, and in which order the rest comes."""

import json
from pathlib import Path

import pytest
import torch
from fakes import write_task
from inline import go, harvest_of, log_of, opened

from scalepred.errors import DataError, ScalepredError, UsageError, WeightsError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


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
    assert f"refused: {nowhere}: {why}" in log_of(warehouse)


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
