"""A model as one network that takes raw pixels and gives probabilities, to be exported."""

import copy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.job.folder import Model
from scalepred.networks.architecture import Architecture


class PixelNetwork(nn.Module):
    """A classifier with its normalisation before it and its softmax behind it.

    Takes (n, 3, px, px) uint8 squares and returns (n, n_classes) float32 probabilities.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, network: nn.Module) -> None:
        """Keep a network, and the mean and std of its architecture."""
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(architecture, name)).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, n_classes) float32 probabilities of (n, 3, px, px) uint8 images."""
        logits: Tensor = self.network((images.float() - self.mean) / self.std)
        return logits.softmax(dim=1)


def pixel_network(model: Model) -> PixelNetwork:
    """Return a copy of a model on the CPU, in evaluation mode, that takes pixels and gives calibrated probabilities."""
    return PixelNetwork(model.architecture, calibrated_network(model)).eval()


def calibrated_network(model: Model) -> nn.Module:
    """Return a copy of a model's network on the CPU whose head is divided by the temperature.

    So the plain softmax of its logits is the calibrated one.

    Source: Guo et al. 2017 (On calibration of modern neural networks), section 4.2, temperature scaling.
    """
    network = copy.deepcopy(model.architecture.network).cpu().to(memory_format=torch.contiguous_format).eval()
    head = cast("nn.Linear", network.get_submodule(model.architecture.head))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.div_(model.temperature)
    return network


def probabilities_of(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return (n, n_classes) float32 of a network that takes (n, 3, px, px) uint8 images."""
    with torch.no_grad():
        result: np.ndarray = network(torch.from_numpy(images)).numpy()
    return result
