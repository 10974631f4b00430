"""The real commands on a real CUDA device; none of it runs where there is none."""

import json
import subprocess
import sys

import pytest
import torch
from fakes import write_task
from harvests import finish, wanted_of

from scalepred.store.warehouse import open_warehouse

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def scalepred(*arguments):
    command = [sys.executable, "-m", "scalepred", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_harvest_on_cuda_makes_the_runs_of_one_on_the_cpu(tmp_path):
    tasks, *options = wanted_of(tmp_path / "wanted")
    wanted, grids = [tasks / "birds", *options], []
    for device in ("cpu", "cuda"):
        finish(wanted, tmp_path / f"{device}.duckdb", "--device", device)
        with open_warehouse(tmp_path / f"{device}.duckdb", read_only=True) as store:
            assert store.verify() == []
            runs = store.runs()
        assert all(run.device.startswith(device) and run.execution["dtype"] == "float32" for run in runs)
        grids.append({run.run_id: run for run in runs if run.role == "grid"})
    cpu, cuda = grids
    assert cpu.keys() == cuda.keys()
    assert all(run.execution["peak_bytes"] > 0 for run in cuda.values())
    apart = [
        abs(run.epoch_losses[0] - cuda[run_id].epoch_losses[0])
        for run_id, run in cpu.items()
        if run.epoch_losses and run.scale is not None and run.scale <= 1
    ]
    assert max(apart) < 0.01


def test_finetune_and_classify_on_cuda_agree_with_the_cpu(tmp_path):
    data = write_task(tmp_path / "data", n=30)
    made = scalepred("finetune", data, "--auto", "--output", tmp_path / "model", "--device", "cuda", "--json")
    assert made["metrics"]["test_accuracy"] == 1.0
    on_cuda, on_cpu = (
        scalepred("classify", tmp_path / "model", data, "--device", device, "--json")["images"]
        for device in ("cuda", "cpu")
    )
    assert [each["label"] for each in on_cuda] == [each["label"] for each in on_cpu]


def test_a_source_is_trained_on_cuda(tmp_path):
    data = write_task(tmp_path / "data", n=40)
    options = ["--epochs", "3", "--width", "8", "--image-px", "32", "--batch-size", "16", "--device", "cuda", "--json"]
    assert scalepred("pretrain", data, "--name", "shades", "--output", tmp_path / "shades", *options)
    predicted = scalepred("predict", data, "--source", tmp_path / "shades", "--device", "cuda", "--json")
    assert predicted["scale"] > 0
