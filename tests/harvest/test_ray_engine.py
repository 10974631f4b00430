"""A harvest on a real Ray cluster of this machine: as complete as the local one, whatever happens to its workers."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harvests import (
    CAP_SECONDS,
    command,
    family_of,
    finish,
    listening_addresses,
    n_journalled,
    numbers,
    paused,
    wait_for,
    wait_for_end,
    wait_for_runs,
    wanted_of,
    worker_pids,
)

from scalepred.errors import UsageError
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.ray_engine import Actor, RayEngine, default_gpus, room

N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
N_THREADS = max(1, N_CORES // 2)  # as the local engine gives each of two workers, so that numbers are equal
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}  # as in /proc/net


# --- how many workers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "n_workers", "gpus", "expected"),
    [
        ([{"CPU": 4}, {"CPU": 2}], None, 0, (6, 1)),
        ([{"CPU": 4}, {"CPU": 4}], 2, 0, (2, 4)),
        ([{"CPU": 4}, {"CPU": 4}], 3, 0, (3, 2)),
        ([{"CPU": 6}, {"CPU": 2}], 2, 0, (2, 3)),
        ([{"CPU": 1}], 5, 0, (1, 1)),
        ([{"CPU": 4}, {"CPU": 2}], 8, 0, (6, 1)),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8}], None, 0.25, (8, 1)),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], None, 0.3, (6, 1)),
        ([{"CPU": 8, "GPU": 1}], 2, 1, (1, 1)),
        ([{"CPU": 8, "GPU": 2}], 2, 0.5, (2, 1)),
    ],
)
def test_a_cluster_gets_a_worker_for_each_core_or_share_of_a_gpu_or_fewer_if_fewer_are_asked_for(
    nodes, n_workers, gpus, expected
):
    assert room(nodes, n_workers=n_workers, gpus_per_worker=gpus) == expected


def test_a_worker_that_fits_nowhere_is_refused_before_it_is_waited_for():
    with pytest.raises(UsageError, match=re.escape("No machine of the Ray cluster has 2 GPUs: see `ray status`.")):
        room([{"CPU": 8, "GPU": 1}], n_workers=None, gpus_per_worker=2)
    with pytest.raises(UsageError, match=re.escape("No machine of the Ray cluster has a core to spare")):
        room([{"GPU": 1}], n_workers=1, gpus_per_worker=0)


@pytest.mark.parametrize(
    ("nodes", "device", "asked", "expected"),
    [
        ([{"CPU": 4}], "auto", None, 0),
        ([{"CPU": 4}, {"GPU": 1}], "auto", None, 1),
        ([{"CPU": 4, "GPU": 1}], "cpu", None, 0),
        ([{"CPU": 4, "GPU": 1}], "cuda", 0.25, 0.25),
        ([{"CPU": 4, "GPU": 1}], "auto", 0, 0),
    ],
)
def test_a_worker_has_a_whole_gpu_where_there_is_one_unless_told_otherwise(nodes, device, asked, expected):
    assert default_gpus(nodes, device=device, gpus_per_worker=asked) == expected


class FakeRay:
    """A cluster of one node that keeps what actors are started with."""

    def __init__(self, resources):
        self.resources, self.options_given = resources, []

    def nodes(self):
        return [{"Alive": True, "Resources": self.resources}]

    def remote(self, *_):
        return self

    def options(self, **options):
        self.options_given.append(options)
        return self


@pytest.mark.parametrize(("resources", "needs"), [
    ({"CPU": 4}, {"num_cpus": 2}),
    ({"CPU": 4, "GPU": 2}, {"num_cpus": 0, "num_gpus": 1.0}),
])  # fmt: skip
def test_an_actor_that_dies_or_fails_is_the_harvests_business_and_not_rays(monkeypatch, resources, needs):
    ray = FakeRay(resources)
    monkeypatch.setattr("scalepred.harvest.ray_engine._ray", lambda **_: ray)
    monkeypatch.setattr("scalepred.harvest.ray_engine._connect", lambda *_: None)
    engine = RayEngine(WorkerSettings(sources=()), n_workers=2)
    engine.start(0)
    assert (engine.n_workers, ray.options_given) == (2, [{**needs, "max_restarts": 0, "max_task_retries": 0}])


def test_an_actor_runs_in_the_parents_folder_and_imports_nothing_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", *sys.path])  # as Ray does it
    actor = Actor(WorkerSettings(sources=(), device="cpu"), str(tmp_path))
    assert Path.cwd() == tmp_path
    assert {"", str(tmp_path)}.isdisjoint(sys.path)
    assert actor.call("hello", ()).sources == ()


# --- real clusters ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return wanted_of(tmp_path_factory.mktemp("wanted"))


@pytest.fixture(scope="module")
def local(wanted, tmp_path_factory):
    """The numbers of a harvest by the local engine."""
    warehouse = tmp_path_factory.mktemp("local") / "w.duckdb"
    finish(wanted, warehouse)
    return numbers(warehouse)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a cluster of two nodes on loopback, each with room for one worker."""
    code = f"""
        import sys
        from ray.cluster_utils import Cluster
        small = {{"num_cpus": {N_THREADS}, "object_store_memory": 100_000_000}}
        cluster = Cluster(initialize_head=True, head_node_args={{**small, "include_dashboard": False}})
        cluster.add_node(**small)
        print(cluster.address, flush=True)
        sys.stdin.read()
        cluster.shutdown()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.communicate(timeout=CAP_SECONDS)


@pytest.fixture(scope="module", autouse=True)
def _on_loopback():
    """Have every process of Ray listen on loopback, without a token, for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.mark.slow
