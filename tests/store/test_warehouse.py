"""The store's guarantees, on real DuckDB files."""

import dataclasses
import datetime
import hashlib
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import FEATURE, NASTY, PREDICTION, RECIPE, SOURCE, TASK, fill, make_run

from scalepred.errors import DamagedError, DataError, ScalepredError, UsageError, VersionError, WarehouseBusyError
from scalepred.recipe import GRID
from scalepred.records import KINDS, RecipeRecord
from scalepred.store import checks as checks_module
from scalepred.store import query as query_module
from scalepred.store import rows as rows_module
from scalepred.store import warehouse as warehouse_module
from scalepred.store.connection import move_aside
from scalepred.store.query import query
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

ROWS = Path(__file__).parents[1]


LEFT = "It was left as it is; move it away, or give another path with --warehouse."
REFUSED = f"{LEFT} If it was one, `scalepred warehouse rebuild` makes it again."


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled") / "w.duckdb")


@pytest.fixture
def path(tmp_path, filled):
    """A warehouse with one task and one run."""
    return shutil.copy(filled, tmp_path / "w.duckdb")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "w.duckdb"
    with open_warehouse(path):
        return path


def read(path, **settings):
    with open_warehouse(path, **settings) as store:
        return {table: getattr(store, table)() for table in KINDS}


def everything(path):
    return read(path, read_only=True)


def harm(path, sql):
    with duckdb.connect(str(path)) as database:
        database.execute(sql)


def diverged_run(scale, **changes):
    return make_run(
        scale, status="diverged", diverged_step=7, val_accuracy=None, val_loss=None, val_correct=None,
        test_accuracy=None, test_loss=None, test_correct=None, epoch_losses=[], **changes,
    )  # fmt: skip


# --- rows -------------------------------------------------------------------------------------------------------------


def test_every_record_comes_back_equal(path):
    found = everything(path)
    assert found["tasks"] == [TASK]
    assert found["sources"] == [SOURCE]
    assert found["recipes"] == [RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())]
    assert found["features"] == [FEATURE]
    assert found["runs"] == [make_run()]
    assert found["predictions"] == [PREDICTION]


@pytest.fixture(scope="module")
def open_store(tmp_path_factory):
    with open_warehouse(tmp_path_factory.mktemp("any") / "w.duckdb") as store:
        yield store


finite = st.floats(allow_nan=False, allow_infinity=False)
in_lists = finite.map(lambda x: x + 0.0)  # DuckDB 2.0 may give 0.0 for a -0.0 in a list
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    (found,) = open_store.runs()
    assert repr(found) == repr(run)  # unlike ==, repr tells -0.0 from 0.0


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
    found = {run.run_id: run for run in everything(path)["runs"]}
    assert repr(found) == repr({run.run_id: run for run in sorted([*runs, make_run()], key=lambda run: run.run_id)})


def test_a_name_that_utf_8_cannot_hold_is_stored_as_it_is_shown(path):
    name = "caf\udce9"
    task = dataclasses.replace(TASK, task_id="odd", name=name, label_counts={name: 18, "b": 18})
    with open_warehouse(path) as store:
        store.add_all([task, dataclasses.replace(PREDICTION, prediction_id="odd", predicted={name: [name]})])
        found = {task.task_id: task for task in store.tasks()}["odd"]
        predicted = {each.prediction_id: each for each in store.predictions()}["odd"].predicted
        assert store.verify() == []
    assert found == dataclasses.replace(task, name="caf\\udce9", label_counts={"caf\\udce9": 18, "b": 18})
    assert predicted == {"caf\\udce9": ["caf\\udce9"]}
    sql = """SELECT label_counts->>'$."caf\\udce9"' FROM tasks WHERE task_id = 'odd'"""
    assert query(path, sql)[1] == [("18",)]


def test_every_table_has_the_fields_of_its_record(empty):
    with open_warehouse(empty, read_only=True) as store:
        for table, kind in KINDS.items():
            columns = [row[0] for row in store.connection.execute(f"DESCRIBE {table}").fetchall()]
            assert columns == [field.name for field in dataclasses.fields(kind)]
    assert set(rows_module.KEYS) == set(KINDS)


# --- status and views -------------------------------------------------------------------------------------------------


