"""A small network with random weights, for the tests of sources and weights."""

import pytest
import torch

from scalepred.networks.architecture import build


@pytest.fixture(scope="module")
def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("torchvision/shufflenet_v2_x0_5")
