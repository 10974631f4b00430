"""A finetuned classifier, loaded from its folder: it takes paths, images and arrays, and gives classes."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch

from scalepred.data.decode import BadImageError, decode
from scalepred.data.scan import Skipped, readable, walk
from scalepred.data.square import to_square
from scalepred.errors import DataError, UsageError, join_problems
from scalepred.job.folder import Model, load_model
from scalepred.job.options import MAX_MEGAPIXELS, check_device, check_megapixels
from scalepred.networks.source import on_device
from scalepred.training.devices import pick_device
from scalepred.training.scoring import predict_logits

AT_ONCE = 256
"""Images that are held decoded at a time, so that any number can be classified."""


@runtime_checkable
class PILImage(Protocol):
    """An image of Pillow's, such as ``PIL.Image.open`` returns."""

    @property
    def mode(self) -> str:
        """Its channels, such as "RGB"."""

    def convert(self, mode: str) -> Any:
        """Return it with other channels."""


AnyImage: TypeAlias = str | os.PathLike[str] | PILImage | np.ndarray
"""The path of an image file, an image of Pillow's, or a (h, w, 3) uint8 array."""


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What an image was taken for: classes and probabilities, most probable first; or why it could not be read."""

    path: str
    ranking: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A finetuned model that classifies; ``load`` reads it from its folder.

    Attributes:
        model: the network with its classes.
        device: where it runs.
        max_megapixels: an image file above this is refused.
    """

    model: Model
    device: torch.device
    max_megapixels: float = MAX_MEGAPIXELS

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities' columns."""
        return self.model.classes

    def predict(self, images: AnyImage | Iterable[AnyImage]) -> list[str]:
        """Return the most probable class of each image.

        Args:
            images: one image or several: paths, images of Pillow's and (h, w, 3) uint8 arrays, alone or mixed.

        Raises:
            DataError: naming every image that can't be used.
            UsageError: naming what is no image.
        """
        return [self.classes[column] for column in _ranked(self.predict_proba(images))[:, 0]]

    def predict_proba(self, images: AnyImage | Iterable[AnyImage]) -> np.ndarray:
        """Return (n, n_classes) float32, the probability of each class for each image, as ``scalepred classify`` does.

        Args:
            images: as ``predict``.

        Raises:
            DataError: naming every image that can't be used.
            UsageError: naming what is no image.
        """
        several = _as_list(images)
        probabilities, problems = self._probabilities(several)
        if problems:
            bad = [f"{_name(several[at], at)}: {reason}" for at, reason in problems.items()]
            raise DataError(join_problems(f"{len(bad)} of {len(several)} images can't be classified:", bad))
        return probabilities

    def classify(self, paths: Sequence[Path], *, top: int = 5) -> list[Classified]:
        """Return the ``top`` classes of each image file; one that can't be read is returned with its problem."""
        probabilities, problems = self._probabilities(paths)
        rows = iter(zip(_ranked(probabilities)[:, :top], probabilities, strict=True))
        return [
            Classified(path=str(path), problem=problems[at])
            if at in problems
            else Classified(path=str(path), ranking=self._ranking(*next(rows)))
            for at, path in enumerate(paths)
        ]

    def _ranking(self, columns: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[str, float], ...]:
        return tuple((self.classes[column], float(probabilities[column])) for column in columns)

    def _probabilities(self, images: Sequence[AnyImage]) -> tuple[np.ndarray, dict[int, str]]:
        """Return (n_good, n_classes) float32 for the images that can be used, and position -> reason of the others."""
        rows = [np.zeros((0, len(self.classes)), np.float32)]
        problems: dict[int, str] = {}
        for start, squares in _squares(images, self.model, max_megapixels=self.max_megapixels):
            problems |= {start + at: each for at, each in enumerate(squares) if isinstance(each, str)}
            good = [each for each in squares if not isinstance(each, str)]
            if good:
                rows.append(self._softmax(np.stack(good)))
        return np.concatenate(rows), problems

    def _softmax(self, images: np.ndarray) -> np.ndarray:
        """Return (n, n_classes) float32 for (n, 3, px, px) uint8."""
        architecture = self.model.architecture
        network = on_device(architecture.network, self.device)
        logits = predict_logits(network, architecture, images, device=self.device, dtype=torch.float32)
        probabilities: np.ndarray = logits.softmax(dim=1).numpy()
        return probabilities


