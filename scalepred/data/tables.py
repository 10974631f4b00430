"""Reads a table of any form - delimited text, a list, JSON, JSON Lines, Parquet - as columns and rows of cells."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalepred.data import dialects, lists
from scalepred.data.columns import is_asked_for, is_usual
from scalepred.data.layout import Layout
from scalepred.data.parquet import is_parquet, read_parquet
from scalepred.errors import DataError

SAMPLE_ROWS = 200
"""Rows by which the columns of a table are known."""

Rows = Iterator[tuple[int, Sequence[Any]]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that is read row by row.

    Attributes:
        columns: their names.
        rows: (number, cells) of each row; a cell of text is as it stands in the file, without any change.
        sample: the cells of the first rows, which ``rows`` has too.
        form: what it is, in words.
        unit: what the numbers of the rows count: "line" or "row".
    """

    columns: list[str]
    rows: Rows
    sample: list[Sequence[Any]]
    form: str
    unit: str = "line"


def read_table(path: Path, *, layout: Layout, folder: Path) -> Table:
    """Open a table; its rows are read when they are asked for.

    Args:
        path: the file.
        layout: what the user says of it; columns that are named there are known.
        folder: from which a list's paths start.

    Raises:
        DataError: if it is of none of the forms. Rows raise it too, where a file is damaged further on.
    """
    if is_parquet(path):
        columns, cells = read_parquet(path)
        return _table(columns, enumerate(cells, 1), form="Parquet manifest", unit="row")
    try:
        head = dialects.head_of(path)
    except dialects.NOT_READ as error:
        raise no_manifest(path, error) from error
    if head.lstrip()[:1] in ("{", "["):
        return _json_table(path, is_lines=path.suffix.lower() in (".jsonl", ".ndjson") or _is_lines(head))
    return _text_table(path, head, layout=layout, folder=folder)


def no_manifest(path: Path, error: Exception | str) -> DataError:
    """Return the error for a file that is no manifest at all."""
    return DataError(
        f"{path} can't be read as a CSV manifest of UTF-8 text: {error}. "
        "Give a folder of class folders, or a CSV file with the columns path and label."
    )


def _table(columns: list[str], rows: Iterable[tuple[int, Sequence[Any]]], *, form: str, unit: str = "line") -> Table:
    ahead = iter(rows)
    first = list(itertools.islice(ahead, SAMPLE_ROWS))
    sample = [cells for _, cells in first]
    return Table(columns=columns, rows=itertools.chain(first, ahead), sample=sample, form=form, unit=unit)


def _text_table(path: Path, head: str, *, layout: Layout, folder: Path) -> Table:
    if "\0" in head.partition("\n")[0]:
        raise no_manifest(path, "it holds NUL bytes, as UTF-16 without a byte order mark does")
    stated = dialects.stated_delimiter(head)
    body = head.split("\n", 1)[-1] if stated else head
    delimiter, n_known = dialects.delimiter_of(body, lambda name: is_usual(name) or is_asked_for(name, layout))
    delimiter = stated or delimiter
    listed = None if n_known else lists.form_of(path, body, folder=folder)
    try:
        if listed is not None:
            return _table(["path", "label"], lists.rows_of(path, listed), form="list of paths and labels")
        rows = _told(path, dialects.rows_of(path, delimiter, skip=int(stated is not None)))
        columns = [name.strip() for name in next(rows, (0, []))[1]]
        words = "" if delimiter == "," else f" with {dialects.DELIMITERS.get(delimiter, repr(delimiter))}"
        return _table(columns, rows, form=f"CSV manifest{words}")
    except dialects.NOT_READ as error:
        raise no_manifest(path, error) from error


def _told(path: Path, rows: Rows) -> Rows:
    """Yield rows; what keeps them from being read is an error that names the file."""
    try:
        yield from rows
    except dialects.NOT_READ as error:
        raise no_manifest(path, error) from error


def _is_lines(head: str) -> bool:
    """Say whether the first line is a JSON object by itself and another line follows."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) and rest.lstrip().startswith("{")
    except (ValueError, RecursionError):
        return False


def _json_table(path: Path, *, is_lines: bool) -> Table:
    """Read a JSON Lines file, or a JSON file with a list of objects or with labels by path."""
    try:
        with dialects.open_text(path) as file:
            if is_lines:
                records = [(at, _loads(line)) for at, line in enumerate(file, 1) if line.strip()]
            else:
                records = list(enumerate(_records(_loads(file.read())), 1))
    except (OSError, ValueError, RecursionError) as error:
        raise no_manifest(path, f"it is no JSON that can be read: {error}") from error
    if not records or not all(isinstance(record, dict) for _, record in records):
        raise no_manifest(path, "its JSON is neither COCO annotations nor a list of objects")
    columns = list(dict.fromkeys(name for _, record in records for name in record))
    rows = ((at, [record.get(name, "") for name in columns]) for at, record in records)
    form = "JSON Lines manifest" if is_lines else "JSON manifest"
    return _table(columns, rows, form=form, unit="line" if is_lines else "row")


def _loads(text: str) -> Any:
    """Return the JSON, with numbers as the text that they are."""
    return json.loads(text, parse_float=str, parse_int=str)


def _records(document: Any) -> list[Any]:
    """Return the objects of a list; a single object of texts is labels by path."""
    if isinstance(document, dict):
        return [{"path": path, "label": label} for path, label in document.items()]
    return document if isinstance(document, list) else []
