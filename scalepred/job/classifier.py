"""A finetuned classifier, loaded from its folder: it takes paths, images and arrays, and gives classes."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import numpy as np
import torch

from scalepred.data.decode import MAX_MEGAPIXELS, BadImageError, check_megapixels, decode
from scalepred.data.scan import Skipped, readable, walk
from scalepred.data.square import to_square
from scalepred.errors import DataError, UsageError, join_problems
from scalepred.job.folder import Model, load_model
from scalepred.job.none_of_these import FALSE_ALARMS
from scalepred.job.options import check_device
from scalepred.networks.source import on_device
from scalepred.training.devices import pick_device
from scalepred.training.embed import logits_and_features

AT_ONCE = 128
"""Images that are decoded together, and go through the network together; twice as many are held at most, so that any
number can be classified."""

CLASS, UNSURE, NONE, NOT_READ = "class", "unsure", "none of these", "not read"
"""What can be said of an image: that it is of a class; that no class is probable enough; that it is unlike all training
images; or that it can't be read."""


@runtime_checkable
class PILImage(Protocol):
    """An image of Pillow's, such as ``PIL.Image.open`` returns."""

    @property
    def mode(self) -> str:
        """Its channels, such as "RGB"."""

    def convert(self, mode: str) -> Any:
        """Return it with other channels."""


AnyPath: TypeAlias = str | os.PathLike[str]
AnyPaths: TypeAlias = AnyPath | Iterable[AnyPath]

AnyImage: TypeAlias = AnyPath | PILImage | np.ndarray
"""The path of an image file, an image of Pillow's, or a (h, w, 3) uint8 array."""

ImageT = TypeVar("ImageT", bound=AnyImage)


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What an image was taken for.

    Attributes:
        path: of the image.
        verdict: ``CLASS``, ``UNSURE``, ``NONE`` or ``NOT_READ``.
        ranking: classes and probabilities, most probable first, whatever the verdict; empty if it can't be read.
        distance: from the nearest training image, 0 to 2; None where the model doesn't know.
        problem: why it can't be read; None if it can.
    """

    path: str
    verdict: str = CLASS
    ranking: tuple[tuple[str, float], ...] = ()
    distance: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Seen:
    """What the network gives for an image: (n_classes,) probabilities, and its distance from the training images."""

    probabilities: np.ndarray
    distance: float | None


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

        They are calibrated by the temperature that the job has fitted on held-out images, where it could.

        Args:
            images: as ``predict``.

        Raises:
            DataError: naming every image that can't be used.
            UsageError: naming what is no image.
        """
        several = _as_list(images)
        outcomes = [outcome for part in self._parts(several) for _, outcome in part]
        bad = [f"{_name(several[at], at)}: {each}" for at, each in enumerate(outcomes) if isinstance(each, str)]
        if bad:
            raise DataError(join_problems(f"{len(bad)} of {len(several)} images can't be classified:", bad))
        rows = [each.probabilities for each in outcomes if not isinstance(each, str)]
        return np.stack(rows) if rows else np.zeros((0, len(self.classes)), np.float32)

    def classify(
        self, paths: AnyPaths, *, top: int = 5, threshold: float = 0.0, false_alarms: float = FALSE_ALARMS
    ) -> list[Classified]:
        """Return what ``stream`` gives, all at once."""
        return list(self.stream(paths, top=top, threshold=threshold, false_alarms=false_alarms))

    def stream(
        self, paths: AnyPaths, *, top: int = 5, threshold: float = 0.0, false_alarms: float = FALSE_ALARMS
    ) -> Iterator[Classified]:
        """Yield what each image file is taken for, in their order, as soon as its ``AT_ONCE`` images are done.

        Args:
            paths: of an image file, or of several; they are asked for no sooner than they are needed, so they may come
                from a pipe.
            top: classes to rank.
            threshold: an image whose most probable class is less probable gets the verdict ``UNSURE``.
            false_alarms: the share of images of the classes that may get the verdict ``NONE``; 0 gives it to none. Nor
                is it given by a model that has held too few images out for that share.

        Raises:
            UsageError: if the threshold is no probability, or false_alarms no share below 1.
        """
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold must be a probability from 0 to 1, not {threshold!r}.")
        known = self.model.none_of_these
        farthest = math.inf if known is None else known.threshold(false_alarms)
        several = [paths] if isinstance(paths, str | os.PathLike) else paths
        return (
            self._classified(path, each, top=top, threshold=threshold, farthest=farthest)
            for part in self._parts(several)
            for path, each in part
        )

    def _classified(
        self, path: AnyPath, outcome: _Seen | str, *, top: int, threshold: float, farthest: float
    ) -> Classified:
        """Return what is said of an image, by what the network gives, or by why it can't be read."""
        if isinstance(outcome, str):
            return Classified(path=str(path), verdict=NOT_READ, problem=outcome)
        columns = _ranked(outcome.probabilities[None])[0, :top]
        ranking = tuple((self.classes[column], float(outcome.probabilities[column])) for column in columns)
        verdict = UNSURE if outcome.probabilities.max() < threshold else CLASS
        if outcome.distance is not None and outcome.distance > farthest:
            verdict = NONE
        return Classified(path=str(path), verdict=verdict, ranking=ranking, distance=outcome.distance)

    def _parts(self, images: Iterable[ImageT]) -> Iterator[list[tuple[ImageT, _Seen | str]]]:
        """Yield ``AT_ONCE`` images at a time, each with what the network gives for it, or why it can't be used."""
        n_ahead = 0 if self.device.type == "cpu" else 1
        for part in _squares(images, self.model, max_megapixels=self.max_megapixels, n_ahead=n_ahead):
            good = [each for _, each in part if not isinstance(each, str)]
            rows = iter(self._seen(np.stack(good)) if good else ())
            yield [(image, each if isinstance(each, str) else next(rows)) for image, each in part]

    def _seen(self, images: np.ndarray) -> Iterator[_Seen]:
        """Yield what the network gives for (n, 3, px, px) uint8 images."""
        architecture, known = self.model.architecture, self.model.none_of_these
        network = on_device(architecture.network, self.device)
        logits, features = logits_and_features(network, architecture, images, device=self.device)
        probabilities: np.ndarray = (logits / self.model.temperature).softmax(dim=1).numpy()
        distances = [None] * len(images) if known is None else known.distances(features.numpy()).tolist()
        return map(_Seen, probabilities, distances)


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
    images: Iterable[ImageT], model: Model, *, max_megapixels: float, n_ahead: int
) -> Iterator[list[tuple[ImageT, np.ndarray | str]]]:
    """Yield ``AT_ONCE`` images at a time with their (3, px, px) uint8 squares, or why they can't be used.

    They are decoded in a few threads, so many parts ahead of the one that is yielded. Where the network runs on the CPU
    that should be none: its threads wait for each other after every layer, and burn the time of those that decode.
    """
    square = partial(_square, model=model, max_megapixels=max_megapixels)
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    numbered = enumerate(images)
    waiting: deque[list[tuple[ImageT, Future[np.ndarray | str]]]] = deque()
    try:
        while part := [(image, pool.submit(square, image, at)) for at, image in islice(numbered, AT_ONCE)]:
            waiting.append(part)
            if len(waiting) > n_ahead:
                yield _finished(waiting.popleft())
        yield from map(_finished, waiting)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt needn't wait for the rest


def _finished(part: list[tuple[ImageT, Future[np.ndarray | str]]]) -> list[tuple[ImageT, np.ndarray | str]]:
    return [(image, future.result()) for image, future in part]


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
