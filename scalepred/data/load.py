"""Decodes many images once and keeps what is small of each: square, thumbnail, hash and size."""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from scalepred.data.decode import MAX_MEGAPIXELS, BadImageError, Item, decode
from scalepred.data.square import to_square

IN_MEMORY_BYTES = 1 << 30
"""Decoded images of a task beyond this lie in a file that is mapped into memory."""

THUMBNAIL_PX = 12


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The decoded images among the files that were asked for.

    Attributes:
        kept: (n,) positions of the good ones among the files.
        images: (n, 3, px, px) uint8.
        hashes: n content hashes of the images in their full size.
        thumbnails: (n, 12, 12, 3) uint8.
        sizes_px: (n, 2) int64, width and height before resizing.
        bad: (position, reason) of the others.
        notes: (position, note).
    """

    kept: np.ndarray
    images: np.ndarray
    hashes: tuple[str, ...]
    thumbnails: np.ndarray
    sizes_px: np.ndarray
    bad: tuple[tuple[int, str], ...]
    notes: tuple[tuple[int, str], ...]


def load_images(
    items: Sequence[Item],
    *,
    image_px: int,
    resize: str = "squash",
    max_megapixels: float = MAX_MEGAPIXELS,
    max_bytes: int = IN_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Decode every image once, in a few threads, and keep only what is small: square, thumbnail, hash and size.

    Args:
        items: files, or what opens the images that a library holds.
        image_px: side of the squares.
        resize: how images become squares, one of ``recipe.RESIZES``.
        max_megapixels: limit for an image, from its header.
        max_bytes: squares that take more lie in a file that is mapped into memory.
        on_progress: called with images done and images in all.
    """
    images = room_for((len(items), 3, image_px, image_px), max_bytes=max_bytes)
    good: list[tuple[int, _Small]] = []
    bad: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        outcomes = pool.map(partial(_small, image_px=image_px, resize=resize, max_megapixels=max_megapixels), items)
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, str):
                bad.append((position, outcome))
            else:
                images[len(good)], small = outcome  # at once, so that the squares are never held twice
                good.append((position, small))
            if on_progress:
                on_progress(position + 1, len(items))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt needn't wait for the rest
    return Loaded(
        kept=np.array([position for position, _ in good], dtype=np.int64),
        images=images[: len(good)],
        hashes=tuple(each.hash for _, each in good),
        thumbnails=np.array([each.thumbnail for _, each in good], np.uint8).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX, 3),
        sizes_px=np.array([each.size_px for _, each in good], dtype=np.int64).reshape(-1, 2),
        bad=tuple(bad),
        notes=tuple((position, note) for position, each in good for note in each.notes),
    )


def keep_rows(loaded: Loaded, rows: Sequence[int]) -> Loaded:
    """Return what is loaded of some rows, in rising order; the images move in the array that they are in."""
    for at, row in enumerate(rows):  # one by one, for they may lie in a file
        loaded.images[at] = loaded.images[row]
    kept = loaded.kept[rows]
    positions = {*kept.tolist()}
    return replace(
        loaded,
        kept=kept,
        images=loaded.images[: len(rows)],
        hashes=tuple(loaded.hashes[row] for row in rows),
        thumbnails=loaded.thumbnails[rows],
        sizes_px=loaded.sizes_px[rows],
        notes=tuple((position, note) for position, note in loaded.notes if position in positions),
    )


def room_for(shape: tuple[int, ...], *, max_bytes: int) -> np.ndarray:
    """Return an array of uint8: in memory up to ``max_bytes``, else in a file without a name, mapped into memory."""
    if math.prod(shape) <= max_bytes:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="scalepred-") as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


@dataclass(frozen=True)
class _Small:
    """Thumbnail, hash, size and notes of one image."""

    thumbnail: np.ndarray
    hash: str
    size_px: tuple[int, int]
    notes: tuple[str, ...]


def _small(item: Item, *, image_px: int, resize: str, max_megapixels: float) -> tuple[np.ndarray, _Small] | str:
    """Decode an image and return its square and the rest that is kept of it, or why it can't be used."""
    try:
        decoded = decode(item, max_megapixels=max_megapixels)
    except BadImageError as error:
        return str(error)
    rgb = decoded.rgb
    size_px = (rgb.shape[1], rgb.shape[0])
    square = to_square(rgb, image_px, resize=resize)
    return square, _Small(thumbnail(rgb), content_hash(rgb), size_px, decoded.notes)


def content_hash(rgb: np.ndarray) -> str:
    """Return 32 hex digits over size and pixels of a decoded (h, w, 3) image."""
    digest = hashlib.blake2b(f"{rgb.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Return (12, 12, 3) uint8, by which near duplicates are found."""
    small = Image.fromarray(rgb).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return np.asarray(small)
