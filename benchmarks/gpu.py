"""Spends a GPU that is lent for minutes on the wide harvest, and leaves the new runs where they can be taken along.

    python -m benchmarks.gpu OUT [--suite PATH] [--work FOLDER] [--wheels FOLDER] [--workers 16] [--minutes 12]
        [--device auto|cuda|cpu] [--no-tests] [--draw N] [--passes N] [--steps N] [--source NAME ...] [--second-seeds]

One command from a bare checkout; nothing is fetched where ``--suite`` and ``--wheels`` give what is missing. In order:

1. the wheels of ``--wheels`` are installed into WORK/site, for this command alone;
2. the tests marked ``gpu`` run (``--no-tests`` passes them over); one that fails ends it;
3. the suite is taken: a folder, or a file of `benchmarks.wild.pack`; without ``--suite`` it is built;
4. the snapshot of this repository is imported into WORK/harvest.duckdb;
5. `benchmarks.wild.points --new` harvests with so many workers, for at most so many minutes, and is then stopped
   between two steps; under NVIDIA's multi-process service, where there is `nvidia-cuda-mps-control`, so that workers
   share the GPU at once and not by turns. The further options are its own;
6. OUT/new gets the new runs as a snapshot: `scalepred warehouse import OUT/new --warehouse FILE` adds them to any.

Steps 5 and 6 are done as well where a signal ends the harvest. Killed at any moment, it goes on with the same command
and WORK, and loses the runs in hand at most. Ends in one line of JSON.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MPS = "nvidia-cuda-mps-control"
GRACE_SECONDS = 60.0
"""What a harvest that was asked to stop gets to store what is finished."""

INTERRUPTED = 130
_PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux's prctl.h


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--no-tests", action="store_true")
    arguments, options = parser.parse_known_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    variables = installed(arguments.wheels, work)
    if not arguments.no_tests:
        run_tests(variables)
    suite = taken(arguments.suite, work, variables)
    warehouse = work / "harvest.duckdb"
    call(
        ["-m", "scalepred", "warehouse", "import", str(ROOT / "warehouse/snapshot"), "--warehouse", str(warehouse)],
        variables,
    )
    asked = ["--workers", str(arguments.workers), "--device", arguments.device, *options]
    began = time.monotonic()
    with multi_process_service(work) as shared:
        code = harvest(suite, warehouse, asked, minutes=arguments.minutes, variables=variables | shared)
    minutes = (time.monotonic() - began) / 60
    found = new_runs(warehouse, arguments.out.resolve() / "new", variables)
    n_new = found["rows"]["runs"]
    print(f"{n_new} new runs; to add them: scalepred warehouse import {arguments.out / 'new'} --warehouse FILE")
    about = {"benchmark": "gpu", "code": code, "minutes": round(minutes, 2), "is_shared": bool(shared), "new": found}
    print(json.dumps(about))
    sys.exit(code)


# --- what is needed ---------------------------------------------------------------------------------------------------


def installed(wheels: Path | None, work: Path) -> dict[str, str]:
    """Install wheels into WORK/site, and return the variables that have Python find these and this checkout."""
    site = work / "site"
    if wheels is not None:
        files = sorted(str(file) for file in wheels.glob("*.whl"))
        if not files:
            sys.exit(f"There are no wheels in {wheels}: give a folder of *.whl files, or leave --wheels out.")
        pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
        call([*pip, "--target", str(site), *files], {})
    paths = [str(ROOT), str(site), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run_tests(variables: Mapping[str, str]) -> None:
    """Run the tests that need a GPU; without one they skip themselves."""
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    call(["-m", "pytest", "-m", "gpu", "-rs", "-p", "no:cacheprovider", *files], variables)


def taken(suite: Path | None, work: Path, variables: Mapping[str, str]) -> Path:
    """Return the suite's folder: as given, unpacked into WORK/suite, or built there."""
    if suite is not None and not suite.exists():
        sys.exit(f"There is no suite {suite}: give a folder, or what `python -m benchmarks.wild.pack` wrote.")
    if suite is not None and suite.is_dir():
        return suite.resolve()
    folder = work / "suite"
    if suite is None:
        call(["-m", "benchmarks.wild", "build", str(folder)], variables)
        return folder
    with tarfile.open(suite) as archive:
        archive.extractall(folder, filter="data")
    return folder


def call(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run Python in this checkout; ends with its code where it fails."""
    code = subprocess.run(
        [sys.executable, *arguments], check=False, cwd=ROOT, env=os.environ | dict(variables)
    ).returncode
    if code:
        sys.exit(code)


@contextlib.contextmanager
def multi_process_service(work: Path) -> Iterator[dict[str, str]]:
    """Run NVIDIA's multi-process service for as long as the block runs; yields the variables that its clients need.

    Without it, or where it does not start, this says so and yields none: workers then share a GPU by turns.
    """
    control = shutil.which(MPS)
    if control is None:
        print(f"there is no {MPS} here: workers share a GPU by turns", flush=True)
        yield {}
        return
    variables = {f"CUDA_MPS_{what}_DIRECTORY": str(work / "mps" / what.lower()) for what in ("PIPE", "LOG")}
    for folder in variables.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    started = subprocess.run([control, "-d"], check=False, env=os.environ | variables).returncode == 0
    if not started:  # another one of this folder may be left of a command that was killed, and does as well
        print(f"{MPS} -d failed: if none is left of an earlier command, workers share a GPU by turns", flush=True)
    try:
        yield variables if started else {}
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [control], input="quit\n", text=True, check=False, env=os.environ | variables, timeout=GRACE_SECONDS
            )


# --- the harvest ------------------------------------------------------------------------------------------------------


def harvest(
    suite: Path, warehouse: Path, options: Sequence[str], *, minutes: float, variables: Mapping[str, str]
) -> int:
    """Harvest for so many minutes and return the exit code: 0 where it was done or its time was up.

    The harvest ends with this process, however that ends.
    """
    command = [sys.executable, "-m", "benchmarks.wild.points", str(suite), "--warehouse", str(warehouse), "--new"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env=os.environ | dict(variables),
        start_new_session=True,  # a terminal's interrupt comes from here, once
        preexec_fn=_interrupted_with_parent if sys.platform.startswith("linux") else None,  # noqa: PLW1509 - no threads
    )
    try:
        return process.wait(timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        print(f"{minutes:g} minutes are over", flush=True)
        code = stopped(process)
        return 0 if code in (INTERRUPTED, -signal.SIGINT) else code  # the latter, before it had begun
    except KeyboardInterrupt:
        stopped(process)
        return INTERRUPTED


def stopped(process: subprocess.Popen[bytes]) -> int:
    """Ask a harvest to end between two steps, and return its exit code; it is killed where it does not."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _interrupted_with_parent() -> None:
    """Have Linux interrupt this process when its parent ends, and not ignore that as what a shell sent behind does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGINT)


def new_runs(warehouse: Path, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Write the new runs' snapshot, and return its counts."""
    command = [sys.executable, "-m", "benchmarks.new_runs", str(warehouse), str(folder)]
    done = subprocess.run(
        command, check=True, cwd=ROOT, env=os.environ | dict(variables), stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
