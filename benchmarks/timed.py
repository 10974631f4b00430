"""Runs a command and tells its wall time, or the most memory that it and all its processes held at once.

Not both: a look at every process's memory takes about 70 ms on a busy machine of two cores, once a second.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scalepred.processes import n_cores

SAMPLE_SECONDS = 1.0
PROC = Path("/proc")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a command took and printed.

    Attributes:
        seconds: wall time from its start to its end.
        peak_bytes: the most resident memory of its whole process tree, sampled once a second; pages that processes
            share count once. None where it was not asked for, or the system has no ``/proc``.
        largest_bytes: the most of any single process, shared pages and all.
        printed: its stdout.
    """

    seconds: float
    peak_bytes: int | None
    largest_bytes: int | None
    printed: str


def timed(command: Sequence[str], *, sample_memory: bool = False) -> Timed:
    """Run a command from the repository's folder; with ``sample_memory`` its time is not to be trusted.

    Raises:
        SystemExit: if it fails, with the end of what it wrote on stderr.
    """
    samples: list[tuple[int, int]] = []
    ended = threading.Event()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=ROOT)
        sampler = threading.Thread(target=_sample, args=(process.pid, samples, ended))
        if sample_memory:
            sampler.start()
        try:
            code = process.wait()
            seconds = time.perf_counter() - started
        finally:
            ended.set()
            if sample_memory:
                sampler.join()
        out.seek(0)
        errors.seek(0)
        if code:
            raise SystemExit(f"{' '.join(command)} ended with {code}:\n{errors.read()[-4000:]}")
        return Timed(
            seconds=seconds,
            peak_bytes=max((total for total, _ in samples), default=None),
            largest_bytes=max((largest for _, largest in samples), default=None),
            printed=out.read(),
        )


def _sample(pid: int, samples: list[tuple[int, int]], ended: threading.Event) -> None:
    while not ended.is_set():
        resident = [_resident_bytes(each) for each in _tree(pid)]
        if any(share for share, _ in resident):
            samples.append((sum(share for share, _ in resident), max(whole for _, whole in resident)))
        ended.wait(SAMPLE_SECONDS)


def _tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(int(parent), []).append(int(folder.name))
    tree = [pid]
    for each in tree:
        tree += children.get(each, [])
    return tree


def _resident_bytes(pid: int) -> tuple[int, int]:
    """Return a process's share of resident memory, and all of it, shared or not; 0 if it can't be told."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    share, whole = (
        sum(1024 * int(line.split()[1]) for line in lines if line.startswith(key)) for key in ("Pss:", "Rss:")
    )
    return share, whole


def hardware() -> dict[str, object]:
    """Return the machine: processor, cores that this process may use, memory, load of the last minute."""
    return {
        "processor": _first("cpuinfo", "model name"),
        "cores": n_cores(),
        "memory": _first("meminfo", "MemTotal"),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _first(file: str, key: str) -> str | None:
    try:
        lines = (PROC / file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
