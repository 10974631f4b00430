"""Files of lines of JSON, which benchmarks append to, several processes at once where each has a part of the work."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; none where there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def part_of(work: Sequence[T], part: str) -> Sequence[T]:
    """Return every Nth piece of work, from the Ith on.

    Args:
        work: in its order.
        part: I/N, I from 1 to N.

    Raises:
        SystemExit: if it is none.
    """
    first, _, n = part.partition("/")
    if not (first.isdecimal() and n.isdecimal() and 1 <= int(first) <= int(n)):
        raise SystemExit(f"--part is like 1/2, not {part!r}.")
    return work[int(first) - 1 :: int(n)]
