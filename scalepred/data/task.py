"""The task: images with their labels and fixed splits, and the inspection of the data that it is read from."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scalepred import __version__
from scalepred.data.aside import SetAside
from scalepred.data.checks import (
    absence_warnings,
    class_warnings,
    duplicate_warnings,
    image_warnings,
    listing_warnings,
    problem_of,
    split_warnings,
)
from scalepred.data.decode import MAX_MEGAPIXELS
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry
from scalepred.data.load import IN_MEMORY_BYTES, room_for
from scalepred.data.reading import Reading, bad_images, read_data
from scalepred.data.scan import Skipped, status_of
from scalepred.data.splits import SPLITS
from scalepred.data.square import check_resize
from scalepred.errors import DataError, UsageError, join_problems
from scalepred.recipe import content_id
from scalepred.records import TaskRecord


@dataclass(frozen=True)
class Split:
    """Images of one split of a task.

    Attributes:
        images: (n, 3, px, px) uint8.
        labels: (n,) int64.
        paths: where each came from.
        hashes: of each image in its full size.
        groups: a number of each, the same for near duplicates and for images of one of the user's groups; () where
            each is one by itself.
    """

    images: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    hashes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the data holds and what is wrong with it, without any training.

    Attributes:
        layout: how the data is laid out, in words.
        classes: class -> usable images.
        splits: "train", "val", "test" -> images.
        skipped: paths that are not used, each with its reason.
        warnings: what a user should know, in words.
        n_exact_duplicates, n_near_duplicates: images beyond the first of their kind.
        problem: why the data can't be used, or None.
        set_aside: classes that are not used, with their images and the reason; ``classes`` has none of them.
        entries: the usable images, with the splits and groups that the user made.
    """

    layout: str
    classes: dict[str, int]
    splits: dict[str, int]
    skipped: list[Skipped]
    warnings: list[str]
    n_exact_duplicates: int = 0
    n_near_duplicates: int = 0
    problem: str | None = None
    set_aside: list[SetAside] = field(default_factory=list)
    entries: tuple[Entry, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred inspect --json``."""
        return {
            "layout": self.layout,
            "classes": self.classes,
            "splits": self.splits,
            "skipped": [{"path": each.path, "reason": each.reason} for each in self.skipped],
            "warnings": self.warnings,
            "exact_duplicates": self.n_exact_duplicates,
            "near_duplicates": self.n_near_duplicates,
            "problem": self.problem,
            "set_aside": [
                {"class": each.label, "images": each.n_images, "reason": each.reason} for each in self.set_aside
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Task:
    """One labelled image set with its fixed splits, decoded to squares of ``image_px``, made as ``resize`` says.

    Its id is that of the images in their full size, the same at every ``image_px`` and ``resize``: these belong to the
    recipe. ``own_splits`` names the splits that the user made; scalepred made the others.
    """

    record: TaskRecord
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    image_px: int
    inspection: Inspection
    resize: str = "squash"
    own_splits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A task's origin and fingerprint, taken before its images are read.

    Attributes:
        origin: the collection that it was drawn from.
        fingerprint: changes whenever its files may have, for one machine and one version of what decodes, and so saves
            reading them only to learn the task's id again; None for images that a library holds.
    """

    origin: str
    fingerprint: str | None


def read_task(
    data: str | Path,
    *,
    image_px: int = 64,
    resize: str = "squash",
    split_seed: int = 0,
    on_bad_image: str = "skip",
    max_megapixels: float = MAX_MEGAPIXELS,
    max_bytes: int = IN_MEMORY_BYTES,
    layout: Layout = FOUND_OUT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Task:
    """Read a task: find its images, decode each once, keep duplicates together, and split.

    Args:
        data: a folder of class folders, perhaps under train, val and test; a CSV manifest, or a folder that holds
            ``manifest.csv``; or ``torchvision:<Dataset>``.
        image_px: side of the squares that images become.
        resize: how they become squares: "squash", "crop" or "pad", as a recipe's.
        split_seed: of the splits that the user has not made.
        on_bad_image: "skip" leaves bad images out, "fail" refuses the data.
        max_megapixels: what is larger is a bad image.
        max_bytes: decoded images that take more lie in a file that is mapped into memory.
        layout: what the user says of how the data is laid out.
        on_progress: called with images decoded and images in all.

    Raises:
        DataError: if nothing can be learnt from it, with what is needed.
        UsageError: if an argument can't be used, or what the layout says is not of such data.
    """
    check_resize(resize)
    if on_bad_image not in ("skip", "fail"):
        raise UsageError(f"on_bad_image is 'skip' or 'fail', not {on_bad_image!r}.")
    reading = read_data(
        data,
        image_px=image_px,
        resize=resize,
        split_seed=split_seed,
        max_megapixels=max_megapixels,
        max_bytes=max_bytes,
        layout=layout,
        on_progress=on_progress,
    )
    bad = bad_images(reading)
    if on_bad_image == "fail" and bad:
        raise DataError(
            join_problems(
                f"{data} holds bad images; remove them, or go on without them by --on-bad-image skip:",
                [f"{each.path}: {each.reason}" for each in bad],
            )
        )
    inspection = _inspection(reading)
    if inspection.problem:
        raise DataError(f"{data}: {inspection.problem}")
    return _as_task(reading, inspection, image_px=image_px, resize=resize, max_bytes=max_bytes)


def survey(data: str | Path, *, split_seed: int = 0) -> Survey:
    """Look at the files of a task without reading them.

    Raises:
        DataError: as ``list_images``.
    """
    listing = list_images(data)
    files: list[list[object]] = []
    for entry in listing.entries:
        status = status_of(entry.item) if isinstance(entry.item, Path) else None
        if status is None:
            return Survey(origin=listing.origin, fingerprint=None)
        size = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        files.append([entry.path, entry.label, entry.split, entry.group, *size])
    versions = [__version__, version("pillow")]
    facts = [versions, str(Path(data).resolve()), listing.name, listing.origin, split_seed, files]
    return Survey(origin=listing.origin, fingerprint=content_id("scan", facts))


def inspect(
    data: str | Path,
    *,
    split_seed: int = 0,
    max_megapixels: float = MAX_MEGAPIXELS,
    layout: Layout = FOUND_OUT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read the data and say what it holds; ``problem`` says why it can't be used.

    Args:
        data: as ``finetune`` takes it.
        split_seed: of the split into train, val and test, where the data has none.
        max_megapixels: an image above this is a bad one.
        layout: what you say of how the data is laid out.
        on_progress: called with images read and images in all.

    Raises:
        DataError: if there is no such data, or its layout or manifest can't be read.
        UsageError: if an argument can't be used, or what the layout says is not of such data.
    """
    return _inspection(
        read_data(
            data,
            image_px=16,
            split_seed=split_seed,
            max_megapixels=max_megapixels,
            layout=layout,
            on_progress=on_progress,
        )
    )


def _inspection(reading: Reading) -> Inspection:
    n_different = len(set(reading.loaded.hashes))
    kinds = [listing_warnings, class_warnings, image_warnings, duplicate_warnings, split_warnings, absence_warnings]
    return Inspection(
        layout=reading.listing.layout,
        classes={str(name): int(n) for name, n in sorted(Counter(reading.labels).items())},
        splits={name: int((reading.codes == code).sum()) for code, name in enumerate(SPLITS)},
        skipped=[*reading.listing.skipped, *bad_images(reading)],
        warnings=[words for warn in kinds for words in warn(reading)],
        n_exact_duplicates=len(reading.loaded.hashes) - n_different,
        n_near_duplicates=n_different - len(set(reading.near_groups)),
        problem=problem_of(reading),
        set_aside=reading.set_aside,
        entries=tuple(reading.entries),
    )


def _as_task(reading: Reading, inspection: Inspection, *, image_px: int, resize: str, max_bytes: int) -> Task:
    entries, loaded, codes = reading.entries, reading.loaded, reading.codes
    classes = tuple(inspection.classes)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[entry.label] for entry in entries], dtype=np.int64)
    order = sorted(range(len(entries)), key=lambda i: (loaded.hashes[i], entries[i].label, codes[i], entries[i].path))
    splits = {}
    for code, name in enumerate(SPLITS):
        rows = np.array([i for i in order if codes[i] == code], dtype=np.int64)
        images = room_for((len(rows), *loaded.images.shape[1:]), max_bytes=max_bytes * len(rows) // len(entries))
        for position, row in enumerate(rows):  # one by one, for they may lie in a file
            images[position] = loaded.images[row]
        paths, hashes = tuple(entries[i].path for i in rows), tuple(loaded.hashes[i] for i in rows)
        splits[name] = Split(images, labels[rows], paths, hashes, tuple(map(int, reading.groups[rows])))
    contents = sorted([loaded.hashes[i], entries[i].label] for i in order)
    record = TaskRecord(
        task_id=task_id_of(splits, classes),
        name=reading.listing.name,
        origin=reading.listing.origin,
        n_classes=len(classes),
        n_train=len(splits["train"].labels),
        n_val=len(splits["val"].labels),
        n_test=len(splits["test"].labels),
        label_counts=inspection.classes,
        median_width_px=int(np.median(loaded.sizes_px[:, 0])),
        median_height_px=int(np.median(loaded.sizes_px[:, 1])),
        data_hash=content_id("data", contents),
    )
    own = tuple(name for name in SPLITS if name in (reading.given or ()))
    return Task(
        record=record,
        classes=classes,
        image_px=image_px,
        resize=resize,
        inspection=inspection,
        own_splits=own,
        **splits,
    )


def task_id_of(splits: Mapping[str, Split], classes: Sequence[str]) -> str:
    """Return the identity of a task: of each image its content, its class and its split, in no order."""
    contents = [
        [image, classes[label], name]
        for name, split in splits.items()
        for image, label in zip(split.hashes, split.labels, strict=True)
    ]
    return content_id("task", sorted(contents))
