"""How many workers a machine has memory and cores for."""

import contextlib
from pathlib import Path, PurePosixPath

from scalepred.processes import n_cores

WORKER_BYTES = 600 << 20
"""What a worker is given room for beside what it keeps; a round guess until peaks are measured."""

_VERY_MANY = 1 << 60


def room(n_workers: int | None, *, max_bytes: int) -> tuple[int, int]:
    """Return how many workers to start on this machine, and how many threads each may use, so that cores are busy once.

    Args:
        n_workers: what the user asks for; None for one for each core, as far as there is memory.
        max_bytes: what each may keep in memory.
    """
    if n_workers is None:
        n_workers = max(1, min(n_cores(), free_bytes() // (WORKER_BYTES + max_bytes)))
    return n_workers, max(1, n_cores() // n_workers)


def free_bytes(root: Path = Path("/")) -> int:
    """Return the memory that can be had, what the system would give up of its caches included.

    That is the least of what the machine and the control groups of this process have left; very much where the system
    doesn't say.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    machine = _sizes(root / "proc/meminfo").get("MemAvailable", _VERY_MANY // 1024) * 1024
    return min(machine, *(_left_in(group) for group in _control_groups(root)), _VERY_MANY)


def _control_groups(root: Path) -> list[Path]:
    """Return the folders of the groups that limit this process's memory: the one it is in, and those around that."""
    groups = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2, version 1
            innermost = PurePosixPath(path.lstrip("/"))
            groups += [root / "sys/fs/cgroup" / controllers / group for group in (innermost, *innermost.parents)]
    return groups


def _left_in(group: Path) -> int:
    """Return what a control group's limit leaves, or very much where it has none; cached files count as left."""
    for limit, used, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        cached = _sizes(group / "memory.stat")
        with contextlib.suppress(OSError, ValueError):  # no such file, or no limit: "max"
            left = int((group / limit).read_text()) - int((group / used).read_text())
            return left + cached.get(f"{prefix}inactive_file", 0) + cached.get(f"{prefix}active_file", 0)
    return _VERY_MANY


def _sizes(file: Path) -> dict[str, int]:
    """Return the numbers that a file of the system holds by name, in the units of the file."""
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in _lines(file)}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
