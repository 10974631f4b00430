"""Says at a glance what folders hold, by names first, and opens as few files as it must."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from scalepred.data.decode import is_image
from scalepred.data.endings import ENDINGS
from scalepred.data.scan import children, folders_in, place_of, status_of

OTHER_ENDINGS = {
    ".txt",
    ".md",
    ".rst",
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".xml",
    ".yaml",
    ".yml",
    ".html",
    ".pdf",
    ".mat",
    ".parquet",
    ".py",
}


def may_be_image(file: Path) -> bool:
    """Say whether a file is meant to be an image: by its ending, and by its content where that tells nothing."""
    ending = file.suffix.lower()
    return ending in ENDINGS or (ending not in OTHER_ENDINGS and is_image(file))


def holds_images(folder: Path) -> bool:
    """Say whether an image lies in a folder, however deep."""
    return _any_file(folder, may_be_image)


def full_folders(path: Path) -> Iterator[Path]:
    """Yield the folders in a folder that hold images and don't lead back to it, in the order of their names."""
    return (folder for folder in folders_in(path) if not leads_back(folder) and holds_images(folder))


def leads_back(folder: Path) -> bool:
    """Say whether a folder is a link to one that holds it."""
    return folder.is_symlink() and folder.resolve() in (above := folder.parent.resolve(), *above.parents)


def holds_files(folder: Path) -> bool:
    """Say whether any file lies in a folder, however deep."""
    return _any_file(folder, lambda file: True)


def has_images_itself(folder: Path) -> bool:
    """Say whether an image lies in a folder and in no folder below it."""
    return any(loose_images(folder))


def loose_images(folder: Path) -> Iterator[Path]:
    """Yield the images that lie in a folder and in no folder below it, in the order of their names."""
    files = (child for child in _readable_children(folder) if _kind(child) == stat.S_IFREG)
    return (file for file in files if may_be_image(file))


def _any_file(folder: Path, wanted: Callable[[Path], bool]) -> bool:
    return any(wanted(file) for file in _files_below(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, those of the folders below it last.

    Every folder counts once, and those above it don't, so links back lead nowhere.
    """
    ahead, seen = [folder], {place for above in folder.resolve().parents if (place := place_of(above))}
    while ahead:
        here = ahead.pop()
        place = place_of(here)
        if place is None or place in seen:
            continue
        seen.add(place)
        inside = []
        for child in _readable_children(here):
            kind = _kind(child)
            if kind == stat.S_IFREG:
                yield child
            elif kind == stat.S_IFDIR:
                inside.append(child)
        ahead += reversed(inside)


def _kind(path: Path) -> int:
    status = status_of(path)
    return stat.S_IFMT(status.st_mode) if status else 0


def _readable_children(folder: Path) -> list[Path]:
    try:
        return children(folder)
    except OSError:
        return []