def load(folder: str | os.PathLike[str], *, device: str = "auto", max_megapixels: float = MAX_MEGAPIXELS) -> Classifier:
    """Load the classifier that a finetune has saved.

    Args:
        folder: what ``scalepred finetune`` or ``scalepred.finetune`` has written.
        device: where to classify: "auto", "cpu" or "cuda".
        max_megapixels: an image file above this is refused.

    Raises:
        VersionError: if the folder is no model, is damaged, or of another version.
        UsageError: if there is no such device, or no such limit can be.
    """
    check_device(device)
    check_megapixels(max_megapixels)
    return Classifier(model=load_model(Path(folder)), device=pick_device(device), max_megapixels=max_megapixels)


def find_images(paths: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """Return the files among these paths and below the folders among them, and what is skipped there, and why.

    Hidden files are left out without a word; a folder that holds no file is skipped itself.

    Raises:
        DataError: naming the paths that don't exist.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"There is nothing at {', '.join(missing)}.")
    files: list[Path] = []
    skipped: list[Skipped] = []
    for path in paths:
        below, unusable = walk(path) if path.is_dir() else ([path], [])
        files += below
        skipped += unusable if below or unusable else [Skipped(readable(path), "it has no images")]
    return files, skipped


def _ranked(probabilities: np.ndarray) -> np.ndarray:
    """Return (n, n_classes) columns, the most probable first; of equals, the first class."""
    return np.argsort(-probabilities, axis=1, kind="stable")


def _as_list(images: AnyImage | Iterable[AnyImage]) -> list[AnyImage]:
    """Return one image or several as a list; an array of four dimensions is several."""
    is_one = isinstance(images, str | os.PathLike | PILImage) or (isinstance(images, np.ndarray) and images.ndim < 4)
    if not is_one and not isinstance(images, Iterable):
        raise UsageError(f"Give paths, images of Pillow's or (h, w, 3) uint8 arrays, not {images!r:.80}.")
    return [cast("AnyImage", images)] if is_one else list(cast("Iterable[AnyImage]", images))


def _squares(
    images: Sequence[AnyImage], model: Model, *, max_megapixels: float
) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """Yield the first position and the (3, px, px) uint8 squares of ``AT_ONCE`` images each, decoded in a few threads.

    In place of one that can't be used is the reason.
    """
    square = partial(_square, model=model, max_megapixels=max_megapixels)
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for start in range(0, len(images), AT_ONCE):
            part = images[start : start + AT_ONCE]
            yield start, list(pool.map(square, part, range(start, start + len(part))))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt needn't wait for the rest


def _square(image: AnyImage, position: int, *, model: Model, max_megapixels: float) -> np.ndarray | str:
    """Return an image as (3, px, px) uint8, made a square as those that the model learned, or why it can't be used.

    Raises:
        UsageError: if it is no image of any kind; names its position.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            return f"an array of {image.shape} {image.dtype}, not of (h, w, 3) uint8"
        return to_square(np.ascontiguousarray(image), model.image_px, resize=model.resize)
    if not isinstance(image, str | os.PathLike | PILImage):
        raise UsageError(
            f"Image {position} is {image!r:.80}: give a path, an image of Pillow's or a (h, w, 3) uint8 array."
        )
    item = Path(image) if isinstance(image, str | os.PathLike) else cast("Callable[[], Any]", lambda: image)
    try:
        rgb = decode(item, max_megapixels=max_megapixels).rgb
    except BadImageError as error:
        return str(error)
    return to_square(rgb, model.image_px, resize=model.resize)


def _name(image: AnyImage, position: int) -> str:
    """Return what a message calls an image: its path, or its position among the given ones."""
    return readable(os.fspath(image)) if isinstance(image, str | os.PathLike) else f"image {position}"