def test_status_counts_whole_grids(path):
    fill(path, *(make_run(scale) for scale in GRID), make_run(1.0, seed=1), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        status = store.status()
    assert status.tables == {"tasks": 1, "sources": 1, "recipes": 1, "features": 1, "runs": 13, "predictions": 1}
    assert (status.n_done, status.n_diverged, status.n_origins) == (13, 0, 1)
    assert status.grids == [("efficientnet_lite0", "graduated", 1, 1, 12)]
    assert status.migration == "0002_roles"
    assert status.last_finished_at == "2026-01-01T00:00:00+00:00"
    assert status.n_bytes == path.stat().st_size


def test_scales_beyond_the_grid_do_not_make_it_whole(path):
    fill(path, *(make_run(scale) for scale in (*GRID[:-1], 20.0, 40.0)))
    with open_warehouse(path, read_only=True) as store:
        assert store.status().grids == [("efficientnet_lite0", "graduated", 0, 1, 12)]


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


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_sound_warehouse_has_no_problems(path):
    fill(path, diverged_run(2.0), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == []


RUN_ID, TASK_ID, SOURCE_ID, RECIPE_ID = make_run().run_id, TASK.task_id, SOURCE.source_id, RECIPE.recipe_id
WRONG_RUN_ID = f"runs whose id is not the hash of their parts: {RUN_ID}"
WRONG_RECIPE_ID = f"recipes whose id is not the hash of their JSON: {RECIPE_ID}"
DIVERGED = f"diverged runs with an accuracy, or without a step: {RUN_ID}"
SILENT = "val_accuracy = NULL, test_accuracy = NULL, val_correct = NULL, test_correct = NULL"
VAL_BITS = f"validation accuracies that differ from their bits: {RUN_ID}"
TEST_BITS = f"test accuracies that differ from their bits: {RUN_ID}"
RATES = f"runs whose rates are not one for each stage and epoch: {RUN_ID}"
LOSSES = f"losses that are not finite: {RUN_ID}"
COUNTS = f"tasks whose classes and images are not those of their label counts: {TASK_ID}"
DAMAGE = [
    ("DELETE FROM tasks", [f"runs of unknown tasks: {RUN_ID}", f"features of unknown tasks: {TASK_ID}"]),
    ("DELETE FROM sources", [f"runs of unknown sources: {RUN_ID}", f"features of unknown sources: {SOURCE_ID}"]),
    ("DELETE FROM recipes", [f"runs of unknown recipes: {RUN_ID}"]),
    ("UPDATE tasks SET n_train = 21", [COUNTS]),
    ("UPDATE tasks SET n_classes = 3", [COUNTS]),
    ("UPDATE tasks SET label_counts = '{\"a\": 36', n_classes = 1", [COUNTS]),
    ("UPDATE sources SET facts = '[]'", [f"sources whose facts are no JSON object: {SOURCE_ID}"]),
    ("UPDATE runs SET versions = ''", [f"runs whose versions are no JSON object: {RUN_ID}"]),
    ("UPDATE predictions SET predicted = '{'", ["predictions that are no JSON object: p"]),
    ("UPDATE runs SET role = 'odd'", [f"runs of unknown role: {RUN_ID}"]),
    ("UPDATE runs SET role = 'extension'", [f"extension runs within the grid: {RUN_ID}"]),
    ("UPDATE runs SET execution = '7'", [f"runs whose execution is no JSON object: {RUN_ID}"]),
    ("UPDATE runs SET status = 'odd'", [f"runs of unknown status: {RUN_ID}"]),
    ("UPDATE runs SET scale = -1", [f"runs whose scale is no finite number above 0: {RUN_ID}", WRONG_RUN_ID]),
    ("UPDATE runs SET scale = 'nan'", [f"runs whose scale is no finite number above 0: {RUN_ID}", WRONG_RUN_ID]),
    ("UPDATE runs SET val_accuracy = NULL", [f"done runs without a validation accuracy: {RUN_ID}"]),
    (
        "UPDATE runs SET test_accuracy = NULL",
        [f"done runs without a test accuracy, though their task has test images: {RUN_ID}"],
    ),
    ("UPDATE runs SET diverged_step = 3", [f"done runs with a step at which they diverged: {RUN_ID}"]),
    ("UPDATE runs SET status = 'diverged', diverged_step = 3", [DIVERGED]),
    (f"UPDATE runs SET status = 'diverged', {SILENT}", [DIVERGED]),
    ("UPDATE runs SET val_accuracy = 1.5", [f"accuracies outside 0..1: {RUN_ID}", VAL_BITS]),
    ("UPDATE runs SET test_accuracy = 'nan'", [f"accuracies outside 0..1: {RUN_ID}", TEST_BITS]),
    ("UPDATE runs SET val_loss = 'inf'", [LOSSES]),
    ("UPDATE runs SET test_loss = 'nan'", [LOSSES]),
    ("UPDATE runs SET epoch_losses = [0.5, 'nan'::DOUBLE]", [LOSSES]),
    ("UPDATE runs SET val_accuracy = 0.2", [VAL_BITS]),
    ("UPDATE runs SET val_correct = ''::BLOB", [VAL_BITS]),
    ("UPDATE runs SET test_correct = NULL", [TEST_BITS]),
    ("UPDATE runs SET test_correct = '\\xE0'::BLOB", [TEST_BITS]),
    ("UPDATE runs SET test_correct = '\\xE0\\x01'::BLOB", [TEST_BITS]),
    ("UPDATE runs SET seconds = 0", [f"runs without a positive duration: {RUN_ID}"]),
    ("UPDATE runs SET seconds = 'inf'", [f"runs without a positive duration: {RUN_ID}"]),
    ("UPDATE runs SET rates = rates[1:3]", [RATES]),
    ("UPDATE runs SET rates = list_transform(rates, lambda rate: rate[1:5])", [RATES]),
    ("UPDATE features SET value = 'nan'", [f"features that are not finite: {TASK_ID}"]),
    ("UPDATE runs SET seed = 5", [WRONG_RUN_ID]),
    ("UPDATE recipes SET json = '{\"epochs\":20}'", []),
    ("UPDATE recipes SET json = '{\"epochs\":19}'", [RATES, WRONG_RECIPE_ID]),
]


@pytest.fixture(scope="module")
def sound(filled, tmp_path_factory):
    with open_warehouse(shutil.copy(filled, tmp_path_factory.mktemp("sound"))) as store:
        yield store


@pytest.fixture
def harmed(sound):
    """A warehouse with one task and one run, whose harm is undone at the end."""
    sound.connection.execute("BEGIN")
    yield sound
    sound.connection.execute("ROLLBACK")


@pytest.mark.parametrize(("damage", "problems"), DAMAGE)
def test_verify_names_each_kind_of_wrong_row(harmed, damage, problems):
    harmed.connection.execute(damage)
    assert harmed.verify() == problems


def test_every_check_of_verify_has_its_damage():
    assert set(checks_module._CHECKS) <= {problem.partition(": ")[0] for _, problems in DAMAGE for problem in problems}


@pytest.mark.parametrize(
    "recipe",
    ["", "nonsense", "[]", "null", '{"epochs": "x"}', '{"epochs": 1e99}', '{"multipliers": [null]}', '{"other": 1}',
     '{"schedule": {}}', '{"multipliers": 3}', f'{{"base_lr": 1{"0" * 400}}}', "[" * 100_000],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_a_problem_and_no_crash(harmed, recipe):
    harmed.connection.execute("UPDATE recipes SET json = ?", [recipe])
    assert harmed.verify() == [WRONG_RECIPE_ID]


def test_verify_names_the_first_three_of_many(path):
    fill(path, *(make_run(scale) for scale in GRID))
    harm(path, "UPDATE runs SET seconds = -1, seed = 9")
    ids = ", ".join(sorted(make_run(scale).run_id for scale in GRID)[:3])
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == [
            f"runs without a positive duration: {ids} …",
            f"runs whose id is not the hash of their parts: {ids} …",
        ]


# --- snapshots --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(filled, tmp_path_factory):
    path = shutil.copy(filled, tmp_path_factory.mktemp("exported") / "w.duckdb")
    fill(path, *(make_run(scale, seconds=0.1 * scale) for scale in GRID), diverged_run(77.0), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        store.export_parquet(path.parent / "snapshot")
    return path


@pytest.fixture
def snapshot(exported, tmp_path):
    """A snapshot with 13 runs; ``exported`` is the warehouse that it is of."""
    return shutil.copytree(exported.parent / "snapshot", tmp_path / "snapshot")


@pytest.fixture
def copy(tmp_path, empty):
    """An empty warehouse."""
    return shutil.copy(empty, tmp_path / "copy.duckdb")


def raw(path):
    with duckdb.connect(str(path), read_only=True) as database:
        return {table: database.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in KINDS}


@pytest.mark.parametrize("name", ["snapshot", "origin=3", "it's [a] {b} *?", "%41 🐈"])
def test_a_snapshot_round_trips_exactly_and_twice_adds_nothing(path, copy, tmp_path, name):
    odd = [2.0**-1074, 1e308, 0.1 + 0.2]
    fill(path, diverged_run(3.0), make_run(None, epoch_losses=odd, val_correct=b"", device=NASTY, seed=-(2**63)))
    with open_warehouse(path, read_only=True) as store:
        counts = store.export_parquet(tmp_path / name)
    assert counts == {"tasks": 1, "sources": 1, "recipes": 1, "features": 1, "runs": 3, "predictions": 1}
    with open_warehouse(copy) as store:
        assert store.import_parquet(tmp_path / name) == counts
        assert set(store.import_parquet(tmp_path / name).values()) == {0}
    assert repr(raw(copy)) == repr(raw(path))
    files = [*(f"{table}.parquet" for table in KINDS), "snapshot.json"]
    assert sorted(file.name for file in (tmp_path / name).iterdir()) == sorted(files)


def test_the_same_rows_make_the_same_files(exported, snapshot):
    before = {file.name: file.read_bytes() for file in snapshot.iterdir()}
    with open_warehouse(exported, read_only=True) as store:
        store.export_parquet(snapshot)
    assert {file.name: file.read_bytes() for file in snapshot.iterdir()} == before


def test_an_empty_warehouse_can_be_exported_and_imported(empty, copy, tmp_path):
    with open_warehouse(empty, read_only=True) as store:
        store.export_parquet(tmp_path / "snapshot")
    with open_warehouse(copy) as store:
        assert set(store.import_parquet(tmp_path / "snapshot").values()) == {0}


def test_import_keeps_the_rows_that_are_there(snapshot, copy):
    fill(copy, make_run(seconds=99.0))
    with open_warehouse(copy) as store:
        assert store.import_parquet(snapshot)["runs"] == 12
        assert {run.seconds for run in store.runs() if run.scale == 1.0} == {99.0}


def refused(store, folder, error):
    """Import, expect this error, and that nothing was added; return the message."""
    with pytest.raises(error) as caught:
        store.import_parquet(folder)
    assert [getattr(store, table)() for table in KINDS] == [[]] * len(KINDS)
    return str(caught.value)


def rewrite(file, sql):
    """Replace a table of a snapshot by what SQL makes of it, as someone who knows the format could."""
    other = file.with_name("other")
    duckdb.connect().execute(f"COPY ({sql.format(file)}) TO '{other}' (FORMAT parquet)").close()
    other.replace(file)
    about = json.loads((file.parent / "snapshot.json").read_text())
    about["sha256"][file.stem] = hashlib.sha256(file.read_bytes()).hexdigest()
    (file.parent / "snapshot.json").write_text(json.dumps(about))


def test_a_snapshot_that_lacks_files_is_refused(snapshot, copy):
    (snapshot / "runs.parquet").unlink()
    (snapshot / "tasks.parquet").unlink()
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError) == (
            f"The snapshot at {snapshot} lacks tasks.parquet, runs.parquet: copy it again as a whole."
        )


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_snapshot_is_refused(snapshot, copy, damage):
    file = snapshot / "runs.parquet"
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3] ^= 1
    file.write_bytes({"cut": whole[:100], "flipped": whole, "emptied": b""}[damage])
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError) == (
            f"The snapshot at {snapshot} is damaged or half written: runs.parquet is not what snapshot.json says. "
            "Copy or export it again as a whole."
        )


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"migrations": 3, "sha256": {}}', "[" * 100_000, "\udcff"])
def test_a_folder_without_a_readable_snapshot_json_is_no_snapshot(snapshot, copy, content):
    (snapshot / "snapshot.json").unlink()
    if content is not None:
        (snapshot / "snapshot.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with open_warehouse(copy) as store:
        message = refused(store, snapshot, DataError)
    assert message.startswith(f"{snapshot} is no snapshot: snapshot.json is missing or can't be read (")


@pytest.mark.parametrize(
    ("sql", "other"),
    [
        ("SELECT * EXCLUDE seed FROM '{}'", "seed BIGINT"),
        ("SELECT *, 1 AS more FROM '{}'", "more INTEGER"),
        ("SELECT * REPLACE (seed::DOUBLE AS seed) FROM '{}'", "seed BIGINT, seed DOUBLE"),
    ],
)
def test_a_snapshot_of_other_columns_is_refused(snapshot, copy, sql, other):
    rewrite(snapshot / "runs.parquet", sql)
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError) == (
            f"{snapshot / 'runs.parquet'} has other columns than this version's runs: {other}."
        )


