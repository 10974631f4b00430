"""Text and paths as DuckDB can hold them: valid UTF-8, and nothing that it takes for another kind of address."""

import os
import re
from pathlib import Path

from scalepred.errors import UsageError

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Python's characters for the bytes of a file name that are not valid UTF-8."""


def storable(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def file_of(path: Path) -> Path:
    """Return the file that a path means, so that DuckDB takes it for nothing else (``~``, ``md:``, ``https:``).

    Raises:
        UsageError: if the path is not valid UTF-8.
    """
    if LONE_SURROGATE.search(str(path)):
        raise UsageError(f"{storable(str(path))} is not valid UTF-8, so DuckDB can't open it: give another path.")
    return Path(os.path.realpath(path))
