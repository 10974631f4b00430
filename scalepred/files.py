"""Files that are whole or not there: written under another name, flushed to the disk, then renamed."""

import errno
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell of a table begins that a spreadsheet takes for a formula, or skips before it looks."""


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


@contextmanager
def filling(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """Give an empty folder to write ``files`` in; they take their places in ``folder`` once all are whole.

    That goes in the order of ``files``, so the last one tells that it has been done. Where the block raises, ``folder``
    keeps what it had; it is made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        for each in files:
            (Path(name) / each).chmod(0o666 & ~_umask())  # safetensors lets nobody else read its files
            flush(Path(name) / each)
        for each in files:
            (Path(name) / each).replace(folder / each)


def check_can_hold_files(folder: Path) -> None:
    """Check that files can be made in a folder, which need not exist, before work is done for them.

    Raises:
        NotADirectoryError: if it, or the nearest folder above it that is there, is a file; ``filename`` is that.
        OSError: if nothing can be written there; ``filename`` is the folder.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(there)) from error


def _umask() -> int:
    """Return the process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush(file: Path) -> None:
    """Wait until a file is on the disk."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