def test_an_import_that_fails_at_its_last_table_adds_nothing(snapshot, copy):
    rewrite(snapshot / "predictions.parquet", "SELECT * REPLACE (NULL::VARCHAR AS reason) FROM '{}'")
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError) == (
            f"The snapshot at {snapshot} can't be imported: "
            "Constraint Error: NOT NULL constraint failed: predictions.reason"
        )


def test_a_snapshot_with_one_id_twice_is_refused(snapshot, copy):
    rewrite(snapshot / "tasks.parquet", "FROM '{0}' UNION ALL FROM '{0}'")
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError).startswith(
            f"The snapshot at {snapshot} can't be imported: Constraint Error: "
        )


def test_a_file_that_is_no_parquet_is_refused(snapshot, copy):
    rewrite(snapshot / "tasks.parquet", "SELECT 1")
    (snapshot / "tasks.parquet").write_bytes(b"no parquet" * 9)
    about = json.loads((snapshot / "snapshot.json").read_text())
    about["sha256"]["tasks"] = hashlib.sha256(b"no parquet" * 9).hexdigest()
    (snapshot / "snapshot.json").write_text(json.dumps(about))
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, DataError).startswith(f"The snapshot at {snapshot} can't be imported: ")


def test_a_newer_snapshot_is_refused(snapshot, copy):
    about = snapshot / "snapshot.json"
    about.write_text(about.read_text().replace("0002_roles", "0999_future"))
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, VersionError) == (
            f"The snapshot at {snapshot} was written by a newer scalepred "
            "(schema 0999_future; this one knows up to 0002_roles). Upgrade scalepred to open it."
        )


