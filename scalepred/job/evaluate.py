"""Scores a saved model on labelled images, whose classes are matched by name."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalepred.data.aside import without_excluded
from scalepred.data.decode import MAX_MEGAPIXELS
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry
from scalepred.data.load import load_images
from scalepred.data.scan import Skipped
from scalepred.errors import DataError
from scalepred.job.classifier import Classifier, load
from scalepred.job.learnt import numbers_of
from scalepred.job.paired import wilson
from scalepred.job.report_parts import PAIRS, softmax
from scalepred.job.scored import ClassRow, Scored, class_rows, confusion, most_confused
from scalepred.networks.source import on_device
from scalepred.training.calibration import N_BINS, Quality, quality_of
from scalepred.training.scoring import predict_logits


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a saved model does on labelled images.

    Attributes:
        model: its folder.
        data: what it was scored on, as it was given.
        layout: of the data, in words.
        scored: the images with their labels and calibrated probabilities.
        quality: log loss and calibration error of these probabilities.
        temperature: of the model.
        trained_on: which of the n images the model was trained on, bool; None where it does not know.
        set_aside: class that the model does not know -> images, which are not scored.
        skipped: files that can't be used, each with its reason.
        warnings: what a user should know, in words.
    """

    model: Path
    data: str
    layout: str
    scored: Scored
    quality: Quality
    temperature: float
    trained_on: np.ndarray | None
    set_aside: dict[str, int]
    skipped: list[Skipped]
    warnings: list[str]

    @property
    def n(self) -> int:
        """The number of images that were scored."""
        return len(self.scored.labels)

    @property
    def n_right(self) -> int:
        """How many of them are right."""
        return int(self.scored.right.sum())

    @property
    def accuracy(self) -> float:
        """The fraction of images that are right."""
        return self.n_right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return wilson(self.n_right, self.n)

    @property
    def n_trained_on(self) -> int | None:
        """How many of the images the model was trained on; None where it does not know."""
        return None if self.trained_on is None else int(self.trained_on.sum())

    @property
    def new(self) -> tuple[int, int] | None:
        """Of the images that the model was not trained on, how many are right, and how many there are.

        None where the model does not know, or there are no such images.
        """
        if self.trained_on is None or self.trained_on.all():
            return None
        return int(self.scored.right[~self.trained_on].sum()), int((~self.trained_on).sum())

    @property
    def rows(self) -> list[ClassRow]:
        """A row for each class of the model, in the order of its outputs."""
        return class_rows(self._matrix, self.scored.classes)

    @property
    def _matrix(self) -> np.ndarray:
        return confusion(self.scored.labels, self.scored.predicted, n_classes=len(self.scored.classes))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred evaluate --json``."""
        pairs, new = most_confused(self._matrix, self.scored.classes, most=PAIRS), self.new
        return {
            "schema": 2,
            "model": str(self.model),
            "data": self.data,
            "n": self.n,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "n_trained_on": self.n_trained_on,
            "new": None if new is None else {"n": new[1], "accuracy": new[0] / new[1], "interval": list(wilson(*new))},
            "log_loss": self.quality.log_loss,
            "ece": self.quality.ece,
            "bins": N_BINS,
            "temperature": self.temperature,
            "classes": [_listed(asdict(row)) for row in self.rows],
            "confused": [asdict(pair) for pair in pairs],
            "set_aside": self.set_aside,
            "skipped": [asdict(each) for each in self.skipped],
            "warnings": self.warnings,
        }


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def evaluate(
    model: str | os.PathLike[str],
    data: str | Path,
    *,
    device: str = "auto",
    max_megapixels: float = MAX_MEGAPIXELS,
    layout: Layout = FOUND_OUT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a saved model on all images of some labelled data, whatever their splits.

    Classes are matched by name, never by position, so the data may lack some, or have them in another order. Images of
    a class that the model does not know are set aside and counted. Those that it was trained on are counted too, since
    the accuracy is then not honest.

    Args:
        model: a folder that ``scalepred finetune`` has written.
        data: as ``finetune`` takes it.
        device: "auto", "cpu" or "cuda".
        max_megapixels: an image above this is skipped.
        layout: what you say of where images and labels are, and which classes to leave out; what it says of groups,
            and of what training needs, is not asked here.
        on_progress: called with images read and images in all.

    Raises:
        DataError: if the data can't be read, or holds no usable image of a class that the model knows.
        VersionError: if the model's folder is none, is damaged, or of another version.
        UsageError: if there is no such device, no such limit can be, or what the layout says is not of such data.
    """
    classifier = load(model, device=device, max_megapixels=max_megapixels)
    listing, _ = without_excluded(list_images(data, layout=layout), layout)
    column = _columns(classifier.classes, {entry.label for entry in listing.entries})
    entries = [entry for entry in listing.entries if entry.label in column]
    set_aside = dict(sorted(Counter(e.label for e in listing.entries if e.label not in column).items()))
    square = classifier.model
    loaded = load_images(
        [entry.item for entry in entries],
        image_px=square.image_px,
        resize=square.resize,
        max_megapixels=max_megapixels,
        on_progress=on_progress,
    )
    bad = [Skipped(entries[at].path, reason) for at, reason in loaded.bad]
    kept = [entries[at] for at in loaded.kept]
    if not kept:
        raise DataError(_nothing(data, classifier.classes, set_aside, n_bad=len(bad)))
    labels = np.array([column[entry.label] for entry in kept], dtype=np.int64)
    logits = _logits(classifier, loaded.images)
    known = square.trained_on
    trained_on = None if known is None else np.isin(numbers_of(loaded.hashes), known)
    return Evaluation(
        model=Path(model),
        data=str(data),
        layout=listing.layout,
        scored=Scored(
            classes=classifier.classes,
            labels=labels,
            probabilities=softmax(logits, square.temperature),
            images=loaded.images,
            paths=tuple(entry.path for entry in kept),
            split="scored",
        ),
        quality=quality_of(logits / square.temperature, labels),
        temperature=square.temperature,
        trained_on=trained_on,
        set_aside=set_aside,
        skipped=[*listing.skipped, *bad],
        warnings=_of_training(kept, trained_on) + listing.notes + _warnings(classifier.classes, kept, set_aside),
    )


