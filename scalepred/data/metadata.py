"""Reads folders whose images are labelled by a file beside them: Hugging Face's metadata, Roboflow's classes."""

import shlex
from dataclasses import replace
from pathlib import Path

from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.listing import Listing
from scalepred.data.manifests import from_manifests, read_manifest
from scalepred.data.parts import split_of
from scalepred.data.scan import children_or_error, folders_in, is_file, readable, walk
from scalepred.data.splits import split_of_name
from scalepred.errors import DataError

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "_classes.csv")

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")

MOST_TABLES = 10
"""Of a folder, that are looked at."""


def from_metadata(path: Path, *, layout: Layout, inside: Path | None = None) -> Listing | None:
    """List the images of a folder by its files of metadata; None if it has none that names files and their labels.

    Each folder of a split may have its own; else an image has the split whose folder it lies in.

    Raises:
        DataError: as ``from_manifest``; or if there are several files of metadata for the same images.
    """
    files = _files(path)
    if not has_metadata(path, layout=layout):
        return None
    folders = [file.parent for file, _ in files]
    if len(set(folders)) < len(folders):
        names = " and ".join(file.name for file, _ in files if folders.count(file.parent) > 1)
        raise DataError(f"{path} holds {names} for the same images: keep one of them.")
    listing = from_manifests(files, layout=layout, inside=inside)
    if not any(entry.split for entry in listing.entries):
        listing.entries = [replace(entry, split=_split_of(entry.item, path)) for entry in listing.entries]
    listing.notes += _left_over(path, listing, [file for file, _ in files])
    where = f" of {len(files)} splits" if len(files) > 1 else ""
    listing.layout = f"labels from {files[0][0].name}{where}"
    return listing


def has_metadata(path: Path, *, layout: Layout = FOUND_OUT) -> bool:
    """Say whether a folder has files of metadata that name files and their labels."""
    return any(_has_labels(file, layout) for file, _ in _files(path))


def _files(path: Path) -> list[tuple[Path, str | None]]:
    """Return the folder's own files of metadata; else those of its folders of splits, each with the split."""
    places = [(path, None), *((folder, split_of(folder)) for folder in folders_in(path) if split_of(folder))]
    files = [(folder / name, split) for folder, split in places for name in NAMES if is_file(folder / name)]
    return [each for each in files if each[0].parent == path] or files


def _has_labels(file: Path, layout: Layout) -> bool:
    """Say whether a file has columns of images and labels, which other metadata, such as captions, lacks."""
    try:
        read_manifest(file, layout=layout)
    except DataError:
        return False
    return True


def _split_of(item: object, folder: Path) -> str | None:
    """Return the split of an image that lies in a folder named after it."""
    parts = item.relative_to(folder).parts if isinstance(item, Path) and item.is_relative_to(folder) else ()
    return split_of_name(parts[0]) if len(parts) > 1 else None


def _left_over(path: Path, listing: Listing, files: list[Path]) -> list[str]:
    """Return what to say of files that no metadata names."""
    named = {entry.path for entry in listing.entries}
    rest = [str(file) for file in walk(path)[0] if readable(file) not in named and file not in files]
    some = f"1 file is not named in {files[0].name} and not used: {rest[0]}" if len(rest) == 1 else ""
    many = f"{len(rest)} files are not named in {files[0].name} and not used, such as {rest[0]}" if rest[1:] else ""
    return [words for words in (some, many) if words]


def tables_beside(path: Path) -> list[str]:
    """Return what to say of tables at the top of a folder that name images and labels, and how to have them read."""
    files = [file for file in children_or_error(path) if file.suffix.lower() in TABLES and is_file(file)]
    tables = [file for file in files[:MOST_TABLES] if _has_labels(file, FOUND_OUT)]
    return [
        f"{file.name} names images and their labels; it is read by: {shlex.join(['scalepred', 'inspect', str(file)])}"
        for file in tables
    ]


def folders_say_the_same(listing: Listing, path: Path) -> bool:
    """Say whether every image lies in a folder that is called like its label, so that the folders tell as much."""
    items = [(entry.label, entry.item) for entry in listing.entries]
    return all(
        isinstance(item, Path) and item.is_relative_to(path) and label in item.relative_to(path).parts[:-1]
        for label, item in items
    )