def test_a_snapshot_cannot_be_written_into_a_file(path, tmp_path):
    (tmp_path / "file").write_text("mine")
    with open_warehouse(path, read_only=True) as store, pytest.raises(UsageError) as caught:
        store.export_parquet(tmp_path / "file")
    assert str(caught.value) == (
        f"The snapshot can't be written to {tmp_path / 'file'}: Not a directory. Make room, or give another folder."
    )


def test_a_snapshot_that_cannot_be_finished_leaves_the_one_before(path, snapshot, copy, monkeypatch):
    fill(path, make_run(5.5))
    rows = rows_module.KEYS | {"predictions": "nonsense"}
    monkeypatch.setattr(rows_module, "KEYS", rows)
    with open_warehouse(path, read_only=True) as store, pytest.raises(duckdb.BinderException):
        store.export_parquet(snapshot)
    monkeypatch.undo()
    assert not [file for file in snapshot.iterdir() if file.name.startswith(".")]
    with open_warehouse(copy) as store:
        assert "runs.parquet is not what snapshot.json says" in refused(store, snapshot, DataError)


# --- what is no warehouse ---------------------------------------------------------------------------------------------


def opening(path, **settings):
    """Open a warehouse and read all; return the error."""
    with pytest.raises(ScalepredError) as caught:
        read(path, **settings)
    return caught.value


