"""Oxford Flowers as torchvision keeps its Flowers102: ten images of a class to train on, the rest to validate.

    ROOT/flowers-102/jpg/image_00001.jpg …
    ROOT/flowers-102/imagelabels.mat     labels, one of each image
    ROOT/flowers-102/setid.mat           trnid, valid and tstid, the numbers of the images of each split

The authors' validation images validate here, and their test images test. The paper calls both together validation
("a target dataset of only 10 training images per class was used. The rest of the data was used for validation").
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from benchmarks.paper.domains import Domain, DomainImage, write_task
from scalepred.errors import DataError, join_problems

NAME = "oxford"
FOLDER = "flowers-102"
PER_CLASS = 10
SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


@dataclass(frozen=True, kw_only=True)
class OxfordFlowers:
    """Split -> images."""

    splits: dict[str, tuple[DomainImage, ...]]

    @property
    def domain(self) -> Domain:
        """Return all images as one domain."""
        images = tuple(image for part in self.splits.values() for image in part)
        return Domain(name=NAME, images=images, origin=NAME)


def read_oxford_flowers(root: Path) -> OxfordFlowers:
    """Read the set from the folder that torchvision's ``root`` is, or from ``flowers-102`` itself.

    Raises:
        DataError: if a file is missing or damaged, an image is in two splits, or a class has not ten to train on.
    """
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    labels = _numbers(folder / "imagelabels.mat", "labels")
    splits = {name: _numbers(folder / "setid.mat", field) for name, field in SPLITS.items()}
    if problems := _problems(splits, labels, folder):
        raise DataError(join_problems(f"{folder} is no Oxford Flowers as torchvision keeps it:", problems))
    return OxfordFlowers(
        splits={name: tuple(_image(folder, n, labels[n - 1]) for n in numbers) for name, numbers in splits.items()}
    )


def write_oxford_flowers(flowers: OxfordFlowers, folder: Path) -> None:
    """Write the set as the task FOLDER/target."""
    write_task(folder / "target", flowers.splits, f"{NAME}-target", NAME)


def _numbers(file: Path, field: str) -> list[int]:
    try:
        return [int(number) for number in np.ravel(loadmat(str(file))[field])]
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing: torchvision's Flowers102 has it, or give its root.") from error
    except Exception as error:  # SciPy fails in many ways on what is no .mat file
        reason = f"it has no {field!r}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{file} can't be read: {reason}. Download it again.") from error


def _image(folder: Path, number: int, label: int) -> DomainImage:
    name = f"image_{number:05d}.jpg"
    return DomainImage(folder / "jpg" / name, f"flower-{label:03d}", name, name)


def _problems(splits: dict[str, list[int]], labels: Sequence[int], folder: Path) -> list[str]:
    numbers = [number for some in splits.values() for number in some]
    outside = sorted({n for n in numbers if not 1 <= n <= len(labels)})
    if outside:
        return [f"image {outside[0]} has no label: there are {len(labels)}"]
    twice = sorted(n for n, count in Counter(numbers).items() if count > 1)
    trained = Counter(labels[n - 1] for n in splits["train"])
    uneven = {label: trained[label] for label in sorted(set(labels)) if trained[label] != PER_CLASS}
    missing = [n for n in numbers if not _image(folder, n, 0).path.is_file()]
    checks: list[tuple[Any, str]] = [
        (twice, f"{len(twice)} images are in two splits, the first is {twice[:1]}"),
        (uneven, f"each class has {PER_CLASS} images to train on; not so {dict(list(uneven.items())[:5])}"),
        (missing, f"{len(missing)} images are missing, the first is {missing[:1]}"),
    ]
    return [words for wrong, words in checks if wrong]
