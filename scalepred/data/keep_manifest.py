"""Writes what was read as a manifest of ours, so that what takes no options of layout can read any data."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from scalepred.data.columns import OURS
from scalepred.data.listing import Entry
from scalepred.errors import DataError, UsageError
from scalepred.files import FORMULAS, appearing

HEADER = ("path", "label", "split", "group")


def check_manifest(file: Path) -> None:
    """Raise UsageError unless a manifest can be written there."""
    if file.suffix.lower() != ".csv":
        raise UsageError(f"--save-manifest {file} is no CSV file: give a name that ends in .csv.")
    if not file.parent.is_dir():
        raise UsageError(f"--save-manifest {file}: there is no folder {file.parent}.")
    if file.exists():
        raise UsageError(f"--save-manifest {file} is there already: give another name, or remove it.")


def save_manifest(file: Path, entries: Sequence[Entry]) -> None:
    """Write a manifest of images with the splits and groups that the user made; reading it gives the same task.

    Paths below the manifest's folder start there, others are whole. Where labels or groups begin as a formula does, or
    have blanks around them, a further column says that scalepred wrote it: then cells are what they are, behind an
    apostrophe where a spreadsheet would run them.

    Raises:
        DataError: if images lie in no files, as those of torchvision, or a path is no text.
        UsageError: if the file can't be written.
    """
    folder = file.resolve().parent
    rows = [[_path(entry, folder), entry.label, entry.split or "", entry.group or ""] for entry in entries]
    is_exact = any(_is_delicate(row[at]) for row in rows for at in (1, 3))
    if is_exact:
        rows = [[path, _guarded(label), split, _guarded(group), "1"] for path, label, split, group in rows]
    header = [*HEADER, OURS] if is_exact else list(HEADER)
    try:
        with appearing(file) as part, part.open("w", encoding="utf-8", newline="") as written:
            csv.writer(written).writerows([header, *rows])
    except UnicodeEncodeError as error:
        raise DataError(f"{file} can't be written: {error.object[:200]!r} is no text. Rename that file.") from error
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror or error}.") from error


def _path(entry: Entry, folder: Path) -> str:
    """Return an image's path, from a folder if it lies below it; nothing in it is taken for a formula."""
    if not isinstance(entry.item, Path):
        raise DataError(f"{entry.path} lies in no file of its own, so no manifest can name it.")
    path = Path(os.path.abspath(entry.item))  # noqa: PTH100 - links stay what they are
    if not path.is_relative_to(folder):
        return str(path)
    text = path.relative_to(folder).as_posix()
    return f"./{text}" if text.startswith(FORMULAS) else text


def _is_delicate(text: str) -> bool:
    return text.startswith((*FORMULAS, "'")) or text != text.strip()


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith((*FORMULAS, "'")) else text
