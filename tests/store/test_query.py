"""A query reads the warehouse and touches nothing else."""

import pytest
from rows import NASTY, fill
from warehouses import DAMAGED

from scalepred.errors import UsageError, VersionError
from scalepred.store import query as query_module
from scalepred.store.query import query
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


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
