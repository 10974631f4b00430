"""Reads folders whose images have their labels in their names, and proposes it where nothing else tells them."""

import unicodedata
from pathlib import Path

from scalepred.data.glance import full_folders, loose_images, may_be_image
from scalepred.data.listing import TASK_FILE, Entry, Listing
from scalepred.data.parts import Part, flat_parts, is_flat, split_of
from scalepred.data.patterns import label_reader
from scalepred.data.proposals import proposal
from scalepred.data.scan import Skipped, folders_in, places_of, readable, walk
from scalepred.errors import DataError


def from_names(steps: list[Path], name: str, origin: str, *, pattern: str) -> Listing:
    """List the images whose labels a pattern reads from their names, in the splits whose folders they lie in.

    Names in one Unicode form and another are one label. A pattern of folders fits from the split's folder on, or from
    the data's.

    Args:
        steps: the data's folder, and those that it wraps.
        name: of the task.
        origin: of the task.
        pattern: as ``label_reader`` takes it.

    Raises:
        DataError: if the pattern reads no label from any name.
    """
    root, path = steps[0], steps[-1]
    parts = flat_parts(path)
    splits = [part.folder.name for part in parts if part.split]
    layout = f"labels from names of files under {', '.join(splits)}" if splits else "labels from names of files"
    listing = Listing(name=name, origin=origin, layout=layout, root=readable(root))
    places = places_of(path, [part.folder for part in parts])
    for part in parts:
        files, skipped = walk(part.folder, places=places)
        listing.skipped += skipped
        _add_images(listing, files, part, pattern=pattern, root=root)
    _add_beside(listing, steps, has_splits=bool(splits), pattern=pattern)
    if not listing.entries:
        raise DataError(_nothing_read(path, parts, pattern))
    return listing


def _add_beside(listing: Listing, steps: list[Path], *, has_splits: bool, pattern: str) -> None:
    """Add the few images that lie beside what was stepped into; those beside folders of splits are skipped."""
    if has_splits:
        beside = [file for folder in steps for file in loose_images(folder)]
        listing.skipped += [Skipped(readable(file), "lies beside the folders of splits") for file in beside]
        return
    for folder in steps[:-1]:
        _add_images(listing, [*loose_images(folder)], Part(folder, None, folder), pattern=pattern, root=steps[0])


def _add_images(listing: Listing, files: list[Path], part: Part, *, pattern: str, root: Path) -> None:
    """Add the images of a split whose names the pattern fits, and skip the others."""
    read = label_reader(pattern)
    for file in files:
        label = read(_below(part.folder, file)) or read(_below(root, file))
        reason = _reason(file, label, pattern)
        if label and not reason:
            listing.entries.append(Entry(readable(file), file, unicodedata.normalize("NFC", label), part.split))
        elif file.name != TASK_FILE:
            listing.skipped.append(Skipped(readable(file), reason))


def _below(folder: Path, file: Path) -> str:
    return readable("/".join(file.parts[len(folder.parts) :]))


def _reason(file: Path, label: str | None, pattern: str) -> str:
    """Return why a file is skipped, or nothing."""
    if not may_be_image(file):
        return "no image"
    return "" if label else f"--label-pattern {pattern!r} doesn't fit its name"


def _nothing_read(path: Path, parts: list[Part], pattern: str) -> str:
    names = [name for part in parts for name in _image_names(part.folder)]
    if not names:
        return f"{path} holds no images."
    examples = ", ".join(map(repr, names[:3]))
    advice = f" {proposal(readable(path), names)}".rstrip()
    return f"--label-pattern {pattern!r} fits none of {len(names)} names in {path}, such as {examples}.{advice}"


def refuse_flat_splits(path: Path) -> None:
    """Refuse folders that are named after splits and hold images without class folders: a split is no class.

    Raises:
        DataError: with the command to try where names of files look like labels.
    """
    if not any(map(split_of, folders_in(path))):
        return
    full = list(full_folders(path))
    if not full or not all(map(split_of, full)) or not all(map(is_flat, full)):
        return
    names = [name for folder in full if split_of(folder) == "train" for name in _image_names(folder)]
    folders = ", ".join(folder.name for folder in full)
    advice = proposal(readable(path), names) or "Make one folder for each class in each of them."
    instead = " If they are classes, add --class-depth 1." if len(full) > 1 else ""
    raise DataError(
        f"{path} holds folders named after splits ({folders}) without class folders, so nothing tells labels. "
        f"{advice}{instead}"
    )


def hint_of(path: Path, listing: Listing) -> str:
    """Return the command to try where there are less than two classes, and names of files look like labels."""
    labels = {entry.label for entry in listing.entries}
    if len(labels) > 1:
        return ""
    names = [Path(entry.path).name for entry in listing.entries] or _image_names(path)
    return proposal(readable(path), names)


def _image_names(folder: Path) -> list[str]:
    return [readable(file.name) for file in walk(folder, places=places_of(folder))[0] if may_be_image(file)]
