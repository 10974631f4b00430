"""Finds labels that are likely wrong, and images that repeat others."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import THUMBNAIL_PX
from scalepred.data.splits import SPLITS
from scalepred.data.task import Task
from scalepred.data.thumbnails import tiny

SEARCHED = 10_000
"""Near duplicates are looked for among so many images at most; the work grows with the square of their number."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An image whose label is likely wrong.

    Attributes:
        row: of the image, among those that were judged.
        given: column of its label.
        suggested: column of the class that it more likely belongs to.
        p_given, p_suggested: their probabilities.
    """

    row: int
    given: int
    suggested: int
    p_given: float
    p_suggested: float


def label_suspects(probabilities: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    """Return the images that are confidently of another class than their label, least likely labels first.

    A class counts for an image where its probability is at least the mean one of the images that are labelled so. Of
    those that count the most probable is what the image is taken to be.

    Args:
        probabilities: (n, k), of images that the judge has not learnt.
        labels: (n,) int64.

    Source: Northcutt, Jiang and Chuang 2021 (Confident learning), equations 1 and 2, and the ranking by normalised
    margin of section 3.2.
    """
    n, k = probabilities.shape
    own = probabilities[np.arange(n), labels]
    counts = np.bincount(labels, minlength=k)
    sums = np.bincount(labels, weights=own, minlength=k)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    counting = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = counting.argmax(axis=1)
    rows = np.flatnonzero(
        (counting.max(axis=1) >= 0) & (suggested != labels) & (probabilities.argmax(axis=1) != labels)
    )
    margins = own[rows] - probabilities[rows, suggested[rows]]
    return [
        Suspect(
            row=int(row),
            given=int(labels[row]),
            suggested=int(suggested[row]),
            p_given=float(own[row]),
            p_suggested=float(probabilities[row, suggested[row]]),
        )
        for row in rows[np.argsort(margins, kind="stable")]
    ]


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Two images that are the same, exactly or nearly: (split, row) of each, and whether splits or labels differ."""

    first: tuple[str, int]
    second: tuple[str, int]
    is_exact: bool
    in_two_splits: bool
    in_two_classes: bool


def repeats_of(task: Task) -> list[Repeat]:
    """Return pairs of images of a task that repeat each other, one for each image beyond the first of its kind.

    Those in two splits come first, then those in two classes. Near duplicates are told by the squares that the job has,
    so there may be a few more or less than when the data was read. Beyond ``SEARCHED`` images only exact ones are
    looked for.
    """
    splits = [getattr(task, name) for name in SPLITS]
    places = [(name, row) for name, split in zip(SPLITS, splits, strict=True) for row in range(len(split.labels))]
    hashes = [each for split in splits for each in split.hashes]
    labels = np.concatenate([split.labels for split in splits])
    if len(hashes) <= SEARCHED:
        small = np.concatenate([tiny(split.images, THUMBNAIL_PX) for split in splits])
        groups: Sequence[object] = near_duplicate_groups(hashes, small).tolist()
    else:
        groups = hashes
    members = defaultdict(list)
    for at, group in enumerate(groups):
        members[group].append(at)
    pairs = [(rows[0], other) for rows in members.values() for other in _others(rows, places)]
    found = [
        Repeat(
            first=places[a],
            second=places[b],
            is_exact=hashes[a] == hashes[b],
            in_two_splits=places[a][0] != places[b][0],
            in_two_classes=bool(labels[a] != labels[b]),
        )
        for a, b in pairs
    ]
    return sorted(found, key=lambda each: (not each.in_two_splits, not each.in_two_classes))


def _others(rows: Sequence[int], places: Sequence[tuple[str, int]]) -> list[int]:
    """Return all but the first row of a group, those of other splits first."""
    return sorted(rows[1:], key=lambda row: places[row][0] == places[rows[0]][0])
