"""The paper's network family: a residual network of 27 convolutions, of any width."""

import torch
from torch import Tensor, nn

BLOCKS = (3, 4, 3, 3)

INPUT_PX = 64

MEAN = STD = (127.5, 127.5, 127.5)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes.

    The shortcut picks its pixels before it convolves them: a convolution with a stride does the same, but oneDNN (of
    torch 2.14, with AVX-512) writes beyond its memory there when channels are no multiple of 16 and images are odd.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
        self.join = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, n_out, h / stride, w / stride) for (n, n_in, h, w)."""
        picked = inputs[:, :, :: self.stride, :: self.stride]
        joined: Tensor = self.join(self.body(inputs) + self.shortcut(picked))
        return joined


class ResNet27(nn.Module):
    """One convolution and 13 blocks of two in four stages, so 27 with those of shortcuts not counted, and a head.

    Images are halved by the first convolution and before the second, third and fourth of the four stages, whose
    channels are 1, 2, 4 and 8 times the width.

    Source: Dube et al. 2018, section 3, names the family and draws it without its sizes; blocks as He et al. 2016,
    figure 2. Departs: for small images, a 3 x 3 stem without pooling.

    Args:
        width: channels of the first two stages.
        n_classes: outputs.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.conv2 = _stage(width, width, n=BLOCKS[0], stride=1)
        self.conv3 = _stage(width, 2 * width, n=BLOCKS[1], stride=2)
        self.conv4 = _stage(2 * width, 4 * width, n=BLOCKS[2], stride=2)
        self.conv5 = _stage(4 * width, 8 * width, n=BLOCKS[3], stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(8 * width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, n_classes) logits for (n, 3, h, w) normalised images."""
        features = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(images)))))
        logits: Tensor = self.fc(self.pool(features))
        return logits


def _stage(n_in: int, n_out: int, *, n: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(n_in, n_out, stride=stride), *(Block(n_out, n_out, stride=1) for _ in range(n - 1)))


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every convolution's weights anew.

    Source: He et al. 2015, section 2.2: a normal distribution of variance 2 by the number of outgoing connections.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
