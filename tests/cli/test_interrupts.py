"""SIGINT and SIGTERM end any command with exit code 130 and without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import write_task
from rows import fill

from scalepred import cli

# a shell may have SIGINT ignored for what it runs in the background, and this process and its children with it
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from scalepred.cli import main
main()
"""
ENDLESS = "SELECT count(*) FROM range(1000000000000)"  # DuckDB itself takes no interrupt of this one
GIVE_UP_SECONDS = 300  # a machine is never so busy
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def start(*arguments):
    command = [sys.executable, "-c", START, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cpu_seconds(process):
    """Return what a process has computed so far, all its threads together."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_open(process, file):
    return any(target_of(each) == file for each in Path(f"/proc/{process.pid}/fd").iterdir())


def target_of(link):
    """Return where a link leads, None where it is gone by now."""
    try:
        return link.readlink()
    except FileNotFoundError:
        return None


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see that the query runs")
@SIGNALS
def test_a_query_that_is_interrupted_ends_at_once(tmp_path, number):
    file = fill(tmp_path / "w.duckdb").resolve()
    with start("warehouse", "query", ENDLESS, "--warehouse", file) as process:
        wait_for(process, lambda: has_open(process, file))
        opened_at = cpu_seconds(process)
        wait_for(process, lambda: cpu_seconds(process) > opened_at + 0.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.slow
@SIGNALS
def test_a_finetune_that_is_interrupted_leaves_no_model(tmp_path, number):
    recipe = tmp_path / "long.json"
    recipe.write_text('{"epochs": 100000, "image_px": 32}')
    task, model = write_task(tmp_path / "task"), tmp_path / "model"
    with start("finetune", task, "--scale", "1", "--recipe", recipe, "--output", model) as process:
        said = iter(process.stderr.readline, "")
        assert any(line.startswith("learning rates ") for line in said)
        process.send_signal(number)
        rest = process.communicate(timeout=GIVE_UP_SECONDS)[1]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert rest.endswith("stopped before anything was kept (every 30 s); the same command begins anew\n")
    assert not model.exists()


@pytest.mark.slow
@SIGNALS
def test_a_finetune_that_is_interrupted_keeps_its_state_and_says_how_it_goes_on(tmp_path, number):
    recipe = tmp_path / "long.json"
    recipe.write_text('{"epochs": 100000, "image_px": 32}')
    task, model = write_task(tmp_path / "task"), tmp_path / "model"
    options = ("--scale", "1", "--recipe", recipe, "--output", model, "--checkpoint-seconds", "0")
    with start("finetune", task, *options) as process:
        wait_for(process, lambda: list(tmp_path.glob("model.unfinished/*.safetensors")))
        process.send_signal(number)
        rest = process.communicate(timeout=GIVE_UP_SECONDS)[1]
    (file,) = tmp_path.glob("model.unfinished/*")
    assert process.returncode == 130
    assert "Traceback" not in rest
    last = rest.splitlines()[-1]
    assert last.startswith("stopped; the same command goes on after epoch ")
    assert last.endswith(f" of 100000; its state is in {file}")
    assert not model.exists()


def test_an_interrupt_that_a_library_turns_into_an_error_is_one_still(run, monkeypatch):
    def query(*_, **__):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None

    monkeypatch.setattr("scalepred.store.query.query", query)
    assert run("warehouse", "query", "SELECT 1") == (cli.INTERRUPTED, "", "")


def test_an_error_without_an_interrupt_is_a_bug_and_keeps_its_traceback(run, monkeypatch):
    def query(*_, **__):
        raise RuntimeError("no interrupt")

    monkeypatch.setattr("scalepred.store.query.query", query)
    with pytest.raises(RuntimeError, match="no interrupt"):
        run("warehouse", "query", "SELECT 1")


def test_a_signal_that_is_ignored_stays_so(run):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run("--version")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_duckdb_draws_no_progress_bar_into_the_output_of_a_python_without_a_script(tmp_path):
    file = fill(tmp_path / "w.duckdb")
    names = ("enable_progress_bar", "lock_configuration")
    sql = f"SELECT name, value FROM duckdb_settings() WHERE name IN {names} ORDER BY name"
    with start("warehouse", "query", sql, "--warehouse", file) as process:
        out, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert [line.split() for line in out.splitlines()[1:]] == [[names[0], "false"], [names[1], "true"]]
