"""A real harvest by the real command, killed at random moments, stopped by signals, and out of room."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from harvests import (
    CAP_SECONDS,
    N_RUNS,
    command,
    finish,
    is_alive,
    n_journalled,
    numbers,
    paused,
    start,
    wait_for,
    wait_for_end,
    wait_for_runs,
    wanted_of,
    worker_pids,
)
from typer.testing import CliRunner

from scalepred.cli import app
from scalepred.records import RunRecord
from scalepred.store.journal import journal_of
from scalepred.store.keeping import Keeper
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow

N_KILLS = 15  # of each kind


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return wanted_of(tmp_path_factory.mktemp("wanted"))


@pytest.fixture(scope="module")
def whole(wanted, tmp_path_factory):
    """What a harvest that nothing interrupts prints as JSON, and its warehouse."""
    warehouse = tmp_path_factory.mktemp("whole") / "w.duckdb"
    return finish(wanted, warehouse, "--json").stdout, warehouse


@pytest.fixture(scope="module")
def uninterrupted(whole):
    """The numbers of that harvest."""
    rows = numbers(whole[1])
    assert len(rows[0]) >= N_RUNS
    return rows


def test_a_harvest_whose_parent_is_killed_at_random_moments_ends_with_the_numbers_of_one_that_is_not(
    wanted, uninterrupted, tmp_path
):
    draw, n_killed = random.Random(0), 0
    for warehouse in fresh_warehouses(tmp_path):
        while n_killed < N_KILLS and n_journalled(warehouse) < N_RUNS - 1:
            before = n_journalled(warehouse)
            with start(wanted, warehouse) as process:
                if n_killed % 5:  # among the runs
                    at_least = min(before + draw.randint(0, 2), N_RUNS - 1)
                    wait_for(lambda at=at_least, of=warehouse: n_journalled(of) >= at or process.poll() is not None)
                    time.sleep(draw.uniform(0, 0.6))
                else:  # while it starts
                    time.sleep(draw.uniform(0, 6))
                n_killed += process.poll() is None
                process.kill()
            wait_for_end(worker_pids(warehouse))  # they end with it
            assert n_journalled(warehouse) >= before
        finish(wanted, warehouse)
        assert numbers(warehouse) == uninterrupted
        if n_killed == N_KILLS:
            break
    assert n_killed == N_KILLS


def test_a_harvest_whose_workers_are_killed_at_random_moments_goes_on_to_the_same_numbers(
    wanted, uninterrupted, tmp_path
):
    draw, n_killed = random.Random(1), 0
    for warehouse in fresh_warehouses(tmp_path):
        with start(wanted, warehouse) as process:
            while n_killed < N_KILLS and process.poll() is None:
                wait_for(lambda of=warehouse: any(map(is_alive, worker_pids(of))) or process.poll() is not None)
                time.sleep(draw.uniform(0, 0.5))
                alive = [pid for pid in worker_pids(warehouse) if is_alive(pid)]
                if alive and process.poll() is None:
                    os.kill(draw.choice(alive), signal.SIGKILL)
                    n_killed += 1
            process.wait(timeout=CAP_SECONDS)
        finish(wanted, warehouse)  # what three workers died of is tried again
        assert numbers(warehouse) == uninterrupted
        if n_killed == N_KILLS:
            break
    assert n_killed == N_KILLS


def counts_in(said):
    """Return the runs that are done and left, as a harvest says when it is interrupted."""
    counts = re.search(r"interrupted: (\d+) runs done, (\d+) left; the same command goes on from here", said)
    assert counts, said
    return int(counts[1]), int(counts[2])


def fresh_warehouses(folder):
    """Yield paths of warehouses: a fast machine ends a harvest before it can be killed often."""
    for number in range(2 * N_KILLS):
        yield folder / str(number) / "w.duckdb"


def test_a_signal_that_comes_amid_a_step_is_heeded_after_it_so_the_counts_add_up(wanted, tmp_path, monkeypatch):
    add, n_runs = Keeper.add, itertools.count(1)

    def interrupted(self, records):  # the worker is done with the run, and it is not counted yet
        if isinstance(records[0], RunRecord) and next(n_runs) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        add(self, records)

    monkeypatch.setattr(Keeper, "add", interrupted)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    result = CliRunner().invoke(app, [str(part) for part in command(wanted, tmp_path / "w.duckdb")[3:]])
    assert result.exit_code == 130
    n_done, n_left = counts_in(result.stderr)
    assert n_done == n_journalled(tmp_path / "w.duckdb") >= 4
    assert n_done + n_left == N_RUNS
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    ("sent", "is_sent_to_all"),
    [(signal.SIGTERM, False), (signal.SIGINT, True)],
    ids=["by kill", "by Ctrl-C, which all processes of a terminal get"],
)
def test_a_signal_ends_a_harvest_with_130_its_runs_stored_and_none_of_its_workers_left(
    wanted, uninterrupted, tmp_path, sent, is_sent_to_all
):
    warehouse = tmp_path / "w.duckdb"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command(wanted, warehouse), **pipes) as process:
        wait_for_runs(process, warehouse, 3)
        (os.killpg if is_sent_to_all else os.kill)(process.pid, sent)
        said = process.communicate(timeout=CAP_SECONDS)[1]
    assert process.returncode == 130
    assert "died" not in said
    n_done, n_left = counts_in(said)
    assert n_done == n_journalled(warehouse) >= 3
    assert N_RUNS <= n_done + n_left <= len(uninterrupted[0])  # more, if an edge was reached by then
    assert not any(map(is_alive, worker_pids(warehouse)))
    with open_warehouse(warehouse, read_only=True) as store:
        assert len(store.runs()) == n_done
    finish(wanted, warehouse)
    assert numbers(warehouse) == uninterrupted


def test_a_full_disk_ends_a_harvest_cleanly_and_with_room_the_same_command_goes_on(wanted, uninterrupted, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    code = f"""
        import signal, sys
        from pathlib import Path
        import scalepred.store.journal as journal
        real = journal.write_text
        def write_text(file, text):
            if file.parent.parent.name == "runs" and len(list(file.parent.parent.rglob("*.json"))) >= 5:
                raise OSError(28, "No space left on device")
            real(file, text)
        journal.write_text = write_text
        from scalepred.cli import main
        sys.argv = ["scalepred", *{[str(each) for each in command(wanted, warehouse)[3:]]!r}]
        if __name__ == "__main__":
            main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"The journal {journal_of(warehouse).folder} can't be written: No space left on device." in done.stderr
    assert n_journalled(warehouse) == 5
    finish(wanted, warehouse)
    assert numbers(warehouse) == uninterrupted


def test_a_second_harvest_of_a_warehouse_waits_and_then_names_the_first(wanted, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    with start(wanted, warehouse) as process:
        wait_for((journal_of(warehouse).folder / "holder").is_file)
        second = command(wanted, warehouse, "--lock-timeout", "0.5")
        with paused(process.pid):  # else it might end first
            done = subprocess.run(second, capture_output=True, text=True, check=False)
            process.kill()
    assert done.returncode == 4
    assert f"A harvest is filling {journal_of(warehouse).folder} already: process {process.pid}" in done.stderr


def test_json_gives_a_line_for_every_run_and_one_at_the_end(whole):
    *runs, summary = map(json.loads, whole[0].splitlines())
    assert len(runs) == len({run["run_id"] for run in runs}) == summary["done"] + summary["diverged"] >= N_RUNS
    assert {run["status"] for run in runs} <= {"done", "diverged"}
    assert (summary["planned"], summary["stored_before"], summary["failed"], summary["refused"]) == (N_RUNS, 0, [], [])
