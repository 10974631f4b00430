"""Records come back as they were added; status and views count and choose as they say."""

import dataclasses
import math

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import FEATURE, NASTY, PREDICTION, RECIPE, SOURCE, TASK, fill, make_run
from warehouses import diverged_run, everything

from scalepred.recipe import GRID
from scalepred.records import KINDS, RecipeRecord
from scalepred.store import rows as rows_module
from scalepred.store import warehouse as warehouse_module
from scalepred.store.query import query
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def test_every_record_comes_back_equal(path):
    records = everything(path)
    assert records["tasks"] == [TASK]
    assert records["sources"] == [SOURCE]
    assert records["recipes"] == [RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())]
    assert records["features"] == [FEATURE]
    assert records["runs"] == [make_run()]
    assert records["predictions"] == [PREDICTION]


@pytest.fixture(scope="module")
def open_store(tmp_path_factory):
    with open_warehouse(tmp_path_factory.mktemp("any") / "w.duckdb") as store:
        yield store


finite = st.floats(allow_nan=False, allow_infinity=False)
in_lists = finite.map(lambda x: x + 0.0)  # DuckDB 2.0 may give 0.0 for a -0.0 in a list
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=40)
@given(
    st.fixed_dictionaries(
        {
            "scale": st.none() | finite,
            "seed": st.integers(-(2**63), 2**63 - 1),
            "status": text,
            "diverged_step": st.none() | st.integers(0, 2**62),
            "val_accuracy": st.none() | finite,
            "test_loss": st.none() | finite,
            "val_correct": st.none() | st.binary(max_size=20),
            "test_correct": st.none() | st.binary(max_size=20),
            "epoch_losses": st.lists(in_lists, max_size=4),
            "rates": st.lists(st.tuples(*[in_lists] * 6), max_size=3),
            "seconds": finite,
            "device": text,
            "versions": st.dictionaries(text, text, max_size=3),
        }
    )
)
def test_any_run_comes_back_bit_for_bit(open_store, parts):
    run = dataclasses.replace(make_run(), **parts, run_id="any")
    open_store.connection.execute("DELETE FROM runs")
    open_store.add_all([run])
    (stored,) = open_store.runs()
    assert repr(stored) == repr(run)  # unlike ==, repr tells -0.0 from 0.0


def test_adding_what_is_there_changes_nothing(path):
    fill(path, make_run(seconds=99.0))
    assert everything(path)["runs"] == [make_run()]


def test_many_runs_are_added_all_or_none(path):
    bad = dataclasses.replace(make_run(2.0), status=None)
    with open_warehouse(path) as store:
        with pytest.raises(duckdb.ConstraintException):
            store.add_all([make_run(3.0), bad])
        store.add_all([])
        store.add_all([make_run(4.0)])
    assert [run.scale for run in sorted(everything(path)["runs"], key=lambda run: run.scale)] == [1.0, 4.0]


def test_many_runs_come_back_as_they_were_and_once_each(path, monkeypatch):
    monkeypatch.setattr(warehouse_module, "_BATCH", 7)
    odd = {"val_correct": None, "epoch_losses": [], "rates": [], "execution": {"cached": ["x", NASTY]}}
    losses = [2.0**-1074, -1e-310, 1.7976931348623157e308, 0.1 + 0.2, math.inf]
    runs = [make_run(2.0, seed=seed, epoch_losses=losses[: seed % 6], val_loss=seed / 7) for seed in range(20)]
    runs += [make_run(None, **odd), make_run(3.0, test_correct=bytes(range(256)), rates=[(0.1,) * 6, ()])]
    with open_warehouse(path) as store:
        store.add_all([*runs, *runs[:3], make_run(seconds=99.0)])
    stored = {run.run_id: run for run in everything(path)["runs"]}
    assert repr(stored) == repr({run.run_id: run for run in sorted([*runs, make_run()], key=lambda run: run.run_id)})


def test_a_name_that_utf_8_cannot_hold_is_stored_as_it_is_shown(path):
    name = "caf\udce9"
    task = dataclasses.replace(TASK, task_id="odd", name=name, label_counts={name: 18, "b": 18})
    with open_warehouse(path) as store:
        store.add_all([task, dataclasses.replace(PREDICTION, prediction_id="odd", predicted={name: [name]})])
        stored = {task.task_id: task for task in store.tasks()}["odd"]
        predicted = {each.prediction_id: each for each in store.predictions()}["odd"].predicted
        assert store.verify() == []
    assert stored == dataclasses.replace(task, name="caf\\udce9", label_counts={"caf\\udce9": 18, "b": 18})
    assert predicted == {"caf\\udce9": ["caf\\udce9"]}
    sql = """SELECT label_counts->>'$."caf\\udce9"' FROM tasks WHERE task_id = 'odd'"""
    assert query(path, sql)[1] == [("18",)]


