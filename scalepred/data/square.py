"""Makes an image a square: squashed, cropped or padded."""

import numpy as np
from PIL import Image

from scalepred.errors import UsageError
from scalepred.recipe import RESIZES


def check_resize(resize: str) -> None:
    """Raise UsageError unless this is one of ``recipe.RESIZES``."""
    if resize not in RESIZES:
        raise UsageError(f"resize is one of {', '.join(RESIZES)}, not {resize!r:.40}.")


def to_square(rgb: np.ndarray, px: int, *, resize: str = "squash") -> np.ndarray:
    """Return (3, px, px) uint8 for a decoded (h, w, 3) image; a square image is the same by all ways.

    "squash" squeezes the whole image into the square. "crop" takes the largest square of its middle, so that the
    shorter side becomes px. "pad" makes the longer side px and fills what is left beside the image, on either side,
    with the mean colour of the edge that it continues: no seam is sharper than need be, and the square is the same for
    every source, so that a harvest decodes a task once for all of them.

    Source: "squash" is Kolesnikov et al. 2020 (Big Transfer), section 3.3, which gives up the aspect ratio; "crop" is
    Krizhevsky et al. 2012, section 2; "pad" is the letterbox of object detectors (``letterbox_image`` of darknet).
    Departs: that pads with grey.
    """
    if resize == "pad":
        square = _padded(rgb, px)
    else:
        square = np.asarray(_resized(rgb, (px, px), box=_middle(rgb) if resize == "crop" else None))
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def _resized(
    rgb: np.ndarray, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _middle(rgb: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the largest square in the middle of an image."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _padded(rgb: np.ndarray, px: int) -> np.ndarray:
    """Return (px, px, 3): the whole image in the middle, and beside it the mean colours of its edges there."""
    height, width = rgb.shape[:2]
    if height > width:
        return _padded(rgb.transpose(1, 0, 2), px).transpose(1, 0, 2)
    n_rows = max(1, round(px * height / width))
    image = np.asarray(_resized(np.ascontiguousarray(rgb), (px, n_rows)))
    above = (px - n_rows) // 2
    square = np.empty((px, px, 3), np.uint8)
    square[:above] = _mean_colour(image[0])
    square[above : above + n_rows] = image
    square[above + n_rows :] = _mean_colour(image[-1])
    return square


def _mean_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the (3,) uint8 mean of (n, 3) pixels."""
    mean: np.ndarray = pixels.mean(axis=0).round().astype(np.uint8)
    return mean
