"""Times how long a harvest that goes on takes to its first new run, beside one that begins.

    python -m benchmarks.bench_resume [--repeats 3] [--smoke]

Ten tasks of noise are harvested for one seed; its runs are then copied to other seeds until the warehouse and its
journal hold 10,000. Each repeat asks for one seed more and waits for the first finished run, which is of a few
images, from the command on; then the harvest is interrupted. Another does the same with an empty warehouse. Prints a
table and ends in one line of JSON.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.bench_harvest import SMOKE_RECIPE, SMOKE_SOURCE, VERSIONS, make_tiny_task, note, random_weights
from benchmarks.timed import ROOT, hardware, timed
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import run_id
from scalepred.store.journal import journal_of
from scalepred.store.keeping import Keeper
from scalepred.store.warehouse import open_warehouse

N_TASKS = 10
N_RUNS = 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one task, a tiny network, 100 runs, once")
    arguments = parser.parse_args()
    n_tasks, n_runs, source = (1, 100, SMOKE_SOURCE) if arguments.smoke else (N_TASKS, N_RUNS, DEFAULT_SOURCE)
    seconds: dict[str, list[float]] = {"resumed": [], "begun": []}
    machine = hardware()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = random_weights(source, folder)
        harvest = command(folder, n_tasks=n_tasks, source=source, weights=weights)
        timed([*harvest, "--warehouse", str(folder / "done.duckdb"), "--seeds", "1"])
        n_seeds, n_stored = copy_to_other_seeds(folder / "done.duckdb", n_runs=n_runs)
        for repeat in range(1 if arguments.smoke else arguments.repeats):
            note(f"repeat {repeat + 1}")
            more = ["--seeds", str(n_seeds + 1 + repeat)]
            seconds["resumed"].append(until_first_run([*harvest, "--warehouse", str(folder / "done.duckdb"), *more]))
            seconds["begun"].append(until_first_run([*harvest, "--warehouse", str(folder / f"new{repeat}.duckdb")]))
    for what, each in seconds.items():
        median = statistics.median(each)
        print(f"{what:8} first run after {median:.1f} s, {min(each):.1f} to {max(each):.1f} (n = {len(each)})")
    report = {
        "benchmark": "resume",
        "smoke": arguments.smoke,
        "runs_done": n_stored,
        "seconds": seconds,
        "hardware": machine,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }
    print(json.dumps(report))


def command(folder: Path, *, n_tasks: int, source: str, weights: Path | None) -> list[str]:
    """Make the tasks and return the command that harvests them, without warehouse and seeds."""
    for index in range(n_tasks):
        make_tiny_task(folder / "tasks" / str(index), side_px=32 + 8 * index)
    recipe = folder / "recipe.json"
    recipe.write_text(SMOKE_RECIPE.to_json(), encoding="utf-8")
    options = ["--source", source, *(["--weights", str(weights)] if weights else []), "--recipe", str(recipe)]
    return [sys.executable, "-m", "scalepred", "harvest", str(folder / "tasks"), *options, "--no-extend", "--json"]


def copy_to_other_seeds(warehouse: Path, *, n_runs: int) -> tuple[int, int]:
    """Copy seed 0 to further seeds until there are so many runs; return how many seeds and runs there are."""
    with open_warehouse(warehouse, read_only=True) as store:
        runs = store.runs()
    n_seeds = -(-n_runs // len(runs))
    keeper = Keeper(warehouse, journal_of(warehouse), lock_timeout_seconds=10)
    for run in runs:
        for seed in range(1, n_seeds):
            new_id = run_id(
                task_id=run.task_id, source_id=run.source_id, recipe_id=run.recipe_id, scale=run.scale, seed=seed
            )
            keeper.add([dataclasses.replace(run, run_id=new_id, seed=seed)])
    keeper.flush()
    return n_seeds, n_seeds * len(runs)


def until_first_run(harvest: list[str]) -> float:
    """Return the seconds from a harvest's start to the line of its first finished run, and end it."""
    started = time.perf_counter()
    process = subprocess.Popen(harvest, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - started
    process.terminate()  # an interrupt would be ignored where this itself runs in the background
    process.communicate()
    if "run_id" not in json.loads(line or "{}"):
        raise SystemExit(f"The harvest ended without a new run: {line!r}")
    return seconds


if __name__ == "__main__":
    main()
