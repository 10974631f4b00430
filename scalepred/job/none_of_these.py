"""Tells that an image shows none of the classes: it is unlike every training image, as the network sees them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.errors import UsageError
from scalepred.job.setup import Setup
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import on_device
from scalepred.training.embed import logits_and_features
from scalepred.training.scoring import EVALUATION_BATCH

FALSE_ALARMS = 0.05
"""The share of images of the classes that may be taken for none of them."""

MOST = 2_000
"""Training images that are kept to compare with, and held-out images that thresholds are set on, at most."""

METHOD = "cosine distance of the penultimate features to those of the nearest training image"


@dataclass(frozen=True, kw_only=True)
class NoneOfThese:
    """What a model knows of how far images of its classes are from its training images.

    Attributes:
        references: (n, d) float16 features of training images, each of length 1.
        held_out: (m,) float32, sorted: the distances of images that the model was not trained on.
    """

    references: np.ndarray
    held_out: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return (n,) float32 in 0..2 for (n, d) float32 features: 1 minus the cosine to the nearest training image's.

        Source: Sun et al. 2022 (Out-of-distribution detection with deep nearest neighbors), section 3, with k = 1: on
        normalised features the Euclidean distance there orders as this one.
        """
        cosines = _unit(features) @ self.references.astype(np.float32).T
        nearest: np.ndarray = np.clip(1 - cosines.max(axis=1), 0, 2)  # in float16 references are a little longer than 1
        return nearest

    def threshold(self, false_alarms: float = FALSE_ALARMS) -> float:
        """Return the distance above which an image is none of the classes.

        A new image of the classes is above it with at most this probability, if held-out images are as new ones are.
        It is infinite where too few images are held out to promise that: ``1 / false_alarms - 1`` are needed.

        Raises:
            UsageError: if the share is none of 0 to below 1.

        Source: Papadopoulos et al. 2002 (Inductive confidence machines for regression); the quantile of split conformal
        prediction, ceil((n + 1) (1 - false_alarms)) of n.
        """
        if not 0 <= false_alarms < 1:
            raise UsageError(f"false_alarms must be a share from 0 to below 1, not {false_alarms!r}.")
        rank = math.ceil(round((len(self.held_out) + 1) * (1 - false_alarms), 9))
        return float(self.held_out[rank - 1]) if rank <= len(self.held_out) else math.inf

    def facts(self) -> dict[str, Any]:
        """Return JSON values that describe it; the threshold is None where too few images are held out."""
        threshold = self.threshold()
        return {
            "method": METHOD,
            "false_alarms": FALSE_ALARMS,
            "threshold": threshold if math.isfinite(threshold) else None,
            "n_held_out": len(self.held_out),
            "n_references": len(self.references),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file keeps of it."""
        return {"references": torch.from_numpy(self.references), "held_out": torch.from_numpy(self.held_out)}


def from_tensors(tensors: Mapping[str, Tensor], *, size: int) -> NoneOfThese:
    """Return what ``NoneOfThese.tensors`` gave, for features of this size.

    Raises:
        ValueError: if they are of other shapes or types, or not finite.
    """
    if set(tensors) != {"references", "held_out"}:
        raise ValueError("there are no references and held_out")
    references, held_out = tensors["references"], tensors["held_out"]
    if references.ndim != 2 or references.shape[1] != size or not len(references) or references.dtype != torch.float16:
        raise ValueError(f"the references are {references.dtype} {tuple(references.shape)}, not float16 (n, {size})")
    if held_out.ndim != 1 or held_out.dtype != torch.float32:
        raise ValueError(f"held_out is {held_out.dtype} {tuple(held_out.shape)}, not float32 (m,)")
    if not (references.isfinite().all() and held_out.isfinite().all() and (held_out.diff() >= 0).all()):
        raise ValueError("its values are not finite, or not sorted")
    return NoneOfThese(references=references.numpy(), held_out=held_out.numpy())


def none_of_these(train: np.ndarray, held_out: np.ndarray) -> NoneOfThese | None:
    """Learn from (n, d) float32 features of training images and (m, d) of held-out ones; None if some aren't finite."""
    if not (len(train) and np.isfinite(train).all() and np.isfinite(held_out).all()):
        return None
    bare = NoneOfThese(references=_unit(train).astype(np.float16), held_out=np.zeros(0, np.float32))
    distances = bare.distances(held_out) if len(held_out) else bare.held_out
    return NoneOfThese(references=bare.references, held_out=np.sort(distances.astype(np.float32)))


def measure(network: nn.Module, architecture: Architecture, setup: Setup) -> NoneOfThese | None:
    """Learn from a finished job's images and network; None where no image is held out.

    At most ``MOST`` images of either kind go through the network once more: validation and test images together are the
    held-out ones. Nothing is selected on them but the threshold.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    task = setup.task
    held_out = np.concatenate([_some(task.val.images), _some(task.test.images)])
    if not len(held_out):
        return None
    train, new = (_features(network, architecture, setup, _some(images)) for images in (task.train.images, held_out))
    return none_of_these(train, new)


def _features(network: nn.Module, architecture: Architecture, setup: Setup, images: np.ndarray) -> np.ndarray:
    """Return (n, d) float32 features of (n, 3, px, px) uint8 images, within the memory that there is."""
    device = setup.tools.device

    def attempt(micro_batch: int | None) -> np.ndarray:
        there = on_device(network, device)
        _, features = logits_and_features(there, architecture, images, device=device, micro_batch=micro_batch)
        return features.numpy()

    return setup.bundle.within_memory(attempt, most=min(EVALUATION_BATCH, len(images)))


def _some(images: np.ndarray) -> np.ndarray:
    """Return at most ``MOST`` of the images, drawn by a fixed seed; labels of a task come in no order to rely on."""
    if len(images) <= MOST:
        return images
    rows: np.ndarray = np.sort(np.random.default_rng(0).choice(len(images), MOST, replace=False))
    return np.asarray(images[rows])


def _unit(features: np.ndarray) -> np.ndarray:
    """Return (n, d) float32 features of length 1; those of length 0 stay so."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.asarray((features / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32))
