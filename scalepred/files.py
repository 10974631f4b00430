"""Files that are whole or not there: written under another name, flushed to the disk, then renamed."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(file: Path) -> Iterator[Path]:
    """Give a temporary path beside ``file`` that becomes it, over what was there, once it is whole and on the disk.

    Where the block raises, the temporary file is removed and ``file`` stays as it was.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with appearing(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def flush(file: Path) -> None:
    """Wait until a file is on the disk."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
