"""`scalepred warehouse`, as a user types it, and what every command prints through."""

import csv
import errno
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from rows import NASTY, RECIPE, SOURCE, TASK, fill, make_run

from scalepred.cli import main, output
from scalepred.cli import warehouse as module
from scalepred.files import sha256
from scalepred.records import RecipeRecord
from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse


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


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled") / "w.duckdb", make_run(1.0), make_run(2.0, n_right=4))


@pytest.fixture
def query(run, filled):
    """Run a query on a warehouse with two runs; returns stdout."""

    def call(sql, *options):
        code, out, err = run("query", sql, "--warehouse", filled, *options)
        assert (code, err) == (0, "")
        return out

    return call


# --- status and verify ------------------------------------------------------------------------------------------------


def test_status_counts_what_is_there(run, filled):
    code, out, _ = run("status", "--warehouse", filled, "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 2,
        "migration": "0003_course",
        "path": str(filled),
        "n_bytes": filled.stat().st_size,
        "tables": {"tasks": 1, "sources": 1, "recipes": 1, "features": 1, "runs": 2, "predictions": 1},
        "n_origins": 1,
        "n_done": 2,
        "n_diverged": 0,
        "last_finished_at": "2026-01-01T00:00:00+00:00",
        "grids": [
            {"source": "efficientnet_lite0", "recipe": "graduated", "whole_grids": 0, "begun_grids": 1, "runs": 2}
        ],
    }


def test_status_says_it_in_words(run, filled):
    code, out, err = run("status", "--warehouse", filled)
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        f"{filled}: {filled.stat().st_size / 1e6:.1f} MB, schema 0003_course",
        "1 tasks, 1 sources, 1 recipes, 1 features, 2 runs, 1 predictions; 1 origins",
        "runs: 2 done, 0 diverged; last 2026-01-01T00:00:00+00:00",
        " source              recipe     whole grids  begun  runs",
        " efficientnet_lite0  graduated            0      1     2",
    ]


def test_the_warehouse_may_come_from_the_environment(run, filled, monkeypatch):
    monkeypatch.setenv("SCALEPRED_WAREHOUSE", str(filled))
    assert json.loads(run("status", "--json")[1])["path"] == str(filled)


def test_verify_is_silent_on_stdout_when_nothing_is_wrong(run, filled):
    assert run("verify", "--warehouse", filled) == (0, "", "nothing is wrong\n")
    assert json.loads(run("verify", "--warehouse", filled, "--json")[1]) == {"schema": 2, "problems": []}


