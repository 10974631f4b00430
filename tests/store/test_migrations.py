"""Schemas: what a new warehouse looks like, and how an older one is brought forward."""

import re
import shutil
from pathlib import Path

import duckdb
import pytest
from rows import TASK, fill, make_run

from scalepred.errors import UsageError, VersionError
from scalepred.store import migrations
from scalepred.store.warehouse import open_warehouse

ASSETS = Path(__file__).parents[1] / "assets"
FIRST, LAST = "0001_initial", "0003_course"
ALL = [FIRST, "0002_roles", LAST]
MORE = {"0098_more": "CREATE TABLE more (x INTEGER); ALTER TABLE tasks ADD COLUMN note VARCHAR"}
BAD = {"0098_more": "CREATE TABLE more (x INTEGER)", "0099_bad": "INSERT INTO more SELECT 1; CREATE NONSENSE"}


@pytest.fixture
def newer(monkeypatch):
    """Let this version have more migrations."""
    packaged = migrations.packaged()
    return lambda more: monkeypatch.setattr(migrations, "packaged", lambda: packaged | more)


def applied(path):
    with duckdb.connect(str(path), read_only=True) as database:
        return migrations.applied(database)


def count(path, table):
    with duckdb.connect(str(path), read_only=True) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def dump(path):
    """Return the schema as SQL, in a form that does not depend on DuckDB's version; of a view, its columns."""
    with duckdb.connect(str(path), read_only=True) as database:
        tables = [row[0] for row in database.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        views = database.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1").fetchall()
        parts = [_create_table(database, table) for table in tables]
        return "\n".join(parts + [_describe_view(database, view) for (view,) in views])


def _create_table(database, table):
    described = database.execute(f"DESCRIBE {table}").fetchall()
    keys = [name for name, _, _, key, *_ in described if key == "PRI"]
    columns = [f'    "{name}" {kind}{" NOT NULL" if null == "NO" else ""},\n' for name, kind, null, *_ in described]
    return f"CREATE TABLE {table} (\n{''.join(columns)}    PRIMARY KEY ({', '.join(keys)})\n);\n"


def _describe_view(database, view):
    columns = [f"--     {name} {kind}\n" for name, kind, *_ in database.execute(f"DESCRIBE {view}").fetchall()]
    return f"-- view {view}:\n{''.join(columns)}"


def test_a_new_warehouse_has_the_schema_that_was_released(filled):
    assert dump(filled) == (ASSETS / "schema_0003.sql").read_text(encoding="utf-8")


def released(path, number):
    """Make a warehouse as the release with this schema did."""
    with duckdb.connect(str(path)) as database:
        database.execute((ASSETS / f"schema_{number:04d}.sql").read_text(encoding="utf-8"))
        rows = [[name, "then"] for name in ALL[:number]]
        database.executemany("INSERT INTO schema_migrations VALUES (?, ?)", rows)


@pytest.mark.parametrize("number", range(1, len(ALL) + 1))
def test_every_released_schema_can_be_brought_forward(tmp_path, newer, number):
    released(tmp_path / "w.duckdb", number)
    fill(tmp_path / "w.duckdb")
    newer(MORE)
    with open_warehouse(tmp_path / "w.duckdb", read_only=True) as store:
        assert store.tasks() == [TASK]
        assert store.runs() == [make_run()]
        assert store.status().migration == "0098_more"


def test_runs_of_the_first_schema_were_made_for_the_grid(tmp_path, filled):
    path = tmp_path / "w.duckdb"
    released(path, 1)
    with duckdb.connect(str(path)) as database:
        database.execute(f"ATTACH '{filled}' AS other (READ_ONLY)")
        database.execute("INSERT INTO runs SELECT * EXCLUDE (role, execution, course) FROM other.runs")
    with open_warehouse(path) as store:
        assert store.runs() == [make_run()]
        assert (store.runs()[0].role, store.runs()[0].execution, store.runs()[0].course) == ("grid", {}, {})


def test_migrations_are_numbered_in_words():
    names = list(migrations.packaged())
    assert names[0] == FIRST
    assert [int(re.fullmatch(r"(\d{4})_[a-z_]+", name)[1]) for name in names] == list(range(1, len(names) + 1))


def test_a_new_warehouse_says_when_it_was_made(filled):
    with duckdb.connect(str(filled), read_only=True) as database:
        rows = database.execute("SELECT * FROM schema_migrations ORDER BY name").fetchall()
    assert [name for name, _ in rows] == ALL
    for _, when in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", when)


@pytest.mark.parametrize("read_only", [True, False])
def test_an_older_schema_is_backed_up_and_brought_forward(path, newer, read_only):
    before = path.read_bytes()
    newer(MORE)
    with open_warehouse(path, read_only=read_only) as store:
        assert store.status().migration == "0098_more"
        assert store.runs() == [make_run()]
    backup = path.with_name("w.before-0003_course.duckdb")
    assert backup.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [backup, path]
    assert applied(path) == [*ALL, "0098_more"]


def test_a_schema_that_is_up_to_date_is_left_alone(path):
    before = path.read_bytes()
    for read_only in (True, False):
        with open_warehouse(path, read_only=read_only):
            pass
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_backup_holds_what_a_killed_writer_left_in_its_log(path, newer):
    with open_warehouse(path) as store:
        store.add_all([make_run(2.0)])
        log = path.with_name("w.duckdb.wal").read_bytes()
        database = path.read_bytes()
    path.write_bytes(database)
    path.with_name("w.duckdb.wal").write_bytes(log)
    newer(MORE)
    with open_warehouse(path, read_only=True) as store:
        assert len(store.runs()) == 2
    assert count(path.with_name("w.before-0003_course.duckdb"), "runs") == 2


def test_an_earlier_backup_is_never_overwritten(path, newer):
    path.with_name("w.before-0003_course.duckdb").write_text("mine")
    path.with_name("w.before-0003_course-2.duckdb").write_text("mine too")
    newer(MORE)
    with open_warehouse(path):
        pass
    assert path.with_name("w.before-0003_course.duckdb").read_text() == "mine"
    assert path.with_name("w.before-0003_course-2.duckdb").read_text() == "mine too"
    assert applied(path.with_name("w.before-0003_course-3.duckdb")) == ALL


@pytest.mark.parametrize("read_only", [True, False])
def test_a_migration_that_fails_leaves_the_old_schema_and_a_backup(path, newer, monkeypatch, read_only):
    newer(BAD)
    with pytest.raises(duckdb.ParserException), open_warehouse(path, read_only=read_only):
        pass
    monkeypatch.undo()
    assert applied(path) == ALL
    with pytest.raises(duckdb.CatalogException):
        count(path, "more")
    with open_warehouse(path) as store:
        assert store.runs() == [make_run()]
    assert count(path.with_name("w.before-0003_course.duckdb"), "runs") == 1


def test_no_migration_is_begun_when_the_backup_fails(path, newer, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    newer(MORE)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UsageError) as caught, open_warehouse(path):
        pass
    assert str(caught.value) == (
        f"The warehouse {path} can't be read or written: No space left on device. What is stored stays as it was; "
        "make room or mend the path, or give another with --warehouse, and run the same command again."
    )
    assert applied(path) == ALL
    assert list(path.parent.iterdir()) == [path]


def test_a_warehouse_that_another_process_migrates_meanwhile_is_not_migrated_again(path, newer, monkeypatch):
    newer(MORE)
    back_up = migrations.back_up

    def slowly(file, *, last):
        monkeypatch.setattr(migrations, "back_up", back_up)
        with open_warehouse(path):  # as another process would
            pass
        return back_up(file, last=last)

    monkeypatch.setattr(migrations, "back_up", slowly)
    with open_warehouse(path) as store:
        assert store.runs() == [make_run()]
    assert applied(path) == [*ALL, "0098_more"]
    assert applied(path.with_name("w.before-0003_course.duckdb")) == ALL


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_schema_is_refused_and_left_alone(path, read_only):
    with duckdb.connect(str(path)) as database:
        database.execute("INSERT INTO schema_migrations VALUES ('0999_future', 'then')")
    before = path.read_bytes()
    with pytest.raises(VersionError) as caught, open_warehouse(path, read_only=read_only):
        pass
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        f"The warehouse {path} was written by a newer scalepred "
        "(schema 0999_future; this one knows up to 0003_course). Upgrade scalepred to open it."
    )
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
