"""Knows the images that a model was trained on again: by a number of each, which is kept in the model's folder."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

DIGITS = 16
"""Of the 32 hex digits of a content hash: so the number of an image takes 8 bytes, and those of millions differ."""


def numbers_of(hashes: Sequence[str]) -> np.ndarray:
    """Return the (n,) int64 numbers of n content hashes, in their order."""
    return np.array([int(each[:DIGITS], 16) for each in hashes], dtype=np.uint64).view(np.int64)


def tensors_of(hashes: Sequence[str]) -> dict[str, Tensor]:
    """Return what a file keeps of the content hashes of training images: each number once, sorted."""
    return {"numbers": torch.from_numpy(np.unique(numbers_of(hashes)))}


def from_tensors(tensors: Mapping[str, Tensor]) -> np.ndarray:
    """Return the numbers that ``tensors_of`` gave.

    Raises:
        ValueError: if they are of another shape or type.
    """
    numbers = tensors.get("numbers")
    if set(tensors) != {"numbers"} or numbers is None or numbers.ndim != 1 or numbers.dtype != torch.int64:
        raise ValueError("the numbers of the training images are no int64 (n,)")
    return np.asarray(numbers.numpy())
