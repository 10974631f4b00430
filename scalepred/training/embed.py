"""Frozen features: what a source's penultimate layer gives for images."""

import copy

import numpy as np
import torch
from torch import nn

from scalepred.networks.source import Source, on_device
from scalepred.training.scoring import predict_logits


def embeddings(
    source: Source,
    images: np.ndarray,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None = None,
) -> np.ndarray:
    """Return the source's penultimate features, (n, d) float32, of (n, 3, h, w) uint8 images."""
    architecture = source.architecture
    network = copy.deepcopy(architecture.network)
    network.set_submodule(architecture.head, nn.Identity())
    network = on_device(network, device)
    return predict_logits(network, architecture, images, device=device, dtype=dtype, micro_batch=micro_batch).numpy()
