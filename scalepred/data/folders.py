"""Reads class folders, perhaps under folders named after splits."""

from pathlib import Path

from scalepred.data.listing import TASK_FILE, Entry, Listing
from scalepred.data.scan import Place, Skipped, children_or_error, folders_in, readable, status_of, walk
from scalepred.data.splits import SPLIT_NAMES, SPLITS
from scalepred.errors import DataError


def from_folders(path: Path, name: str, origin: str) -> Listing:
    below = folders_in(path)
    splits = split_folders(below)
    if splits:
        _check_split_folders(path, below, splits)
        listing = Listing(name=name, origin=origin, layout=f"class folders under {', '.join(f.name for f in splits)}")
    else:
        listing = Listing(name=name, origin=origin, layout="class folders")
    parents = splits or [path]
    classes = [(folder, split_of(parent) if splits else None) for parent in parents for folder in folders_in(parent)]
    places = _places(path, [*splits, *(folder for folder, _ in classes)])
    for folder, split in classes:
        _add_class(listing, folder, split, places)
    for parent in [path, *splits]:
        listing.skipped += _beside(parent, places)
    if not listing.entries:
        raise DataError(_no_images(path, listing))
    listing.empty = sorted(set(listing.empty) - {entry.label for entry in listing.entries})
    return listing


def split_of(folder: Path) -> str | None:
    return SPLIT_NAMES.get(folder.name.lower())


def split_folders(folders: list[Path]) -> list[Path]:
    """Return the folders that are named after splits, if one of them holds class folders; else they are classes."""
    named = [folder for folder in folders if split_of(folder)]
    return named if any(folders_in(folder) for folder in named) else []


def _check_split_folders(path: Path, below: list[Path], splits: list[Path]) -> None:
    names = [folder.name for folder in splits]
    others = [folder.name for folder in below if folder not in splits]
    if others:
        raise DataError(
            f"{path} holds folders named after splits ({', '.join(names)}) beside others "
            f"({', '.join(others[:5])}). Move the others under a split, or give each class its folder and no splits."
        )
    for split in SPLITS:
        twins = [folder.name for folder in splits if split_of(folder) == split]
        if len(twins) > 1:
            raise DataError(f"{path} holds {' and '.join(twins)}, which name the same split: keep one of them.")
    if "train" not in map(split_of, splits):
        raise DataError(f"{path} holds {', '.join(names)} but no train folder: add one.")


def _places(path: Path, folders: list[Path]) -> dict[Place, Path]:
    """Return the places of the data's folders and of all above it, so that links back to them lead nowhere.

    Real folders come before links to them.
    """
    places: dict[Place, Path] = {}
    links = [folder for folder in folders if folder.is_symlink() or folder.parent.is_symlink()]
    real = [folder for folder in folders if folder not in links]
    for folder in [path, *real, *path.resolve().parents, *links]:
        status = status_of(folder)
        if status:
            places.setdefault((status.st_dev, status.st_ino), folder)
    return places


def _add_class(listing: Listing, folder: Path, split: str | None, places: dict[Place, Path]) -> None:
    """Add the images of a class folder; the class is the folder's name, however deep they lie."""
    label = readable(folder.name)
    files, skipped = walk(folder, places=places)
    listing.skipped += skipped
    listing.entries += [Entry(readable(file), file, label, split) for file in files]
    if not files:
        listing.empty.append(label)


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
    return (
        f"{path} holds no images in class folders. {contents}. Make one folder for each class and put its images there."
    )
