"""`scalepred finetune` killed at several moments ends with what one comes to that was never stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from fakes import TINY, write_task
from safetensors.torch import save_file

from scalepred.files import sha256
from scalepred.networks.architecture import build

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

RECIPE = {"epochs": 25, "image_px": 32, "batch_size": 8, "augmentation": "crop-flip", "optimizer": "adamw"}
PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # float32 everywhere: where bfloat16 pays is measured, from run to run


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return data, recipe and weights."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    save_file(build(TINY).network.state_dict(), folder / "tiny.safetensors")
    write_task(folder / "birds", n=30)
    return folder


def command(parts, output, *more):
    options = ["--auto", "--source", TINY, "--weights", parts / "tiny.safetensors", "--recipe", parts / "recipe.json"]
    options += ["--device", "cpu", "--checkpoint-seconds", "0", "--output", output, *more]
    return [sys.executable, "-m", "scalepred", "finetune", str(parts / "birds"), *map(str, options)]


def start(parts, output, *more):
    environment = os.environ | PLAIN
    return subprocess.Popen(command(parts, output, *more), stderr=subprocess.PIPE, text=True, env=environment)


def finish(parts, output, *more):
    process = start(parts, output, *more)
    notes = process.communicate()[1]
    assert process.returncode == 0, notes
    return notes


def result(output):
    """Return all that a job comes to but for times and places."""
    metrics, run = (json.loads((output / name).read_text()) for name in ("metrics.json", "run.json"))
    metrics["probe"].pop("seconds")
    names = ("run_id", "scale", "epoch_losses", "rates", "val_correct", "test_correct", "execution", "status")
    weights = sha256(output / "model.safetensors")
    return weights, metrics, {name: run[name] for name in names if name in run}, run["job"]["choice"]


def kill_at(process, states):
    """Kill a process once its state has been written so many times."""
    last, written = None, 0
    while written < states and process.poll() is None:
        now = [path.stat().st_mtime_ns for path in process.folder.glob("*.safetensors")]
        written += now not in (last, [])
        last = now
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("more", [(), ("--refit",)], ids=["plain", "refit"])
def test_a_finetune_goes_on_after_kill_9_with_the_numbers_of_one_that_was_never_stopped(parts, tmp_path, more):
    finish(parts, tmp_path / "whole", *more)
    folder = tmp_path / "killed.unfinished"
    for states in (1, 9):
        process = start(parts, tmp_path / "killed", *more)
        process.folder = folder
        assert kill_at(process, states) == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    (kept,) = folder.glob("*.safetensors")
    (folder / f".{kept.name}.0123").write_bytes(b"half a file")
    notes = finish(parts, tmp_path / "killed", *more)
    assert "goes on after epoch " in notes
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_another_command_does_not_go_on_from_a_finetune_that_was_killed(parts, tmp_path):
    process = start(parts, tmp_path / "killed")
    process.folder = tmp_path / "killed.unfinished"
    assert kill_at(process, 3) == -signal.SIGKILL
    notes = finish(parts, tmp_path / "killed", "--seed", "1")
    assert "goes on after epoch" not in notes
    assert "has the state of another job, with other data or options" in notes
    assert len(list(process.folder.glob("*.safetensors"))) == 1