def test_verify_exits_3_and_names_what_is_wrong(run, tmp_path):
    path = fill(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as database:
        database.execute("UPDATE runs SET val_accuracy = 0.2")
    problem = f"validation accuracies that differ from their bits: {make_run().run_id}"
    assert run("verify", "--warehouse", path) == (3, f"{problem}\n", "kinds of problems: 1\n")
    code, out, _ = run("verify", "--warehouse", path, "--json")
    assert code == 3
    assert json.loads(out) == {"schema": 2, "problems": [problem]}


# --- export and import ------------------------------------------------------------------------------------------------


def test_export_and_import_copy_a_warehouse(run, filled, tmp_path):
    code, out, _ = run("export", tmp_path / "snapshot", "--warehouse", filled)
    counts = "1 tasks, 1 sources, 1 recipes, 1 features, 2 runs, 1 predictions"
    assert (code, out) == (0, f"exported: {counts}\n")
    code, out, _ = run("import", tmp_path / "snapshot", "--warehouse", tmp_path / "copy.duckdb", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == {
        "tasks": 1, "sources": 1, "recipes": 1, "features": 1, "runs": 2, "predictions": 1
    }  # fmt: skip
    again = run("import", tmp_path / "snapshot", "--warehouse", tmp_path / "copy.duckdb")
    assert again == (0, "imported: 0 tasks, 0 sources, 0 recipes, 0 features, 0 runs, 0 predictions\n", "")
    with open_warehouse(filled, read_only=True) as one, open_warehouse(tmp_path / "copy.duckdb") as other:
        assert one.runs() == other.runs()
        assert one.tasks() == other.tasks() == [TASK]


@pytest.mark.parametrize("is_new", [False, True])
def test_importing_what_is_no_snapshot_exits_3_and_makes_no_warehouse(run, filled, tmp_path, is_new):
    code, out, err = run("import", tmp_path / "none", "--warehouse", tmp_path / "new.duckdb" if is_new else filled)
    assert (code, out) == (3, "")
    assert list(tmp_path.iterdir()) == []
    assert err.startswith(f"scalepred: {tmp_path / 'none'} is no snapshot: snapshot.json is missing or can't be read (")


def test_exporting_again_replaces_a_snapshot_of_the_same_runs_or_fewer(run, filled, tmp_path):
    fewer, snapshot = fill(tmp_path / "fewer.duckdb", make_run(1.0)), tmp_path / "snapshot"
    for path in (fewer, fewer, filled, filled):
        code, out, err = run("export", snapshot, "--warehouse", path, "--json")
        assert (code, err) == (0, "")
    assert json.loads(out)["rows"]["runs"] == 2


def test_exporting_over_runs_that_the_warehouse_lacks_needs_overwrite(run, filled, tmp_path):
    fewer, snapshot = fill(tmp_path / "fewer.duckdb", make_run(1.0)), tmp_path / "snapshot"
    run("export", snapshot, "--warehouse", filled)
    before = {file.name: file.read_bytes() for file in snapshot.iterdir()}
    code, out, err = run("export", snapshot, "--warehouse", fewer)
    assert (code, out, err) == (
        2,
        "",
        f"scalepred: The snapshot at {snapshot} has 1 runs that the warehouse {fewer} lacks, so they would be lost. "
        "Give another folder, or --overwrite to replace it, or add them first: scalepred warehouse import "
        f"{snapshot} --warehouse {fewer}\n",
    )
    assert {file.name: file.read_bytes() for file in snapshot.iterdir()} == before
    assert run("export", snapshot, "--warehouse", fewer, "--overwrite")[0] == 0
    assert run("export", snapshot, "--warehouse", fewer)[0] == 0


@pytest.mark.parametrize("sql", [None, "SELECT 1 AS one"], ids=["text", "another's table"])
def test_exporting_over_runs_that_cannot_be_read_needs_overwrite(run, filled, tmp_path, sql):
    file = tmp_path / "runs.parquet"
    if sql is None:
        file.write_text("mine")
    else:
        duckdb.connect().execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)").close()
    before = file.read_bytes()
    code, out, err = run("export", tmp_path, "--warehouse", filled)
    assert (code, out) == (2, "")
    words = f"{file} is there already, and its runs can't be read, so whether the warehouse {filled} has them can't be "
    assert err.startswith(f"scalepred: {words}told: ")
    assert err.endswith(" Give another folder, or --overwrite to replace it.\n")
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before
    assert run("export", tmp_path, "--warehouse", filled, "--overwrite")[0] == 0


def test_an_export_that_was_stopped_can_be_done_again(run, filled, tmp_path):
    run("export", tmp_path, "--warehouse", fill(tmp_path / "fewer.duckdb", make_run(1.0)))
    (tmp_path / "snapshot.json").unlink()
    assert run("export", tmp_path, "--warehouse", filled)[0] == 0


# --- query ------------------------------------------------------------------------------------------------------------


def test_query_prints_json_with_names_as_they_are(query):
    out = query("SELECT name, val_correct, epoch_losses FROM runs JOIN tasks USING (task_id) WHERE scale = 1", "--json")
    assert json.loads(out) == {
        "schema": 2,
        "columns": ["name", "val_correct", "epoch_losses"],
        "rows": [[NASTY, "e0", [1.5, 0.1 + 0.2]]],
    }
    assert "🐈 café" in out


def test_every_kind_of_value_has_its_json(query):
    values = "NULL, true, 2::HUGEINT, 'nan'::DOUBLE, '-inf'::FLOAT, 1.50::DECIMAL(4, 2), {'a': [1, NULL]}, "
    dates = "DATE '2026-01-02', INTERVAL 1 DAY, MAP {1: 'x'}"
    assert json.loads(query(f"SELECT {values}{dates}", "--json"))["rows"] == [
        [None, True, 2, "nan", "-inf", "1.50", {"a": [1, None]}, "2026-01-02", "1 day, 0:00:00", {"1": "x"}]
    ]


def test_query_prints_csv_that_a_spreadsheet_does_not_obey(query):
    out = query("SELECT origin, n_val, -1 AS low FROM tasks", "--csv")
    assert out == "origin,n_val,low\n'=1+1,5,-1\n"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_prefixes_every_text_that_a_spreadsheet_takes_for_a_formula(query, begin):
    out = query(f"SELECT '{begin}x' AS \"{begin}y\", ['{begin}z'] AS l, 'a{begin}' AS fine", "--csv")
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert rows == [
        [f"'{begin}y", "l", "fine"],
        [f"'{begin}x", json.dumps([f"{begin}z"]), f"a{begin}"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--csv", "--json", None])
def test_a_reader_who_has_seen_enough_of_a_query_ends_it_quietly(filled, form):
    sql = "SELECT range AS row, repeat('x', 500) AS text FROM range(5000)"  # far more than a pipe holds
    command = [sys.executable, "-m", "scalepred", "warehouse", "query", sql, "--warehouse", str(filled)]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*command, form] if form else command, **pipes, text=True) as process:
        assert process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 0
    assert told == "" or (form is None and "more rows" in told)


def test_query_shows_names_on_one_line_without_markup(query):
    out = query("SELECT name, ':cat:' || chr(27) || '[0m' || chr(8238) AS odd, NULL AS nothing FROM tasks")
    assert [line.rstrip() for line in out.splitlines()] == [
        " name                                   odd                 nothing",
        " '; drop table tasks; --\\n[red]🐈 café  :cat:\\x1b[0m\\u202e",
    ]


def test_a_table_ends_after_a_thousand_rows_and_says_so(run, filled):
    code, out, err = run("query", "SELECT i FROM range(1234) t(i)", "--warehouse", filled)
    assert (code, err) == (0, "… and 234 more rows; --csv and --json print all\n")
    assert len(out.splitlines()) == 1 + module.SHOWN_ROWS
    assert len(run("query", "SELECT i FROM range(1234) t(i)", "--csv", "--warehouse", filled)[1].splitlines()) == 1235


def test_csv_and_json_exclude_each_other(run, filled):
    code, out, err = run("query", "SELECT 1", "--csv", "--json", "--warehouse", filled)
    assert (code, out, err) == (2, "", "scalepred: Give --json or --csv, not both.\n")


@pytest.mark.parametrize("sql", ["DELETE FROM runs", "nonsense", "", "\udcff"])
def test_a_query_that_does_not_read_exits_2(run, filled, sql):
    code, out, err = run("query", sql, "--warehouse", filled)
    assert (code, out) == (2, "")
    assert err.startswith("scalepred: The query failed: ")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["status"], ["verify"], ["export", "out"], ["query", "SELECT 1"]])
