"""Recognises the layout of the data: a manifest, class folders, splits, an archive, or a torchvision data set."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

from scalepred.data.archives import is_archive, stem_of, unpacked
from scalepred.data.birds import from_birds, has_bird_lists
from scalepred.data.coco import FOLDER as COCO_FOLDER
from scalepred.data.coco import coco_files, coco_part, from_coco
from scalepred.data.decode import is_image
from scalepred.data.flat import from_names
from scalepred.data.folders import from_folders
from scalepred.data.layout import FOUND_OUT, Layout, check_layout, check_no_columns
from scalepred.data.listing import MANIFEST, TASK_FILE, Entry, Listing
from scalepred.data.manifests import from_manifest
from scalepred.data.metadata import folders_say_the_same, from_metadata, has_metadata, tables_beside
from scalepred.data.parts import split_folders
from scalepred.data.scan import children, folders_in, is_file, readable, walk
from scalepred.data.torchvision_sets import PREFIX, read_torchvision
from scalepred.data.wrappers import left_beside, levels, stepped_into
from scalepred.errors import DataError, UsageError


def list_images(data: str | Path, *, layout: Layout = FOUND_OUT) -> Listing:
    """Find which layout the data has and list its images, without decoding any.

    Args:
        data: what there is.
        layout: what the user says of it.

    Raises:
        DataError: if there is nothing at the path, or no layout fits; says what is expected.
        UsageError: if what the user says is of folders or of manifests, and the data is none; if it is no path at all.
    """
    check_layout(layout)
    if str(data).startswith(PREFIX):
        _refuse_folder_options(layout, str(data))
        check_no_columns(layout, data)
        name, images = read_torchvision(str(data))
        entries = [Entry(*image) for image in images]
        return Listing(name=name, origin=name, layout=f"torchvision data set {name}", entries=entries)
    path = _existing(data)
    if not path.is_file():
        return _from_folder(path, layout)
    if is_archive(path):
        return _from_archive(path, layout)
    _refuse_folder_options(layout, str(path))
    if part := coco_part(path):
        folder = path.parent.parent if path.parent.name == COCO_FOLDER else path.parent
        name, origin = _name_and_origin(folder)
        return replace(from_coco([part], layout=layout), name=name, origin=origin)
    stem = readable(path.stem)
    name, origin = _name_and_origin(path.parent) if path.name == MANIFEST else (stem, stem)
    return from_manifest(path, name=name, origin=origin, layout=layout)


def _from_folder(path: Path, layout: Layout, *, default: str | None = None, inside: Path | None = None) -> Listing:
    """List the images of a folder, or of the one that it wraps.

    Args:
        path: the folder.
        layout: what the user says of it.
        default: the task's name where nothing else says one; None for the folder's.
        inside: what no path in a file may lead out of; None where any may be named.
    """
    steps = levels(path)
    name, origin = _name_and_origin(next((each for each in steps if is_file(each / TASK_FILE)), path), default)
    if layout.label_pattern is not None:
        check_no_columns(layout, path)
        return from_names(steps, name, origin, pattern=layout.label_pattern)
    for folder in steps if layout.class_depth is None else []:
        listing = _by_a_file(folder, layout, inside=inside)
        if listing is not None:
            return _noted(replace(listing, name=name, origin=origin), path, folder)
    check_no_columns(layout, path)
    has_splits = bool(split_folders(folders_in(steps[-1])))
    folder = steps[-1] if layout.class_depth is None or has_splits else path
    listing = _noted(_by_folders(folder, name, origin, layout), path, folder)
    return replace(listing, skipped=listing.skipped + left_beside(steps)) if folder != path else listing


def _by_a_file(folder: Path, layout: Layout, *, inside: Path | None) -> Listing | None:
    """List the images by a file in their folder that names them and their labels; None where there is no such file."""
    if is_file(folder / MANIFEST):
        return from_manifest(folder / MANIFEST, name="", origin="", layout=layout, inside=inside)
    if has_bird_lists(folder):
        check_no_columns(layout, folder)
        return from_birds(folder, name="", origin="")
    parts = coco_files(folder)
    listing = from_coco(parts, layout=layout, inside=inside) if parts else None
    listing = listing or from_metadata(folder, layout=layout, inside=inside)
    return None if listing is None or folders_say_the_same(listing, folder) else listing


def _by_folders(folder: Path, name: str, origin: str, layout: Layout) -> Listing:
    """List the images by class folders, and tell of tables beside them."""
    notes = tables_beside(folder)
    try:
        listing = from_folders(folder, name, origin, depth=layout.class_depth)
    except DataError as error:
        raise DataError("\n".join([str(error), *notes])) from error
    return replace(listing, notes=[*listing.notes, *notes])


def _from_archive(path: Path, layout: Layout) -> Listing:
    """List the images of an archive as those of a folder with its name."""
    folder = unpacked(path)
    listing = _from_folder(folder, layout, default=readable(stem_of(path)), inside=folder)
    note = f"{path.name} is unpacked to {folder}; SCALEPRED_CACHE=FOLDER has archives unpacked elsewhere"
    return replace(listing, notes=[note, *listing.notes])


def _noted(listing: Listing, path: Path, folder: Path) -> Listing:
    """Return the listing with a note if it is that of a folder in a wrapper."""
    notes = [] if folder == path else [stepped_into(path, folder)]
    return replace(listing, notes=[*notes, *listing.notes])


def _refuse_folder_options(layout: Layout, data: str) -> None:
    given = {"--label-pattern": layout.label_pattern, "--class-depth": layout.class_depth}
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} reads labels from a folder's files, and {readable(data)} is no folder.")


def find_tasks(data: str | Path) -> list[str]:
    """Return the tasks that a path stands for, without decoding: itself, or the sub-folders that are tasks.

    A folder is a task if it holds ``manifest.csv``, ``task.json``, metadata or annotations that label its images,
    folders named after splits, or class folders that directly hold images. Otherwise its sub-folders that are tasks
    count; and if there are none, it is a task itself where there are files below it, to be told what is wrong with
    them. Classes whose images all lie deeper need a manifest, ``task.json`` or splits.

    Raises:
        DataError: if there is nothing, or neither it nor a sub-folder is a task.
    """
    if str(data).startswith(PREFIX):
        return [str(data)]
    path = _existing(data)
    if path.is_file() or _is_task(path):
        return [str(data)]
    folders = folders_in(path)
    below = [str(folder) for folder in folders if _is_task(folder)]
    if below:
        return below
    if any(walk(folder)[0] for folder in folders):
        return [str(data)]
    raise DataError(
        f"{path} is neither a task nor a folder of tasks. A task is a folder of class folders with images in "
        f"them, perhaps under train, val and test, or a folder that holds {MANIFEST}."
    )


def _existing(data: str | Path) -> Path:
    """Return the path of a file or folder that is there."""
    expected = "give a folder of class folders or a CSV manifest"
    given: object = data
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"The data is {given!r:.80}, which is no path: {expected}.")
    path = Path(data)
    if data == "":
        raise DataError(f"The path of the data is empty: {expected}.")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"There is nothing at {path}: {expected}.") from error
    except (OSError, ValueError) as error:  # the second is a NUL byte
        raise DataError(f"{readable(path)!r} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is neither a file nor a folder: {expected}.")
    return path


def _is_task(path: Path) -> bool:
    if _is_marked(path) or has_metadata(path) or coco_files(path):
        return True
    below = folders_in(path)
    return bool(split_folders(below)) or any(_holds_image(folder) and not _is_marked(folder) for folder in below)


def _is_marked(path: Path) -> bool:
    return is_file(path / MANIFEST) or is_file(path / TASK_FILE)


def _holds_image(folder: Path) -> bool:
    try:
        return any(map(is_image, children(folder)))
    except OSError:
        return False


def _name_and_origin(path: Path, default: str | None = None) -> tuple[str, str]:
    """Return the name and origin of a task folder: what its ``task.json`` says, else ``default`` or its name twice."""
    folder_name = default or readable(path.resolve().name or "task")
    if not is_file(path / TASK_FILE):
        return folder_name, folder_name
    try:
        about = json.loads((path / TASK_FILE).read_text(encoding="utf-8-sig"))
        name = about.get("name", folder_name)
        origin = about.get("origin", name)
        unknown = sorted(set(about) - {"name", "origin"})
    except (ValueError, AttributeError, OSError, RecursionError) as error:
        raise DataError(f'{path / TASK_FILE} is not of the form {{"name": …, "origin": …}}: {error}.') from error
    if unknown:
        keys = ", ".join(map(repr, unknown))
        raise DataError(f"{path / TASK_FILE} has unknown keys: {keys}. Known: 'name', 'origin'.")
    if not all(isinstance(text, str) and text.strip() and "\0" not in text for text in (name, origin)):
        raise DataError(f"{path / TASK_FILE}: name and origin must be text.")
    return readable(name), readable(origin)
