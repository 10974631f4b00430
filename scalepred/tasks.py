"""Turns a folder, a CSV manifest or a torchvision data set into a task: pictures, labels and fixed splits."""

import csv
import io
import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scalepred.config import content_id
from scalepred.errors import DataError, join_problems
from scalepred.images import (
    MAX_MEGAPIXELS,
    Loaded,
    SetAside,
    is_hidden,
    load_pictures,
    near_duplicate_groups,
    walk,
)
from scalepred.records import TaskRecord
from scalepred.torchvision_sets import PREFIX, read_torchvision

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MANIFEST = "manifest.csv"
ABOUT = "task.json"
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
"""Only a hint of where pictures are; what a file is, its content decides."""

TEST_SHARE = 0.2
VAL_SHARE = 0.2
"""Of what is not test."""


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


@dataclass(frozen=True)
class Entry:
    """A picture that the data names: its file (or decoded image), label, and the user's split and group, if given."""

    path: str
    item: Path | Image.Image
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


# --- the whole way ----------------------------------------------------------------------------------------------------


def read_task(
    data: str | Path,
    *,
    image_px: int = 64,
    split_seed: int = 0,
    on_bad_image: str = "skip",
    max_megapixels: float = MAX_MEGAPIXELS,
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
        on_progress: called with pictures decoded and pictures in all.

    Raises:
        DataError: if nothing can be learnt from it, with what is needed.
    """
    listing, loaded, codes, inspection = _understand(data, image_px, split_seed, max_megapixels, on_progress)
    bad = [each for each in inspection.set_aside if each.path in {listing.entries[i].path for i, _ in loaded.bad}]
    if on_bad_image == "fail" and bad:
        raise DataError(
            join_problems(
                f"{data} holds bad pictures; remove them, or go on without them by --on-bad-image skip:",
                [f"{each.path}: {each.reason}" for each in bad],
            )
        )
    if inspection.problem:
        raise DataError(f"{data}: {inspection.problem}")
    return _as_task(listing, loaded, codes, inspection, image_px)


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
    return _understand(data, 16, split_seed, max_megapixels, on_progress)[3]


def _understand(
    data: str | Path,
    image_px: int,
    split_seed: int,
    max_megapixels: float,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Listing, Loaded, np.ndarray, Inspection]:
    listing = list_pictures(data)
    items: Any = [entry.item for entry in listing.entries]
    loaded = load_pictures(items, image_px=image_px, max_megapixels=max_megapixels, on_progress=on_progress)
    good = [listing.entries[i] for i in loaded.kept]
    same = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    groups = _joined(same, [entry.group for entry in good])
    labels = np.array([entry.label for entry in good], dtype=object)
    given = [entry.split for entry in good] if any(entry.split for entry in good) else None
    codes = split_pictures(labels, groups, loaded.hashes, seed=split_seed, given=given)
    set_aside = [*listing.set_aside, *(SetAside(listing.entries[i].path, reason) for i, reason in loaded.bad)]
    inspection = Inspection(
        layout=listing.layout,
        classes={str(name): int(n) for name, n in sorted(Counter(labels).items())},
        splits={name: int((codes == code).sum()) for code, name in enumerate(SPLITS)},
        set_aside=set_aside,
        warnings=_warnings(listing, loaded, labels, codes, same),
        n_exact_duplicates=len(loaded.hashes) - len(set(loaded.hashes)),
        n_near_duplicates=len(set(loaded.hashes)) - len(set(same)),
        problem=_problem(labels, codes),
    )
    return listing, loaded, codes, inspection


def _as_task(listing: Listing, loaded: Loaded, codes: np.ndarray, inspection: Inspection, image_px: int) -> Task:
    good = [listing.entries[i] for i in loaded.kept]
    classes = tuple(inspection.classes)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[entry.label] for entry in good], dtype=np.int64)
    order = sorted(range(len(good)), key=lambda i: (loaded.hashes[i], good[i].label, codes[i], good[i].path))
    splits = {}
    for code, name in enumerate(SPLITS):
        rows = np.array([i for i in order if codes[i] == code], dtype=np.int64)
        splits[name] = Split(loaded.images[rows], labels[rows], tuple(good[i].path for i in rows))
    contents = sorted([loaded.hashes[i], good[i].label, SPLITS[codes[i]]] for i in order)
    record = TaskRecord(
        task_id=content_id("task", contents),
        name=listing.name,
        origin=listing.origin,
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
        name, entries = read_torchvision(str(data))
        listed = [Entry(path, item, label, split) for path, item, label, split in entries]
        return Listing(name=name, origin=name, layout=f"torchvision data set {name}", entries=listed)
    path = Path(data)
    if not path.exists():
        raise DataError(f"There is nothing at {path}: give a folder of class folders or a CSV manifest.")
    if path.is_file():
        stem = os.fsencode(path.stem).decode("utf-8", "backslashreplace")
        return _from_manifest(path, name=stem, origin=stem)
    name, origin = _about(path)
    if (path / MANIFEST).is_file():
        return _from_manifest(path / MANIFEST, name=name, origin=origin)
    return _from_folders(path, name, origin)


def find_tasks(data: str | Path) -> list[str]:
    """Return the tasks that a path stands for, without decoding: itself, or the sub-folders that are tasks.

    A folder is a task if it holds ``manifest.csv``, folders named after splits, or class folders that directly hold
    files with a picture's extension. Otherwise its sub-folders that are tasks count; and if there are none, it is a
    task itself where a sub-folder holds any file. So classes whose pictures all lie deeper need a manifest, or splits.

    Raises:
        DataError: if neither it nor a sub-folder is a task.
    """
    path = Path(data)
    if str(data).startswith(PREFIX) or path.is_file() or _is_task(path):
        return [str(data)]
    subfolders = _subfolders(path) if path.is_dir() else []
    below = [folder for folder in subfolders if _is_task(folder)]
    if below:
        return [str(folder) for folder in below]
    if any(_files_in(folder) for folder in subfolders):
        return [str(data)]
    raise DataError(
        f"{path} is neither a task nor a folder of tasks. A task is a folder of class folders with pictures in "
        f"them, perhaps under train, val and test, or a folder that holds {MANIFEST}."
    )


def _is_task(path: Path) -> bool:
    below = _subfolders(path) if path.is_dir() else []
    return (
        (path / MANIFEST).is_file()
        or any(folder.name.lower() in SPLIT_NAMES and _subfolders(folder) for folder in below)
        or any(file.suffix.lower() in EXTENSIONS for folder in below for file in _files_in(folder))
    )


def _files_in(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_file() and not is_hidden(child.name)]
    except OSError:
        return []


def _subfolders(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir() and not is_hidden(child.name))
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _about(path: Path) -> tuple[str, str]:
    """Return a task folder's name and origin: its own name, or what its ``task.json`` says."""
    own = os.fsencode(path.resolve().name).decode("utf-8", "backslashreplace")
    if not (path / ABOUT).is_file():
        return own, own
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        name = about.get("name", own)
        origin = about.get("origin", name)
    except (ValueError, AttributeError, OSError) as error:
        raise DataError(f'{path / ABOUT} is not of the form {{"name": …, "origin": …}}: {error}.') from error
    if not (isinstance(name, str) and isinstance(origin, str) and name and origin):
        raise DataError(f"{path / ABOUT}: name and origin must be text.")
    return name, origin


def _from_folders(path: Path, name: str, origin: str) -> Listing:
    below = _subfolders(path)
    split_folders = [folder for folder in below if folder.name.lower() in SPLIT_NAMES and _subfolders(folder)]
    if not split_folders:
        listing = Listing(name=name, origin=origin, layout="class folders")
        _add_classes(listing, path, None, {})
    else:
        _check_split_folders(path, below, split_folders)
        names = ", ".join(folder.name for folder in split_folders)
        listing = Listing(name=name, origin=origin, layout=f"class folders under {names}")
        places: dict[tuple[int, int], str] = {}
        for folder in split_folders:
            _add_classes(listing, folder, SPLIT_NAMES[folder.name.lower()], places)
    if not listing.entries:
        raise DataError(_nothing_found(path, listing))
    used = {entry.label for entry in listing.entries}
    listing.empty = sorted(set(listing.empty) - used)
    return listing


def _check_split_folders(path: Path, below: list[Path], split_folders: list[Path]) -> None:
    others = [folder.name for folder in below if folder not in split_folders]
    if others:
        raise DataError(
            f"{path} holds folders named after splits ({', '.join(f.name for f in split_folders)}) beside others "
            f"({', '.join(others[:5])}). Move the others under a split, or give each class its folder and no splits."
        )
    twins = Counter(SPLIT_NAMES[folder.name.lower()] for folder in split_folders)
    for split, n in twins.items():
        if n > 1:
            names = [f.name for f in split_folders if SPLIT_NAMES[f.name.lower()] == split]
            raise DataError(f"{path} holds {' and '.join(names)}, which name the same split: keep one of them.")
    if "train" not in twins:
        raise DataError(f"{path} holds {', '.join(f.name for f in split_folders)} but no train folder: add one.")


def _add_classes(listing: Listing, path: Path, split: str | None, places: dict[tuple[int, int], str]) -> None:
    """Add the pictures of every class folder below ``path``; the class is the folder's name, however deep they lie."""
    for folder in _subfolders(path):
        files, aside = walk(folder, places=places)
        listing.set_aside += aside
        listing.entries += [Entry(str(file), file, folder.name, split) for file in files]
        if not files:
            listing.empty.append(folder.name)
    loose = [child for child in sorted(path.iterdir()) if child.is_file() and not is_hidden(child.name)]
    listing.set_aside += [
        SetAside(str(child), "lies beside the class folders, so it has no class")
        for child in loose
        if child.name != ABOUT
    ]


def _nothing_found(path: Path, listing: Listing) -> str:
    seen = f"It has {len(listing.empty)} folders without pictures" if listing.empty else "It has no class folders"
    loose = len(listing.set_aside)
    return (
        f"{path} holds no pictures in class folders. {seen}"
        + (
            f" and {loose} paths that can't be used, such as {listing.set_aside[0].path} "
            f"({listing.set_aside[0].reason})."
            if loose
            else "."
        )
        + " Make one folder for each class and put its pictures there."
    )


# --- manifests --------------------------------------------------------------------------------------------------------


def _from_manifest(path: Path, *, name: str, origin: str) -> Listing:
    """List a manifest's pictures; a file that is listed twice with the same label and split counts once.

    Raises:
        DataError: with every problem of every line.
    """
    problems: list[str] = []
    entries: dict[tuple[int, int], Entry] = {}
    for line, row in _manifest_rows(path):
        entry = _manifest_entry(path, line, row, problems)
        if entry is None:
            continue
        status = Path(entry.path).stat()  # a link, or another spelling of the path, is the same file
        earlier = entries.setdefault((status.st_dev, status.st_ino), entry)
        if earlier.label != entry.label:
            problems.append(f"line {line}: {row['path']} has two labels, {earlier.label!r} and {entry.label!r}")
        elif earlier.split != entry.split:
            problems.append(f"line {line}: {row['path']} is in two splits, {earlier.split} and {entry.split}")
    if problems:
        raise DataError(join_problems(f"{path} can't be used as it is:", problems))
    return Listing(name=name, origin=origin, layout="CSV manifest", entries=list(entries.values()))


def _manifest_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) of a CSV file whose columns are known.

    Raises:
        DataError: if it is no CSV of UTF-8 text, or columns are missing or unknown.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [column or "" for column in reader.fieldnames or []]
        problems = [f"the column {need!r} is missing" for need in ("path", "label") if need not in columns]
        known = ("path", "label", "split", "group")
        problems += [
            f"the column {column!r} is unknown; known are {', '.join(known)}"
            for column in columns
            if column not in known
        ]
        problems += [f"the column {column!r} comes twice" for column, n in Counter(columns).items() if n > 1]
        if problems:
            raise DataError(join_problems(f"{path} can't be used as it is:", problems))
        rows = [(reader.line_num, dict(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as a CSV manifest of UTF-8 text: {error}.") from error
    long = [f"line {line}: it has more fields than there are columns" for line, row in rows if None in row]
    if long:
        raise DataError(join_problems(f"{path} can't be used as it is:", long))
    return [(line, {column: value or "" for column, value in row.items()}) for line, row in rows]


def _manifest_entry(path: Path, line: int, row: dict[str, str], problems: list[str]) -> Entry | None:
    split = row.get("split", "").strip().lower()
    file = path.parent / row["path"]
    found = [
        f"line {line}: the path is empty" if not row["path"] else "",
        f"line {line}: the label of {row['path']} is empty" if not row["label"].strip() else "",
        f"line {line}: no file {file}" if row["path"] and not _is_file(file) else "",
        f"line {line}: the split {split!r} is unknown; known are train, val and test"
        if split and split not in SPLIT_NAMES
        else "",
    ]
    problems += [problem for problem in found if problem]
    if any(found):
        return None
    return Entry(str(file), file, row["label"], SPLIT_NAMES.get(split), row.get("group", "").strip() or None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
    test = {label: round(TEST_SHARE * n) if carve_test and n >= 5 else 0 for label, n in total.items()}
    val = {label: max(1, round(VAL_SHARE * (n - test[label]))) if n >= 2 else 0 for label, n in total.items()}
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


def _joined(same: np.ndarray, groups: Sequence[str | None]) -> np.ndarray:
    """Return group numbers that join near duplicates and the user's own groups."""
    n = len(same)
    numbers: dict[str, int] = {}
    own = np.array([numbers.setdefault(g, len(numbers)) if g else -1 - i for i, g in enumerate(groups)], dtype=np.int64)
    left, right = [], []
    for keys in (same, own):
        first: dict[int, int] = {}
        for row, key in enumerate(keys):
            left.append(row)
            right.append(first.setdefault(int(key), row))
    graph = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


# --- words ------------------------------------------------------------------------------------------------------------


def _problem(labels: np.ndarray, codes: np.ndarray) -> str | None:
    """Return why nothing can be learnt from these pictures, or None."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        found = f"one class, {classes[0]!r}" if classes else "no usable picture"
        return f"found {found}; at least two classes with pictures are needed."
    untrained = sorted(set(labels) - set(labels[codes == 0]))
    if untrained:
        return f"no training pictures of {', '.join(map(repr, untrained[:5]))}; add some, or remove the class."
    if not (codes == 1).any():
        return (
            f"{len(labels)} pictures leave none to validate on; "
            "at least one class needs two different pictures, and every class should have five or more."
        )
    return None


def _warnings(listing: Listing, loaded: Loaded, labels: np.ndarray, codes: np.ndarray, same: np.ndarray) -> list[str]:
    good = [listing.entries[i] for i in loaded.kept]
    counts = Counter(labels)
    words = [f"the class {name!r} has no pictures and is left out" for name in listing.empty]
    lost = sorted({entry.label for entry in listing.entries} - set(counts))
    words += [f"the class {name!r} has no usable picture and is left out" for name in lost]
    single = sorted(name for name, n in counts.items() if n == 1)
    if single:
        words.append(f"{len(single)} classes have one picture, which is kept for training: {_few(single)}")
    words += _twins(sorted(counts))
    words += _noted(listing, loaded)
    words += _shared(good, labels, codes, same)
    if {entry.split for entry in good} - {None, "train"} and not (codes == 2).any():
        words.append("your splits have no test pictures, so there is no test accuracy")
    return words


def _noted(listing: Listing, loaded: Loaded) -> list[str]:
    """Return one warning for each kind of note, with an example."""
    kinds = defaultdict(list)
    for at, note in loaded.notes:
        kinds[note.partition(":")[0] if ":" in note else note].append((listing.entries[at].path, note))
    return [
        f"{found[0][0]}: {found[0][1]}" + (f" ({len(found)} pictures like it)" if len(found) > 1 else "")
        for found in kinds.values()
    ]


def _shared(good: list[Entry], labels: np.ndarray, codes: np.ndarray, same: np.ndarray) -> list[str]:
    """Return warnings about duplicates: how many, under two classes, and across the user's own splits."""
    members = defaultdict(list)
    for row, number in enumerate(same):
        members[int(number)].append(row)
    groups = [rows for rows in members.values() if len(rows) > 1]
    if not groups:
        return []
    words = [f"{len(same) - len(members)} pictures are exact or near duplicates of another; duplicates share a split"]
    conflicts = [rows for rows in groups if len({labels[row] for row in rows}) > 1]
    if conflicts:
        first, *_, last = sorted(conflicts[0], key=lambda row: str(labels[row]))
        words.append(
            f"{len(conflicts)} pictures come under more than one class, such as {good[first].path} "
            f"({labels[first]}) and {good[last].path} ({labels[last]})"
        )
    across = sum(len({int(codes[row]) for row in rows}) > 1 for rows in groups)
    if across:  # only where the user made the splits
        words[0] = words[0].partition(";")[0]
        words.append(
            f"{across} pictures have duplicates in another split of your own; the splits are kept, "
            "and accuracies will look better than they are"
        )
    return words


def _twins(classes: list[str]) -> list[str]:
    """Return a warning for class names that look the same: other Unicode forms, or other capitals."""
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return [
        f"the classes {' and '.join(map(repr, names))} look the same and are kept apart"
        for names in alike.values()
        if len(names) > 1
    ]


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (" …" if len(names) > 5 else "")
