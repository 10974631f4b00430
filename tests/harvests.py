"""A small real harvest by the real command, for the tests that kill it or carry it elsewhere."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from fakes import TINY, named_source, write_task
from safetensors.torch import save_file

from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse

N_RUNS = 36
SAME = ("--dtype", "float32")  # a probe of a tiny network's speed may end either way
CAP_SECONDS = 1800.0  # far beyond what a busy machine takes; a test that waits so long is broken


def wanted_of(folder):
    """Return the arguments of a harvest of three tasks with a tiny network, but for its warehouse."""
    for seed, name in enumerate(("birds", "fish", "flowers")):
        write_task(folder / "tasks" / name, seed=seed, n=24)
    weights = folder / "tiny.safetensors"
    save_file(named_source().architecture.network.state_dict(), weights)
    recipe = folder / "quick.json"
    recipe.write_text(json.dumps({"epochs": 6, "image_px": 24, "batch_size": 8}))
    return [folder / "tasks", "--source", TINY, "--weights", weights, "--recipe", recipe, "--workers", "2", *SAME]


def command(wanted, warehouse, *more):
    return [sys.executable, "-m", "scalepred", "harvest", *wanted, "--warehouse", warehouse, *more]


def start(wanted, warehouse, *more):
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(wanted, warehouse, *more), stdout=quiet, stderr=quiet, start_new_session=True)


def finish(wanted, warehouse, *more):
    done = subprocess.run(command(wanted, warehouse, *more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def numbers(warehouse):
    """Return all that a harvest must reproduce."""
    with open_warehouse(warehouse, read_only=True) as store:
        assert store.verify() == []
        runs = [
            (run.run_id, run.status, run.role, run.val_correct, run.test_correct, run.epoch_losses, run.val_loss)
            for run in store.runs()
        ]
        features = [(f.task_id, f.source_id, f.name, f.value) for f in store.features()]
        return runs, features, store.tasks(), store.sources(), store.recipes()


def n_journalled(warehouse):
    return len(journal_of(warehouse).keys("runs"))


def wait_for(condition):
    """Return once a condition holds, however busy the machine is."""
    deadline = time.monotonic() + CAP_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.02)


def wait_for_runs(process, warehouse, n):
    """Return once so many runs are in the journal; a harvest that ended before is an error."""
    wait_for(lambda: n_journalled(warehouse) >= n or process.poll() is not None)
    assert process.poll() is None


def wait_for_end(pids):
    """Return once none of these processes is alive."""
    wait_for(lambda: not any(map(is_alive, pids)))


@contextlib.contextmanager
def paused(pid):
    """Keep a process from doing anything while the block runs, so that what others do comes first."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def worker_pids(warehouse):
    with contextlib.suppress(FileNotFoundError):
        log = (journal_of(warehouse).folder / "harvest.log").read_text()
        return [int(pid) for pid in re.findall(r"worker \d+: process (\d+)", log)]
    return []


def family_of(pid):
    """Return a process and all that it has started, themselves or through others."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family, n = {pid}, 0
    while len(family) > n:
        n = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return family


def listening_addresses(pids):
    """Return the addresses at which processes take connections, as Linux writes them."""
    sockets = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(str(file.readlink()))
    lines = [line for table in Path("/proc/net").glob("tcp*") for line in table.read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def is_alive(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
