"""A snapshot round-trips exactly, and a damaged, foreign or newer one is refused whole."""

import hashlib
import json
import shutil

import duckdb
import pytest
from rows import NASTY, fill, make_run
from warehouses import diverged_run

from scalepred.errors import DataError, UsageError, VersionError
from scalepred.recipe import GRID
from scalepred.records import KINDS
from scalepred.store import snapshot as snapshot_module
from scalepred.store.rows import KEYS
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


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
    about.write_text(about.read_text().replace("0003_course", "0999_future"))
    with open_warehouse(copy) as store:
        assert refused(store, snapshot, VersionError) == (
            f"The snapshot at {snapshot} was written by a newer scalepred "
            "(schema 0999_future; this one knows up to 0003_course). Upgrade scalepred to open it."
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
    keys = KEYS | {"predictions": "nonsense"}
    monkeypatch.setattr(snapshot_module, "KEYS", keys)
    with open_warehouse(path, read_only=True) as store, pytest.raises(duckdb.BinderException):
        store.export_parquet(snapshot, overwrite=True)
    monkeypatch.undo()
    assert not [file for file in snapshot.iterdir() if file.name.startswith(".")]
    with open_warehouse(copy) as store:
        assert "runs.parquet is not what snapshot.json says" in refused(store, snapshot, DataError)
