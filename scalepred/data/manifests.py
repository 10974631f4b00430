"""Reads a CSV manifest: its columns, its rows, and all that is wrong with them in one error."""

import csv
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scalepred.data.listing import Entry, Listing
from scalepred.data.scan import Place, readable, status_of
from scalepred.data.splits import SPLIT_NAMES
from scalepred.errors import DataError, join_problems

COLUMNS = ("path", "label", "split", "group")


def from_manifest(path: Path, *, name: str, origin: str) -> Listing:
    """List the images of a CSV file; one that it names twice, under any spelling of its path, is used once.

    Blanks around labels, splits and groups are dropped; a path is taken as it is, from the manifest's
    folder. An image without a split takes that of its group, if the group has a single one.
    """
    problems: list[str] = []
    entries: dict[Place, Entry] = {}
    for line, row in _manifest_rows(path):
        file = path.parent / row["path"]
        status = status_of(file)
        row_problems = _row_problems(row, file, status)
        if status and not row_problems:
            entry = Entry(
                readable(file), file, row["label"], SPLIT_NAMES.get(row["split"].lower()), row["group"] or None
            )
            first = entries.setdefault((status.st_dev, status.st_ino), entry)
            row_problems = _contradictions(row["path"], first, entry)
        problems += [f"line {line}: {problem}" for problem in row_problems]
    if problems:
        raise DataError(join_problems(f"{path} can't be used as it is:", problems))
    return Listing(name=name, origin=origin, layout="CSV manifest", entries=_split_by_group(list(entries.values())))


def _split_by_group(entries: list[Entry]) -> list[Entry]:
    """Return the entries, those without a split in that of their group where it has a single one."""
    splits = defaultdict(set)
    for entry in entries:
        if entry.group and entry.split:
            splits[entry.group].add(entry.split)
    single = {group: names.pop() for group, names in splits.items() if len(names) == 1}
    return [replace(entry, split=entry.split or single.get(entry.group or "")) for entry in entries]


def _manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file; every row has all of ``COLUMNS``.

    Fields beyond the last column come under the name "beyond".

    Raises:
        DataError: if it is no CSV of UTF-8 text, or columns are missing or unknown.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="beyond", restval="", strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            problems = _column_problems(list(reader.fieldnames))
            if problems:
                raise DataError(join_problems(f"{path} can't be used as it is:", problems))
            for row in reader:
                blank = dict.fromkeys(COLUMNS, "")
                yield reader.line_num, blank | {k: v if k in ("path", "beyond") else v.strip() for k, v in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} can't be read as a CSV manifest of UTF-8 text: {error}. "
            f"Give a folder of class folders, or a CSV file with the columns {' and '.join(COLUMNS[:2])}."
        ) from error


def _column_problems(columns: list[str]) -> list[str]:
    problems = [f"the column {need!r} is missing" for need in COLUMNS[:2] if need not in columns]
    problems += [
        f"the column {column!r} is unknown; known are {', '.join(COLUMNS)}"
        for column in columns
        if column not in COLUMNS
    ]
    return problems + [f"the column {column!r} comes twice" for column, n in Counter(columns).items() if n > 1]


def _row_problems(row: dict[str, str], file: Path, status: os.stat_result | None) -> list[str]:
    is_file = status is not None and stat.S_ISREG(status.st_mode)
    is_split = row["split"].lower() in {"", *SPLIT_NAMES}
    checks = [
        ("beyond" not in row, "it has more fields than there are columns"),
        ("\0" not in "".join(row[column] for column in COLUMNS), "it holds a NUL byte"),
        (row["path"], "the path is empty"),
        (row["label"], f"the label of {_shown(row['path'])} is empty"),
        (is_file or not row["path"], f"no file {_shown(str(file))}"),
        (is_split, f"the split {row['split']!r} is unknown; known are train, val and test"),
    ]
    return [problem for fine, problem in checks if not fine]


def _contradictions(path: str, first: Entry, again: Entry) -> list[str]:
    facts = [
        ("has two labels", repr(first.label), repr(again.label)),
        ("is in two splits", first.split or "none", again.split or "none"),
        ("is in two groups", repr(first.group), repr(again.group)),
    ]
    return [f"{_shown(path)} {what}, {one} and {other}" for what, one, other in facts if one != other]


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)
