"""Reads class folders, perhaps under folders named after splits."""

from pathlib import Path

from scalepred.data.annotated import annotated, has_labels_in_file, has_no_classes, label_file, listed_parts
from scalepred.data.depth import Depth, in_words, label_at, level_notes, splits_below_classes
from scalepred.data.flat import hint_of, refuse_flat_splits
from scalepred.data.glance import holds_images, may_be_image
from scalepred.data.listing import TASK_FILE, Entry, Listing
from scalepred.data.parts import FOR_IMAGES, Part, notes_of, parts_of
from scalepred.data.scan import Place, Skipped, children_or_error, folders_in, places_of, readable, walk
from scalepred.errors import DataError


def from_folders(path: Path, name: str, origin: str, *, depth: Depth = None) -> Listing:
    """List the images of class folders.

    Args:
        path: the data's folder.
        name: of the task.
        origin: of the task.
        depth: which level of folders is the class; None for the outermost, without what only wraps others.

    Raises:
        DataError: if no image lies in a class folder, or the folders of splits contradict each other.
    """
    parts = listed_parts(path) if depth is None else []
    if depth is None and not parts:
        refuse_flat_splits(path)
    parts = parts or parts_of(path, steps=depth is None)
    listing = Listing(name=name, origin=origin, layout=_layout(parts) + in_words(depth), root=readable(path))
    listing.notes += notes_of(path, parts)
    with_lists = [part for part in parts if depth is None and _has_labels_elsewhere(part, parts)]
    with_folders = [part for part in parts if part not in with_lists]
    _add_class_folders(listing, path, with_folders, depth)
    for part in with_lists:
        _add_listed(listing, part)
    if not listing.entries:
        raise DataError(_no_images(path, listing))
    listing.empty = sorted(set(listing.empty) - {entry.label for entry in listing.entries})
    listing.hint = hint_of(path, listing)
    return listing


def _layout(parts: list[Part]) -> str:
    splits = [part.folder.name for part in parts if part.split]
    listed = any(part.split == "train" and has_labels_in_file(part.folder) for part in parts)
    kind = "labels in text files" if listed else "class folders"
    return f"{kind} under {', '.join(splits)}" if splits else kind


def _has_labels_elsewhere(part: Part, parts: list[Part]) -> bool:
    """Say whether a split has no class folders, but a file with labels or, other than training, a folder of images."""
    if part.split in (None, "train"):
        return part.split == "train" and has_labels_in_file(part.folder)
    trained = [each.inner for each in parts if each.split == "train" and not has_labels_in_file(each.folder)]
    classes = {folder.name for inner in trained for folder in folders_in(inner)}
    return has_no_classes(part.inner, classes) and bool(label_file(part.folder) or folders_in(part.folder))


def _add_listed(listing: Listing, part: Part) -> None:
    """Add the images of a split by its text file, and say so."""
    entries, skipped = annotated(part)
    file = label_file(part.folder)
    listing.entries += entries
    listing.skipped += skipped
    listing.notes += [f"the labels of {part.split} images come from {readable(file.name)!r}"] if file else []


def _add_class_folders(listing: Listing, path: Path, parts: list[Part], depth: Depth) -> None:
    """Add the images of all class folders, and what lies beside them."""
    classes = [(folder, part) for part in parts for folder in folders_in(part.inner)]
    around = [folder for part in parts for folder in (part.folder, part.inner)]
    places = places_of(path, [*around, *(folder for folder, _ in classes)])
    chains: list[tuple[str, ...]] = []
    for folder, part in classes:
        chains += _add_class(listing, folder, part, places, depth)
    for parent in dict.fromkeys([path, *around]):
        listing.skipped += _beside(parent, places)
    listing.notes += level_notes(chains, depth)
    if depth is None:
        listing.notes += _odd_classes([folder for folder, _ in classes])
    if depth is None and [part.split for part in parts] == [None]:
        listing.entries, notes = splits_below_classes(listing.entries, chains)
        listing.notes = notes or listing.notes


def _odd_classes(folders: list[Path]) -> list[str]:
    """Return a note on a class that is called as folders are that hold images of all classes, beside others."""
    odd = [folder for folder in folders if folder.name.lower() in FOR_IMAGES and holds_images(folder)][:1]
    return [
        f"the folder {readable(folder.name)!r} is taken for a class; if it holds the images of all, give "
        f"{readable(folder)} for the data"
        for folder in odd
        if len({each.name for each in folders}) > 1
    ]


def _add_class(
    listing: Listing, folder: Path, part: Part, places: dict[Place, Path], depth: Depth
) -> list[tuple[str, ...]]:
    """Add the files of a folder, however deep they lie, and return the folders that each image lies in.

    Those of a file that is meant to be no image are none.
    """
    files, skipped = walk(folder, places=places)
    listing.skipped += skipped
    chains = []
    for file in files:
        chain = tuple(map(readable, file.parts[len(part.inner.parts) : -1]))
        label = label_at(chain, depth)
        if label is None:
            listing.skipped.append(Skipped(readable(file), f"lies above --class-depth {depth}, so it has no class"))
        else:
            listing.entries.append(Entry(readable(file), file, label, part.split))
            chains.append(chain if may_be_image(file) else ())
    if not files and depth in (None, 1, "path"):
        listing.empty.append(readable(folder.name))
    return chains


def _beside(path: Path, places: dict[Place, Path]) -> list[Skipped]:
    """Return what lies beside the class folders and is no folder itself."""
    folders = set(folders_in(path))
    skipped = []
    for child in children_or_error(path):
        if child.name != TASK_FILE and child not in folders:
            files, odd = walk(child, places=places)
            skipped += odd
            skipped += [Skipped(readable(file), "lies beside the class folders, so it has no class") for file in files]
    return skipped


def _no_images(path: Path, listing: Listing) -> str:
    n = len(listing.empty)
    contents = f"Folders without images: {n}" if n else "It has no class folders"
    if listing.skipped:
        first = listing.skipped[0]
        contents += f"; paths that can't be used: {len(listing.skipped)}, such as {first.path} ({first.reason})"
    advice = hint_of(path, listing) or "Make one folder for each class and put its images there."
    return f"{path} holds no images in class folders. {contents}. {advice}"
