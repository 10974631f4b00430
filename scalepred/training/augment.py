"""Augmentation as batched tensor code on uint8 images."""

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

_TRIVIAL = v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)


def augment(images: Tensor, *, kind: str, generator: torch.Generator) -> Tensor:
    """Return (n, 3, h, w) uint8 images, each shifted by up to an eighth ("crop") and mirrored at random ("flip").

    What a shift uncovers repeats the image's edge. "trivial" changes each image in one way of fourteen, at a random
    strength.

    Source: "trivial" is Müller and Hutter 2021 (TrivialAugment), the wide space, as torchvision has it.
    """
    n, _, height, width = images.shape
    if kind in ("crop", "crop-flip"):
        reach = height // 8
        shifts = torch.randint(-reach, reach + 1, (2, n, 1), generator=generator)
        rows = (torch.arange(height) + shifts[0]).clamp(0, height - 1).to(images.device)
        columns = (torch.arange(width) + shifts[1]).clamp(0, width - 1).to(images.device)
        which = torch.arange(n, device=images.device)
        images = images.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )
    if kind in ("flip", "crop-flip"):
        mirrored = draw_mirrored(n, generator).to(images.device)
        images = torch.where(mirrored.view(n, 1, 1, 1), images.flip(3), images)
    if kind == "trivial":
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            images = torch.stack([_TRIVIAL(image) for image in images])
    return images


def draw_mirrored(n: int, generator: torch.Generator) -> Tensor:
    """Draw which of n images are mirrored."""
    return torch.rand(n, generator=generator).lt(0.5)
