"""The downloadable classification sets of torchvision, with the splits that their authors made."""

import difflib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from PIL import Image

from scalepred.errors import DataError

PREFIX = "torchvision:"

PATIENCE_SECONDS = 30.0
"""How long a download waits for a server that says nothing; torchvision itself would wait for ever."""

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

ListedImage = tuple[str, Callable[[], Image.Image], str, str | None]
"""A path in words, what opens the image, its label, and its split if the set has any."""


def read_torchvision(data: str) -> tuple[str, list[ListedImage]]:
    """Return the name of a set and all its images, none of which is decoded yet.

    The set is looked for below ``$SCALEPRED_DATA`` or the user's cache folder, and downloaded if it is not there.

    Raises:
        DataError: if there is no such set, or it is not there and can't be downloaded.
    """
    name = data.removeprefix(PREFIX)
    names = sorted([*BY_TRAIN, *BY_SPLIT, *WHOLE])
    if name not in names:
        lowered = {each.lower(): each for each in names}
        near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
        hint = f" Did you mean {PREFIX}{lowered[near[0]]}?" if near else ""
        raise DataError(f"There is no torchvision set {name!r} here.{hint} Known: {', '.join(names)}.")
    images: list[ListedImage] = []
    for split, options in _parts(name):
        dataset = _open(name, options)
        for index, label in enumerate(_labels(dataset)):
            images.append((f"{data}/{split or 'all'}/{index}", partial(_open_image, dataset, index), label, split))
    return name, images


def data_root() -> Path:
    """Return the folder for downloaded data sets: ``$SCALEPRED_DATA``, or one in the user's cache."""
    given = os.environ.get("SCALEPRED_DATA")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("scalepred") / "data"


def _parts(name: str) -> list[tuple[str | None, dict[str, Any]]]:
    if name in BY_TRAIN:
        return [("train", {"train": True}), ("test", {"train": False})]
    if name in BY_SPLIT:
        return [(ours, {"split": theirs}) for ours, theirs in BY_SPLIT[name].items()]
    return [(None, {})]


def _open(name: str, options: dict[str, Any]) -> Any:
    """Open a part of a set where it is already there, else download it first."""
    from torchvision import datasets  # noqa: PLC0415 - folders need none of it

    kind, root = getattr(datasets, name), data_root()
    try:
        return kind(root=str(root), **options, download=False)
    except Exception:  # noqa: S110 - it is not there yet, or only a part of it; the second try says what is wrong
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _impatience(), redirect_stdout(sys.stderr):
            return kind(root=str(root), **options, download=True)
    except Exception as error:  # torchvision, urllib and gdown each fail in their own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"torchvision's {name} is not below {root} and could not be downloaded: {reason}\n"
            f"Copy the data set there from a machine with a network, or point SCALEPRED_DATA at the folder that has it."
        ) from error


@contextmanager
def _impatience() -> Iterator[None]:
    """Let no connection that is made here wait for longer than ``PATIENCE_SECONDS``."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _labels(dataset: Any) -> list[str]:
    """Return the class name of every image, from the set's own list where it has one, else by decoding each."""
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    return [str(names[number]) if names else str(number) for number in _numbers(dataset)]


def _numbers(dataset: Any) -> list[int]:
    for attribute in ("targets", "labels", "_labels", "y"):
        if hasattr(dataset, attribute):
            numbers = np.asarray(getattr(dataset, attribute))
            return [int(number) for number in (numbers if numbers.ndim == 1 else numbers[:, 0])]  # QMNIST has columns
    if hasattr(dataset, "_samples"):
        return [int(number) for _, number in dataset._samples]
    return [int(dataset[index][1]) for index in range(len(dataset))]


def _open_image(dataset: Any, index: int) -> Image.Image:
    image: Image.Image = dataset[index][0]
    return image
