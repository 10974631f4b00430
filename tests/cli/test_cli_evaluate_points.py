"""`scalepred warehouse evaluate`, as a user types it, on a real warehouse of made design points."""

import json
import sys

import pytest
from rows import fill
from wide_points import SGD, records_of, wide_points

from scalepred.cli import main
from scalepred.predictor import formulations
from scalepred.predictor.wide_studies import STUDIED
from scalepred.store.warehouse import open_warehouse


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process with the quickest way of learning; returns exit code, stdout and stderr."""
    monkeypatch.setattr("scalepred.predictor.wide_studies.ALSO_CURVED", STUDIED)
    for name in set(formulations.FORMULATIONS) - {STUDIED}:
        monkeypatch.delitem(formulations.FORMULATIONS, name)
    for name in list(formulations.LEANING):
        monkeypatch.delitem(formulations.LEANING, name)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scalepred", "warehouse", "evaluate", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def points():
    return wide_points(48, recipes=(SGD,), n_networks=4, n_origins=5, n_families=2)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory, points):
    path = tmp_path_factory.mktemp("points") / "w.duckdb"
    with open_warehouse(path) as store:
        store.add_all(records_of(points))
        assert store.verify() == []
    return path


def test_tables_and_plot_come_from_the_points_of_the_warehouse(run, warehouse, tmp_path):
    code, out, err = run("--warehouse", warehouse, "--plot", tmp_path / "a.svg", "--min-steps", 32)
    assert code == 0, err
    assert "48 points of 5 origins on 4 networks of 2 families" in out
    assert "held out: family and origin" in out
    assert "sgd, 32 steps or more" in out
    assert "successive halving by training loss, of all scales" in out
    assert f"plot: {tmp_path / 'a.svg'}" in err
    assert "jobs spent for a point, median" in (tmp_path / "a.svg").read_text()


def test_json_is_one_document_with_every_row_and_range_tests_are_read(run, warehouse, tmp_path, points):
    tests = tmp_path / "tests.jsonl"
    lines = [{"point": p.key, "valley": 1.0, "steepest": None, "seconds": 1.0} for p in points[:20]]
    tests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = run("--warehouse", warehouse, "--json", "--range-tests", tests)
    assert code == 0, err
    found = json.loads(out)
    assert (found["schema"], found["plot"], found["n_points"]) == (2, None, 48)
    rows = {(row["hold_out"], row["points"], row["method"]): row for row in found["rows"]}
    learnt = rows["network and origin", "sgd, all", STUDIED]
    assert learnt["over_rule"] > 0.03
    assert rows["network and origin", "sgd, range tests", "range test, valley"]["n"] == 20


def test_a_warehouse_without_design_points_says_what_to_run(run, tmp_path):
    code, out, err = run("--warehouse", fill(tmp_path / "w.duckdb"))
    assert (code, out) == (3, "")
    assert "at least 3 networks and 3 origins, and these are of 0 and 0" in err
    assert "scalepred harvest --draw N --source NAME" in err


def test_a_plot_and_range_tests_that_can_not_be_used_are_told_before_anything_is_read(run, tmp_path):
    code, _, err = run("--warehouse", tmp_path / "none.duckdb", "--plot", tmp_path / "a.png")
    assert code == 2
    assert "A plot is an SVG file" in err
    code, _, err = run("--warehouse", tmp_path / "none.duckdb", "--range-tests", tmp_path / "none.jsonl")
    assert code == 2
    assert "Range tests can't be read" in err
