"""The store's guarantees, on real DuckDB files."""

import dataclasses
import shutil
import subprocess
import sys

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import FEATURE, NASTY, PREDICTION, RECIPE, SOURCE, TASK, fill, make_run

from scalepred import migrations
from scalepred import warehouse as module
from scalepred.config import GRID
from scalepred.errors import DataError, UsageError, VersionError, WarehouseBusyError
from scalepred.warehouse import TABLES, open_warehouse, query


def everything(path):
    with open_warehouse(path, read_only=True) as store:
        return {table: getattr(store, table)() for table in TABLES}


def test_every_record_comes_back_equal(tmp_path):
    found = everything(fill(tmp_path / "w.duckdb"))
    assert found["tasks"] == [TASK]
    assert found["sources"] == [SOURCE]
    assert found["features"] == [FEATURE]
    assert found["predictions"] == [PREDICTION]
    assert found["runs"] == [make_run()]
    assert found["recipes"][0].json == RECIPE.to_json()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    loss=st.floats(allow_nan=False, allow_infinity=False),
    losses=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    bits=st.one_of(st.none(), st.binary(max_size=20)),
    seed=st.integers(0, 2**62),
    device=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)
def test_any_run_comes_back_bit_for_bit(tmp_path, loss, losses, bits, seed, device):  # noqa: PLR0917 - hypothesis
    run = make_run(seed=seed, val_loss=loss, epoch_losses=losses, val_correct=bits, device=device)
    path = tmp_path / "any.duckdb"
    path.unlink(missing_ok=True)
    with open_warehouse(path) as store:
        store.add_run(run)
        assert store.runs() == [run]


