"""Features: what a source, or a finetuned network, gives its head for images."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.networks.architecture import Architecture
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
    """Return what the source's head takes, (n, d) float32, of (n, 3, h, w) uint8 images."""
    architecture = source.architecture
    network = copy.deepcopy(architecture.network)
    network.set_submodule(architecture.head, nn.Identity())
    network = on_device(network, device)
    return predict_logits(network, architecture, images, device=device, dtype=dtype, micro_batch=micro_batch).numpy()


def logits_and_features(
    network: nn.Module,
    architecture: Architecture,
    images: np.ndarray,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    micro_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (n, n_outputs) and (n, d) float32 on the CPU: outputs and penultimate features, in one pass.

    Args:
        network: that of the architecture, perhaps with another head; it is left in eval mode.
        architecture: tells its head and normalisation.
        images: (n, 3, h, w) uint8.
        device: where the network is.
        dtype: torch.bfloat16 turns autocast on.
        micro_batch: images that go through the network at once, at most.
    """
    features: list[Tensor] = []
    head = network.get_submodule(architecture.head)
    hook = head.register_forward_pre_hook(lambda _, taken: features.append(taken[0].float().cpu()))
    try:
        logits = predict_logits(network, architecture, images, device=device, dtype=dtype, micro_batch=micro_batch)
    finally:
        hook.remove()
    return logits, torch.cat(features)[:, -architecture.embedding_size :]
