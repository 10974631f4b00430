"""Finds the folders of splits, whatever wraps them or lies between them and the classes."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from scalepred.data.glance import full_folders, leads_back
from scalepred.data.scan import folders_in, readable
from scalepred.data.splits import SPLIT_NAMES, SPLITS, split_of_name
from scalepred.data.wrappers import stepped_into, wrapped_in
from scalepred.errors import DataError

FOR_IMAGES = {"images", "image", "imgs", "img", "jpg", "jpeg", "png", "jpegimages", "photos"}
"""Folders in a split's folder that are called so hold images of any class, where training has no such class."""


@dataclass(frozen=True)
class Part:
    """A split's folder, and the one in it that holds the class folders; the data as a whole where it has no splits."""

    folder: Path
    split: str | None
    inner: Path


def split_of(folder: Path) -> str | None:
    """Return the split that a folder is named after."""
    return split_of_name(folder.name)


def is_for_any_images(folder: Path) -> bool:
    """Say whether a folder in a split's folder is called as no class is: images, or as a split itself."""
    return folder.name.lower() in FOR_IMAGES or split_of(folder) is not None


def is_flat(split: Path) -> bool:
    """Say whether all images of a split's folder lie in it, or in one folder that is called as no class is."""
    full = list(islice(full_folders(split), 2))
    return not full or (len(full) == 1 and is_for_any_images(full[0]) and is_flat(full[0]))


def split_folders(folders: list[Path]) -> list[Path]:
    """Return the folders that are named after splits, if one of them holds class folders; else they are classes.

    Names that hold further words count where another folder is named after a split too.
    """
    named = [folder for folder in folders if split_of(folder)]
    exact = any(folder.name.lower() in SPLIT_NAMES for folder in named)
    several = "train" in map(split_of, named) and len(set(map(split_of, named))) > 1
    return named if (exact or several) and any(folders_in(folder) for folder in named) else []


def parts_of(path: Path, *, steps: bool = True) -> list[Part]:
    """Return the splits' folders, or the data itself where it has none.

    Args:
        path: the data's folder.
        steps: whether wrappers in the splits' folders are stepped into.

    Raises:
        DataError: if two folders are the same split, none is for training, or others with images lie beside them.
    """
    below = folders_in(path)
    splits = split_folders(below)
    if not splits:
        return [Part(path, None, path)]
    check_splits(path, splits, [each for each in full_folders(path) if each not in splits])
    inner = _inner_folders(splits) if steps else {}
    return [Part(folder, split_of(folder), inner.get(folder, folder)) for folder in splits]


def flat_parts(path: Path) -> list[Part]:
    """Return the splits' folders whatever lies in them, or the data itself where there are other folders of images.

    Raises:
        DataError: if two folders are the same split.
    """
    full = list(full_folders(path))
    splits = [folder for folder in full if split_of(folder)]
    if len(splits) < len(full) or "train" not in map(split_of, splits):
        return [Part(path, None, path)]
    check_splits(path, splits, [])
    return [Part(folder, split_of(folder), folder) for folder in splits]


def check_splits(path: Path, splits: list[Path], others: Iterable[Path]) -> None:
    """Refuse folders of splits that contradict each other.

    Raises:
        DataError: naming the folders, and what to do.
    """
    names = [folder.name for folder in splits]
    beside = [folder.name for folder in others]
    if beside:
        raise DataError(
            f"{path} holds folders named after splits ({', '.join(names)}) beside others "
            f"({', '.join(beside[:5])}). Move the others under a split, or give each class its folder and no splits."
        )
    for split in SPLITS:
        twins = [folder.name for folder in splits if split_of(folder) == split]
        if len(twins) > 1:
            raise DataError(f"{path} holds {' and '.join(twins)}, which name the same split: keep one of them.")
    if "train" not in map(split_of, splits):
        raise DataError(f"{path} holds {', '.join(names)} but no train folder: add one.")


def _inner_folders(splits: list[Path]) -> dict[Path, Path]:
    """Return the folder of classes in every split that wraps it; one that training has as a class is no wrapper."""
    (train,) = (folder for folder in splits if split_of(folder) == "train")
    inner = {folder: _innermost(folder) for folder in splits}
    classes = {folder.name for folder in folders_in(inner[train])}
    return {
        folder: each for folder, each in inner.items() if folder == train or wrapper_of(folder, each) not in classes
    }


def _innermost(folder: Path) -> Path:
    while inside := wrapped_in(folder):
        folder = inside
    return folder


def wrapper_of(folder: Path, inner: Path) -> str | None:
    """Return the name of the outermost wrapper between a folder and its innermost, or None."""
    between = inner.relative_to(folder).parts
    return between[0] if between else None


def notes_of(path: Path, parts: list[Part]) -> list[str]:
    """Return what to know of the parts: what was stepped into, and what lies beside them and has no images."""
    notes = [stepped_into(path, part.inner) for part in parts if part.inner != part.folder]
    if parts[0].split is not None:
        splits = {part.folder for part in parts}
        beside = [each for each in folders_in(path) if each not in splits and not leads_back(each)]
        notes += [f"{readable(each.name)!r} holds no images and is passed over" for each in beside]
    return notes
