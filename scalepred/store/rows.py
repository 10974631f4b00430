"""Records as rows of the warehouse's tables, and back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from scalepred.records import KINDS
from scalepred.store.text import LONE_SURROGATE, storable

KEYS = {
    "tasks": "task_id",
    "sources": "source_id",
    "recipes": "recipe_id",
    "features": "task_id, source_id, feature_set, name",
    "runs": "run_id",
    "predictions": "prediction_id",
}

_JSON_FIELDS = {"label_counts", "facts", "versions", "predicted", "execution", "course"}

RecordT = TypeVar("RecordT")


def names_of(table: str) -> list[str]:
    """Return the columns of a table, which are the fields of its records."""
    return [field.name for field in fields(KINDS[table])]


def columns_of(table: str) -> str:
    """Return the columns of a table as SQL."""
    return ", ".join(f'"{name}"' for name in names_of(table))


def sent_type(kind: str) -> str:
    """Return the type that a cell has on its way into the database: lists go as text, which is twice as fast."""
    return "VARCHAR" if kind.endswith("[]") else kind


def as_column(kind: str, cells: Sequence[Any]) -> list[Any]:
    """Return the cells of a column of this type as they are sent; see :func:`sent_type`."""
    return [json.dumps(cell) for cell in cells] if sent_type(kind) != kind else list(cells)


def as_row(record: Any) -> list[Any]:
    """Return the cells of a record's row."""
    return [_as_cell(field.name, getattr(record, field.name)) for field in fields(record)]


def _as_cell(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        # within JSON the backslash of the escape is escaped itself
        text = json.dumps(value, ensure_ascii=False)
        return LONE_SURROGATE.sub(lambda surrogate: "\\" + storable(surrogate[0]), text)
    if name == "rates":
        return [list(rates) for rates in value]
    return storable(value) if isinstance(value, str) else value


def from_row(kind: Callable[..., RecordT], names: Sequence[str], row: Sequence[Any]) -> RecordT:
    """Return the record of a row; ``names`` are its columns."""
    values = dict(zip(names, row, strict=True))
    for name in _JSON_FIELDS & set(names):
        values[name] = json.loads(values[name])
    if "rates" in values:
        values["rates"] = [tuple(rates) for rates in values["rates"]]
    return kind(**values)