def test_every_table_has_the_fields_of_its_record(empty):
    with open_warehouse(empty, read_only=True) as store:
        for table, kind in KINDS.items():
            columns = [row[0] for row in store.connection.execute(f"DESCRIBE {table}").fetchall()]
            assert columns == [field.name for field in dataclasses.fields(kind)]
    assert set(rows_module.KEYS) == set(KINDS)


def test_status_counts_whole_grids(path):
    fill(path, *(make_run(scale) for scale in GRID), make_run(1.0, seed=1), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        status = store.status()
    assert status.tables == {"tasks": 1, "sources": 1, "recipes": 1, "features": 1, "runs": 13, "predictions": 1}
    assert (status.n_done, status.n_diverged, status.n_origins) == (13, 0, 1)
    assert status.grids == [("efficientnet_lite0", "graduated", 1, 1, 12)]
    assert status.migration == "0003_course"
    assert status.last_finished_at == "2026-01-01T00:00:00+00:00"
    assert status.n_bytes == path.stat().st_size


def test_scales_beyond_the_grid_do_not_make_it_whole(path):
    fill(path, *(make_run(scale) for scale in (*GRID[:-1], 20.0, 40.0)))
    with open_warehouse(path, read_only=True) as store:
        assert store.status().grids == [("efficientnet_lite0", "graduated", 0, 1, 12)]


def test_design_points_are_counted_as_runs_and_not_as_grids(path):
    fill(path, make_run(2.0), *(make_run(scale, role="point") for scale in (0.125, 0.0625)))
    with open_warehouse(path, read_only=True) as store:
        n_runs = {run.role: 0 for run in store.runs()}
        for run in store.runs():
            n_runs[run.role] += 1
        status = store.status()
    assert n_runs["point"] == 2
    assert status.n_done == sum(n_runs.values())
    assert status.grids == [("efficientnet_lite0", "graduated", 0, 1, n_runs["grid"])]


def test_the_status_of_an_empty_warehouse_is_all_zeros(empty):
    with open_warehouse(empty, read_only=True) as store:
        status = store.status()
    assert set(status.tables.values()) == {0}
    assert (status.n_done, status.last_finished_at, status.grids) == (0, None, [])


def test_the_best_scale_is_by_validation_and_the_naive_one_by_test(path):
    lucky = dataclasses.replace(
        make_run(4.0, n_right=1), test_accuracy=1.0, test_correct=np.packbits(np.ones(11, bool)).tobytes()
    )
    fill(path, make_run(2.0, n_right=4), lucky, make_run(None, n_right=5))
    _, rows = query(path, "SELECT scale, test_accuracy, naive_best_scale, naive_best_test_accuracy FROM best_scales")
    assert rows == [(2.0, 4 / 11, 4.0, 1.0)]


@pytest.mark.parametrize("order", [(2.0, 3.0, 4.0), (4.0, 3.0, 2.0), (3.0, 4.0, 2.0)])
def test_of_equal_scales_the_smallest_is_the_best(path, order):
    fill(path, *(make_run(scale, n_right=4) for scale in order))
    assert query(path, "SELECT scale, naive_best_scale FROM best_scales")[1] == [(2.0, 2.0)]


def test_means_that_differ_in_their_last_bits_are_equal(path):
    fill(path, *(make_run(2.0, seed=seed, n_right=n) for seed, n in enumerate((3, 3, 3))))
    with open_warehouse(path) as store:
        store.add_all([dataclasses.replace(make_run(4.0), val_accuracy=0.6000000000000001)])
    assert query(path, "SELECT scale FROM best_scales")[1] == [(1.0,)]


def test_a_diverged_run_counts_as_chance_in_the_curve(path):
    fill(path, make_run(2.0, n_right=5), diverged_run(2.0, seed=1))
    columns = "n_seeds, n_diverged, val_accuracy, test_accuracy"
    _, rows = query(path, f"SELECT {columns} FROM curves WHERE scale = 2")
    assert rows == [(2, 1, (1 + 0.5) / 2, (5 / 11 + 0.5) / 2)]


def test_progress_counts_runs_seeds_and_scales(path):
    fill(path, make_run(2.0), diverged_run(2.0, seed=1), make_run(None))
    columns = "n_runs, n_seeds, n_scales, n_diverged"
    assert query(path, f"SELECT {columns} FROM grid_progress")[1] == [(4, 2, 2, 1)]
