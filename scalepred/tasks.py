"""Turns a folder, a CSV manifest or a torchvision data set into a task: pictures, labels and fixed splits."""

import csv
import json
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scalepred import __version__
from scalepred.config import content_id
from scalepred.errors import DataError, UsageError, join_problems
from scalepred.images import (
    IN_MEMORY_BYTES,
    MAX_MEGAPIXELS,
    Item,
    Loaded,
    Place,
    SetAside,
    children,
    is_picture,
    joined,
    load_pictures,
    near_duplicate_groups,
    readable,
    room_for,
    walk,
)
from scalepred.records import TaskRecord
from scalepred.torchvision_sets import PREFIX, read_torchvision

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What splits are called, in any capitals."""

MANIFEST = "manifest.csv"
COLUMNS = ("path", "label", "split", "group")
ABOUT = "task.json"
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
"""Only a hint of where pictures are; what a file is, its content decides."""

TEST_SHARE = 0.2
VAL_SHARE = 0.2
"""Of what is not test."""

FEWEST = {"val": 2, "test": 5}
"""A class of fewer pictures gives none to the split."""

KEPT = "the splits are kept, and accuracies will look better than they are"
OWN_SPLITS = "give your own splits (folders train/val/test, or a `split` column)"


@dataclass(frozen=True)
class Split:
    """Pictures (n, 3, px, px) uint8, labels (n,) int64, and where each came from."""

    images: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was understood of the data, without any training.

    Attributes:
        layout: how the data is laid out, in words.
        classes: class -> usable pictures.
        splits: "train", "val", "test" -> pictures.
        set_aside: paths that are not used, each with its reason.
        warnings: what a user should know, in words.
        n_exact_duplicates, n_near_duplicates: pictures beyond the first of their kind.
        problem: why the data can't be used, or None.
    """

    layout: str
    classes: dict[str, int]
    splits: dict[str, int]
    set_aside: list[SetAside]
    warnings: list[str]
    n_exact_duplicates: int = 0
    n_near_duplicates: int = 0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred inspect --json``."""
        return {
            "layout": self.layout,
            "classes": self.classes,
            "splits": self.splits,
            "set_aside": [{"path": each.path, "reason": each.reason} for each in self.set_aside],
            "warnings": self.warnings,
            "exact_duplicates": self.n_exact_duplicates,
            "near_duplicates": self.n_near_duplicates,
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class Task:
    """One labelled image set with its fixed splits, decoded to squares of ``image_px``."""

    record: TaskRecord
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    image_px: int
    inspection: Inspection


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known of a task before its pictures are read.

    Attributes:
        origin: the collection that it was drawn from.
        fingerprint: changes whenever its files may have, for one machine and one version of what decodes, and so saves
            reading them only to learn the task's id again; None for pictures that a library holds.
    """

    origin: str
    fingerprint: str | None


@dataclass(frozen=True)
class Entry:
    """A picture that the data names: its path in words, its file, label, and the user's split and group, if given."""

    path: str
    item: Item
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(kw_only=True)
class Listing:
    """What a layout holds before anything is decoded."""

    name: str
    origin: str
    layout: str
    entries: list[Entry] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Understood:
    """The usable pictures of a listing, in its order, and what was found out about each.

    Attributes:
        good: n entries.
        loaded: their n pictures, and the reasons of the others.
        labels: (n,) class names.
        given: n splits of the user's own, or None if the user made none.
        same: (n,) group numbers of near duplicates.
        groups: (n,) group numbers of what shares a split: near duplicates and the user's groups, joined.
        codes: (n,) positions in ``SPLITS``.
    """

    listing: Listing
    good: list[Entry]
    loaded: Loaded
    labels: np.ndarray
    given: list[str | None] | None
    same: np.ndarray
    groups: np.ndarray
    codes: np.ndarray


# --- the whole way ----------------------------------------------------------------------------------------------------