def _columns(classes: Sequence[str], labels: set[str]) -> dict[str, int]:
    """Return label -> column for the labels that a model knows: by name, else by the same name in Unicode's form C."""
    column = {name: at for at, name in enumerate(classes)}
    composed = {unicodedata.normalize("NFC", name): at for at, name in enumerate(classes)}
    places = {label: column.get(label, composed.get(unicodedata.normalize("NFC", label))) for label in labels}
    return {label: at for label, at in places.items() if at is not None}


def _logits(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    architecture = classifier.model.architecture
    network = on_device(architecture.network, classifier.device)
    logits = predict_logits(network, architecture, images, device=classifier.device, dtype=torch.float32)
    return np.asarray(logits.numpy())


def _of_training(kept: Sequence[Entry], trained_on: np.ndarray | None) -> list[str]:
    """Warn of images that the model was trained on; where it does not know them, of splits that may hold such."""
    if trained_on is not None:
        n = int(trained_on.sum())
        words = "is one that" if n == 1 else "are ones that"
        told = f"{n} of {len(kept)} images {words} the model was trained on: the accuracy of all is not honest"
        return [told] if n else []
    n = sum(entry.split in ("train", "val") for entry in kept)
    told = (
        f"{n} of {len(kept)} images lie in a training or validation split: a model that was trained on them looks "
        "better than it is"
    )
    return [told] if n else []


def _warnings(classes: Sequence[str], kept: Sequence[Entry], set_aside: dict[str, int]) -> list[str]:
    warnings = []
    if set_aside:
        n, names = sum(set_aside.values()), _few(list(set_aside))
        images = "1 image is" if n == 1 else f"{n} images are"
        warnings.append(f"{images} of classes that the model does not know, and set aside: {names}")
    absent = sorted(set(classes) - {entry.label for entry in kept})
    if absent:
        warnings.append(f"no image is of {_few(absent)}, so nothing is said of {'it' if len(absent) == 1 else 'them'}")
    return warnings


def _nothing(data: str | Path, classes: Sequence[str], set_aside: dict[str, int], *, n_bad: int) -> str:
    """Return why there is nothing to score."""
    if set_aside and not n_bad:
        return (
            f"{data} has images of {_few(list(set_aside))}, and the model knows none of these classes. It knows "
            f"{_few(list(classes))}: give images of those, or rename the folders."
        )
    return f"{data} has no usable image of {_few(list(classes))}, the classes that the model knows."


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" … ({len(names)} in all)" if len(names) > 5 else "")
