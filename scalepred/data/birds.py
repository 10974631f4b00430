"""Reads the lists of CUB-200: images.txt, image_class_labels.txt, and perhaps classes.txt and train_test_split.txt."""

from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

from scalepred.data.listing import Entry, Listing
from scalepred.data.scan import Skipped, is_file, places_of, readable, walk
from scalepred.errors import DataError, join_problems

IMAGES, LABELS, CLASSES, SPLIT = "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"

Problems = list[str]


def has_bird_lists(path: Path) -> bool:
    return is_file(path / IMAGES) and is_file(path / LABELS)


def from_birds(path: Path, *, name: str, origin: str) -> Listing:
    """List the images that the lists name, in the split that they give; the names of classes are those of the lists.

    Without ``classes.txt``, a class is called as the folder of its images where they lie in a single one, else by its
    number.

    Raises:
        DataError: with all lines that can't be used, and files that aren't there.
    """
    problems: Problems = []
    files = _pairs(path / IMAGES, problems)
    numbers = _pairs(path / LABELS, problems)
    is_train = _pairs(path / SPLIT, problems) if is_file(path / SPLIT) else {}
    names = _class_names(path, files, numbers, problems)
    root = path / "images" if (path / "images").is_dir() else path
    listing = Listing(name=name, origin=origin, layout=f"lists of CUB ({IMAGES})", root=readable(root))
    for key, file in files.items():
        found = _problems_of(key, file, root, numbers=numbers, is_train=is_train)
        problems += found
        if not found:
            split = {"1": "train", "0": "test"}.get(is_train.get(key, ""))
            listing.entries.append(Entry(readable(root / file), root / file, names.get(numbers[key], ""), split))
    if problems:
        raise DataError(join_problems(f"{path} can't be used as its lists are:", problems))
    listing.skipped = _unnamed(root, {root / file for file in files.values()})
    return listing


def _pairs(path: Path, problems: Problems) -> dict[str, str]:
    """Return the number -> the rest of its line, of every line of a list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as UTF-8 text: {error}.") from error
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, value = [*line.split(maxsplit=1), "", ""][:2]
        value = value.strip()
        if key and not value:
            problems.append(f"{path.name}, line {number}: {line!r} is not of the form NUMBER TEXT")
        elif pairs.setdefault(key, value) != value:
            problems.append(f"{path.name}, line {number}: the number {key} comes twice")
    pairs.pop("", None)
    return pairs


def _class_names(path: Path, files: dict[str, str], numbers: dict[str, str], problems: Problems) -> dict[str, str]:
    """Return the number of a class -> its name."""
    if is_file(path / CLASSES):
        names = _pairs(path / CLASSES, problems)
        missing = sorted(set(numbers.values()) - set(names))
        problems += [f"{CLASSES} has no class {number}" for number in missing]
        return names
    folders = defaultdict(set)
    for key, number in numbers.items():
        folders[number].add(PurePosixPath(files.get(key, "")).parent.name)
    single = {number: next(iter(some)) for number, some in folders.items() if len(some) == 1}
    times = Counter(single.values())
    return {number: single[number] if times[single.get(number, "")] == 1 else number for number in folders}


def _problems_of(key: str, file: str, root: Path, *, numbers: dict[str, str], is_train: dict[str, str]) -> list[str]:
    climbs = PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts
    checks = [
        (key in numbers, f"{LABELS} has no class for image {key}"),
        (not is_train or is_train.get(key) in ("0", "1"), f"{SPLIT} has neither 1 nor 0 for image {key}"),
        (not climbs, f"{IMAGES} names {file!r}, which leads out of the folder"),
        (climbs or is_file(root / file), f"{IMAGES} names {file!r}, and there is no such file"),
    ]
    return [problem for fine, problem in checks if not fine]


def _unnamed(root: Path, named: set[Path]) -> list[Skipped]:
    """Return the files below the images' folder that no list names, and what can't be read there."""
    files, skipped = walk(root, places=places_of(root))
    return skipped + [Skipped(readable(file), f"{IMAGES} doesn't name it") for file in files if file not in named]
