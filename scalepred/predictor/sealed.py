"""JSON files of a predictor that are sealed: whoever reads one knows that it is whole and as it was written."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from scalepred.errors import VersionError
from scalepred.files import write_text
from scalepred.recipe import canonical_json, content_id, text_id

T = TypeVar("T")

LARGEST = 1e100
"""Numbers are smaller than this, so that no sum of squares overflows."""


def write_sealed(file: Path, kind: str, values: Mapping[str, Any]) -> None:
    """Write values as canonical JSON, with the hash of what they hold as ``KIND_id``."""
    write_text(file, sealed_text(kind, values))


def sealed_text(kind: str, values: Mapping[str, Any]) -> str:
    """Return values as canonical JSON, with the hash of what they hold as ``KIND_id``."""
    return canonical_json({**values, f"{kind}_id": content_id(kind, dict(values))}) + "\n"


def is_sealed(text: str, kind: str, values: Mapping[str, Any]) -> bool:
    """Say whether the ``KIND_id`` of a JSON text is the hash of what else it holds.

    A text as :func:`sealed_text` makes it is hashed as it stands; another has to be made canonical, which takes as long
    as reading it. What a hostile author sealed may be NaN or infinite all the same: see :func:`is_finite`.

    Args:
        text: to look at.
        kind: of what it holds.
        values: that it holds.

    Raises:
        KeyError: if it has no ``KIND_id``.
        ValueError, RecursionError: if it has no canonical form.
    """
    name = f"{kind}_id"
    told = values[name]
    bare = text.removesuffix("\n").replace(f'"{name}":{canonical_json(told)},', "", 1)
    if told == text_id(kind, bare):
        return True
    return bool(told == content_id(kind, {key: value for key, value in values.items() if key != name}))


def read_sealed(
    file: Path, kind: str, make: Callable[[dict[str, Any]], T], *, what: str, schema: int, max_bytes: int
) -> T:
    """Read what ``write_sealed`` wrote.

    Args:
        file: to read.
        kind: as it was written.
        make: takes the values, and checks them; a ValueError, KeyError, TypeError or AttributeError refuses them.
        what: the file is called in an error, such as "The rule".
        schema: that it is to have.
        max_bytes: of the file.

    Raises:
        VersionError: if it is missing, damaged, changed by hand, or of another schema.
    """
    try:
        with file.open("rb") as content:
            raw = content.read(max_bytes + 1)
        text = raw.decode()
        values = json.loads(text)
        if values["schema"] != schema:
            raise ValueError(f"its schema is {values['schema']!r:.40}, and this scalepred reads {schema}")
        if len(raw) > max_bytes or not is_sealed(text, kind, values):
            raise ValueError("it was changed after it was written")
        return make(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VersionError(f"{what} {file} can't be used: {reason}. Copy its folder again, whole.") from error


def are_numbers(values: Any, n: int | None = None) -> bool:
    """Say whether a JSON value is a list of numbers, of n if that is given, none so large that its square overflows."""
    return (
        isinstance(values, list)
        and (n is None or len(values) == n)
        and set(map(type, values)) <= {int, float}
        and (not values or (min(values) > -LARGEST and max(values) < LARGEST))
        and not math.isnan(sum(values))  # it hides from min and max
    )


def is_number(value: Any) -> bool:
    """Say whether a JSON value is such a number."""
    return are_numbers([value])


def is_finite(value: Any) -> bool:
    """Say whether all numbers of a JSON value are finite."""
    try:
        canonical_json(value)
    except (ValueError, RecursionError):
        return False
    return True
