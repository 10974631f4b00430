"""`scalepred warehouse`, as a user types it."""

import json
import sys

import duckdb
import pytest
from rows import NASTY, fill, make_run

from scalepred.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scalepred", "warehouse", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def warehouse(tmp_path):
    return fill(tmp_path / "w.duckdb", make_run(1.0), make_run(2.0, n_right=4))


def test_status_counts_what_is_there(run, warehouse):
    code, out, _ = run("status", "--warehouse", warehouse, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["tables"]["runs"] == 2
    assert found["grids"] == [
        {"source": "efficientnet_lite0", "recipe": "graduated", "whole_grids": 0, "begun_grids": 1, "runs": 2}
    ]
    assert "2 runs" in run("status", "--warehouse", warehouse)[1]


def test_the_warehouse_may_come_from_the_environment(run, warehouse, monkeypatch):
    monkeypatch.setenv("SCALEPRED_WAREHOUSE", str(warehouse))
    assert json.loads(run("status", "--json")[1])["path"] == str(warehouse)


def test_verify_exits_3_and_names_what_is_wrong(run, warehouse):
    assert run("verify", "--warehouse", warehouse)[0] == 0
    with duckdb.connect(str(warehouse)) as database:
        database.execute("UPDATE runs SET val_accuracy = 0.2")
    code, out, _ = run("verify", "--warehouse", warehouse, "--json")
    assert code == 3
    assert len(json.loads(out)["problems"]) == 1


def test_export_and_import_copy_a_warehouse(run, warehouse, tmp_path):
    assert run("export", tmp_path / "snapshot", "--warehouse", warehouse)[0] == 0
    code, out, _ = run("import", tmp_path / "snapshot", "--warehouse", tmp_path / "copy.duckdb", "--json")
    assert code == 0
    assert json.loads(out)["rows"]["runs"] == 2
    assert run("import", tmp_path / "snapshot", "--warehouse", tmp_path / "copy.duckdb")[1].startswith(
        "imported: 0 tasks"
    )


def test_query_prints_json_with_names_as_they_are(run, warehouse):
    code, out, _ = run("query", "SELECT name, val_correct FROM runs JOIN tasks USING (task_id) LIMIT 1", "--json",
                       "--warehouse", warehouse)  # fmt: skip
    assert code == 0
    assert json.loads(out)["columns"] == ["name", "val_correct"]
    assert json.loads(out)["rows"][0][0] == NASTY


def test_query_prints_csv_that_a_spreadsheet_does_not_obey(run, warehouse):
    assert (
        run("query", "SELECT origin, n_val FROM tasks", "--csv", "--warehouse", warehouse)[1]
        == "origin,n_val\n'=1+1,5\n"
    )


def test_query_shows_names_on_one_line_without_markup(run, warehouse):
    out = run("query", "SELECT name FROM tasks", "--warehouse", warehouse)[1]
    assert "\\n[red]🐈 café" in out


def test_a_query_that_would_write_exits_2(run, warehouse):
    code, _, err = run("query", "DELETE FROM runs", "--warehouse", warehouse)
    assert code == 2
    assert err.startswith("scalepred: The query failed: ")
