"""Labelled images with the probabilities that a model gives them: confusions, rows of classes, and what stands out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.job.paired import wilson


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a model makes of n labelled images.

    Attributes:
        classes: k names, in the order of the columns.
        labels: (n,) int64.
        probabilities: (n, k) float64, calibrated.
        images: (n, 3, px, px) uint8.
        paths: n, as the data names them.
        split: which images these are, in a word, such as "test".
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    paths: tuple[str, ...]
    split: str

    @property
    def predicted(self) -> np.ndarray:
        """The (n,) most probable classes."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        """Which of the n images are right, bool."""
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """How a model does on a class; intervals are Wilson's, 95 %.

    A share is None where it is of no image, and all are where the class has no images, of which nothing can be said.

    Attributes:
        name: of the class.
        n: images of it.
        n_predicted: images that are taken for it.
        n_right: of both.
        recall: share of its images that are taken for it.
        precision: share of those taken for it that are of it.
    """

    name: str
    n: int
    n_predicted: int
    n_right: int
    recall: float | None
    recall_interval: tuple[float, float] | None
    precision: float | None
    precision_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Confused:
    """Images of one class that are taken for another: how many, and which share of the class that is."""

    label: str
    predicted: str
    n: int
    share: float


def confusion(labels: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Return (n_classes, n_classes) int64: images by label, down, and by what they are taken for, across."""
    flat = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    return np.asarray(flat.reshape(n_classes, n_classes), dtype=np.int64)


def class_rows(matrix: np.ndarray, classes: Sequence[str]) -> list[ClassRow]:
    """Return a row for each class of a confusion matrix (k, k), in the order of the classes."""
    rows = []
    for at, name in enumerate(classes):
        n, n_predicted, n_right = (int(each) for each in (matrix[at].sum(), matrix[:, at].sum(), matrix[at, at]))
        rows.append(
            ClassRow(
                name=name,
                n=n,
                n_predicted=n_predicted,
                n_right=n_right,
                recall=n_right / n if n else None,
                recall_interval=wilson(n_right, n) if n else None,
                precision=n_right / n_predicted if n and n_predicted else None,
                precision_interval=wilson(n_right, n_predicted) if n and n_predicted else None,
            )
        )
    return rows


def most_confused(matrix: np.ndarray, classes: Sequence[str], *, most: int) -> list[Confused]:
    """Return the pairs of classes that are confused most, by images and then by share of the class."""
    wrong = [(int(i), int(j)) for i, j in zip(*np.nonzero(matrix), strict=True) if i != j]
    pairs = [
        Confused(
            label=classes[i], predicted=classes[j], n=int(matrix[i, j]), share=float(matrix[i, j] / matrix[i].sum())
        )
        for i, j in wrong
    ]
    return sorted(pairs, key=lambda pair: (-pair.n, -pair.share))[:most]


def confident_mistakes(scored: Scored, *, most: int) -> list[int]:
    """Return the rows of the wrong images that the model is surest of, surest first."""
    wrong = np.flatnonzero(~scored.right)
    order = np.argsort(-scored.probabilities[wrong].max(axis=1), kind="stable")
    return [int(row) for row in wrong[order[:most]]]


def least_certain(scored: Scored, *, most: int) -> list[int]:
    """Return the rows of the images whose two most probable classes are nearest to each other, nearest first."""
    ordered = np.sort(scored.probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    return [int(row) for row in np.argsort(margins, kind="stable")[:most]]


def majority(train_labels: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy of taking every image for the class with most training images; of equals, the first."""
    return float((labels == np.bincount(train_labels).argmax()).mean())
