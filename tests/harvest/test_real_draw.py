"""A real draw by the real command: killed in its midst and finished by the same command, and on a Ray cluster."""

import json
import math
from collections import defaultdict

import pytest
from fakes import TINY, named_source, write_task
from harvests import SAME, finish, n_journalled, numbers, start, wait_for, wait_for_end, wait_for_runs, worker_pids
from safetensors.torch import save_file

from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow

N_POINTS = 6
SPACE = {
    "name": "tiny",
    "dimensions": [
        {"name": "optimizer", "kind": "choice", "values": [{"value": "sgd"}, {"value": "adamw"}]},
        {"name": "head_start", "kind": "choice", "values": [{"value": "fitted"}, {"value": "noise"}]},
        {"name": "batchnorm", "kind": "choice", "values": [{"value": "frozen"}, {"value": "batch"}]},
        {"name": "epochs", "kind": "log_integer", "low": 2, "high": 4},
        {"name": "batch_size", "kind": "choice", "values": [{"value": 8}]},
        {"name": "image_px", "kind": "choice", "values": [{"value": 24}]},
        {"name": "n_images", "kind": "choice", "values": [{"value": 20}, {"value": 500}]},
    ],
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The arguments of a draw from two tasks, but for its warehouse."""
    folder = tmp_path_factory.mktemp("wanted")
    for seed, name in enumerate(("birds", "fish")):
        write_task(folder / "tasks" / name, seed=seed, n=24)
    weights, space = folder / "tiny.safetensors", folder / "space.json"
    save_file(named_source().architecture.network.state_dict(), weights)
    space.write_text(json.dumps(SPACE))
    source = ("--source", TINY, "--weights", weights)
    arguments = [folder / "tasks", *source, "--space", space, "--draw", N_POINTS, "--workers", "2", *SAME]
    return [str(part) for part in arguments]


@pytest.fixture(scope="module")
def whole(wanted, tmp_path_factory):
    """The warehouse of a draw that nothing interrupts."""
    warehouse = tmp_path_factory.mktemp("whole") / "w.duckdb"
    finish(wanted, warehouse)
    return warehouse


def ended(process, warehouse):
    process.kill()
    process.wait()
    wait_for_end(worker_pids(warehouse))


def octaves(warehouse):
    """Return (task_id, recipe_id, seed) -> octaves that were run."""
    found = defaultdict(set)
    with open_warehouse(warehouse, read_only=True) as store:
        for run in store.runs():
            found[run.task_id, run.recipe_id, run.seed].add(round(math.log2(run.scale)))
    return found


def test_a_draw_that_is_killed_has_the_same_points_each_once_when_the_same_command_has_finished_it(
    wanted, whole, tmp_path
):
    warehouse, n_runs = tmp_path / "w.duckdb", n_journalled(whole)
    with start(wanted, warehouse) as process:  # while the facts of the first points are computed
        wait_for((journal_of(warehouse).folder / "scans").is_dir)
        ended(process, warehouse)
    for n in (1, n_runs // 3, 2 * n_runs // 3):
        before = n_journalled(warehouse)
        with start(wanted, warehouse) as process:
            wait_for_runs(process, warehouse, max(n, before))
            ended(process, warehouse)
    assert n_journalled(warehouse) < n_runs
    told = finish(wanted, warehouse, "--json").stdout.splitlines()
    assert numbers(warehouse) == numbers(whole)
    assert octaves(warehouse) == octaves(whole)
    summary = json.loads(told[-1])
    assert summary["stored_before"] + len(told) - 1 == n_runs
    assert json.loads(finish(wanted, warehouse, "--json").stdout)["done"] == 0


def test_a_draw_on_a_ray_cluster_has_the_same_points(wanted, whole, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    finish(wanted, warehouse, "--engine", "ray")
    assert numbers(warehouse) == numbers(whole)
