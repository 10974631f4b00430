"""Steps into wrappers: folders that hold all images in one folder and so tell nothing of them."""

from itertools import islice
from pathlib import Path

from scalepred.data.glance import full_folders, has_images_itself, holds_files, leads_back, loose_images
from scalepred.data.scan import Skipped, folders_in, readable
from scalepred.data.splits import split_of_name

FEW = 3
"""So many images beside a folder that holds all others don't keep it from being stepped into."""


def levels(path: Path) -> list[Path]:
    """Return a folder and those that it wraps, the outermost first; itself alone where it is no wrapper.

    A folder that is named after a split is one, and no wrapper's inside.
    """
    steps = [path]
    while (inner := wrapped_in(steps[-1])) and not split_of_name(inner.name):
        steps.append(inner)
    return steps


def wrapped_in(folder: Path) -> Path | None:
    """Return the one folder in which all images of another lie, or None.

    It has folders of images itself, for else it is a class, or holds images whose names are to tell their labels.
    Files that are no images don't count, nor do folders of such, nor a few images: a cover, or a sample. A folder with
    nothing in it does: it may be a class.
    """
    full = list(islice(full_folders(folder), 2))
    if len(full) != 1 or has_images_itself(full[0]) or len(list(islice(loose_images(folder), FEW + 1))) > FEW:
        return None
    return full[0] if all(holds_files(each) or leads_back(each) for each in folders_in(folder)) else None


def left_beside(steps: list[Path]) -> list[Skipped]:
    """Return the images that lie beside what was stepped into."""
    files = [file for folder in steps[:-1] for file in loose_images(folder)]
    return [Skipped(readable(file), "lies beside the folder of all other images, so it has no class") for file in files]


def stepped_into(path: Path, inner: Path) -> str:
    """Return the note that a wrapper was stepped into."""
    return f"all images lie in {readable(inner.relative_to(path))!r}, which was stepped into and is no class"