def test_a_missing_warehouse_is_not_made_by_reading(tmp_path):
    error = opening(tmp_path / "new" / "none.duckdb", read_only=True)
    assert isinstance(error, DataError)
    assert str(error) == (
        f"There is no warehouse at {tmp_path / 'new' / 'none.duckdb'}: "
        "fill one with `scalepred harvest`, or import a snapshot."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_new_warehouse_is_made_with_its_folders_and_leaves_nothing_else(tmp_path):
    with open_warehouse(tmp_path / "a" / "b" / "w.duckdb") as store:
        assert store.runs() == []
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["w.duckdb"]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("content", [b"", b"x", b"no database" * 1000], ids=["empty", "a byte", "text"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content, read_only):
    path = tmp_path / "clock of Alcazar.duckdb"  # the path must not be taken for a lock
    path.write_bytes(content)
    error = opening(path, read_only=read_only, lock_timeout_seconds=60)
    assert isinstance(error, VersionError)
    assert str(error) == (
        f'{path} can\'t be used as a warehouse: IO Error: The file "{path}" exists, but it is not a valid DuckDB '
        f"database file! {REFUSED}"
    )
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path, read_only):
    path = tmp_path / "w.duckdb"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (x INTEGER)")
    database.close()
    content = path.read_bytes()
    assert str(opening(path, read_only=read_only)) == (
        f"{path} can't be used as a warehouse: It is a database of another kind. {LEFT}"
    )
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (x INTEGER)",
        "CREATE TABLE schema_migrations (version INTEGER)",
        "CREATE TABLE schema_migrations (name VARCHAR); INSERT INTO schema_migrations VALUES ('20200101_users')",
        "SELECT 1",
    ],
)
def test_another_duckdb_database_is_no_warehouse(tmp_path, sql, read_only):
    path = tmp_path / "other.duckdb"
    harm(path, sql)
    content = path.read_bytes()
    error = opening(path, read_only=read_only)
    assert isinstance(error, VersionError)
    assert str(error) == f"{path} is a DuckDB database, but not a warehouse: give another path."
    assert path.read_bytes() == content


DAMAGED = {
    "magic": lambda whole: whole[:9] + b"?" + whole[10:],
    "first header": lambda whole: whole[:20] + b"?" + whole[21:],
    "both other headers": lambda whole: whole[:4104] + b"?" + whole[4105:8200] + b"?" + whole[8201:],
    "blocks": lambda whole: (
        whole[:12288] + b"".join(b"?" + whole[n + 1 : n + 2**18] for n in range(12288, len(whole), 2**18))
    ),
    "cut in the headers": lambda whole: whole[:5000],
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_database_is_refused_at_once_and_left_alone(tmp_path, filled, damage, read_only):
    content = DAMAGED[damage](filled.read_bytes())
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    begin = time.monotonic()
    error = opening(path, read_only=read_only, lock_timeout_seconds=60)
    assert time.monotonic() - begin < 30  # the "block" in DuckDB's message is no "lock" to be waited for
    assert isinstance(error, VersionError)
    assert str(error).startswith(f"{path} can't be used as a warehouse: ")
    assert isinstance(error, DamagedError)
    assert str(error).endswith(REFUSED)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused(tmp_path, make, read_only):
    make(tmp_path / "w.duckdb")
    error = opening(tmp_path / "w.duckdb", read_only=read_only)
    assert isinstance(error, UsageError)
    assert str(error) == (
        f"{tmp_path / 'w.duckdb'} is no file, so it can't be a warehouse: give another path with --warehouse."
    )


@pytest.mark.parametrize("read_only", [True, False])
def test_a_path_that_duckdb_cannot_take_is_refused(tmp_path, read_only):
    error = opening(tmp_path / "caf\udce9.duckdb", read_only=read_only)
    assert isinstance(error, UsageError)
    assert str(error) == (
        f"{tmp_path}/caf\\udce9.duckdb is not valid UTF-8, so DuckDB can't open it: give another path."
    )


@pytest.mark.parametrize("name", ["~", "md:x", "sqlite:x", ":memory:", "https:x", "a?b*[c]{d}", "it's 🐈", "-x"])
def test_a_name_that_means_something_to_duckdb_is_a_file_all_the_same(tmp_path, monkeypatch, empty, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty, tmp_path / name)
    with open_warehouse(Path(name)) as store:
        store.add_all([TASK])
    with open_warehouse(tmp_path / name, read_only=True) as store:
        assert store.tasks() == [TASK]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_link_to_a_warehouse_that_is_yet_to_be_made_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real.duckdb")
    fill(tmp_path / "link")
    assert everything(tmp_path / "real.duckdb")["tasks"] == [TASK]
    assert (tmp_path / "link").is_symlink()


# --- what the system refuses ------------------------------------------------------------------------------------------


def refusal(path, reason):
    return (
        f"The warehouse {path} can't be read or written: {reason}. What is stored stays as it was; make room or mend "
        "the path, or give another with --warehouse, and run the same command again."
    )


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    error = opening(tmp_path / "file" / "w.duckdb")
    assert isinstance(error, UsageError)
    assert str(error) == refusal(tmp_path / "file" / "w.duckdb", "Not a directory")


def test_a_name_that_is_too_long_is_refused(tmp_path):
    assert str(opening(tmp_path / ("x" * 300))) == refusal(tmp_path / ("x" * 300), "File name too long")


@pytest.fixture
def unprivileged(filled):
    """A folder with a warehouse that this user may read and not write, and a folder that it may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(filled, folder / "w.duckdb").chmod(0o444)
        (folder / "closed").mkdir(mode=0)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_can_be_read(unprivileged):
    assert everything(unprivileged / "w.duckdb")["tasks"] == [TASK]
    assert query(unprivileged / "w.duckdb", "SELECT 1")[1] == [(1,)]


@pytest.mark.parametrize("name", ["w.duckdb", "new.duckdb", "new/new.duckdb", "closed/w.duckdb"])
def test_a_folder_that_cannot_be_written_is_refused(unprivileged, name):
    error = opening(unprivileged / name)
    assert isinstance(error, UsageError)
    assert str(error) == refusal(unprivileged / name, "Permission denied")
    assert sorted(file.name for file in unprivileged.iterdir()) == ["closed", "w.duckdb"]


PROGRAM = f"""
    import os, resource, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, {str(ROWS)!r})
    from rows import fill, make_run
    from scalepred.errors import ScalepredError
    from scalepred.store.warehouse import open_warehouse
    path = Path(sys.argv[1])
