"""Reads a split whose labels lie in a text file beside its images, as Tiny ImageNet's validation images have them."""

import re
from pathlib import Path, PurePosixPath

from scalepred.data.listing import Entry
from scalepred.data.parts import Part, flat_parts, is_flat, is_for_any_images
from scalepred.data.scan import Skipped, children_or_error, folders_in, is_file, places_of, readable, walk
from scalepred.errors import DataError, join_problems

LABEL_FILE = re.compile(r"(.*[_-])?(annotations?|labels?)\.(txt|tsv|csv)", re.IGNORECASE)

HEADINGS = {"file", "filename", "file_name", "image", "path", "name", "id", "image_id"}


def label_file(part: Path) -> Path | None:
    """Return the text file with the labels of a split's images, or None."""
    return next((each for each in children_or_error(part) if LABEL_FILE.fullmatch(each.name) and is_file(each)), None)


def listed_parts(path: Path) -> list[Part]:
    """Return the splits' folders if those of training images hold no class folders but a text file with the labels."""
    parts = [part for part in flat_parts(path) if part.split]
    return parts if any(part.split == "train" and has_labels_in_file(part.folder) for part in parts) else []


def has_labels_in_file(split: Path) -> bool:
    return is_flat(split) and label_file(split) is not None


def has_no_classes(part: Path, train_classes: set[str]) -> bool:
    """Say whether a split's folder holds no class that training has, and no folders but those for images of any."""
    below = folders_in(part)
    return train_classes.isdisjoint(folder.name for folder in below) and all(map(is_for_any_images, below))


def annotated(part: Part) -> tuple[list[Entry], list[Skipped]]:
    """Return the images of a split by its text file: a line has the file's name, the label, and perhaps more.

    Where it has no such file, all its images are skipped.

    Raises:
        DataError: if the file gives an image two labels, or can't be read.
    """
    labels_path = label_file(part.folder)
    files, skipped = walk(part.folder, places=places_of(part.folder))
    files = [file for file in files if file != labels_path]
    if labels_path is None:
        return [], skipped + [Skipped(readable(file), "lies in no class folder, so it has no class") for file in files]
    labels = _labels(labels_path)
    entries = []
    for file in files:
        label = labels.pop(file.name, None)
        if label is None:
            skipped.append(Skipped(readable(file), f"{labels_path.name} has no line for it"))
        else:
            entries.append(Entry(readable(file), file, label, part.split))
    skipped += [Skipped(name, f"{labels_path.name} names it, and there is no such file") for name in labels]
    return entries, skipped


def _labels(path: Path) -> dict[str, str]:
    """Return the name of a file -> its label."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as UTF-8 text: {error}.") from error
    labels: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in re.split(r"\t|," if re.search(r"\t|,", line) else r"\s+", line.strip())]
        if len(fields) < 2 or not fields[1] or fields[0].lower() in HEADINGS:
            continue
        name = PurePosixPath(fields[0].replace("\\", "/")).name
        if labels.setdefault(name, fields[1]) != fields[1]:
            problems.append(f"line {number}: {name!r} has two labels, {labels[name]!r} and {fields[1]!r}")
    if problems:
        raise DataError(join_problems(f"{path} can't be used as it is:", problems))
    return labels