def test_a_harvest_on_two_nodes_survives_a_killed_worker_and_equals_the_local_one(wanted, local, address, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    arguments = command(wanted, warehouse, "--engine", "ray", "--address", address, "--json")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_runs(process, warehouse, 1)
        (first,) = worker_pids(warehouse)[:1]
        with paused(first):  # the harvest can't end before the other worker has started
            wait_for_workers(process, warehouse, 2)
            with paused(worker_pids(warehouse)[1]):  # nor before a third has
                os.kill(first, signal.SIGKILL)
                wait_for_workers(process, warehouse, 3)
        said, told = process.communicate(timeout=CAP_SECONDS)
    assert process.returncode == 0, told
    assert numbers(warehouse) == local
    assert len(list(map(json.loads, said.splitlines()))) == len(local[0]) + 1
    log = (warehouse.parent / "w.journal" / "harvest.log").read_text()
    assert log.count("a worker died") == 1
    assert len(worker_pids(warehouse)) == 3  # another took its place
    wait_for_end(worker_pids(warehouse))


def wait_for_workers(process, warehouse, n):
    wait_for(lambda: len(worker_pids(warehouse)) >= n or process.poll() is not None)
    assert process.poll() is None


@pytest.mark.slow
def test_joining_a_cluster_that_asks_for_no_token_is_warned_about(wanted, address, tmp_path):
    done = finish(wanted, tmp_path / "w.duckdb", "--engine", "ray", "--address", address, "--dry-run")
    assert "warning: this Ray cluster asks for no token: anybody who reaches it" in done.stderr


@pytest.mark.slow
def test_without_an_address_a_cluster_is_started_on_this_machine_only_and_a_signal_ends_all_of_it(
    wanted, local, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")  # it has to be set by the command itself
    warehouse = tmp_path / "w.duckdb"
    arguments = command(wanted, warehouse, "--engine", "ray")
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_for_runs(process, warehouse, 3)
        with paused(worker_pids(warehouse)[0]):  # the harvest can't end while its processes are looked at
            listened_at = listening_addresses(family_of(process.pid))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=CAP_SECONDS)[1]
    assert process.returncode == 130, said
    assert listened_at <= LOOPBACK
    assert listened_at or not Path("/proc/net/tcp").exists()
    counts = re.search(r"interrupted: (\d+) runs done, (\d+) left; the same command goes on from here", said)
    assert counts, said
    assert int(counts[1]) == n_journalled(warehouse)
    wait_for_end(worker_pids(warehouse))
    done = finish(wanted, warehouse, "--engine", "ray", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["stored_before"] == int(counts[1])
    assert numbers(warehouse) == local


@pytest.mark.slow
def test_workers_end_when_the_parent_is_killed(wanted, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command(wanted, warehouse, "--engine", "ray"), stdout=quiet, stderr=quiet) as process:
        wait_for_runs(process, warehouse, 1)
        process.kill()
    wait_for_end(worker_pids(warehouse))


@pytest.mark.slow
def test_an_address_where_there_is_no_cluster_is_an_error(wanted, tmp_path):
    arguments = command(wanted, tmp_path / "w.duckdb", "--engine", "ray", "--address", "127.0.0.1:9")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "There is no Ray cluster to join at 127.0.0.1:9: Connection refused." in done.stderr


def test_the_options_of_a_cluster_belong_to_ray(tmp_path):
    arguments = [sys.executable, "-m", "scalepred", "harvest", tmp_path, "--gpus-per-worker", "0.25"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "scalepred: --address and --gpus-per-worker belong to --engine ray.",
    )
