"""Reads a cell of a manifest as text, and columns of 0 and 1 as the class that they mark."""

from collections.abc import Mapping
from typing import Any

_SET, _UNSET = {"1", "1.0"}, {"0", "0.0", ""}


def text_of(value: Any) -> str | None:
    """Return a cell's text as the file has it: "007" stays "007", true is "true"; None if it isn't a single value."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return None if isinstance(value, dict | list | tuple | bytes) else str(value)


def label_of(bits: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the class that is marked by 1 and what is wrong, if it isn't exactly one.

    Args:
        bits: class -> text of its cell.
    """
    values = {name: text.strip() for name, text in bits.items()}
    odd = next((f"{value!r} for {name!r}" for name, value in values.items() if value not in _SET | _UNSET), None)
    if odd is not None:
        return "", f"has {odd}; the column of a class holds 0 or 1"
    marked = [name for name, value in values.items() if value in _SET]
    if len(marked) == 1:
        return marked[0], None
    if not marked:
        return "", f"has no class: each of its {len(bits)} columns is 0"
    some = ", ".join(map(repr, marked[:5])) + (" …" if len(marked) > 5 else "")
    return "", f"has {len(marked)} classes, {some}; one label per image is needed"
