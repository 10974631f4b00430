"""Finds how a text file is written: its encoding by its byte order mark, its delimiter by its header."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}

MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte order mark -> encoding, the longer ones first."""

HEAD_CHARACTERS = 1 << 16
"""What is looked at to find a header, which may have quoted line breaks."""

NOT_READ = (OSError, UnicodeError, csv.Error)
"""What reading a text file may raise."""


def open_text(path: Path) -> TextIO:
    """Open a file as text, by its byte order mark and else as UTF-8, with its line ends as they are."""
    with path.open("rb") as file:
        begin = file.read(4)
    encoding = next((name for mark, name in MARKS.items() if begin.startswith(mark)), "utf-8")
    return path.open(encoding=encoding, newline="")


def head_of(path: Path) -> str:
    """Return the beginning of a text file."""
    with open_text(path) as file:
        return file.read(HEAD_CHARACTERS)


def stated_delimiter(head: str) -> str | None:
    """Return the delimiter that a first line such as ``sep=;`` states, as Excel writes it."""
    line = head.splitlines()[0] if head else ""
    return line[4] if len(line) == 5 and line.lower().startswith("sep=") else None


def first_row(head: str, delimiter: str) -> list[str]:
    """Return the cells of the first row that isn't blank, without the blanks around them."""
    rows = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        cells = next((row for row in rows if any(cell.strip() for cell in row)), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def delimiter_of(head: str, is_known: Callable[[str], bool]) -> tuple[str, int]:
    """Return the delimiter that splits the header into most columns that are known, and how many these are.

    Among equals it is the one that gives most columns, and the first of ``DELIMITERS``.

    Args:
        head: the beginning of the file.
        is_known: says whether a column of this name is known.
    """
    headers = {delimiter: first_row(head, delimiter) for delimiter in DELIMITERS}
    known = {delimiter: sum(map(is_known, cells)) for delimiter, cells in headers.items()}
    best = max(DELIMITERS, key=lambda each: (known[each], len(headers[each])))
    return best, known[best]


def rows_of(path: Path, delimiter: str, *, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of the rows of a delimited file that hold anything, the header among them.

    Args:
        path: the file.
        delimiter: between its cells.
        skip: lines at the beginning that are no rows.
    """
    with open_text(path) as file:
        for _ in range(skip):
            file.readline()
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for cells in reader:
            if any(cells):
                yield reader.line_num + skip, cells
