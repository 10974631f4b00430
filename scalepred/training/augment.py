"""Augmentation as batched tensor code on uint8 images."""

import torch
from torch import Tensor


def augment(images: Tensor, *, kind: str, generator: torch.Generator) -> Tensor:
    """Return (n, 3, h, w) uint8 images, each shifted by up to an eighth ("crop") and mirrored at random ("flip").

    What a shift uncovers repeats the image's edge.
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
    return images


def draw_mirrored(n: int, generator: torch.Generator) -> Tensor:
    """Draw which of n images are mirrored."""
    return torch.rand(n, generator=generator).lt(0.5)
