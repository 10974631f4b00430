"""Makes small JPEG images of squares, to be shown within a page."""

import base64
import io

import numpy as np
from PIL import Image

THUMBNAIL_PX = 112
QUALITY = 82


def data_uri(square: np.ndarray) -> str:
    """Return a (3, px, px) uint8 square as the data URI of a JPEG of at most ``THUMBNAIL_PX`` pixels."""
    image = Image.fromarray(np.ascontiguousarray(square.transpose(1, 2, 0)))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def tiny(squares: np.ndarray, px: int) -> np.ndarray:
    """Return (n, px, px, 3) uint8 for (n, 3, h, w) uint8 squares, by which near duplicates are found."""
    small = [
        Image.fromarray(np.ascontiguousarray(each.transpose(1, 2, 0))).resize((px, px), Image.Resampling.BILINEAR)
        for each in squares
    ]
    return np.array([np.asarray(each) for each in small], np.uint8).reshape(-1, px, px, 3)