"""


def start(code, path, *arguments):
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(path), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_state_before_or_after(path):
    """Every limit on the size of files stands for a disk that is full at that point."""
    whole = path.read_bytes()
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        runs = [make_run(scale / 10 + 1.05) for scale in range(30)]
        for limit in (0, 1_000, 30_000, 50_000, 4_000_000):
            path.write_bytes(whole := path.with_name("whole").read_bytes())
            path.with_name("w.duckdb.wal").unlink(missing_ok=True)
            said = ""
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                with open_warehouse(path) as store:
                    store.add_all(runs)
            except ScalepredError as error:
                said = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            with open_warehouse(path) as store:
                print(limit, len(store.runs()), len(store.verify()), said, sep=";")
    """
    path.with_name("whole").write_bytes(whole)
    with start(code, path) as program:
        lines = [line.rstrip("\n").split(";", 3) for line in program.stdout]
    assert len(lines) == 5
    for _, n_runs, n_problems, said in lines:
        assert (n_runs, said) in [("1", refusal(path, "File too large")), ("31", "")]
        assert n_problems == "0"
    assert {n_runs for _, n_runs, *_ in lines} == {"1", "31"}


@pytest.mark.slow
def test_a_disk_that_fills_up_while_a_warehouse_is_made_leaves_none(tmp_path):
    path = tmp_path / "w.duckdb"
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for limit in (0, 3_000, 12_288, 16_000, 300_000, 10_000_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                with open_warehouse(path) as store:
                    print(len(store.runs()))
            except ScalepredError as error:
                print(error, *path.parent.iterdir())
    """
    with start(code, path) as program:
        lines = program.stdout.read().splitlines()
    assert lines == [refusal(path, "File too large")] * 5 + ["0"]


@pytest.mark.slow
def test_a_disk_that_fills_up_after_the_backup_leaves_the_older_schema(tmp_path):
    path = tmp_path / "w.duckdb"
    code = """
        import duckdb
        from scalepred.store import migrations
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        known, back_up = migrations.packaged(), migrations.back_up
        with duckdb.connect(str(path)) as connection:
            migrations.migrate(connection, known, [next(iter(known))])
        def then_full(*arguments, **settings):
            back_up(*arguments, **settings)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        migrations.back_up = then_full
        try:
            with open_warehouse(path):
                pass
        except ScalepredError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        migrations.back_up = back_up
        with duckdb.connect(str(path)) as connection:
            print(migrations.applied(connection) == [next(iter(known))])
        with open_warehouse(path) as store:
            print(migrations.applied(store.connection) == list(known))
    """
    with start(code, path) as program:
        lines = program.stdout.read().splitlines()
    assert lines == [refusal(path, "File too large"), "True", "True"]


# --- several processes ------------------------------------------------------------------------------------------------

HOLD = """
    with open_warehouse(path, read_only=len(sys.argv) > 2) as store:
        print("held", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [True, False])
def test_a_held_warehouse_names_the_process_that_holds_it(path, read_only):
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "held\n"
        begin = time.monotonic()
        error = opening(path, read_only=read_only, lock_timeout_seconds=0.2)
        assert 0.2 <= time.monotonic() - begin < 5
        holder.communicate("\n")
    assert isinstance(error, WarehouseBusyError)
    assert error.exit_code == 4
    assert str(error) == (
        f"The warehouse {path} is held by process {holder.pid} (waited 0.2 s). "
        "Try again when that is done, or wait longer with --lock-timeout."
    )


@pytest.mark.slow
def test_a_held_warehouse_is_waited_for(path):
    code = """
        with open_warehouse(path) as store:
            print("held", flush=True)
            time.sleep(0.5)
            store.add_all([make_run(2.0)])
    """
    with start(code, path) as holder:
        assert holder.stdout.readline() == "held\n"
        assert len(read(path, lock_timeout_seconds=60)["runs"]) == 2


@pytest.mark.slow
def test_a_warehouse_open_in_this_process_in_another_mode_is_busy_and_stays_locked(path):
    for first, second in ((True, False), (False, True)):
        with open_warehouse(path, read_only=first):
            assert str(opening(path, read_only=second, lock_timeout_seconds=60)) == (
                f"This process has the warehouse {path} open already, in another mode: close it there first."
            )
            code = """
                try:
                    with open_warehouse(path, lock_timeout_seconds=0):
                        print("open")
                except ScalepredError as error:
                    print(f"held by process {os.getppid()}" in str(error))
            """
            with start(code, path) as other:
                assert other.stdout.read() == "True\n"


def test_a_warehouse_may_be_opened_twice_in_one_mode(path):
    with open_warehouse(path) as one, open_warehouse(path) as other:
        one.add_all([make_run(2.0)])
        other.add_all([make_run(3.0)])
        assert len(one.runs()) == 3
    with open_warehouse(path, read_only=True) as one, open_warehouse(path, read_only=True) as other:
        assert one.runs() == other.runs()


@pytest.mark.slow
def test_processes_that_make_one_warehouse_at_once_lose_nothing(tmp_path):
    code = """
        print("ready", flush=True)
        sys.stdin.readline()
        with open_warehouse(path, lock_timeout_seconds=60) as store:
            store.add_all([make_run(seed=os.getpid())])
    """
    programs = [start(code, tmp_path / "w.duckdb") for _ in range(3)]
    for program in programs:
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    assert [program.communicate() and program.returncode for program in programs] == [0, 0, 0]
    assert {run.seed for run in everything(tmp_path / "w.duckdb")["runs"]} == {program.pid for program in programs}
    assert [file.name for file in tmp_path.iterdir()] == ["w.duckdb"]


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [True, False])
def test_a_killed_writer_loses_no_run_that_was_added(path, read_only):
    code = """
        with open_warehouse(path) as store:
            for scale in range(2, 7):
                store.add_all([make_run(float(scale))])
            store.connection.execute("BEGIN")
            store.connection.execute("DELETE FROM tasks")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with start(code, path) as program:
        assert program.wait() == -signal.SIGKILL
    with open_warehouse(path, read_only=read_only) as store:
        assert sorted(run.scale for run in store.runs()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        assert store.tasks() == [TASK]
        assert store.verify() == []


# --- queries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("COPY tasks TO 'out.csv'", "only SELECT can be run here, not COPY."),
        ("COPY (SELECT 1) TO '/dev/stdout'", "only SELECT can be run here, not COPY."),
        ("ATTACH 'other.duckdb'", "only SELECT can be run here, not ATTACH."),
        ("ATTACH ':memory:' AS other", "only SELECT can be run here, not ATTACH."),
        ("EXPORT DATABASE 'out'", "only SELECT can be run here, not EXPORT."),
        ("INSTALL httpfs", "only SELECT can be run here, not LOAD."),
        ("LOAD httpfs", "only SELECT can be run here, not LOAD."),
        ("SET enable_external_access = true", "only SELECT can be run here, not SET."),
        ("SET lock_configuration = false", "only SELECT can be run here, not SET."),
        ("SET VARIABLE x = 1", "only SELECT can be run here, not SET."),
        ("PRAGMA database_list", "only SELECT can be run here, not PRAGMA."),
        ("INSERT INTO recipes VALUES ('x', 'x', 'x')", "only SELECT can be run here, not INSERT."),
        ("UPDATE runs SET seed = 1", "only SELECT can be run here, not UPDATE."),
        ("DELETE FROM runs", "only SELECT can be run here, not DELETE."),
        ("DROP TABLE runs", "only SELECT can be run here, not DROP."),
        ("CREATE TEMP TABLE x AS SELECT 1", "only SELECT can be run here, not CREATE."),
        ("CALL enable_logging()", "only SELECT can be run here, not CALL."),
        ("CHECKPOINT", "only SELECT can be run here, not CALL."),
        ("BEGIN", "only SELECT can be run here, not TRANSACTION."),
        ("SELECT 1; SELECT 2", "give one statement, not 2."),
        ("SELECT 1; DROP TABLE runs", "give one statement, not 2."),
        ("", "give one statement, not 0."),
        (" -- nothing", "give one statement, not 0."),
        ("SELECT '\udcff'", "it is not valid UTF-8."),
        ("SELECT now()", "times with a zone can't be shown as they are; use CAST(… AS VARCHAR)."),
        ("SELECT nope FROM runs", 'Binder Error: Referenced column "nope" not found in FROM clause!'),
        ("nonsense", 'Parser Error: syntax error at or near "nonsense"'),
        ("SELECT * FROM programs", "Catalog Error: Table with name programs does not exist!"),
        ("SELECT ?", "Invalid Input Error: Values were not provided"),
        ("SELECT 'Permission denied'::INTEGER", "Conversion Error: "),
    ],
)
def test_a_query_that_does_more_than_read_is_refused(filled, tmp_path, monkeypatch, sql, words):
    monkeypatch.chdir(tmp_path)
    programs = [{"x": 1}]  # DuckDB would find variables of Python's as tables
    with pytest.raises(UsageError) as caught:
        query(filled, sql)
    assert str(caught.value).startswith(f"The query failed: {words}")
    assert list(tmp_path.iterdir()) == []
    assert programs


@pytest.mark.parametrize(
    "table",
    ["read_csv('mine.csv')", "'mine.csv'", "read_text('mine.csv')", "read_blob('mine.csv')", "glob('*')",
     "read_parquet('mine.csv')", "sniff_csv('mine.csv')", "query_table('mine.csv')", "read_json('/etc/hostname')",
     "read_csv('https://localhost/x.csv')", "duckdb_secrets()"],
)  # fmt: skip
def test_a_query_cannot_reach_outside_the_warehouse(filled, tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("secret\n1\n")
    with pytest.raises(UsageError, match=r"disabled by configuration|existing extension|httpfs") as caught:
        query(filled, f"SELECT * FROM {table}")
    assert str(caught.value).startswith("The query failed: ")


@pytest.mark.parametrize(
    "sql",
    ["FROM tasks", "VALUES (1)", "DESCRIBE runs", "SHOW TABLES", "SUMMARIZE runs", "EXPLAIN SELECT 1", "SELECT 1;",
     "WITH x AS (SELECT 1) FROM x", "PIVOT curves ON scale USING first(val_accuracy) GROUP BY task"],
)  # fmt: skip
def test_whatever_reads_is_a_query(filled, sql):
    columns, rows = query(filled, sql)
    assert columns
    assert rows


def test_a_query_gives_columns_and_rows(path):
    sql = "SELECT t.name, origin, scale, val_correct FROM runs JOIN tasks t USING (task_id)"
    assert query(path, sql) == (["name", "origin", "scale", "val_correct"], [(NASTY, "=1+1", 1.0, b"\xe0")])


def test_a_query_of_a_damaged_warehouse_does_not_blame_the_query(tmp_path, filled):
    (tmp_path / "w.duckdb").write_bytes(DAMAGED["cut in the middle"](filled.read_bytes()))
    with pytest.raises(VersionError, match="can't be used as a warehouse: "):
        query(tmp_path / "w.duckdb", "SELECT * FROM runs")


def test_a_query_leaves_no_settings_behind(path):
    query(path, "SELECT 1")
    with open_warehouse(path, read_only=True) as store:
        assert store.connection.execute("SELECT current_setting('enable_external_access')").fetchone() == (True,)
        assert store.connection.execute("SELECT current_setting('lock_configuration')").fetchone() == (False,)


def test_duckdb_never_reaches_for_the_network(path):
    with open_warehouse(path, read_only=True) as store:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert store.connection.execute(f"SELECT current_setting('{name}')").fetchone() == (False,)


def test_a_query_that_got_through_could_not_unlock_the_settings(path, monkeypatch):
    fill(path)
    monkeypatch.setattr(query_module, "_check_query", lambda connection, sql: None)
    with pytest.raises(UsageError, match="the configuration has been locked"):
        query(path, "SET threads = 2")


# --- damage and what is moved aside ---


RANDOM_DAMAGE = """
    import random
    from scalepred.errors import DamagedError
    rng = random.Random(sys.argv[2])
    whole, log = (path.with_name(name).read_bytes() for name in ("whole", "log"))
    added = {run.run_id: run for run in [*(make_run(1.5, seed) for seed in range(60)), make_run(1.0)]}

    def harm(content, how):
        content, begin = bytearray(content), rng.randrange(len(content))
        if how == "cut":
            return content[:begin]
        if how == "bits":
            for _ in range(rng.choice([1, 10, 1000])):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        if how == "pages":
            n = min(rng.choice([1, 4096, 2**18]), len(content) - begin)
            content[begin : begin + n] = rng.choice([bytes(n), rng.randbytes(n)])
        return content

    def use(read_only):
        try:
            with open_warehouse(path, read_only=read_only) as store:
                runs, problems = store.runs(), store.verify()
                store.status()
                if not read_only:
                    store.add_all([make_run(5.0)])
                    store.connection.execute("CHECKPOINT")
        except DamagedError:
            return "damaged"
        assert problems == [] and all(added[run.run_id] == run for run in runs)
        return f"sound {len(runs)}"

    for number in range(int(sys.argv[4])):
        in_log = sys.argv[3] == "log"
        how = rng.choice(["cut", "bits", "pages"]) if in_log else sys.argv[3]
        path.write_bytes(whole if in_log else harm(whole, how))
        path.with_name("w.duckdb.wal").write_bytes(harm(log, how) if in_log else log)
        print(use(number % 2 == 0), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "bits", "pages", "log"])
