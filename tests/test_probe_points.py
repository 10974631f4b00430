"""The benchmark of the linear probe beside design points: on points whose gains are known, and on a real task."""

import dataclasses

import numpy as np
import pytest
import torch
from fakes import write_task
from small_networks import tiny_source
from wide_points import SGD, wide_point

from benchmarks import probe_points
from benchmarks.probe_points import key_of, tell
from benchmarks.probes import probes_of, read_probes
from scalepred.data.task import read_task
from scalepred.training.bundle import Bundle


def points():
    """Return points of three ImageNet networks and of two others, whose finetunes reach 80 %."""
    names = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "convnext", "vit"]
    made = [wide_point(at, SGD, best=0.0, facts={"log2_steps": 6.0}) for at in range(40)]
    return [
        dataclasses.replace(point, source=names[at % 5], n_train=30 if at < 20 else 500)
        for at, point in enumerate(made)
    ]


def test_a_finetune_is_set_beside_the_probe_by_network_and_size(capsys):
    made = points()
    probes = {key_of(point): {"test": 0.85 if point.n_train == 30 else 0.7, "penultimate": 0.65} for point in made}
    rows = tell(made, probes)
    told = {(row["networks"], *(row["n_train"] or ["all"])): row for row in rows}
    assert {key: row["n"] for key, row in told.items()} == {
        ("ImageNet's", "all"): 24,
        ("ImageNet's", 0, 40): 12,
        ("ImageNet's", 301, 10**9): 12,
        ("trained on our domains", "all"): 16,
        ("trained on our domains", 0, 40): 8,
        ("trained on our domains", 301, 10**9): 8,
    }
    few, many = told["ImageNet's", 0, 40], told["ImageNet's", 301, 10**9]
    assert (few["gain"], many["gain"]) == ([-5.0, -5.0, -5.0], [10.0, 10.0, 10.0])
    assert (few["above"], few["below"], many["above"], many["below"]) == (0.0, 1.0, 1.0, 0.0)
    assert few["over_penultimate"] == [20.0, 20.0, 20.0]
    assert (few["n_networks"], few["probe"], few["finetune"]) == (3, 85.0, 80.0)
    assert "| ImageNet's | at most 40 | 12 (10, 3) | 85.0 | 80.0 | -5.0 (-5.0 to -5.0) |" in capsys.readouterr().out


def test_points_without_a_probe_are_left_out():
    made = points()
    assert tell(made, {}) == []
    some = {key_of(point): {"test": 0.8, "penultimate": 0.8} for point in made[:10]}
    assert tell(made, some)[0]["n"] == 6


def test_a_line_has_what_both_probes_reach(tmp_path):
    task = read_task(write_task(tmp_path / "birds", n=20), image_px=32)
    line = probes_of(Bundle(task=task, source=tiny_source(), device=torch.device("cpu")))
    for name in ("test", "penultimate", "standardised", "cross_validated", "penultimate_cross_validated"):
        assert 0 <= line[name] <= 1, name
    assert line["seconds"] > 0
    assert line["log_loss"] > 0
    assert line["penultimate_log_loss"] > 0


def test_the_probes_that_are_kept_are_one_for_each_task_network_and_size():
    lines = read_probes(probe_points.PROBES).values()
    assert len(lines) == len(probe_points.PROBES.read_text().splitlines())
    assert {line["source"] for line in lines} >= {"efficientnet_lite0", "convnext", "sprites"}
    assert all(0 <= line[what] <= 1 for line in lines for what in ("test", "penultimate"))
    assert np.mean([line["test"] - line["penultimate"] for line in lines]) == pytest.approx(0.05, abs=0.05)
