"""Reads annotations in COCO's JSON, also that of camera traps: one class for an image, its split, its location."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scalepred.data import dialects
from scalepred.data.cells import text_of
from scalepred.data.find import Finder, finder, folder_that_has
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.listing import Entry, Listing, contradictions
from scalepred.data.parts import split_of
from scalepred.data.scan import Place, Skipped, children, folders_in, is_file, readable
from scalepred.data.splits import SPLIT_NAMES
from scalepred.errors import DataError, UsageError, join_problems

KEYS = ("images", "annotations", "categories")

FOLDER = "annotations"
"""The folder beside the images that COCO's own files lie in."""


@dataclass(frozen=True)
class Part:
    """A file of annotations, what it holds, and the split of all its images, if its name or folder says one."""

    file: Path
    document: dict[str, Any] = field(repr=False)
    split: str | None = None


def coco_part(path: Path, split: str | None = None) -> Part | None:
    """Read a file if it is a JSON object that has COCO's three lists; None if it is anything else."""
    try:
        document = _read(path) if _begins_as_object(path) else None
    except DataError:
        return None
    return Part(path, document, split) if isinstance(document, dict) and set(KEYS) <= set(document) else None


def coco_files(folder: Path) -> list[Part]:
    """Return the annotations that a folder holds: at its top, in ``annotations``, or in its folders of splits.

    Raises:
        DataError: if several are of one split, or of none.
    """
    splits = [each for each in folders_in(folder) if split_of(each)]
    files = [(file, _split_in(file.stem)) for file in [*_json(folder), *_json(folder / FOLDER)]]
    files = files or [(file, split_of(each)) for each in splits for file in _json(each)]
    parts = [part for file, split in files if (part := coco_part(file, split))]
    if len(parts) > 1 and (None in [each.split for each in parts] or len({p.split for p in parts}) < len(parts)):
        names = ", ".join(part.file.name for part in parts[:5])
        raise DataError(f"{folder} holds several files of annotations, {names}: give the one to read.")
    return parts if splits or len(parts) > 1 else [replace(part, split=None) for part in parts]


def from_coco(parts: Iterable[Part], *, layout: Layout = FOUND_OUT, inside: Path | None = None) -> Listing:
    """List the images of annotations; those of no class or of several are skipped, each with its reason.

    A file that several images name, under any spelling of its path, is used once.

    Args:
        parts: the files, each with the split of its images; an image's own field ``split`` goes before it.
        layout: the user's ``group_column`` is a field of the images, such as "location".
        inside: what no path may lead out of; None where any may be named.

    Raises:
        DataError: if a file lacks what is needed, or names images that aren't there.
        UsageError: if the user names columns, which it has not.
    """
    if layout.image_column or layout.label_column:
        raise UsageError("COCO annotations have no columns: leave --image-column and --label-column out.")
    listing = Listing(name="", origin="", layout="COCO annotations")
    entries: dict[Place, Entry] = {}
    for part in parts:
        _add_part(listing, entries, part, layout=layout, inside=inside)
    listing.entries = list(entries.values())
    return listing


def _add_part(
    listing: Listing, entries: dict[Place, Entry], part: Part, *, layout: Layout, inside: Path | None
) -> None:
    images, problems = _images_of(part.document)
    classes, more = _classes_of(part.document, images)
    problems += more + _group_problems(images.values(), layout.group_column)
    start = part.file.parent.parent if part.file.parent.name == FOLDER else part.file.parent
    find = finder(start, image_folder=layout.image_folder, inside=inside)
    n_several = 0
    for key, image in images.items():
        names = sorted(classes.get(key, ()))
        if len(names) == 1:
            problems += _add_image(entries, image, names[0], find, split=part.split, group=layout.group_column)
        else:
            n_several += len(names) > 1
            reason = f"has {len(names)} classes: {', '.join(names[:5])}" if names else "has no annotation"
            listing.skipped.append(Skipped(readable(start / image["file_name"]), reason))
    if problems:
        message = join_problems(f"{part.file} can't be used as it is:", problems)
        raise DataError(message + _hint(images.values(), problems, layout, start))
    if n_several:
        listing.notes.append(
            f"{n_several} {'image has' if n_several == 1 else 'images have'} several classes in {part.file.name} and "
            f"{'is' if n_several == 1 else 'are'} skipped: one label per image is needed"
        )