def test_a_command_that_reads_makes_no_warehouse(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*command, "--warehouse", "none.duckdb")
    message = "There is no warehouse at none.duckdb: fill one with `scalepred harvest`, or import a snapshot."
    assert (code, out, err) == (3, "", f"scalepred: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_warehouse_exits_5(run, tmp_path):
    (tmp_path / "w.duckdb").write_text("text")
    code, out, err = run("status", "--warehouse", tmp_path / "w.duckdb")
    assert (code, out) == (5, "")
    assert err.startswith(f"scalepred: {tmp_path / 'w.duckdb'} can't be used as a warehouse: ")


def test_the_module_imports_nothing_heavy():
    code = (
        "import sys, scalepred.cli.warehouse, scalepred.cli.output;"
        "print([m for m in ('duckdb', 'rich', 'numpy', 'platformdirs') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


# --- what every command prints through --------------------------------------------------------------------------------


def test_json_keeps_names_and_escapes_what_utf_8_cannot_hold(capsys):
    output.print_json({"name": "café 🐈", "n": 1})
    assert capsys.readouterr().out == '{\n "name": "café 🐈",\n "n": 1\n}\n'
    output.print_json(["caf\udce9"])
    assert capsys.readouterr().out == '[\n "caf\\udce9"\n]\n'


def test_json_is_valid_whatever_stdout_can_hold(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    output.print_json(["café 🐈"])
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode("ascii")) == ["café 🐈"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_refuses_what_is_not_finite_and_prints_nothing(capsys, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.print_json({"x": value})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[red]", "[red]"),
        ("[/]", "[/]"),
        ("\\[b]", "\\[b]"),
        (":cat:", ":cat:"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202etxt.exe\u200b\u2028", "\\u202etxt.exe\\u200b\\u2028"),
        ("café 🐈 漢字", "café 🐈 漢字"),
        ("", ""),
    ],
)
def test_text_from_outside_is_shown_as_it_is_on_one_line(capsys, text, shown):
    output.console().print(f"<{output.safe(text)}>")
    output.notes().print(output.table([text], [[text]]))
    out, err = capsys.readouterr()
    assert out == f"<{shown}>\n"
    assert [line.strip() for line in err.splitlines()] == [shown.strip(), shown.strip()]


def test_long_lines_that_go_to_a_file_are_not_broken(capsys):
    output.notes().print("x" * 900)
    assert capsys.readouterr().err == "x" * 900 + "\n"


def test_a_table_has_its_numbers_on_the_right(capsys):
    output.console().print(output.table(["name", "n", "mixed"], [["a", 1, 1], ["b", 100, "x"], [None, None, None]]))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        " name    n  mixed",
        " a       1  1",
        " b     100  x",
        "",
    ]


def test_a_table_may_be_empty(capsys):
    output.console().print(output.table(["name"], []))
    assert capsys.readouterr().out.strip() == "name"


# --- rebuild ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def journalled(tmp_path):
    """A warehouse whose journal holds a task and a run."""
    path = tmp_path / "w.duckdb"
    recipe = RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())
    for record in (TASK, SOURCE, recipe, make_run()):
        journal_of(path).add(record)
    return path


def rows(path):
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == []
        return store.tasks(), store.runs()


def test_a_damaged_warehouse_is_made_again_from_its_journal_and_kept(run, journalled):
    journalled.write_bytes(b"damaged")
    code, out, err = run("rebuild", "--warehouse", journalled, "--json")
    (aside,) = journalled.parent.glob("*.corrupt-*")
    assert (code, err) == (0, f"the old warehouse was kept as {aside}\n")
    assert json.loads(out)["tables"]["runs"] == 1
    assert aside.read_bytes() == b"damaged"
    assert rows(journalled) == ([TASK], [make_run()])


def test_snapshots_are_imported_into_a_warehouse_that_is_made_again(run, journalled, filled, tmp_path):
    run("export", tmp_path / "snapshot", "--warehouse", filled)
    code, _, err = run("rebuild", "--snapshot", tmp_path / "snapshot", "--warehouse", journalled)
    assert (code, err) == (0, "")
    assert len(rows(journalled)[1]) == 2  # one of them lies in the journal too


def test_without_journal_and_snapshot_nothing_is_touched(run, tmp_path):
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"damaged")
    code, out, err = run("rebuild", "--warehouse", path)
    assert (code, out) == (2, "")
    assert f"There is nothing to make {path} again from" in err
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize("at", ["typo", "other columns"])
def test_a_snapshot_that_cannot_be_imported_leaves_the_warehouse_where_it_is(run, journalled, filled, tmp_path, at):
    fill(journalled, make_run(5.0))
    before = journalled.read_bytes()
    run("export", tmp_path / "good", "--warehouse", filled)
    if at != "typo":
        write_snapshot_of_other_columns(shutil.copytree(tmp_path / "good", tmp_path / at))
    files = sorted(file.name for file in tmp_path.iterdir())
    both = ("--snapshot", tmp_path / "good", "--snapshot", tmp_path / at)
    code, out, err = run("rebuild", *both, "--warehouse", journalled)
    assert (code, out) == (3, "")
    words = f"{tmp_path / at} is no snapshot: " if at == "typo" else f"{tmp_path / at / 'tasks.parquet'} has other col"
    assert err.startswith(f"scalepred: {words}")
    assert journalled.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == files