def test_random_damage_gives_a_typed_error_or_sound_rows_and_never_a_crash(path, how):
    with open_warehouse(path) as store:
        for seeds in (range(20), range(20, 60)):
            store.add_all([make_run(1.5, seed) for seed in seeds])
        path.with_name("log").write_bytes(path.with_name("w.duckdb.wal").read_bytes())
        path.with_name("whole").write_bytes(path.read_bytes())
    with start(RANDOM_DAMAGE, path, str(len(how)), how, "30") as program:
        said = program.stdout.read().splitlines()
    assert program.returncode == 0
    assert len(said) == 30
    assert "damaged" in said
    assert set(said) <= {"damaged", "sound 1", "sound 21", "sound 61"}  # what was added at once is there, or is not


def now_is(monkeypatch, *, hour):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, hour, 4, 5, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Clock)


def test_a_damaged_database_is_moved_aside_with_its_log_and_every_byte(tmp_path, monkeypatch):
    now_is(monkeypatch, hour=3)
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"damaged")
    path.with_name("w.duckdb.wal").write_bytes(b"log")
    assert move_aside(path) == tmp_path / "w.duckdb.corrupt-20260102T030405Z"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "w.duckdb.corrupt-20260102T030405Z": b"damaged",
        "w.duckdb.corrupt-20260102T030405Z.wal": b"log",
    }
    assert fill(path)
    assert everything(path)["runs"] == [make_run()]


def test_setting_aside_never_overwrites(tmp_path, monkeypatch):
    now_is(monkeypatch, hour=3)
    path = tmp_path / "w.duckdb"
    first, second, third = (tmp_path / f"w.duckdb.corrupt-20260102T030405Z{n}" for n in ("", "-2", "-3"))
    second.with_name(f"{second.name}.wal").write_bytes(b"a log")
    for content, aside in ((b"first", first), (b"second", third)):
        path.write_bytes(content)
        assert move_aside(path) == aside
        assert aside.read_bytes() == content
    assert second.with_name(f"{second.name}.wal").read_bytes() == b"a log"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_not_there_cannot_be_moved_aside(tmp_path):
    with pytest.raises(UsageError) as caught:
        move_aside(tmp_path / "w.duckdb")
    assert str(caught.value) == refusal(tmp_path / "w.duckdb", "No such file or directory")


def test_a_link_to_a_damaged_database_stays_and_the_database_is_moved_aside(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real.duckdb")
    (tmp_path / "real.duckdb").write_bytes(b"damaged")
    aside = move_aside(tmp_path / "link")
    assert aside.name.startswith("real.duckdb.corrupt-")
    assert aside.read_bytes() == b"damaged"
    assert fill(tmp_path / "link").is_symlink()