def _add_image(
    entries: dict[Place, Entry],
    image: Mapping[str, Any],
    label: str,
    find: Finder,
    *,
    split: str | None,
    group: str | None,
) -> list[str]:
    """Add an image of one class; return what is wrong with it."""
    match = find(image["file_name"])
    own = (text_of(image.get("split")) or "").strip().lower()
    if match.status is None:
        return [match.problem or f"no file {match.path}"]
    if own and own not in SPLIT_NAMES:
        return [f"the split {own!r} of {image['file_name']} is unknown; known are train, val and test"]
    part = text_of(image.get(group)) if group else None
    entry = Entry(readable(match.path), match.path, label, SPLIT_NAMES.get(own) or split, part or None)
    first = entries.setdefault((match.status.st_dev, match.status.st_ino), entry)
    name = readable(image["file_name"])
    return [f"image id {image['id']!r}: {problem}" for problem in contradictions(name, first, entry)]


def _images_of(document: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the images by their ids, and what is wrong with them."""
    images: dict[str, dict[str, Any]] = {}
    problems = []
    for at, image in enumerate(_list(document, "images")):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or "id" not in image:
            problems.append(f"image {at + 1} lacks its id or file_name")
        elif "\0" in image["file_name"]:
            problems.append(f"the file_name of image {at + 1} holds a NUL byte")
        elif str(image["id"]) in images:
            problems.append(f"the image id {image['id']!r} comes twice")
        else:
            images[str(image["id"])] = image
    return images, problems


def _classes_of(document: Any, images: Mapping[str, Any]) -> tuple[dict[str, set[str]], list[str]]:
    """Return the names of each image's classes, and what is wrong with categories and annotations."""
    names, problems = _categories_of(document)
    classes: dict[str, set[str]] = defaultdict(set)
    for at, mark in enumerate(_list(document, "annotations")):
        image, category = (
            (str(mark.get(key)) for key in ("image_id", "category_id")) if isinstance(mark, dict) else ("", "")
        )
        if image not in images:
            problems.append(f"annotation {at + 1} is of an unknown image, {image!r}")
        elif category not in names:
            problems.append(f"annotation {at + 1} is of an unknown category, {category!r}")
        else:
            classes[image].add(names[category])
    return classes, problems


def _categories_of(document: Any) -> tuple[dict[str, str], list[str]]:
    """Return the names of categories by their ids, and what is wrong with them."""
    names: dict[str, str] = {}
    problems = []
    for category in (each for each in _list(document, "categories") if isinstance(each, dict)):
        key, name = str(category.get("id")), category.get("name")
        first = names.setdefault(key, str(name))
        if not isinstance(name, str) or not name:
            problems.append(f"the category {key} has no name")
        elif first != name:
            problems.append(f"the category id {category.get('id')!r} comes twice, as {first!r} and {name!r}")
    return names, problems


def _list(document: Any, key: str) -> list[Any]:
    values = document.get(key) if isinstance(document, dict) else None
    return values if isinstance(values, list) else []


def _group_problems(images: Iterable[Mapping[str, Any]], group: str | None) -> list[str]:
    """Return a problem if images lack the field by which they are grouped; names those that they have."""
    if group is None:
        return []
    lacking = [image for image in images if group not in image]
    fields = sorted({str(key) for image in lacking[:100] for key in image})
    words = f"{len(lacking)} images have no field {group!r} (--group); the fields are {', '.join(map(repr, fields))}"
    return [words] if lacking else []


def _hint(images: Iterable[Mapping[str, Any]], problems: list[str], layout: Layout, start: Path) -> str:
    """Return where the images are, if they are near."""
    if layout.image_folder or not any(problem.startswith("no file") for problem in problems):
        return ""
    lost = [image["file_name"] for image in images if not is_file(start / image["file_name"])]
    place = folder_that_has(lost, start) if lost else None
    return f"\nImages of these names lie in {place}: give it by --image-folder." if place else ""


def _split_in(stem: str) -> str | None:
    """Return the split that a file's name has in it, as in "instances_train2017"."""
    words = [SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in SPLIT_NAMES]
    return words[0] if len(set(words)) == 1 else None


def _json(folder: Path) -> list[Path]:
    """Return the JSON files of a folder; none where there is no such folder."""
    try:
        return [each for each in children(folder) if each.suffix.lower() == ".json" and is_file(each)]
    except OSError:
        return []


def _begins_as_object(path: Path) -> bool:
    try:
        return dialects.head_of(path).lstrip().startswith("{")
    except dialects.NOT_READ:
        return False


def _read(path: Path) -> Any:
    try:
        with dialects.open_text(path) as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read as JSON: {error}.") from error
