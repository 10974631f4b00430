"""A warehouse is made, opened, shared between processes, or refused and left as it is."""

import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from rows import TASK, fill, make_run
from warehouses import DAMAGED, HOLD, LEFT, REFUSED, everything, harm, opening, read, start

from scalepred.errors import DamagedError, DataError, UsageError, VersionError, WarehouseBusyError
from scalepred.store import connection
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


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
@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b"", "duckdb"),
        (b"x", "duckdb"),
        (b"no database" * 1000, "duckdb"),
        (b'{"a": 1}', "json"),
        (b"a,b\n1,2\n", "csv"),
    ],
    ids=["empty", "a byte", "text", "JSON", "CSV"],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content, suffix, read_only):
    path = tmp_path / f"clock of Alcazar.{suffix}"  # the path must not be taken for a lock
    path.write_bytes(content)
    error = opening(path, read_only=read_only, lock_timeout_seconds=60)
    assert isinstance(error, VersionError)
    assert str(error) == f"{path} can't be used as a warehouse: It is no DuckDB database. {REFUSED}"
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


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_database_is_refused_at_once_and_left_alone(tmp_path, filled, monkeypatch, damage, read_only):
    # the "block" in DuckDB's message is no "lock" to be waited for
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: pytest.fail("It waits."))
    content = DAMAGED[damage](filled.read_bytes())
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    error = opening(path, read_only=read_only, lock_timeout_seconds=60)
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


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [True, False])
def test_a_held_warehouse_names_the_process_that_holds_it(path, read_only):
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "held\n"
        begin = time.monotonic()
        error = opening(path, read_only=read_only, lock_timeout_seconds=0.2)
        assert time.monotonic() - begin >= 0.2
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
        assert len(read(path, lock_timeout_seconds=600)["runs"]) == 2


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
        with open_warehouse(path, lock_timeout_seconds=600) as store:
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
