"""Finds files: walks folders whatever lies in them, and says why something is skipped."""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scalepred.errors import DataError

JUNK = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information"}

Place = tuple[int, int]
"""The device and inode of a file or folder, by which links and other spellings of it are recognised."""


@dataclass(frozen=True)
class Skipped:
    """A path that is not used, and why."""

    path: str
    reason: str


def walk(folder: Path, *, places: dict[Place, Path] | None = None) -> tuple[list[Path], list[Skipped]]:
    """Return the regular files below a folder in the order of their names, and what was skipped.

    Links are followed, but every place counts once, so loops end. Hidden names and the leavings of archives and
    operating systems are skipped without a word. Nothing is raised: what can't be read is skipped and says why.

    Args:
        folder: where to start; may be a file.
        places: the path at which each place counts, from other walks; this one adds to it.
    """
    places = {} if places is None else places
    files: list[Path] = []
    skipped: list[Skipped] = []
    ahead = [folder]
    while ahead:
        path = ahead.pop()
        status = None
        try:
            status = path.stat()
            first = places.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                skipped.append(Skipped(readable(path), f"the same as {readable(first)}"))
            elif stat.S_ISDIR(status.st_mode):
                ahead += reversed(children(path))
            elif stat.S_ISREG(status.st_mode):
                files.append(path)
            else:
                skipped.append(Skipped(readable(path), "not a regular file"))
        except OSError as error:
            skipped.append(Skipped(readable(path), ("folder " if status else "") + _why(error)))
    return files, skipped


def _why(error: OSError) -> str:
    reasons = {errno.ENOENT: "link to nothing", errno.ELOOP: "link to itself"}
    return reasons.get(error.errno or 0) or f"can't be read: {error.strerror or error}"


def children(folder: Path) -> list[Path]:
    """Return what lies in a folder, in the order of the names, without what is hidden.

    Raises:
        OSError: if the folder can't be read.
    """
    return sorted((child for child in folder.iterdir() if not is_hidden(child.name)), key=lambda child: child.name)


def children_or_error(path: Path) -> list[Path]:
    try:
        return children(path)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def folders_in(path: Path) -> list[Path]:
    """Return the folders in a folder, and links to folders, in the order of the names, without what is hidden.

    Raises:
        DataError: if the folder can't be read.
    """
    try:
        with os.scandir(path) as entries:
            names = {entry.name for entry in entries if _is_folder(entry)}
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    return [child for child in children_or_error(path) if child.name in names] if names else []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether it is one or a link to one, without a call to the system for what is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is passed over."""
    return name.startswith(".") or name.lower() in JUNK


def status_of(path: Path) -> os.stat_result | None:
    """Return what the system says of a path, links followed, or None if it won't."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def place_of(path: Path) -> Place | None:
    """Return the place of a file or folder, links followed, or None if the system won't say."""
    status = status_of(path)
    return (status.st_dev, status.st_ino) if status else None


def places_of(path: Path, folders: Sequence[Path] = ()) -> dict[Place, Path]:
    """Return the places of the data's folders and of all above it, so that links back to them lead nowhere.

    Real folders come before links to them.
    """
    places: dict[Place, Path] = {}
    links = {folder for folder in folders if folder.is_symlink() or folder.parent.is_symlink()}
    real = [folder for folder in folders if folder not in links]
    for folder in [path, *real, *path.resolve().parents, *(folder for folder in folders if folder in links)]:
        place = place_of(folder)
        if place:
            places.setdefault(place, folder)
    return places


def readable(text: str | Path) -> str:
    """Return text that UTF-8 can hold: the bytes of a file name that it can't are shown as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")
