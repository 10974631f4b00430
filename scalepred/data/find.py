"""Finds the file that a manifest means: under its path, its path on Windows, without its ending, in a usual folder."""

import functools
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalepred.data.endings import has_ending
from scalepred.data.scan import folders_in, is_file, status_of, walk
from scalepred.data.splits import SPLIT_NAMES
from scalepred.errors import DataError

USUAL_FOLDERS = {"images", "image", "imgs", "img", "photos", "pictures", "jpg", "jpegs", "jpegimages", "data", "files"}
"""Folders beside a manifest, in small letters, in which its images usually lie, as they do in those of the splits."""


MOST_FOLDERS = 50
"""Of each level that is looked at to propose one."""


@dataclass(frozen=True)
class Match:
    """The file that is meant, what the system says of it, and why it can't be said, if so."""

    path: Path
    status: os.stat_result | None = None
    problem: str | None = None


Finder = Callable[[str], Match]


def finder(folder: Path, *, image_folder: str | None = None, inside: Path | None = None) -> Finder:
    """Return what finds a manifest's files.

    A path is taken as it is where there is such a file. Else a backslash may stand for "/", the ending may be missing,
    and it may start from a usual folder beside the manifest. A name alone may lie anywhere below such a folder, or
    below ``image_folder`` where the user names one; there the end of a path is enough, as other computers have other
    folders before it.

    Args:
        folder: the manifest's.
        image_folder: the folder that its paths start from, if the user names one.
        inside: what no path may lead out of; None where any may be named.
    """
    start = Path(image_folder) if image_folder is not None else folder
    known = functools.cache(lambda: [str(start), *(_usual_folders(start) if image_folder is None else [])])
    near = functools.cache(lambda place: _by_name(_direct(place)))
    deep = functools.cache(lambda: _by_name(_below(known()[1:] if image_folder is None else known())))

    def find(text: str) -> Match:
        path = start / text
        if inside is not None and not (
            _is_inside(path, inside) and _is_inside(start / text.replace("\\", "/"), inside)
        ):
            return Match(path, None, "the path leads out of the archive")
        status = status_of(path)
        if (status is not None and stat.S_ISREG(status.st_mode)) or not text.strip() or "\0" in text:
            return Match(path, status)
        parent, _, name = text.strip().replace("\\", "/").rpartition("/")
        if not name:
            return Match(path)
        key = _normal(name)
        places = [os.path.join(root, form) for root in known() for form in _forms(parent)]  # noqa: PTH118 - see below
        files = dict.fromkeys(file for place in places for file in near(place).get(key, ()))
        if not files and not parent:
            files = dict.fromkeys(deep().get(key, ()))
        if not files and image_folder is not None:
            files = dict.fromkeys(_tails(start, text))
        return _only(text, path, list(files))

    return find


# A list may have 200,000 lines, for each of which several paths are tried, so these are texts: `Path` takes 10 us each.


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(folder)


def _only(text: str, path: Path, files: list[str]) -> Match:
    """Return the only file that a text may mean; several are a problem."""
    if len(files) == 1:
        file = Path(files[0])
        return Match(file, status_of(file))
    if not files:
        return Match(path)
    some = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")
    return Match(path, None, f"{text} may be any of {len(files)} files: {some}")


def _tails(folder: Path, text: str) -> list[str]:
    """Return the file of a folder to which the longest end of a path leads, if any does."""
    parts = text.strip().replace("\\", "/").split("/")
    tails = ("/".join(parts[at:]) for at in range(1, len(parts) - 1))
    files = (file for tail in tails for file in [folder / tail] if ".." not in parts and is_file(file))
    return [file.as_posix() for file in files][:1]


def _forms(text: str) -> list[str]:
    """Return a text and its two Unicode forms: a Mac's names have another one than most lists."""
    if text.isascii():
        return [text]
    return list(dict.fromkeys([text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]))


def _normal(name: str) -> str:
    """Return a file's name as it is compared: in one Unicode form, the ending of an image in small letters."""
    name = unicodedata.normalize("NFC", name)
    stem, dot, ending = name.rpartition(".")
    return stem + dot + ending.lower() if has_ending(name) else name


def _by_name(files: Iterable[str]) -> dict[str, list[str]]:
    """Return files by their names, with and without the endings of images."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in files:
        name = _normal(file.rpartition("/")[2])
        by_name[name].append(file)
        if has_ending(name):
            by_name[name.rpartition(".")[0]].append(file)
    return by_name


def _direct(folder: str) -> list[str]:
    try:
        return [f"{folder.rstrip('/')}/{entry.name}" for entry in os.scandir(folder) if entry.is_file()]
    except (OSError, ValueError):
        return []


def _below(folders: Iterable[str]) -> list[str]:
    return [file.as_posix() for folder in folders for file in walk(Path(folder))[0]]


def _usual_folders(folder: Path) -> list[str]:
    try:
        below = folders_in(folder)
    except DataError:
        return []
    return [each.as_posix() for each in below if each.name.lower() in {*USUAL_FOLDERS, *SPLIT_NAMES}]


def folder_that_has(texts: Sequence[str], folder: Path) -> Path | None:
    """Return the folder from which paths of a manifest lead to files, to propose it; None where none is near.

    It is one or two levels below ``folder``; or ``folder`` itself where they lie in several below it, or ends of paths
    lead to files from there.
    """
    below = [*_some_folders(folder), *(deep for each in _some_folders(folder) for deep in _some_folders(each))]
    places = [next((each for each in below if _leads(text, each)), None) for text in (texts[0], texts[-1])]
    if None not in places:
        return places[0] if places[0] == places[1] else folder
    return folder if _tails(folder, texts[0]) else None


def _some_folders(folder: Path) -> list[Path]:
    try:
        return folders_in(folder)[:MOST_FOLDERS]
    except DataError:
        return []


def _leads(text: str, folder: Path) -> bool:
    """Say whether a manifest's path leads from a folder to a file, perhaps without its ending."""
    parent, _, name = text.strip().replace("\\", "/").rpartition("/")
    return bool(name) and _normal(name) in _by_name(_direct(str(folder / parent)))
