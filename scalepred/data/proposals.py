"""Proposes a label pattern where the names of files look like labels with numbers."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from scalepred.data.patterns import label_reader
from scalepred.data.splits import split_of_name

FORMS = (
    r"^(.+?)[\W_]*\d+\)?\.\w+$",
    r"^(.+?)(?:[\W_]*\d+)+\)?\.\w+$",
    r"^\d+[\W_]*(.+?)\.\w+$",
    r"^\d+[\W_]*(.+?)[\W_]*\d+\)?\.\w+$",
    r"^([^\W_]+)[\W_].+\.\w+$",
    r"^.+[\W_]([^\W_]+)\.\w+$",
)
"""A label and a number, or several; a number first, or on both sides; the first or the last word."""

SHORT = ("{label}.*", "{label}_*", "{label}-*", "{label} *", "*_{label}", "*-{label}", r"(.+)_\d+", r"(.+)-\d+")
"""Patterns that are proposed instead where they read the same."""

CAMERAS = {"img", "image", "images", "dsc", "dscn", "dscf", "pxl", "photo", "picture", "pic", "frame", "scan", "file"}
"""What cameras and people call images of anything."""

LOOKED_AT = 5_000
"""Names that are looked at; more tell nothing new."""

UNLIKE = 0.05
"""Of the names, so many may be unlike the others: files that happen to lie among them."""


def proposal(data: str, names: Sequence[str]) -> str:
    """Return a sentence with the command to try, or nothing where names tell no labels.

    Args:
        data: what the user gave.
        names: the names of image files.
    """
    some = names[:: -(-len(names) // LOOKED_AT) or 1]
    for form in FORMS:
        labels = _labels(form, some)
        if _is_plausible(labels):
            pattern = next((short for short in SHORT if _labels(short, some) == labels), form)
            command = f"scalepred inspect {shlex.quote(data)} --label-pattern {shlex.quote(pattern)}"
            classes = sorted({label for label in labels if label})
            shown = ", ".join(map(repr, classes[:3])) + (", …" if len(classes) > 3 else "")
            return f"The names of the files look like labels: `{command}` reads {len(classes)} classes ({shown})."
    return ""


def _labels(pattern: str, names: Sequence[str]) -> list[str | None]:
    return list(map(label_reader(pattern), names))


def _is_plausible(labels: list[str | None]) -> bool:
    """Say whether labels are several, shared by images, and neither dates nor what cameras write."""
    counts = Counter(label for label in labels if label)
    n = sum(counts.values())
    if len(counts) < 2 or 2 * len(counts) > n or n < (1 - UNLIKE) * len(labels):
        return False
    words = [re.sub(r"[\W\d_]+", " ", label).strip().lower() for label in counts]
    return all(word and word not in CAMERAS for word in words) and not all(map(split_of_name, words))
