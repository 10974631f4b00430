"""The loss of a recipe: cross-entropy with smoothed labels and weights of classes."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from scalepred.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]
"""(n, n_classes) logits and (n,) labels -> the sum of the images' losses."""


def make_loss(recipe: Recipe, labels: np.ndarray, *, n_classes: int, device: torch.device) -> Loss:
    """Return a recipe's loss.

    Args:
        recipe: gives ``label_smoothing`` and ``class_weights``.
        labels: (n,) int64, of the training images, which classes are weighed by.
        n_classes: of the task.
        device: where logits and labels lie.

    Source: label smoothing is Szegedy et al. 2016 (Rethinking the Inception architecture), section 7; balanced weights
    are n / (n_classes * count), as scikit-learn has them, whose mean over the training images is 1.
    """
    weights = None
    if recipe.class_weights == "balanced":
        counts = np.maximum(np.bincount(labels, minlength=n_classes), 1)
        present = len(np.unique(labels))
        weights = torch.from_numpy(len(labels) / (present * counts)).float().to(device)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, targets, weight=weights, reduction="sum", label_smoothing=recipe.label_smoothing
        )

    return loss


def mean_in_parts(loss_of: Callable[[Tensor], Tensor], rows: Tensor, *, at_once: int, saves_memory: bool) -> Tensor:
    """Return the mean loss over rows of images that go through the network in even parts.

    Args:
        loss_of: rows -> the sum of their losses.
        rows: of images.
        at_once: rows in a part, at most.
        saves_memory: where gradients are taken, what a part has computed is computed again for them instead of kept.
    """
    parts = rows.tensor_split(math.ceil(len(rows) / at_once))
    if saves_memory and torch.is_grad_enabled():
        losses = [checkpoint(loss_of, part, use_reentrant=False) for part in parts]
    else:
        losses = [loss_of(part) for part in parts]
    return torch.stack(losses).sum() / len(rows)
