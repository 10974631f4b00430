"""The report of a warehouse: its numbers are those of the rows, and what is not drawn is told."""

import dataclasses
import json
import re
from pathlib import Path

import duckdb
import pytest
from browser import browse, needs_chromium
from fakes import QUICK, run_record, source_record, task_record

from scalepred.errors import DataError
from scalepred.job import report_warehouse
from scalepred.job.report_warehouse import mean_curve, read_harvest, warehouse_report
from scalepred.recipe import GRID
from scalepred.records import RecipeRecord
from scalepred.store.warehouse import open_warehouse

SNAPSHOT = Path(__file__).parents[2] / "warehouse" / "snapshot"
HOSTILE = "<script>alert(1)</script>"


def right(n):
    return [1] * n + [0] * (8 - n)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two whole grids and one of a single scale: best at scale 2, at scale 10, and a task without test images."""
    path = tmp_path_factory.mktemp("w") / "my.duckdb"
    other = dataclasses.replace(QUICK, epochs=3)
    names = {QUICK: "quick", other: "=1+1"}
    recipes = [RecipeRecord(recipe_id=each.recipe_id, name=name, json=each.to_json()) for each, name in names.items()]
    first, second, bare = task_record(HOSTILE), task_record("fish"), task_record("bare", n_test=0)
    runs = [run_record(first, s, val=right(4 if s == 2 else 2)[:4], test=right(6 if s == 2 else 4)) for s in GRID]
    runs += [run_record(second, s, val=right(4 if s == 10 else 1)[:4], test=right(2)) for s in GRID]
    runs += [run_record(bare, 1.0, val=[1, 1, 1, 0]), run_record(first, 4.0, val=None, recipe=other)]
    with open_warehouse(path) as store:
        store.add_all([first, second, bare, source_record(), *recipes, *runs])
    return path


@pytest.fixture(scope="module")
def page(path):
    return warehouse_report(path)


def section(page, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def test_the_curves_are_those_of_the_warehouses_view(path):
    harvest = read_harvest(path)
    assert set(harvest.curves) == {("tiny", "quick"), ("tiny", "=1+1")}
    curves = {name: curve for (name, _), curve in harvest.curves["tiny", "quick"].items()}
    assert curves["fish"] == [(scale, 25.0) for scale in GRID]
    assert dict(curves[HOSTILE])[2.0] == 75.0
    assert curves["bare"] == [(1.0, 75.0)]  # on validation images, since it has no others
    assert harvest.curves["tiny", "=1+1"][HOSTILE, f"id-of-{HOSTILE}"] == [(4.0, 50.0)]  # it diverged: chance
    assert harvest.best["tiny", "quick"] == {1.0: 1, 2.0: 1, 10.0: 1}


def test_the_mean_is_of_whole_grids_alone():
    whole = [(scale, 10.0 * at) for at, scale in enumerate(GRID)]
    assert mean_curve([whole, [(scale, 20.0) for scale in GRID], [(1.0, 99.0)]]) == [
        (scale, 5.0 * at + 10) for at, scale in enumerate(GRID)
    ]
    assert mean_curve([[(1.0, 99.0)]]) == []


def test_it_tells_how_far_grids_are(page):
    rows = section(page, "progress").split("<tr>")
    row = next(row for row in rows if row.startswith('<td class="name">tiny</td><td class="name">quick</td>'))
    assert re.findall(r'<td class="n">(\d+)</td>', row) == ["2", "3", "23"]


def test_it_draws_a_line_for_each_task_and_the_mean(page):
    first = section(page, "groups").partition("</figure>")[0]
    assert first.count('class="s5 thin"') == 2  # a task of one scale has a mark
    assert first.count('class="s0"') == 1
    assert "3 tasks; bold: mean of 2 with all eleven scales" in first


def test_best_scales_are_counted_by_task(page):
    table = section(page, "best")
    heads = re.findall(r"<th>([^<]*)</th>", table)[1:]
    cells = re.findall(r"<td[^>]*>(\d*)</td>", table)[: len(heads)]
    assert {head: cell for head, cell in zip(heads, cells, strict=True) if cell} == {"1": "1", "2": "1", "10": "1"}


def test_names_are_text(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in section(page, "tasks")


def test_what_is_not_drawn_is_told(path, monkeypatch):
    for name in ("GROUPS", "TASKS", "LINES", "ROWS"):
        monkeypatch.setattr(report_warehouse, name, 1)
    page = warehouse_report(path)
    assert "1 more sources and recipes, which have fewer tasks, are not drawn." in page
    assert "2 more tasks, which have fewer sources and recipes, are not drawn." in page
    assert "3 tasks, 1 drawn" in page


def test_an_empty_warehouse_has_a_report_and_a_missing_one_an_error(tmp_path):
    with open_warehouse(tmp_path / "e.duckdb"):
        pass
    assert "No run with a scale has been finished yet." in warehouse_report(tmp_path / "e.duckdb")
    with pytest.raises(DataError):
        warehouse_report(tmp_path / "none.duckdb")
    assert not (tmp_path / "none.duckdb").exists()


def test_the_command_writes_the_page_and_leaves_the_warehouse_as_it_was(run, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = path.read_bytes()
    code, out, err = run("warehouse", "report", "--warehouse", path, "--json")
    assert (code, json.loads(out)) == (0, {"schema": 2, "report": "my-report.html"}), err
    assert "Warehouse my.duckdb" in (tmp_path / "my-report.html").read_text(encoding="utf-8")
    code, out, err = run("warehouse", "report", "--warehouse", path, "--output", tmp_path / "page.html")
    assert (code, out, err) == (0, "", f"report: {tmp_path / 'page.html'}\n")
    assert path.read_bytes() == before
    assert run("warehouse", "report", "--warehouse", path, "--output", tmp_path / "page.pdf")[0] == 2


@pytest.mark.slow
def test_the_snapshot_that_ships_fits_into_two_megabytes(tmp_path):
    path = tmp_path / "w.duckdb"
    with open_warehouse(path) as store:
        store.import_parquet(SNAPSHOT)
    page = warehouse_report(path)
    with duckdb.connect(str(path), read_only=True) as database:
        n_tasks = database.execute("SELECT count(DISTINCT task_id) FROM curves WHERE scale IS NOT NULL").fetchone()[0]
    assert f"{n_tasks - 12} more tasks" in page
    assert len(page.encode()) < 2_000_000


@needs_chromium
@pytest.mark.slow
def test_a_browser_shows_it_without_an_error_and_runs_no_name_in_a_plot(path, page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    shown = browse(tmp_path / "page.html", tmp_path)
    assert "CONSOLE" not in shown.stderr
    assert "<title>Warehouse my.duckdb</title>" in shown.stdout
    assert "<script" not in re.sub('aria-label="[^"]*"', "", shown.stdout)
