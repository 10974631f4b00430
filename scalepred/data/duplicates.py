"""Finds exact and near duplicates, and joins what must share a split."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

NEAR_CONTRAST = 0.05
"""Thumbnails of near duplicates differ by so much of their contrast at most; see the log of 2026-11-23."""

NEAR_FLAT = 1.0
"""And those of flat images by so many of 255 levels at most. Both are root mean squares."""

_TILE = 2048


def near_duplicate_groups(hashes: Sequence[str], thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers, in the order of their first images: those that are the same, or nearly, share one.

    Near duplicates' thumbnails differ by ``NEAR_CONTRAST`` of the higher contrast of the two at most, or ``NEAR_FLAT``
    levels.

    Args:
        hashes: n content hashes.
        thumbnails: (n, 12, 12, 3) uint8.
    """
    if not hashes:
        return np.empty(0, np.int64)
    number: dict[bytes, int] = {}  # each thumbnail once, because thousands that are all alike make millions of pairs
    which = [number.setdefault(each.tobytes(), len(number)) for each in thumbnails]
    different = np.frombuffer(b"".join(number), np.uint8).reshape(len(number), -1)
    return joined(_near(different)[which], hashes)


def _near(thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers of different thumbnails (n, d), compared in tiles, so that memory stays bounded."""
    n, d = thumbnails.shape
    flat = thumbnails.astype(np.float32)
    flat -= 128  # whole numbers, whose products' sums stay below 2**24: exact in any order, so the same on any machine
    squares = (flat**2).sum(axis=1)
    variances = squares.astype(np.float64) / d - (flat.sum(axis=1).astype(np.float64) / d) ** 2
    allowed = (d * np.maximum(NEAR_CONTRAST * np.sqrt(variances), NEAR_FLAT) ** 2).astype(np.float32)
    groups = np.arange(n)
    for top in range(0, n, _TILE):
        rows = slice(top, top + _TILE)
        for left in range(top, n, _TILE):
            columns = slice(left, left + _TILE)
            distance = flat[rows] @ flat[columns].T
            distance *= -2
            distance += squares[rows, None]
            distance += squares[columns]
            i, j = np.nonzero(distance <= np.maximum(allowed[rows, None], allowed[columns]))
            if (i + top != j + left).any():
                groups = _merged(groups, groups[i + top], groups[j + left])
    return groups


def joined(groups: np.ndarray, keys: Sequence[str | None]) -> np.ndarray:
    """Return (n,) group numbers that also join the members with the same key; those without one stay as they are."""
    first: dict[str, int] = {}
    pairs = [(int(group), first.setdefault(key, int(group))) for group, key in zip(groups, keys, strict=True) if key]
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return _merged(groups, left, right)


def _merged(groups: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers after each group in ``left`` is joined with its partner in ``right``."""
    graph = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(len(groups), len(groups)))
    return np.asarray(connected_components(graph, directed=False)[1][groups], dtype=np.int64)
