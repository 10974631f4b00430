"""The downloadable classification sets of torchvision, with the splits that their authors made."""

import difflib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
from PIL import Image

from scalepred.errors import DataError

PREFIX = "torchvision:"

BY_TRAIN = ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS")
"""Sets whose constructor takes ``train=True`` or ``False``."""

BY_SPLIT = {
    "Country211": {"train": "train", "val": "valid", "test": "test"},
    "DTD": {"train": "train", "val": "val", "test": "test"},
    "FGVCAircraft": {"train": "train", "val": "val", "test": "test"},
    "Flowers102": {"train": "train", "val": "val", "test": "test"},
    "Food101": {"train": "train", "test": "test"},
    "GTSRB": {"train": "train", "test": "test"},
    "OxfordIIITPet": {"train": "trainval", "test": "test"},
    "RenderedSST2": {"train": "train", "val": "val", "test": "test"},
    "STL10": {"train": "train", "test": "test"},
    "SVHN": {"train": "train", "test": "test"},
}
"""Sets whose constructor takes ``split=...``: our split -> theirs."""

WHOLE = ("Caltech101", "EuroSAT", "SUN397")
"""Sets without splits of their own."""


def read_torchvision(data: str) -> tuple[str, list[tuple[str, Image.Image, str, str | None]]]:
    """Return the name of a set, and (path, picture, label, split or None) of all its pictures.

    The set is looked for below ``$SCALEPRED_DATA`` or the user's cache folder, and downloaded if it is not there.

    Raises:
        DataError: if there is no such set, or it is not there and can't be downloaded.
    """
    from torchvision import datasets  # noqa: PLC0415 - folders need none of it

    name = data.removeprefix(PREFIX)
    known = sorted([*BY_TRAIN, *BY_SPLIT, *WHOLE])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
        raise DataError(f"There is no torchvision set {name!r} here.{hint} Known: {', '.join(known)}.")
    kind = getattr(datasets, name)
    return name, [
        (f"{data}/{split or 'all'}/{index}", picture, label, split)
        for split, options in _parts(name)
        for index, (picture, label) in enumerate(_pictures(_open(kind, name, options)))
    ]


def data_root() -> Path:
    """Return the folder for downloaded data sets: ``$SCALEPRED_DATA``, or one in the user's cache."""
    given = os.environ.get("SCALEPRED_DATA")
    return Path(given) if given else platformdirs.user_cache_path("scalepred") / "data"


def _parts(name: str) -> list[tuple[str | None, dict[str, Any]]]:
    if name in BY_TRAIN:
        return [("train", {"train": True}), ("test", {"train": False})]
    if name in BY_SPLIT:
        return [(ours, {"split": theirs}) for ours, theirs in BY_SPLIT[name].items()]
    return [(None, {})]


def _open(kind: Any, name: str, options: dict[str, Any]) -> Any:
    """Open a part of a set where it is already there, else download it first."""
    root = data_root()
    root.mkdir(parents=True, exist_ok=True)
    takes_download = "download" in inspect.signature(kind).parameters
    try:
        return kind(root=str(root), **options, **({"download": False} if takes_download else {}))
    except (RuntimeError, OSError):
        pass  # not there yet
    try:
        return kind(root=str(root), **options, download=True)
    except Exception as error:  # torchvision, urllib and gdown each fail in their own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"torchvision's {name} is not below {root} and could not be downloaded: {reason}\n"
            f"Copy the data set there from a machine with a network, or point SCALEPRED_DATA at the folder that has it."
        ) from error


def _pictures(dataset: Any) -> Iterator[tuple[Image.Image, str]]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    for picture, label in dataset:
        yield picture, str(names[label]) if names else str(label)
