"""Finds which column of a manifest holds what: by the user's word, else by the usual names where these are clear."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalepred.data.endings import has_ending
from scalepred.data.layout import Layout
from scalepred.data.splits import SPLIT_NAMES
from scalepred.errors import DataError, join_problems

OURS = "scalepred"
"""A column of this name marks a manifest that scalepred wrote, whose cells are exactly what they say."""

PATH_NAMES = (
    ("path",),
    (
        *("filename", "filenames", "file_name", "file", "files", "filepath", "filepaths", "file_path", "fname"),
        *("image", "images", "img", "image_path", "imagepath", "img_path", "image_file", "image_name", "imagename"),
        *("img_name", "image_filename", "photo", "picture", "paths"),
    ),
    ("image_id", "img_id", "imageid", "id", "id_code", "uuid"),
)
"""Usual names of the column of images, the surer ones first: a name counts where it is the only one of its row."""

LABEL_NAMES = (
    ("label",),
    (
        *("labels", "lbl", "class", "classes", "category", "categories", "target", "class_name", "classname"),
        *("label_name", "category_name", "class_label", "species", "breed", "diagnosis", "dx"),
    ),
    ("class_id", "label_id", "category_id", "class_idx", "y"),
)

SPLIT_COLUMNS = (("split",), ("set", "subset", "data_set", "dataset", "partition", "phase"))

GROUP_COLUMNS = (("group",),)

_LIKELY = {
    "--image-column": (PATH_NAMES, re.compile(r"im(age|g)|file|path|photo|pic|id$|name|uri", re.IGNORECASE)),
    "--label-column": (
        LABEL_NAMES,
        re.compile(r"label|class|cat|target|species|breed|kind|type|tag|name|truth", re.IGNORECASE),
    ),
}
"""Option -> the usual names of its column, and what others sound like."""

_BITS = {"0", "1", "0.0", "1.0"}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Positions of a manifest's columns.

    Attributes:
        path: of the images.
        label: of the labels; None where there is a column for each class.
        classes: of the columns of 0 and 1, one for each class.
        split, group: of these; None where there are none.
        ignored: names of the columns that aren't used.
        is_ours: whether scalepred wrote the manifest.
    """

    path: int
    label: int | None
    classes: tuple[int, ...] = ()
    split: int | None = None
    group: int | None = None
    ignored: tuple[str, ...] = ()
    is_ours: bool = False


def plain(name: str) -> str:
    """Return a column's name as it is compared: small letters, and one "_" for blanks and hyphens."""
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def is_usual(name: str) -> bool:
    """Say whether a column of this name is known to hold images, labels, splits or groups."""
    tiers = (*PATH_NAMES, *LABEL_NAMES, *SPLIT_COLUMNS, *GROUP_COLUMNS)
    return any(plain(name) in tier for tier in tiers)


def is_asked_for(name: str, layout: Layout) -> bool:
    """Say whether the user names this column."""
    asked = (layout.image_column, layout.label_column, layout.group_column)
    return any(plain(name) == plain(each) for each in asked if each)


def choose_columns(names: Sequence[str], sample: Sequence[Sequence[Any]], *, layout: Layout, file: Path) -> Columns:
    """Choose the columns of a manifest.

    Args:
        names: of its columns.
        sample: its first rows, by which columns of splits and of 0 and 1 are known.
        layout: what the user says of it.
        file: the manifest, which errors name.

    Raises:
        DataError: if a column isn't there, comes twice, or isn't clear; names the columns and proposes a command.
    """
    problems: list[str] = []
    path = _wanted(names, layout.image_column, PATH_NAMES, "--image-column", problems)
    label = _wanted(names, layout.label_column, LABEL_NAMES, "--label-column", problems)
    group = _wanted(names, layout.group_column, GROUP_COLUMNS, "--group", problems)
    split = _split_column(names, sample, problems)
    classes = () if label is not None or layout.label_column else _bit_columns(names, sample, {path, group, split})
    problems += _missing(path, label, classes, layout)
    if problems:
        raise DataError(_refusal(file, names, problems, layout=layout, found={"path": path, "label": label}))
    assert path is not None  # noqa: S101 - else there was a problem
    used = {path, label, group, split, *classes}
    is_ours = OURS in map(plain, names)
    ignored = tuple(name for at, name in enumerate(names) if at not in used and name and plain(name) != OURS)
    return Columns(path=path, label=label, classes=classes, split=split, group=group, ignored=ignored, is_ours=is_ours)


