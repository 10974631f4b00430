"""Runs a network on images without gradients, and scores it on a split."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scalepred.data.task import Split
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import normalise

EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a network does on a split: accuracy in [0, 1], mean cross-entropy, which images it gets right, and how.

    ``correct`` is (n,) bool, ``logits`` (n, n_classes) float32.
    """

    accuracy: float
    loss: float
    correct: np.ndarray
    logits: np.ndarray


def score(
    forward: nn.Module,
    split: Split,
    kept: Tensor | None,
    architecture: Architecture,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None,
) -> Scores:
    """Score a network that is in evaluation mode on a split's images, or on what was kept of them."""
    inputs = split.images if kept is None else kept
    logits = (
        run_batches(forward, inputs, architecture, device=device, dtype=dtype, micro_batch=micro_batch).float().cpu()
    )
    return scores_of(logits, split.labels)


def scores_of(logits: Tensor, labels: np.ndarray) -> Scores:
    """Score (n, n_classes) logits on the CPU against (n,) int64 labels, n at least 1."""
    targets = torch.from_numpy(labels)
    correct = (logits.argmax(dim=1) == targets).numpy()
    loss = float(functional.cross_entropy(logits, targets))
    return Scores(accuracy=float(correct.mean()), loss=loss, correct=correct, logits=logits.float().numpy())


def predict_logits(
    network: nn.Module,
    architecture: Architecture,
    images: np.ndarray,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None = None,
) -> Tensor:
    """Return (n, n_outputs) float32 on the CPU for (n, 3, h, w) uint8 images; the network is left in eval mode."""
    network.eval()
    return run_batches(network, images, architecture, device=device, dtype=dtype, micro_batch=micro_batch).float().cpu()


def run_batches(
    forward: nn.Module,
    inputs: np.ndarray | Tensor,
    architecture: Architecture,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None = None,
) -> Tensor:
    """Return what a module gives, without gradients, for uint8 images or for activations, batch by batch."""
    outputs = []
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for batch in torch.split(torch.as_tensor(inputs), min(micro_batch or EVALUATION_BATCH, EVALUATION_BATCH)):
            on = batch.to(device)
            outputs.append(forward(normalise(on, architecture) if on.dtype == torch.uint8 else on))
    return torch.cat(outputs)
