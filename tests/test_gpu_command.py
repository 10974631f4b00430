"""The command for a GPU that is lent for minutes, here on the CPU, and what it needs: packed tasks and new runs."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from harvests import CAP_SECONDS, n_journalled, wait_for
from small_suite import TASKS, write_suite

from benchmarks import gpu, new_runs
from benchmarks.wild import pack, points
from scalepred.data.task import read_task
from scalepred.records import POINT
from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse

ROOT = Path(__file__).resolve().parent.parent
ICONS = str(ROOT / "models" / "sources" / "icons")
OPTIONS = ("--draw", "40", "--passes", "400", "--source", ICONS)


def options(suite, warehouse, *more):
    parser = argparse.ArgumentParser()
    points.add_options(parser)
    return argparse.Namespace(**vars(parser.parse_args([*OPTIONS, *more])), suite=suite, warehouse=warehouse)


def packed(suite, file, tasks, monkeypatch):
    """Pack a suite with room for some tasks alone, of those that points need first."""
    enough = [task for task in (suite / "tasks").iterdir() if task.name in tasks]
    files = pack.always(suite)
    for task in enough:
        files.update(dict.fromkeys(pack.files_of(task)))
    megabytes = sum(map(pack.packed_bytes, {each.resolve() for each in files})) / 1e6 + 1e-4
    arguments = ["pack", str(suite), str(file), "--warehouse", str(file.with_suffix(".none")), *OPTIONS]
    monkeypatch.setattr(sys, "argv", [*arguments, "--megabytes", str(megabytes)])
    with pytest.raises(SystemExit) as ended:
        pack.main()
    assert ended.value.code == 0


def test_a_packed_suite_draws_the_points_of_the_whole_one_and_has_its_tasks(tmp_path, monkeypatch, capsys):
    suite, file = write_suite(tmp_path / "suite"), tmp_path / "suite.tar.gz"
    packed(suite, file, set(TASKS), monkeypatch)
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    here, there = (points.chosen(options(folder, tmp_path / "none")) for folder in (suite, tmp_path / "there"))
    assert [Path(point.data).name for point in here] == [Path(point.data).name for point in there]
    assert [point.recipe for point in here] == [point.recipe for point in there]
    for name in TASKS:
        records = [read_task(folder / "tasks" / name, image_px=16).record for folder in (suite, tmp_path / "there")]
        assert records[0] == records[1]
    told = json.loads(next(line for line in capsys.readouterr().out.splitlines() if line.startswith("{")))
    assert (told["n_tasks"], told["n_points"]) == (3, len(here))


def test_what_does_not_fit_is_left_out_and_the_points_of_the_rest_stay_the_same(tmp_path, monkeypatch):
    suite, file = write_suite(tmp_path / "suite"), tmp_path / "suite.tar.gz"
    first = Path(points.chosen(options(suite, tmp_path / "none"))[0].data).name
    packed(suite, file, {first}, monkeypatch)
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    there = points.chosen(options(tmp_path / "there", tmp_path / "none"))
    whole = points.chosen(options(suite, tmp_path / "none"))
    kept = {Path(point.data).name for point in there}
    assert first in kept
    assert kept < set(TASKS)
    assert [p.recipe for p in there] == [p.recipe for p in whole if Path(p.data).name in kept]


def fake_service(folder, *, code=0):
    """Write a control of the service that notes how it is called, in the order of calls."""
    control = folder / gpu.MPS
    control.write_text(f'#!/bin/sh\necho "$@ $(cat) $CUDA_MPS_PIPE_DIRECTORY" >> {folder}/calls\nexit {code}\n')
    control.chmod(0o755)
    return folder / "calls"


def test_the_multi_process_service_is_started_and_stopped_also_where_the_work_is_interrupted(tmp_path, monkeypatch):
    calls = fake_service(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(KeyboardInterrupt), gpu.multi_process_service(tmp_path / "work") as shared:  # noqa: PT012 - it ends inside
        assert Path(shared["CUDA_MPS_PIPE_DIRECTORY"]).is_dir()
        raise KeyboardInterrupt
    pipe = shared["CUDA_MPS_PIPE_DIRECTORY"]
    assert calls.read_text().splitlines() == [f"-d  {pipe}", f" quit {pipe}"]


def test_where_the_service_does_not_start_the_work_goes_on_without_it(tmp_path, monkeypatch, capsys):
    fake_service(tmp_path, code=1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with gpu.multi_process_service(tmp_path / "work") as shared:
        assert shared == {}
    assert "workers share a GPU by turns" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "nowhere"], "There is no suite nowhere: give a folder, or what"),
        (["--wheels", "."], "There are no wheels in .: give a folder of *.whl files, or leave --wheels out."),
    ],
)
def test_what_is_not_there_is_said(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu", "out", "--work", str(tmp_path / "w"), "--no-tests", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    signal.signal(signal.SIGTERM, before)
    assert words in str(ended.value.code)


def write_wheel(folder):
    """Write a wheel of one empty module."""
    folder.mkdir()
    about = "tiny_wheel-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_wheel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_wheel.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def command(folder, *more):
    """Return the command line of a short harvest on the CPU."""
    fixed = ["--suite", folder / "suite.tar.gz", "--work", folder / "work", "--workers", "2", "--device", "cpu"]
    return [sys.executable, "-m", "benchmarks.gpu", folder / "out", *fixed, *OPTIONS, *more]


def run_ids(folder):
    return journal_of(folder / "work" / "harvest.duckdb").keys("runs")


@pytest.mark.slow
def test_the_whole_command_is_killed_goes_on_and_leaves_new_runs_that_can_be_added_elsewhere(tmp_path, monkeypatch):
    packed(write_suite(tmp_path / "suite"), tmp_path / "suite.tar.gz", set(TASKS), monkeypatch)
    warehouse, wheels = tmp_path / "work" / "harvest.duckdb", write_wheel(tmp_path / "wheels")
    log = tmp_path / "log"
    with log.open("w") as file:
        first = [*command(tmp_path, "--wheels", wheels), "--minutes", "60"]
        process = subprocess.Popen(first, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        wait_for(lambda: n_journalled(warehouse) >= 3 or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        process.kill()
        process.wait()
    said = log.read_text()
    assert "skipped" in said  # the tests of a GPU came first
    assert f"there is no {gpu.MPS} here" in said
    assert (tmp_path / "work" / "site" / "tiny_wheel.py").is_file()
    wait_for(lambda: not (journal_of(warehouse).folder / "holder").exists())  # the harvest ends with its parent
    before = run_ids(tmp_path)

    again = [*command(tmp_path, "--no-tests"), "--minutes", "0.3"]
    done = subprocess.run(
        again,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=CAP_SECONDS,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does to what runs behind
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert run_ids(tmp_path) >= before
    assert found["new"]["rows"]["runs"] == len(run_ids(tmp_path)) >= 3
    with open_warehouse(tmp_path / "elsewhere.duckdb") as store:
        store.import_parquet(tmp_path / "out" / "new")
        runs = store.runs()
        assert store.verify() == []
    assert {run.run_id for run in runs} == run_ids(tmp_path)
    assert {run.role for run in runs} == {POINT}
    with open_warehouse(warehouse, read_only=True) as store:  # the snapshot is in it as well
        assert len(store.runs()) > len(runs)
        assert store.verify() == []


def test_the_new_runs_of_an_empty_journal_are_none(tmp_path):
    assert new_runs.export(tmp_path / "w.duckdb", tmp_path / "new")["rows"]["runs"] == 0