def read_task(
    data: str | Path,
    *,
    image_px: int = 64,
    split_seed: int = 0,
    on_bad_image: str = "skip",
    max_megapixels: float = MAX_MEGAPIXELS,
    max_bytes: int = IN_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Task:
    """Read a task: find its pictures, decode each once, keep duplicates together, and split.

    Args:
        data: a folder of class folders, perhaps under train, val and test; a CSV manifest, or a folder that holds
            ``manifest.csv``; or ``torchvision:<Dataset>``.
        image_px: side of the squares that pictures become.
        split_seed: of the splits that the user has not made.
        on_bad_image: "skip" sets bad pictures aside, "fail" refuses the data.
        max_megapixels: what is larger is a bad picture.
        max_bytes: decoded pictures that take more lie in a file that is mapped into memory.
        on_progress: called with pictures decoded and pictures in all.

    Raises:
        DataError: if nothing can be learnt from it, with what is needed.
        UsageError: if ``on_bad_image`` is anything else.
    """
    if on_bad_image not in ("skip", "fail"):
        raise UsageError(f"on_bad_image is 'skip' or 'fail', not {on_bad_image!r}.")
    found = _understand(
        data,
        image_px=image_px,
        split_seed=split_seed,
        max_megapixels=max_megapixels,
        max_bytes=max_bytes,
        on_progress=on_progress,
    )
    bad = _bad(found)
    if on_bad_image == "fail" and bad:
        raise DataError(
            join_problems(
                f"{data} holds bad pictures; remove them, or go on without them by --on-bad-image skip:",
                [f"{each.path}: {each.reason}" for each in bad],
            )
        )
    inspection = _inspection(found)
    if inspection.problem:
        raise DataError(f"{data}: {inspection.problem}")
    return _as_task(found, inspection, image_px, max_bytes)


def survey(data: str | Path, *, split_seed: int = 0) -> Survey:
    """Look at the files of a task without reading them.

    Raises:
        DataError: as ``list_pictures``.
    """
    listing = list_pictures(data)
    files: list[list[object]] = []
    for entry in listing.entries:
        status = _status(entry.item) if isinstance(entry.item, Path) else None
        if status is None:
            return Survey(origin=listing.origin, fingerprint=None)
        size = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        files.append([entry.path, entry.label, entry.split, entry.group, *size])
    versions = [__version__, version("pillow")]
    found = [versions, str(Path(data).resolve()), listing.name, listing.origin, split_seed, files]
    return Survey(origin=listing.origin, fingerprint=content_id("scan", found))


def inspect(
    data: str | Path,
    *,
    split_seed: int = 0,
    max_megapixels: float = MAX_MEGAPIXELS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Say what is understood of the data; what keeps it from being learnt is in ``problem``.

    Raises:
        DataError: if there is no such data, or its layout or manifest can't be read.
    """
    return _inspection(
        _understand(data, image_px=16, split_seed=split_seed, max_megapixels=max_megapixels, on_progress=on_progress)
    )


def _understand(
    data: str | Path,
    *,
    image_px: int,
    split_seed: int,
    max_megapixels: float,
    max_bytes: int = IN_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None,
) -> _Understood:
    listing = list_pictures(data)
    items = [entry.item for entry in listing.entries]
    loaded = load_pictures(
        items, image_px=image_px, max_megapixels=max_megapixels, max_bytes=max_bytes, on_progress=on_progress
    )
    good = [listing.entries[i] for i in loaded.kept]
    same = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    groups = joined(same, [entry.group for entry in good])
    labels = np.array([entry.label for entry in good], dtype=object)
    given = [entry.split for entry in good] if any(entry.split for entry in good) else None
    codes = split_pictures(labels, groups, loaded.hashes, seed=split_seed, given=given)
    return _Understood(
        listing=listing, good=good, loaded=loaded, labels=labels, given=given, same=same, groups=groups, codes=codes
    )


def _bad(found: _Understood) -> list[SetAside]:
    return [SetAside(found.listing.entries[i].path, reason) for i, reason in found.loaded.bad]


def _inspection(found: _Understood) -> Inspection:
    n_different = len(set(found.loaded.hashes))
    warnings = [_class_warnings, _notes, _duplicate_warnings, _split_warnings, _absence_warnings]
    return Inspection(
        layout=found.listing.layout,
        classes={str(name): int(n) for name, n in sorted(Counter(found.labels).items())},
        splits={name: int((found.codes == code).sum()) for code, name in enumerate(SPLITS)},
        set_aside=[*found.listing.set_aside, *_bad(found)],
        warnings=[words for kind in warnings for words in kind(found)],
        n_exact_duplicates=len(found.loaded.hashes) - n_different,
        n_near_duplicates=n_different - len(set(found.same)),
        problem=_problem(found),
    )


def _as_task(found: _Understood, inspection: Inspection, image_px: int, max_bytes: int) -> Task:
    good, loaded, codes = found.good, found.loaded, found.codes
    classes = tuple(inspection.classes)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[entry.label] for entry in good], dtype=np.int64)
    order = sorted(range(len(good)), key=lambda i: (loaded.hashes[i], good[i].label, codes[i], good[i].path))
    splits = {}
    for code, name in enumerate(SPLITS):
        rows = np.array([i for i in order if codes[i] == code], dtype=np.int64)
        images = room_for((len(rows), *loaded.images.shape[1:]), max_bytes=max_bytes * len(rows) // len(good))
        for position, row in enumerate(rows):  # one by one, for they may lie in a file
            images[position] = loaded.images[row]
        splits[name] = Split(images, labels[rows], tuple(good[i].path for i in rows))
    contents = sorted([loaded.hashes[i], good[i].label, SPLITS[codes[i]]] for i in order)
    record = TaskRecord(
        task_id=content_id("task", contents),
        name=found.listing.name,
        origin=found.listing.origin,
        n_classes=len(classes),
        n_train=len(splits["train"].labels),
        n_val=len(splits["val"].labels),
        n_test=len(splits["test"].labels),
        label_counts=inspection.classes,
        median_width_px=int(np.median(loaded.sizes_px[:, 0])),
        median_height_px=int(np.median(loaded.sizes_px[:, 1])),
        data_hash=content_id("data", sorted([c[0], c[1]] for c in contents)),
    )
    return Task(record=record, classes=classes, image_px=image_px, inspection=inspection, **splits)


# --- layouts ----------------------------------------------------------------------------------------------------------


def list_pictures(data: str | Path) -> Listing:
    """Find which layout the data has and list its pictures, without decoding any.

    Raises:
        DataError: if there is nothing there, or no layout fits, with what was seen and what is expected.
    """
    if str(data).startswith(PREFIX):
        name, pictures = read_torchvision(str(data))
        entries = [Entry(*picture) for picture in pictures]
        return Listing(name=name, origin=name, layout=f"torchvision data set {name}", entries=entries)
    path = _existing(data)
    if path.is_file():
        own = readable(path.stem)
        name, origin = _about(path.parent) if path.name == MANIFEST else (own, own)
        return _from_manifest(path, name=name, origin=origin)
    name, origin = _about(path)
    if _is_file(path / MANIFEST):
        return _from_manifest(path / MANIFEST, name=name, origin=origin)
    return _from_folders(path, name, origin)


def find_tasks(data: str | Path) -> list[str]:
    """Return the tasks that a path stands for, without decoding: itself, or the sub-folders that are tasks.

    A folder is a task if it holds ``manifest.csv``, ``task.json``, folders named after splits, or class folders that
    directly hold pictures. Otherwise its sub-folders that are tasks count; and if there are none, it is a task itself
    where there are files below it, to be told what is wrong with them. So classes whose pictures all lie deeper need a
    manifest, ``task.json`` or splits.

    Raises:
        DataError: if there is nothing, or neither it nor a sub-folder is a task.
    """
    if str(data).startswith(PREFIX):
        return [str(data)]
    path = _existing(data)
    if path.is_file() or _is_task(path):
        return [str(data)]
    folders = _folders(path)
    below = [str(folder) for folder in folders if _is_task(folder)]
    if below:
        return below
    if any(walk(folder)[0] for folder in folders):
        return [str(data)]
    raise DataError(
        f"{path} is neither a task nor a folder of tasks. A task is a folder of class folders with pictures in "
        f"them, perhaps under train, val and test, or a folder that holds {MANIFEST}."
    )


def _existing(data: str | Path) -> Path:
    """Return the path of a file or folder that is there."""
    expected = "give a folder of class folders or a CSV manifest"
    path = Path(data)
    if data == "":
        raise DataError(f"The path of the data is empty: {expected}.")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"There is nothing at {path}: {expected}.") from error
    except (OSError, ValueError) as error:  # the second is a NUL byte
        raise DataError(f"{readable(path)!r} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is neither a file nor a folder: {expected}.")
    return path


def _is_task(path: Path) -> bool:
    if _is_marked(path):
        return True
    below = _folders(path)
    return bool(_split_folders(below)) or any(_holds_picture(folder) and not _is_marked(folder) for folder in below)


def _is_marked(path: Path) -> bool:
    return _is_file(path / MANIFEST) or _is_file(path / ABOUT)


def _holds_picture(folder: Path) -> bool:
    try:
        return any(map(is_picture, children(folder)))
    except OSError:
        return False


def _children(path: Path) -> list[Path]:
    try:
        return children(path)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _folders(path: Path) -> list[Path]:
    return [child for child in _children(path) if (status := _status(child)) and stat.S_ISDIR(status.st_mode)]


def _is_file(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _status(path: Path) -> os.stat_result | None:
    """Return what the system says of a path, links followed, or None if it won't."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _about(path: Path) -> tuple[str, str]:
    """Return a task folder's name and origin: its own name, or what its ``task.json`` says."""
    own = readable(path.resolve().name or "task")
    if not _is_file(path / ABOUT):
        return own, own
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8-sig"))
        name = about.get("name", own)
        origin = about.get("origin", name)
        unknown = sorted(set(about) - {"name", "origin"})
    except (ValueError, AttributeError, OSError, RecursionError) as error:
        raise DataError(f'{path / ABOUT} is not of the form {{"name": …, "origin": …}}: {error}.') from error
    if unknown:
        keys = ", ".join(map(repr, unknown))
        raise DataError(f"{path / ABOUT} has unknown keys: {keys}. Known: 'name', 'origin'.")
    if not all(isinstance(text, str) and text.strip() and "\0" not in text for text in (name, origin)):
        raise DataError(f"{path / ABOUT}: name and origin must be text.")
    return readable(name), readable(origin)


# --- folders ----------------------------------------------------------------------------------------------------------


def _from_folders(path: Path, name: str, origin: str) -> Listing:
    below = _folders(path)
    splits = _split_folders(below)
    if splits:
        _check_split_folders(path, below, splits)
        listing = Listing(name=name, origin=origin, layout=f"class folders under {', '.join(f.name for f in splits)}")
    else:
        listing = Listing(name=name, origin=origin, layout="class folders")
    parents = splits or [path]
    classes = [(folder, _split_of(parent) if splits else None) for parent in parents for folder in _folders(parent)]
    places = _places(path, [*splits, *(folder for folder, _ in classes)])
    for folder, split in classes:
        _add_class(listing, folder, split, places)
    for parent in [path, *splits]:
        listing.set_aside += _beside(parent, places)
    if not listing.entries:
        raise DataError(_nothing_found(path, listing))
    listing.empty = sorted(set(listing.empty) - {entry.label for entry in listing.entries})
    return listing


def _split_of(folder: Path) -> str | None:
    return SPLIT_NAMES.get(folder.name.lower())


def _split_folders(folders: list[Path]) -> list[Path]:
    """Return the folders that are named after splits, if one of them holds class folders; else they are classes."""
    named = [folder for folder in folders if _split_of(folder)]
    return named if any(_folders(folder) for folder in named) else []


def _check_split_folders(path: Path, below: list[Path], splits: list[Path]) -> None:
    names = [folder.name for folder in splits]
    others = [folder.name for folder in below if folder not in splits]
    if others:
        raise DataError(
            f"{path} holds folders named after splits ({', '.join(names)}) beside others "
            f"({', '.join(others[:5])}). Move the others under a split, or give each class its folder and no splits."
        )
    for split in SPLITS:
        twins = [folder.name for folder in splits if _split_of(folder) == split]
        if len(twins) > 1:
            raise DataError(f"{path} holds {' and '.join(twins)}, which name the same split: keep one of them.")
    if "train" not in map(_split_of, splits):
        raise DataError(f"{path} holds {', '.join(names)} but no train folder: add one.")


def _places(path: Path, folders: list[Path]) -> dict[Place, Path]:
    """Return the places of the data's own folders and of all above it, so that links back to them lead nowhere.

    Real folders come before links to them.
    """
    places: dict[Place, Path] = {}
    links = [folder for folder in folders if folder.is_symlink() or folder.parent.is_symlink()]
    real = [folder for folder in folders if folder not in links]
    for folder in [path, *real, *path.resolve().parents, *links]:
        status = _status(folder)
        if status:
            places.setdefault((status.st_dev, status.st_ino), folder)
    return places


def _add_class(listing: Listing, folder: Path, split: str | None, places: dict[Place, Path]) -> None:
    """Add the pictures of a class folder; the class is the folder's name, however deep they lie."""
    label = readable(folder.name)
    files, aside = walk(folder, places=places)
    listing.set_aside += aside
    listing.entries += [Entry(readable(file), file, label, split) for file in files]
    if not files:
        listing.empty.append(label)


def _beside(path: Path, places: dict[Place, Path]) -> list[SetAside]:
    """Return what lies beside the class folders and is no folder itself."""
    folders = set(_folders(path))
    aside = []
    for child in _children(path):
        if child.name != ABOUT and child not in folders:
            files, odd = walk(child, places=places)
            aside += odd
            aside += [SetAside(readable(file), "lies beside the class folders, so it has no class") for file in files]
    return aside


def _nothing_found(path: Path, listing: Listing) -> str:
    n = len(listing.empty)
    seen = f"Folders without pictures: {n}" if n else "It has no class folders"
    if listing.set_aside:
        first = listing.set_aside[0]
        seen += f"; paths that can't be used: {len(listing.set_aside)}, such as {first.path} ({first.reason})"
    return (
        f"{path} holds no pictures in class folders. {seen}. Make one folder for each class and put its pictures there."
    )


# --- manifests --------------------------------------------------------------------------------------------------------


def _from_manifest(path: Path, *, name: str, origin: str) -> Listing:
    """List the pictures of a CSV file; one that it names twice, under any spelling of its path, is used once.

    Blanks around labels, splits and groups are dropped; a path is taken as it is, from the manifest's own folder. A
    picture without a split takes that of its group, if the group has a single one.
    """
    problems: list[str] = []
    entries: dict[Place, Entry] = {}
    for line, row in _manifest_rows(path):
        file = path.parent / row["path"]
        status = _status(file)
        found = _row_problems(row, file, status)
        if status and not found:
            entry = Entry(
                readable(file), file, row["label"], SPLIT_NAMES.get(row["split"].lower()), row["group"] or None
            )
            first = entries.setdefault((status.st_dev, status.st_ino), entry)
            found = _contradictions(row["path"], first, entry)
        problems += [f"line {line}: {problem}" for problem in found]
    if problems:
        raise DataError(join_problems(f"{path} can't be used as it is:", problems))
    return Listing(name=name, origin=origin, layout="CSV manifest", entries=_split_by_group(list(entries.values())))


def _split_by_group(entries: list[Entry]) -> list[Entry]:
    """Return the entries, those without a split in that of their group where it has a single one."""
    splits = defaultdict(set)
    for entry in entries:
        if entry.group and entry.split:
            splits[entry.group].add(entry.split)
    single = {group: found.pop() for group, found in splits.items() if len(found) == 1}
    return [replace(entry, split=entry.split or single.get(entry.group or "")) for entry in entries]


def _manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file whose columns are known; every row has all of ``COLUMNS``.

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


# --- splits -----------------------------------------------------------------------------------------------------------


def split_pictures(
    labels: np.ndarray,
    groups: np.ndarray,
    hashes: Sequence[str],
    *,
    seed: int,
    given: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Return each picture's split, (n,) int8: 0 train, 1 val, 2 test.

    A fifth of every class goes to test, where it has five pictures or more, and a fifth of the rest, at least one of
    two, to val. Pictures of a group share a split, so the shares are approximate; every class keeps a training picture.
    A split that the user gave is kept: then val is carved from train where there is none, and test is left empty; a
    picture without a split counts as train.

    Args:
        labels: (n,) class names.
        groups: (n,) group numbers.
        hashes: n content hashes; the order of files and their names decide nothing.
        seed: of the draw.
        given: the user's split of each picture, or None where there is none.
    """
    codes = np.zeros(len(labels), dtype=np.int8)
    names = set() if given is None else {name or "train" for name in given}
    if given is not None and names != {"train"}:
        codes = np.array([SPLITS.index(name or "train") for name in given], dtype=np.int8)
        if "val" in names:
            return codes
        carve_test = False
    else:
        carve_test = True
    units = _shuffled_units(labels, groups, hashes, np.flatnonzero(codes == 0), seed)
    _carve(codes, labels, units, carve_test=carve_test)
    return codes


def _shuffled_units(
    labels: np.ndarray, groups: np.ndarray, hashes: Sequence[str], rows: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the rows of each group, groups in a random order that depends on content only."""
    members = defaultdict(list)
    for row in rows:
        members[int(groups[row])].append(int(row))
    units = sorted(members.values(), key=lambda unit: sorted((hashes[row], str(labels[row])) for row in unit))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(units))
    return [np.array(units[at]) for at in order]


def _carve(codes: np.ndarray, labels: np.ndarray, units: list[np.ndarray], *, carve_test: bool) -> None:
    """Move whole units from train to test and val until each class has its share there."""
    total = Counter(label for unit in units for label in labels[unit])
    test = {label: round(TEST_SHARE * n) if carve_test and n >= FEWEST["test"] else 0 for label, n in total.items()}
    val = {
        label: max(1, round(VAL_SHARE * (n - test[label]))) if n >= FEWEST["val"] else 0 for label, n in total.items()
    }
    left = Counter(total)
    for unit in units:
        counts = Counter(labels[unit])
        for code, wanted in ((2, test), (1, val)):
            fits = all(wanted[label] >= n and left[label] > n for label, n in counts.items())
            if fits:
                codes[unit] = code
                for label, n in counts.items():
                    wanted[label] -= n
                    left[label] -= n
                break
    _top_up(codes, labels, units, code=1, wanted=val, keep=0)
    _top_up(codes, labels, units, code=2, wanted=test, keep=0.5)


def _top_up(
    codes: np.ndarray,
    labels: np.ndarray,
    units: list[np.ndarray],
    *,
    code: int,
    wanted: Mapping[str, int],
    keep: float,
) -> None:
    """Give a class that got nothing, since its groups are all larger than its share, its smallest group.

    Every class of that group keeps a picture in train, and ``keep`` of what it had.
    """
    total = Counter(label for unit in units for label in labels[unit])
    lacking = {label for label, n in wanted.items() if n > 0} - set(labels[codes == code])
    for unit in sorted(units, key=len):  # stable, so that the random order decides between equals
        counts = Counter(labels[unit])
        if codes[unit[0]] or lacking.isdisjoint(counts):
            continue
        left = Counter(labels[codes == 0])
        if all(left[label] - n >= max(1, keep * total[label]) for label, n in counts.items()):
            codes[unit] = code
            lacking -= set(counts)


# --- words ------------------------------------------------------------------------------------------------------------


def _problem(found: _Understood) -> str | None:
    """Return why nothing can be learnt from these pictures, or None."""
    labels, codes = found.labels, found.codes
    classes = sorted(set(labels))
    if len(classes) < 2:
        seen = f"one class, {classes[0]!r}" if classes else "no usable picture"
        return f"found {seen}; at least two classes with pictures are needed."
    untrained = sorted(set(labels) - set(labels[codes == 0]))
    if untrained:
        return f"no training pictures of {_few(untrained)}; add some, or remove the class."
    if not (codes == 1).any():
        return f"{len(labels)} pictures leave none to validate on; {_why_none(found)}."
    return None


def _why_none(found: _Understood) -> str:
    """Return why no picture can be spared to validate on, by what joined most of them, and what to do."""
    n, n_same, n_groups = len(found.good), len(set(found.same)), len(set(found.groups))
    n_near = len(set(found.loaded.hashes)) - n_same
    if n_same - n_groups > n_near:
        lie = "lie in 1 group" if n_groups == 1 else f"lie in {n_groups} groups"
        return f"they {lie}, and pictures of a group share a split; make smaller groups, or {OWN_SPLITS}"
    if n_near:
        return f"{_repeats(n - n_same, n)}; if they are not, {OWN_SPLITS}"
    return "at least one class needs two different pictures, and every class should have five or more"


def _repeats(n: int, total: int) -> str:
    does = "counts as a near duplicate" if n == 1 else "count as near duplicates"
    return f"{n} of {total} pictures {does} of another and so {'shares' if n == 1 else 'share'} a split"


def _class_warnings(found: _Understood) -> list[str]:
    counts = Counter(found.labels)
    lost = sorted({entry.label for entry in found.listing.entries} - set(counts))
    single = sorted(name for name, n in counts.items() if n == 1)
    words = [f"the class {name!r} has no pictures and is left out" for name in found.listing.empty]
    words += [f"the class {name!r} has no usable picture and is left out" for name in lost]
    if single:
        have, them = _classes(len(single))
        words.append(
            f"{have} one picture, which is kept for training, so no accuracy says anything of {them}: {_few(single)}"
        )
    if counts and set(map(str.lower, counts)) <= set(SPLIT_NAMES):
        words.append(
            f"the classes are called {_few(sorted(counts))}; if these are splits, each needs a folder for each class"
        )
    return words + _twins(sorted(counts))


def _notes(found: _Understood) -> list[str]:
    """Return one line for each kind of note, with the first picture that has it; numbers make no other kind."""
    kinds = defaultdict(list)
    for position, note in found.loaded.notes:
        kinds[re.sub(r"\d+", "", note)].append(f"{found.listing.entries[position].path}: {note}")
    return [some[0] + (f" ({len(some)} pictures like it)" if len(some) > 1 else "") for some in kinds.values()]


def _duplicate_warnings(found: _Understood) -> list[str]:
    """Return what to know of near duplicates: how many, under several classes, in several splits of the user's own."""
    words = []
    groups = _shared(found.same)
    if groups:
        is_ours = not set(found.given or ()) - {None, "train"}
        kept = "; duplicates share a split" if is_ours else ""
        if is_ours and 2 * max(map(len, groups)) > len(found.good):
            kept += f"; if they are not duplicates, {OWN_SPLITS}"
        n = sum(len(rows) - 1 for rows in groups)
        words.append(f"{_pictures(n, 'repeats', 'repeat')} another one exactly or nearly{kept}")
    mixed = [rows for rows in groups if len(set(found.labels[rows])) > 1]
    if mixed:
        rows = sorted(mixed[0], key=lambda row: str(found.labels[row]))
        examples = [f"{found.good[row].path} ({found.labels[row]})" for row in (rows[0], rows[-1])]
        n = sum(map(len, mixed))
        words.append(f"{n} pictures have duplicates under another class, such as {' and '.join(examples)}")
    n = sum(len(rows) for rows in groups if len(set(found.codes[rows])) > 1)
    if n:
        words.append(f"{n} pictures have duplicates in another split of your own; {KEPT}")
    return words


def _shared(groups: np.ndarray) -> list[list[int]]:
    """Return the rows of every group that has two or more."""
    members = defaultdict(list)
    for row, group in enumerate(groups):
        members[int(group)].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def _split_warnings(found: _Understood) -> list[str]:
    if found.given is None:
        return []
    words = []
    torn = _torn_groups(found)
    if torn:
        lie = "1 group lies" if len(torn) == 1 else f"{len(torn)} groups lie"
        words.append(f"{lie} in several of your splits; {KEPT}: {_few(torn)}")
    unnamed = found.given.count(None)
    if unnamed:
        words.append(f"{_pictures(unnamed, 'is', 'are')} without a split and taken for training")
    if not (found.codes == 2).any() and set(found.given) - {None, "train"}:
        words.append("your splits have no test pictures, so there is no test accuracy")
    return words


def _torn_groups(found: _Understood) -> list[str]:
    """Return the user's groups that lie in several splits."""
    splits = defaultdict(set)
    for entry, code in zip(found.good, found.codes, strict=True):
        if entry.group:
            splits[entry.group].add(int(code))
    return sorted(group for group, codes in splits.items() if len(codes) > 1)


def _absence_warnings(found: _Understood) -> list[str]:
    """Return the classes that are trained on and left out of an accuracy: a line for each reason, none for each class.

    Those of a single picture are not among them.
    """
    absences = defaultdict(list)
    for name, word in (("val", "validation"), ("test", "test")):
        for label, reason in _absent(found, name).items():
            absences[label, reason].append(word)
    alike = defaultdict(list)
    for (label, reason), words in sorted(absences.items()):
        alike[tuple(words), reason].append(label)
    return [_absence(words, reason, labels) for (words, reason), labels in alike.items()]


def _absence(words: tuple[str, ...], reason: str, labels: list[str]) -> str:
    have, them = _classes(len(labels))
    says = "accuracy says" if len(words) == 1 else "accuracies say"
    return (
        f"{have} no {' or '.join(words)} pictures, so the {' and '.join(words)} {says} nothing of {them} "
        f"({reason}): {_few(labels)}"
    )


def _absent(found: _Understood, name: str) -> dict[str, str]:
    """Return the classes of two pictures or more that a split lacks, though it and train have some, with the reason."""
    given = found.given or []
    there = set(found.labels[found.codes == SPLITS.index(name)])
    if not there:
        return {}
    drawn_from = found.codes < 2 if "test" in given else np.ones(len(found.codes), bool)
    labels, groups = found.labels[drawn_from], found.groups[drawn_from]
    n_pictures, n_groups = Counter(labels), Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    several = {label for label, n in Counter(found.labels).items() if n > 1}
    reasons = {}
    for label in set(found.labels[found.codes == 0]) & several - there:
        if name in given:
            reasons[label] = "your splits give none"
        elif 1 == n_groups[label] < n_pictures[label]:
            reasons[label] = "all pictures are one group or near duplicates, which share a split"
        elif n_pictures[label] < FEWEST[name]:
            reasons[label] = f"fewer than {FEWEST[name]} pictures to draw from"
        else:
            reasons[label] = "too few groups, with near duplicates counted as one"
    return reasons


def _twins(classes: list[str]) -> list[str]:
    """Return a warning for class names that look the same: other Unicode forms, capitals, or blanks around them."""
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFKC", name).casefold().strip()].append(name)
    return [
        f"the classes {' and '.join(map(repr, names))} look the same and are kept apart"
        for names in alike.values()
        if len(names) > 1
    ]


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" … ({len(names)} in all)" if len(names) > 5 else "")


def _pictures(n: int, does: str, do: str) -> str:
    return f"1 picture {does}" if n == 1 else f"{n} pictures {do}"


def _classes(n: int) -> tuple[str, str]:
    return ("1 class has", "it") if n == 1 else (f"{n} classes have", "them")
