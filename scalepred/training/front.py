"""What finetunes of a source on a task share: the cut network, and what its frozen front gives."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scalepred.data.task import Split
from scalepred.networks.architecture import Architecture
from scalepred.networks.cut import WHOLE, Cut, cut
from scalepred.networks.source import Source, normalise, on_device
from scalepred.recipe import Recipe
from scalepred.training.augment import augment, draw_mirrored
from scalepred.training.optimizer import set_mode
from scalepred.training.scoring import run_batches

_SAMPLE = 8


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the finetunes of a source on a task share: how the network is cut, and what its frozen front gives.

    Attributes:
        cut: the network's two parts.
        activations: split name -> (n, ...) what the front gives for its images; empty where that isn't kept.
        mirrored: the same for the mirrored training images, where the recipe mirrors.
    """

    cut: Cut = WHOLE
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    mirrored: Tensor | None = None

    @property
    def kept_bytes(self) -> int:
        """Return what the kept activations take."""
        return sum(kept.nbytes for kept in (*self.activations.values(), self.mirrored) if kept is not None)


def prepare(
    source: Source,
    splits: Mapping[str, Split],
    recipe: Recipe,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    max_bytes: int = 0,
    micro_batch: int | None = None,
) -> Prepared:
    """Cut a source's network for a recipe, and compute once what its frozen front gives for a task's images.

    Args:
        source: the network.
        splits: "train" and every split to score.
        recipe: tells what is frozen, and how images are augmented.
        device: where the network runs and the activations lie.
        dtype: torch.bfloat16 turns autocast on.
        max_bytes: activations that would take more are not kept, nor are those of images that are shifted at random,
            for these are never the same twice; mirrored ones are kept both ways.
        micro_batch: images that go through the network at once, at most, where memory is short.
    """
    architecture = source.architecture
    network = on_device(copy.deepcopy(architecture.network), device)
    set_mode(network, architecture, recipe)
    sample = splits["train"].images[: min(micro_batch or _SAMPLE, _SAMPLE)]
    found = cut(
        network,
        lambda name: recipe.multipliers[architecture.stages[name]] == 0,
        sample=normalise(torch.from_numpy(sample).to(device), architecture),
    )
    front = found.front_of(network)
    if front is None or recipe.augmentation not in ("none", "flip"):
        return Prepared(cut=found.uncut())
    network.eval()

    def activations(images: np.ndarray) -> Tensor:
        return run_batches(front, images, architecture, device=device, dtype=dtype, micro_batch=micro_batch)

    n = sum(len(split.labels) for split in splits.values())
    n += len(splits["train"].labels) if recipe.augmentation == "flip" else 0
    if n * activations(splits["train"].images[:1]).nbytes > max_bytes:
        return Prepared(cut=found.uncut())
    train = splits["train"].images
    return Prepared(
        cut=found,
        activations={name: activations(split.images) for name, split in splits.items() if len(split.labels)},
        mirrored=activations(train[..., ::-1].copy()) if recipe.augmentation == "flip" else None,
    )


def inputs_of(
    train: Split, prepared: Prepared, architecture: Architecture, *, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return what gives the network's input, float32, for rows on the device: as it is, without augmentation."""
    kept = prepared.activations.get("train")
    if kept is not None:
        return lambda rows: kept[rows].float()
    return lambda rows: normalise(torch.from_numpy(train.images[rows.cpu().numpy()]).to(device), architecture)


def batches(
    train: Split,
    prepared: Prepared,
    architecture: Architecture,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """Return what gives the network's input for rows, on the device, of the training images or kept activations."""
    kept = prepared.activations.get("train")
    if kept is None:
        images = torch.from_numpy(train.images).to(device)

        def from_images(rows: Tensor) -> Tensor:
            batch = augment(images[rows], kind=recipe.augmentation, generator=generator)
            return normalise(batch, architecture)

        return from_images

    def from_activations(rows: Tensor) -> Tensor:
        batch = kept[rows]
        if prepared.mirrored is not None:
            mirrored = draw_mirrored(len(rows), generator).to(device)
            batch[mirrored] = prepared.mirrored[rows[mirrored]]
        return batch

    return from_activations