def _wanted(
    names: Sequence[str], asked: str | None, tiers: Sequence[Sequence[str]], option: str, problems: list[str]
) -> int | None:
    """Return the position of a column, the one that is asked for or else one of a usual name; note what is wrong."""
    if asked is not None:
        at = [i for i, name in enumerate(names) if name == asked] or [
            i for i, name in enumerate(names) if plain(name) == plain(asked)
        ]
        if len(at) != 1:
            problems.append(f"the column {asked!r} of {option} {'comes twice' if at else 'is missing'}")
        return at[0] if at else None
    for tier in tiers:
        at = [i for i, name in enumerate(names) if plain(name) in tier]
        if len({plain(names[i]) for i in at}) > 1:
            them = " and ".join(repr(names[i]) for i in at)
            problems.append(f"{them} could each be the column of {option}: name one")
        elif len(at) > 1:
            problems.append(f"the column {names[at[0]]!r} comes twice")
        if at:
            return at[0]
    return None


def _split_column(names: Sequence[str], sample: Sequence[Sequence[Any]], problems: list[str]) -> int | None:
    """Return the column of splits: ``split``, or one of another usual name that holds nothing but splits' names."""
    at = _wanted(names, None, SPLIT_COLUMNS[:1], "split", problems)
    if at is not None:
        return at
    for i, name in enumerate(names):
        values = {str(row[i]).strip().lower() for row in sample if i < len(row)}
        if plain(name) in SPLIT_COLUMNS[1] and values and values <= {"", *SPLIT_NAMES}:
            return i
    return None


def _bit_columns(names: Sequence[str], sample: Sequence[Sequence[Any]], used: set[int | None]) -> tuple[int, ...]:
    """Return the columns of 0 and 1, one for each class, if there are two or more."""
    bits = [
        at
        for at, name in enumerate(names)
        if at not in used and name and sample and all(at < len(row) and str(row[at]).strip() in _BITS for row in sample)
    ]
    return tuple(bits) if len(bits) > 1 else ()


def _missing(path: int | None, label: int | None, classes: tuple[int, ...], layout: Layout) -> list[str]:
    missing = []
    if path is None and layout.image_column is None:
        missing.append("the column 'path' is missing")
    if label is None and not classes and layout.label_column is None:
        missing.append("the column 'label' is missing")
    return missing


def _refusal(
    file: Path, names: Sequence[str], problems: list[str], *, layout: Layout, found: dict[str, int | None]
) -> str:
    """Return the error: what is wrong, which columns there are, and the command that is likely meant."""
    message = join_problems(f"{file} can't be used as it is:", problems)
    if not any(names):
        return f"{message}\nIt has no columns: give a CSV file with the columns path and label."
    message += f"\nIts columns: {', '.join(map(repr, names))}."
    if any(map(has_ending, names)):
        return f"{message} They name an image, so it has no header: put a line such as path,label above the first."
    path = _likely(names, found["path"], None, "--image-column")
    label = _likely(names, found["label"], path, "--label-column")
    if path is None or label is None:
        return f"{message} Name those of images and labels: --image-column COLUMN --label-column COLUMN."
    wanted = [("--image-column", names[path]), ("--label-column", names[label])]
    given = [("--image-folder", layout.image_folder)] if layout.image_folder else []
    words = ["scalepred", "inspect", str(file), *(word for pair in [*wanted, *given] for word in pair)]
    return f"{message} Try: {shlex.join(words)}"


def _likely(names: Sequence[str], found: int | None, taken: int | None, option: str) -> int | None:
    """Return the column that is likely meant: the one found, else of a usual name, one that sounds so, or any other."""
    if found is not None:
        return found
    others = [at for at, name in enumerate(names) if name and at != taken and plain(name) not in ("split", "group")]
    usual, sounds = _LIKELY[option]
    same = [at for tier in usual for at in others if plain(names[at]) in tier]
    return next(iter(same or [at for at in others if sounds.search(names[at])] or others), None)