def write_snapshot_of_other_columns(folder):
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT 1 AS one) TO '{folder / 'tasks.parquet'}' (FORMAT parquet)")
    about = json.loads((folder / "snapshot.json").read_text())
    about["sha256"]["tasks"] = sha256(folder / "tasks.parquet")
    (folder / "snapshot.json").write_text(json.dumps(about))


def test_a_sound_warehouse_that_is_made_again_is_kept_whole_and_what_is_lacking_is_told(run, journalled):
    fill(journalled, make_run(1.0), make_run(5.0))
    code, _, err = run("rebuild", "--warehouse", journalled)
    (aside,) = journalled.parent.glob("w.duckdb.*")
    assert aside.name.startswith("w.duckdb.before-rebuild-")
    assert (code, err.splitlines()) == (
        0,
        [
            f"the old warehouse was kept as {aside}",
            "1 of its runs are neither in the journal nor in a snapshot that was given. To have them too: scalepred "
            f"warehouse export FOLDER --warehouse {aside}, and scalepred warehouse import FOLDER --warehouse "
            f"{journalled}",
        ],
    )
    assert len(rows(aside)[1]) == 2
    assert rows(journalled)[1] == [make_run()]


def test_a_new_warehouse_that_cannot_take_its_place_says_where_the_old_one_is(run, journalled, monkeypatch):
    fill(journalled)
    replace = Path.replace

    def full(self, target):
        if target == journalled:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        code, out, err = run("rebuild", "--warehouse", journalled)
    (aside,) = journalled.parent.glob("w.duckdb.*")
    assert (code, out, err) == (
        2,
        "",
        f"scalepred: The new warehouse can't be put at {journalled}: No space left on device. The old one was kept as "
        f"{aside}: rename it to have it back.\n",
    )
    assert rows(aside)[1] == [make_run()]
    assert [file.name for file in journalled.parent.iterdir() if file.name.startswith(".")] == []


def test_a_warehouse_that_another_process_has_open_is_not_pulled_from_under_it(run, journalled):
    fill(journalled)
    code = f"import duckdb; c = duckdb.connect({str(journalled)!r}); print('open', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout.readline() == "open\n"
        code, *_ = run("rebuild", "--warehouse", journalled, "--lock-timeout", "0.1")
        other.communicate("\n")
    assert code == 4
    assert sorted(file.name for file in journalled.parent.iterdir()) == ["w.duckdb", "w.journal"]


def test_another_programs_database_is_never_moved_aside(run, journalled):
    with duckdb.connect(str(journalled)) as database:
        database.execute("CREATE TABLE mine (x INTEGER)")
    before = journalled.read_bytes()
    assert run("rebuild", "--warehouse", journalled)[0] == 5
    assert journalled.read_bytes() == before
