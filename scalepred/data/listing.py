"""The listing of a data set: every image with its label, before anything is decoded."""

from dataclasses import dataclass, field

from scalepred.data.decode import Item
from scalepred.data.scan import Skipped

MANIFEST = "manifest.csv"

TASK_FILE = "task.json"
"""Names a task and its origin, in the task's folder."""


@dataclass(frozen=True)
class Entry:
    """An image that the data names: its path in words, its file, label, and the user's split and group, if given."""

    path: str
    item: Item
    label: str
    split: str | None = None
    group: str | None = None


def contradictions(path: str, first: Entry, again: Entry) -> list[str]:
    """Return what two entries of one file say differently of it."""
    facts = [
        ("has two labels", repr(first.label), repr(again.label)),
        ("is in two splits", first.split or "none", again.split or "none"),
        ("is in two groups", repr(first.group), repr(again.group)),
    ]
    return [f"{path} {what}, {one} and {other}" for what, one, other in facts if one != other]


@dataclass(kw_only=True)
class Listing:
    """The images of a data set in the order of its layout, the classes without any, and the paths that are not used.

    ``root`` is the folder that paths are told from, ``notes`` say how the data was read where it could be read
    otherwise, and ``hint`` what to try where it has less than two classes.
    """

    name: str
    origin: str
    layout: str
    entries: list[Entry] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    root: str = ""
    notes: list[str] = field(default_factory=list)
    hint: str = ""
