"""JSON files of a predictor that are sealed: whoever reads one knows that it is whole and as it was written."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from scalepred.errors import VersionError
from scalepred.files import write_text
from scalepred.recipe import canonical_json, content_id

T = TypeVar("T")


def write_sealed(file: Path, kind: str, values: Mapping[str, Any]) -> None:
    """Write values as canonical JSON, with the hash of what they hold as ``KIND_id``."""
    write_text(file, canonical_json({**values, f"{kind}_id": content_id(kind, dict(values))}) + "\n")


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
        values = json.loads(raw.decode())
        if values["schema"] != schema:
            raise ValueError(f"its schema is {values['schema']!r:.40}, and this scalepred reads {schema}")
        bare = {name: value for name, value in values.items() if name != f"{kind}_id"}
        if len(raw) > max_bytes or values[f"{kind}_id"] != content_id(kind, bare):
            raise ValueError("it was changed after it was written")
        return make(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VersionError(f"{what} {file} can't be used: {reason}. Copy its folder again, whole.") from error
