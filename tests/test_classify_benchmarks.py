"""The benchmarks of `classify` run: its speed, and what it tells of foreign images."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import QUICK, named_source, write_task

from benchmarks import none_of_these as bench
from scalepred.data.digits import write_digits
from scalepred.data.task import read_task

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def test_the_benchmark_of_speed_compares_both_ways():
    command = [sys.executable, "-m", "benchmarks.bench_classify", "--smoke", "--image-px", "32"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    document = json.loads(shown.stdout.splitlines()[-1])
    assert (document["benchmark"], document["n"]) == ("classify", 20)
    assert set(document["images_per_second"]) == {"scalepred classify", "plain loop"}


def test_every_score_is_judged_for_both_models_of_every_task(tmp_path):
    write_task(tmp_path / "shades", n=40)
    write_digits(tmp_path / "digits", last=100)
    tasks = [read_task(tmp_path / name, image_px=16) for name in ("shades", "digits")]
    results = bench.judge(tasks, named_source(), QUICK)
    assert len(results) == 2 * 2 * 5
    assert {each.score for each in results[:5]} == set(bench.scores((np.zeros(0), np.eye(6)), np.arange(6) % 2))
    shades = [each for each in results if each.task == "shades"]
    assert {(each.n_held_out, each.n_new, each.n_foreign) for each in shades} == {(8, 8, 20)}
    assert bench.by_score(results).row_count == 10
    assert bench.by_task(results).row_count == 2


def test_a_threshold_catches_what_is_above_it():
    task = type("Task", (), {"record": type("Record", (), {"name": "a", "origin": "b"})})
    seen = [np.linspace(0, 1, 39), np.array([0.1, 0.99]), np.array([2.0, 0.5, 3.0, 4.0])]
    found = bench.caught(task, "probe", "plain", lambda values: values.astype(np.float32), seen)
    assert (found.caught, found.false_alarms) == (0.75, 0.5)
