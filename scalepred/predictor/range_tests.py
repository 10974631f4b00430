"""Range tests as `benchmarks.range_test` writes them: a line of JSON for each point that one was run on."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalepred.errors import UsageError

MAX_BYTES = 50_000_000


def read_range_tests(file: Path) -> dict[str, Mapping[str, Any]]:
    """Return point's key -> its ``valley`` and ``steepest`` scale, None where none was found, and its ``seconds``.

    Raises:
        UsageError: if the file can't be read, or a line of it is none of a range test; with its number.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file} has over {MAX_BYTES // 1_000_000} MB, which is no file of range tests.")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Range tests can't be read from {file}: {getattr(error, 'strerror', None) or error}."
        ) from error
    return dict(_read(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip())


def _read(line: str, where: str) -> tuple[str, Mapping[str, Any]]:
    try:
        values = json.loads(line)
        key, seconds, scales = str(values["point"]), values["seconds"], [values[way] for way in ("valley", "steepest")]
        is_right = all(scale is None or (_is_number(scale) and scale > 0) for scale in scales)
        if not (is_right and _is_number(seconds) and seconds >= 0):
            raise ValueError("a scale is no number above 0, or the seconds are none of 0 or more")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{where} is no range test: {error!r:.200}. Each line is an object with point, valley, steepest and "
            "seconds, as `python -m benchmarks.range_test` writes it."
        ) from error
    return key, values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
