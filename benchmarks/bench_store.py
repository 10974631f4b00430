"""Times the warehouse on many synthetic runs, each step in a process of its own, and looks at its memory.

    python -m benchmarks.bench_store [--runs 1000000] [--tasks 90000] [--features 10] [--smoke]

Prints a table and ends in one line of JSON: seconds (medians, and ranges where a step was repeated) and peak resident
memory. The runs are sound, so that `verify` has all its work to do; one that finds a problem ends the benchmark. What
it needs on the disk, about 1.5 kB a run, goes to the folder for temporary files.
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from scalepred.recipe import GRID, RECIPES, run_id
from scalepred.records import RecipeRecord, RunRecord, SourceRecord
from scalepred.store.warehouse import Warehouse, open_warehouse
from scalepred.training.rates import epoch_rates

RECIPE = RECIPES["graduated"]
SOURCE_ID = "5" * 32
N_TRAIN, N_VAL, N_TEST = 40, 104, 256  # whole bytes, so that a hash can stand for the bits
N_ADDED = 10_000
TIMES = {"make": 1, "import": 1, "status": 3, "verify": 1, "keys": 3, "add": 3}
UNIT_BYTES = 1 if platform.system() == "Darwin" else 1024  # of ru_maxrss

RUNS = f"""
    SELECT left(sha256(format('run:["{{}}","{SOURCE_ID}","{RECIPE.recipe_id}",{{}},{{}}]',
                              task_id, scale::VARCHAR, seed)), 32) AS run_id,
           task_id, '{SOURCE_ID}' AS source_id, '{RECIPE.recipe_id}' AS recipe_id, scale, seed, 'done' AS status,
           NULL::BIGINT AS diverged_step, bit_count(val_correct::BIT) / {N_VAL} AS val_accuracy, random() AS val_loss,
           bit_count(test_correct::BIT) / {N_TEST} AS test_accuracy, random() AS test_loss, val_correct, test_correct,
           list_transform(range({RECIPE.epochs}), lambda epoch: hash(i, epoch) / 2**64) AS epoch_losses,
           rates, 1 + random() AS seconds, 'cpu' AS device, '{{"torch": "2"}}' AS versions,
           '2026-01-01T00:00:00+00:00' AS finished_at, 'grid' AS role, '{{"dtype": "float32"}}' AS execution
    FROM (SELECT i, md5((i % $tasks)::VARCHAR) AS task_id, i // $tasks // len($scales) AS seed,
                 ($scales::DOUBLE[])[1 + i // $tasks % len($scales)] AS scale,
                 ($rates::DOUBLE[][][])[1 + i // $tasks % len($scales)] AS rates,
                 unhex(left(sha256('val' || i), {N_VAL // 4})) AS val_correct,
                 unhex(sha256('test' || i)) AS test_correct
          FROM range($runs) t(i))"""
TASKS = f"""
    SELECT md5(i::VARCHAR) AS task_id, 'task ' || i AS name, 'origin ' || i % 100 AS origin, 2 AS n_classes,
           {N_TRAIN} AS n_train, {N_VAL} AS n_val, {N_TEST} AS n_test,
           '{{"a": {N_TRAIN}, "b": {N_VAL + N_TEST}}}' AS label_counts, 64 AS median_width_px, 48 AS median_height_px,
           md5('data' || i) AS data_hash
    FROM range($tasks) t(i)"""
FEATURES = f"""
    SELECT md5((i % $tasks)::VARCHAR), '{SOURCE_ID}', 'set', 'feature ' || i // $tasks, random(), random()
    FROM range($tasks * $features) t(i)"""


def make(folder: Path, *, runs: int, tasks: int, features: int) -> None:
    """Fill a warehouse with synthetic rows by SQL, and write its snapshot."""
    rates = [epoch_rates(RECIPE, scale, n_train=N_TRAIN) for scale in GRID]
    with open_warehouse(folder / "made.duckdb") as store:
        source = SourceRecord(source_id=SOURCE_ID, name="synthetic", facts={})
        store.add_all([source, RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())])
        store.connection.execute(f"INSERT INTO tasks BY NAME {TASKS}", {"tasks": tasks})
        store.connection.execute(f"INSERT INTO features {FEATURES}", {"tasks": tasks, "features": features})
        values = {"runs": runs, "tasks": tasks, "scales": list(GRID), "rates": rates}
        store.connection.execute(f"INSERT INTO runs BY NAME {RUNS}", values)
        timed("export", lambda: store.export_parquet(folder / "snapshot"))
    (folder / "made.duckdb").unlink()


def timed(name: str, deed: Callable[[], object]) -> object:
    """Do it, print the seconds that it took as JSON for the parent, and return what it returned."""
    started = time.perf_counter()
    result = deed()
    print(json.dumps({"step": name, "seconds": time.perf_counter() - started}), flush=True)
    return result


def do_step(step: str, folder: Path) -> None:
    """Do one step on the warehouse that was imported; opening and closing it belong to the step."""
    path = folder / "w.duckdb"
    deeds: dict[str, Callable[[Warehouse], object]] = {
        "import": lambda store: store.import_parquet(folder / "snapshot"),
        "status": lambda store: store.status(),
        "verify": lambda store: store.verify(),
        "keys": lambda store: store.keys("runs"),
        "add": lambda store: store.add_all(new),
    }
    new = new_runs(time.time_ns()) if step == "add" else []

    def deed() -> object:
        with open_warehouse(path, read_only=step not in ("import", "add")) as store:
            return deeds[step](store)

    result = timed(step, deed)
    if step == "verify" and result:
        raise SystemExit(f"The synthetic rows are not sound: {result}")


def new_runs(seed: int) -> list[RunRecord]:
    """Return runs that are not there yet."""
    with tempfile.TemporaryDirectory() as name, open_warehouse(Path(name) / "one.duckdb") as store:
        rates = [epoch_rates(RECIPE, scale, n_train=N_TRAIN) for scale in GRID]
        values = {"runs": 1, "tasks": 1, "scales": list(GRID), "rates": rates}
        store.connection.execute(f"INSERT INTO runs BY NAME {RUNS}", values)
        (run,) = store.runs()
    parts = {"task_id": run.task_id, "source_id": run.source_id, "recipe_id": run.recipe_id, "scale": run.scale}
    return [
        dataclasses.replace(run, run_id=run_id(**parts, seed=seed + n), seed=seed + n)  # type: ignore[arg-type]
        for n in range(N_ADDED)
    ]


def in_a_process(step: str, folder: Path, *, options: list[str]) -> dict[str, float]:
    """Do a step in a process of its own; return the seconds of what it timed, and its peak resident memory."""
    command = [sys.executable, "-m", "benchmarks.bench_store", *options, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    *lines, peak = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["step"]: line["seconds"] for line in lines} | {"peak_bytes": peak["peak_bytes"]}


def measure(folder: Path, *, options: list[str]) -> dict[str, dict[str, object]]:
    """Do all steps in turn; return each one's seconds and peak memory."""
    steps: dict[str, dict[str, object]] = {}
    for step, n in TIMES.items():
        each = [in_a_process(step, folder, options=options) for _ in range(n)]
        name = "export" if step == "make" else step
        seconds = [one[name] for one in each]
        steps[name] = {
            "n": n,
            "median_seconds": statistics.median(seconds),
            "range_seconds": [min(seconds), max(seconds)],
            "peak_bytes": max(one["peak_bytes"] for one in each),
        }
        print(
            f"{name:8} median {statistics.median(seconds):8.3f} s, {min(seconds):.3f} to {max(seconds):.3f} (n = {n}), "
            f"peak {steps[name]['peak_bytes'] / 1e6:6.0f} MB",  # type: ignore[operator]
            flush=True,
        )
    return steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs in the snapshot")
    parser.add_argument("--tasks", type=int, default=90_000, help="tasks that they are of")
    parser.add_argument("--features", type=int, default=10, help="features of each task")
    parser.add_argument("--smoke", action="store_true", help="2,000 runs of 180 tasks")
    parser.add_argument("--step", choices=TIMES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    runs, tasks = (2_000, 180) if given.smoke else (given.runs, given.tasks)
    if given.step:
        if given.step == "make":
            make(given.folder, runs=runs, tasks=tasks, features=given.features)
        else:
            do_step(given.step, given.folder)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT_BYTES
        print(json.dumps({"peak_bytes": peak_bytes}))
        return
    options = ["--runs", str(runs), "--tasks", str(tasks), "--features", str(given.features)]
    with tempfile.TemporaryDirectory() as name:
        steps = measure(Path(name), options=options)
        n_bytes = (Path(name) / "w.duckdb").stat().st_size
        snapshot_bytes = sum(file.stat().st_size for file in (Path(name) / "snapshot").iterdir())
    runs_per_second = runs / steps["import"]["median_seconds"]  # type: ignore[operator]
    print(
        f"{runs} runs, {tasks} tasks, {tasks * given.features} features: {runs_per_second:,.0f} runs imported a second"
    )
    print(
        json.dumps(
            {
                "benchmark": "store",
                "runs": runs,
                "tasks": tasks,
                "features": tasks * given.features,
                "added": N_ADDED,
                "steps": steps,
                "runs_imported_per_second": runs_per_second,
                "warehouse_bytes": n_bytes,
                "snapshot_bytes": snapshot_bytes,
                "duckdb": duckdb.__version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
