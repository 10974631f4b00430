"""A tiny network as a source, so that whole finetunes run in milliseconds."""

import itertools

import numpy as np
import torch
from torch import nn

from scalepred.data.task import Split
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import source_of
from scalepred.networks.stages import assign_stages


class Tiny(nn.Module):
    """Five small convolutions with batch normalisation, and a head."""

    def __init__(self, n_classes=4):
        super().__init__()
        widths = [3, 4, 4, 6, 6, 8]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in itertools.pairwise(widths)
        )
        self.head = nn.Linear(8, n_classes)

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


def tiny_source(seed=0):
    """Return the tiny network with random weights as a source."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Tiny()
    names = [name for name, _ in network.named_parameters()]
    groups = [[n for n in names if n.startswith(f"stages.{k}.")] for k in range(5)] + [["head.weight", "head.bias"]]
    architecture = Architecture(
        name="tiny",
        network=network,
        head="head",
        stages=assign_stages(names, groups),
        mean=(127.0,) * 3,
        std=(64.0,) * 3,
        input_px=32,
    )
    return source_of(architecture)


def separable(n=24, n_classes=2, px=32, seed=0):
    """Return noisy images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    levels = labels[:, None, None, None] * (160 // max(1, n_classes - 1))
    images = (rng.integers(0, 90, (n, 3, px, px)) + levels).astype(np.uint8)
    return Split(images, labels, tuple(str(index) for index in range(n)))
