"""What the system refuses is told as what the user can mend, and leaves the state before or after."""

import pytest
from rows import TASK
from warehouses import everything, opening, refusal, start

from scalepred.errors import UsageError
from scalepred.store.query import query

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    error = opening(tmp_path / "file" / "w.duckdb")
    assert isinstance(error, UsageError)
    assert str(error) == refusal(tmp_path / "file" / "w.duckdb", "Not a directory")


def test_a_name_that_is_too_long_is_refused(tmp_path):
    assert str(opening(tmp_path / ("x" * 300))) == refusal(tmp_path / ("x" * 300), "File name too long")


def test_a_folder_that_cannot_be_written_can_be_read(unprivileged):
    assert everything(unprivileged / "w.duckdb")["tasks"] == [TASK]
    assert query(unprivileged / "w.duckdb", "SELECT 1")[1] == [(1,)]


@pytest.mark.parametrize("name", ["w.duckdb", "new.duckdb", "new/new.duckdb", "closed/w.duckdb"])
def test_a_folder_that_cannot_be_written_is_refused(unprivileged, name):
    error = opening(unprivileged / name)
    assert isinstance(error, UsageError)
    assert str(error) == refusal(unprivileged / name, "Permission denied")
    assert sorted(file.name for file in unprivileged.iterdir()) == ["closed", "w.duckdb"]


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