def test_adding_what_is_there_changes_nothing(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    fill(path, make_run(seconds=99.0))
    assert everything(path)["runs"] == [make_run()]


def test_many_runs_are_added_all_or_none(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    bad = dataclasses.replace(make_run(2.0), status=None)
    with open_warehouse(path) as store, pytest.raises(duckdb.Error):
        store.add_runs([make_run(3.0), bad])
    assert len(everything(path)["runs"]) == 1


def test_status_counts_whole_grids(tmp_path):
    path = fill(tmp_path / "w.duckdb", *(make_run(scale) for scale in GRID), make_run(1.0, seed=1))
    with open_warehouse(path, read_only=True) as store:
        status = store.status()
    assert status.tables["runs"] == 12
    assert (status.n_done, status.n_diverged, status.n_origins) == (12, 0, 1)
    assert status.grids == [("efficientnet_lite0", "graduated", 1, 1, 12)]
    assert status.schema == "0001_initial"


def test_the_best_scale_is_by_validation_and_the_naive_one_by_test(tmp_path):
    runs = [make_run(1.0, n_right=2), make_run(2.0, n_right=4), make_run(3.0, n_right=4), make_run(4.0, n_right=1)]
    runs[3] = dataclasses.replace(runs[3], test_accuracy=1.0, test_correct=np.packbits(np.ones(11, bool)).tobytes())
    _, rows = query(
        fill(tmp_path / "w.duckdb", *runs), "SELECT scale, test_accuracy, naive_best_scale FROM best_scales"
    )
    assert rows == [(2.0, 4 / 11, 4.0)]


# --- verify ---


def test_a_sound_warehouse_has_no_problems(tmp_path):
    diverged = make_run(
        2.0, status="diverged", diverged_step=7, val_accuracy=None, val_loss=None, val_correct=None,
        test_accuracy=None, test_loss=None, test_correct=None,
    )  # fmt: skip
    with open_warehouse(fill(tmp_path / "w.duckdb", make_run(), diverged), read_only=True) as store:
        assert store.verify() == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM tasks", "runs of unknown tasks"),
        ("DELETE FROM tasks", "features of unknown tasks"),
        ("DELETE FROM sources", "runs of unknown sources"),
        ("DELETE FROM sources", "features of unknown sources"),
        ("DELETE FROM recipes", "runs of unknown recipes"),
        ("UPDATE runs SET status = 'odd'", "runs of unknown status"),
        ("UPDATE runs SET val_accuracy = NULL", "done runs without a validation accuracy"),
        ("UPDATE runs SET test_accuracy = NULL", "done runs without a test accuracy"),
        ("UPDATE runs SET status = 'diverged'", "diverged runs with an accuracy"),
        ("UPDATE runs SET val_accuracy = 1.5", "accuracies outside 0..1"),
        ("UPDATE runs SET val_accuracy = 0.2", "validation accuracies that differ from their bits"),
        ("UPDATE runs SET test_correct = NULL", "test accuracies that differ from their bits"),
        ("UPDATE runs SET test_correct = '\\xFF'::BLOB", "test accuracies that differ from their bits"),
        ("UPDATE runs SET seconds = 0", "runs without a positive duration"),
        ("UPDATE runs SET rates = rates[1:3]", "runs whose rates are not one for each stage and epoch"),
        ("UPDATE features SET value = 'nan'::DOUBLE", "features that are not finite"),
        ("UPDATE runs SET seed = 5", "is not the hash of its parts"),
        ("UPDATE recipes SET json = '{\"epochs\":19}'", "is not the hash of its JSON"),
        ("UPDATE recipes SET json = 'nonsense'", "is not the hash of its JSON"),
    ],
)
def test_verify_finds_each_kind_of_wrong_row(tmp_path, damage, words):
    path = fill(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as database:
        database.execute(damage)
    with open_warehouse(path, read_only=True) as store:
        assert any(words in problem for problem in store.verify())


# --- snapshots ---


def test_a_snapshot_round_trips_exactly_and_twice_adds_nothing(tmp_path):
    path = fill(tmp_path / "w.duckdb", *(make_run(scale) for scale in GRID), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        counts = store.export_parquet(tmp_path / "snapshot")
    with open_warehouse(tmp_path / "copy.duckdb") as store:
        assert store.import_parquet(tmp_path / "snapshot") == counts
        assert set(store.import_parquet(tmp_path / "snapshot").values()) == {0}
    assert everything(tmp_path / "copy.duckdb") == everything(path)
    assert not [file for file in (tmp_path / "snapshot").iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("harm", ["missing", "damaged", "columns"])
def test_a_harmed_snapshot_is_refused_whole(tmp_path, harm):
    folder = tmp_path / "snapshot"
    with open_warehouse(fill(tmp_path / "w.duckdb"), read_only=True) as store:
        store.export_parquet(folder)
    if harm == "missing":
        (folder / "runs.parquet").unlink()
    elif harm == "damaged":
        (folder / "runs.parquet").write_bytes((folder / "runs.parquet").read_bytes()[:100])
    else:
        shutil.copy(folder / "tasks.parquet", folder / "runs.parquet")
    with open_warehouse(tmp_path / "copy.duckdb") as store:
        with pytest.raises(DataError, match="snapshot"):
            store.import_parquet(folder)
        assert store.tasks() == []


def test_a_newer_snapshot_is_refused(tmp_path):
    with open_warehouse(fill(tmp_path / "w.duckdb"), read_only=True) as store:
        store.export_parquet(tmp_path / "snapshot")
    about = tmp_path / "snapshot" / "snapshot.json"
    about.write_text(about.read_text().replace("0001_initial", "0999_future"))
    with open_warehouse(tmp_path / "copy.duckdb") as store, pytest.raises(VersionError, match="newer scalepred"):
        store.import_parquet(tmp_path / "snapshot")


# --- opening ---


def test_a_missing_warehouse_is_not_made_by_reading(tmp_path):
    with (
        pytest.raises(DataError, match=r"There is no warehouse at .*none\.duckdb"),
        open_warehouse(tmp_path / "none.duckdb", read_only=True),
    ):
        pass
    assert not (tmp_path / "none.duckdb").exists()


@pytest.mark.parametrize("content", [b"no database" * 1000, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    with pytest.raises(VersionError, match="It was left as it is"), open_warehouse(path):
        pass
    assert path.read_bytes() == content


def test_a_damaged_database_is_refused_and_left_alone(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VersionError), open_warehouse(path) as store:
        store.runs()
    assert path.read_bytes() == whole[: len(whole) // 2]


def test_another_database_is_no_warehouse(tmp_path):
    with duckdb.connect(str(tmp_path / "other.duckdb")) as database:
        database.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(VersionError, match="but not a warehouse"), open_warehouse(tmp_path / "other.duckdb"):
        pass


def test_a_held_warehouse_names_the_process_that_holds_it(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    code = f"import duckdb, time; c = duckdb.connect({str(path)!r}); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(WarehouseBusyError) as caught, open_warehouse(path, lock_timeout_seconds=0.2):
                pass
        finally:
            holder.kill()
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"The warehouse {path} is held by process {holder.pid} (waited 0.2 s). "
        "Try again when that is done, or wait longer with --lock-timeout."
    )


def test_a_held_warehouse_is_waited_for(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    code = f"import duckdb, time; c = duckdb.connect({str(path)!r}); print('held', flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with open_warehouse(path, lock_timeout_seconds=30) as store:
            assert len(store.runs()) == 1


def test_an_older_schema_is_backed_up_and_brought_forward(tmp_path, monkeypatch):
    path = fill(tmp_path / "w.duckdb")
    newer = {**migrations.packaged(), "0002_more": "CREATE TABLE more (x INTEGER)"}
    monkeypatch.setattr(migrations, "packaged", lambda: newer)
    with open_warehouse(path, read_only=True) as store:
        assert store.status().schema == "0002_more"
        assert len(store.runs()) == 1
    assert (tmp_path / "w.before-0001_initial.duckdb").exists()


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path, monkeypatch):
    path = fill(tmp_path / "w.duckdb")
    newer = {**migrations.packaged(), "0002_more": "CREATE TABLE more (x INTEGER)", "0003_bad": "CREATE NONSENSE"}
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "packaged", lambda: newer)
        with pytest.raises(duckdb.Error), open_warehouse(path):
            pass
    with open_warehouse(path, read_only=True) as store:
        assert store.status().schema == "0001_initial"
        assert len(store.runs()) == 1


def test_a_newer_schema_is_refused(tmp_path):
    path = fill(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as database:
        database.execute("INSERT INTO schema_migrations VALUES ('0999_future', 'then')")
    with pytest.raises(VersionError) as caught, open_warehouse(path):
        pass
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        f"The warehouse {path} was written by a newer scalepred "
        "(schema 0999_future; this one knows up to 0001_initial). Upgrade scalepred to open it."
    )


# --- queries ---


@pytest.mark.parametrize(
    "sql",
    [
        "COPY tasks TO 'out.csv'",
        "ATTACH 'other.duckdb'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "INSERT INTO recipes VALUES ('x', 'x', 'x')",
        "DROP TABLE runs",
        "nonsense",
    ],
)
def test_a_query_can_only_read_the_warehouse(tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    path = fill(tmp_path / "w.duckdb")
    with pytest.raises(UsageError, match="The query failed: "):
        query(path, sql)
    assert {file.name for file in tmp_path.iterdir()} == {"w.duckdb"}


def test_a_query_gives_columns_and_rows(tmp_path):
    assert query(fill(tmp_path / "w.duckdb"), "SELECT name, origin FROM tasks") == (
        ["name", "origin"],
        [(NASTY, "=1+1")],
    )


def test_duckdb_never_reaches_for_the_network(tmp_path):
    with open_warehouse(fill(tmp_path / "w.duckdb"), read_only=True) as store:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert store.connection.execute(f"SELECT current_setting('{name}')").fetchone() == (False,)


def test_every_table_has_the_fields_of_its_record(tmp_path):
    with open_warehouse(tmp_path / "w.duckdb") as store:
        for table, kind in TABLES.items():
            columns = [row[0] for row in store.connection.execute(f"DESCRIBE {table}").fetchall()]
            assert columns == [field.name for field in dataclasses.fields(kind)]
    assert set(module.KEYS) == set(TABLES)
