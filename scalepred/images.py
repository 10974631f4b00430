"""Finds picture files and decodes them, whatever they are, to one kind of array."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scalepred.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_MEGAPIXELS = 64.0
THUMBNAIL_PX = 16
JUNK = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information"}
NEAR_RMS = 5.0
"""Thumbnails of near duplicates differ by so many of 255 grey levels at most, as a root mean square."""

NEAR_CONTRAST = 0.1
"""And by so much of the picture's own contrast, so that flat pictures are not all alike."""

_ROWS = 512


class BadPictureError(DataError):
    """A file that can't be used as a picture; the message is the reason alone, the caller knows the path."""


@dataclass(frozen=True)
class SetAside:
    """A path that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Decoded:
    """A picture as (h, w, 3) uint8, upright and on white, and what a user should know of how it got there."""

    rgb: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The decoded pictures among the files that were asked for.

    Attributes:
        kept: (n,) positions of the good ones among the files.
        images: (n, 3, px, px) uint8.
        hashes: n content hashes of the pictures in their full size.
        thumbnails: (n, 16, 16, 3) uint8.
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


# --- finding ----------------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """What a walk has met: (device, inode) of folders and files, and what it had to leave."""

    places: dict[tuple[int, int], str]
    aside: list[SetAside]


def walk(folder: Path, *, places: dict[tuple[int, int], str] | None = None) -> tuple[list[Path], list[SetAside]]:
    """Return the regular files below a folder in the order of their names, and what was set aside.

    Links are followed, but every (device, inode) counts once, so loops end. Hidden names and the leavings of archives
    and operating systems are skipped without a word. Nothing is raised: what can't be read is set aside and says why.

    Args:
        folder: where to start.
        places: (device, inode) -> path of what other walks have met; this one adds to it.
    """
    seen = _Seen({} if places is None else places, [])
    status = _status(folder, seen)
    if status is not None:
        seen.places[status.st_dev, status.st_ino] = str(folder)
    return list(_files(folder, seen)), seen.aside


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is passed over."""
    return name.startswith(".") or name.lower() in JUNK


def _files(folder: Path, seen: _Seen) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names, undecoded bytes and all, not paths
    except OSError as error:
        seen.aside.append(SetAside(str(folder), f"folder can't be read: {error.strerror or error}"))
        return
    for name in names:
        path = folder / name
        status = None if is_hidden(name) else _status(path, seen)
        if status is None or not _is_new(path, status, seen):
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _files(path, seen)
        elif stat.S_ISREG(status.st_mode):
            yield path
        else:
            seen.aside.append(SetAside(str(path), "not a regular file"))


def _status(path: Path, seen: _Seen) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError as error:
        reason = {errno.ENOENT: "link to nothing", errno.ELOOP: "link to itself"}.get(error.errno or 0)
        seen.aside.append(SetAside(str(path), reason or f"can't be read: {error.strerror or error}"))
        return None


def _is_new(path: Path, status: os.stat_result, seen: _Seen) -> bool:
    place = (status.st_dev, status.st_ino)
    if place in seen.places:
        seen.aside.append(SetAside(str(path), f"the same as {seen.places[place]}"))
        return False
    seen.places[place] = str(path)
    return True


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Decoded:
    """Decode a picture file fully, going by its content and not by its name.

    Raises:
        BadPictureError: if it is empty, of another format, damaged, truncated, or over the limit.
    """
    try:
        if path.stat().st_size == 0:
            raise BadPictureError("empty file")
        with _quiet(), path.open("rb") as file, Image.open(file, formats=IMAGE_FORMATS) as image:
            return from_image(image, max_megapixels=max_megapixels)
    except BadPictureError:
        raise
    except UnidentifiedImageError as error:
        raise BadPictureError(f"not a picture of {', '.join(IMAGE_FORMATS)}") from error
    except Exception as error:  # Pillow raises a dozen kinds on damaged files, and all mean the same
        raise BadPictureError(f"damaged: {_first_line(error)}") from error


def from_image(image: Image.Image, *, max_megapixels: float = MAX_MEGAPIXELS) -> Decoded:
    """Turn an opened, perhaps not yet decoded, Pillow image into an array.

    A JPEG over the limit is decoded at a half, quarter or eighth of its size; everything else over it is refused
    before a pixel is decoded.
    """
    notes = []
    if _megapixels(image) > max_megapixels and image.format == "JPEG":
        full = image.size
        image.draft(None, _size_within(full, max_megapixels))
        notes.append(f"decoded at {image.size[0]} x {image.size[1]} instead of {full[0]} x {full[1]} px")
    if _megapixels(image) > max_megapixels:
        raise BadPictureError(f"{_megapixels(image):.1f} megapixels, over the limit of {max_megapixels:g}")
    if getattr(image, "n_frames", 1) > 1 and image.format != "JPEG":
        notes.append("animated or of several pages: the first is used")
        image.seek(0)
    image.load()
    upright = ImageOps.exif_transpose(image)
    return Decoded(_on_white(upright), tuple(notes))


def _on_white(image: Image.Image) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        grey = _eight_bits(np.asarray(image), image.mode)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale grey values to 0..255 by their depth: 16 bits where they fit, else 32; floats of 0..1, or of 0..255."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadPictureError("holds values that are not finite")
    top = float(values.max(initial=0.0))
    if mode == "F":
        factor = 255.0 if top <= 1 else 1.0 if top <= 255 else 255 / top
    else:
        factor = 1 / 257 if mode.startswith("I;16") or top <= 65_535 else 255 / (2**31 - 1)
    return np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)


def _megapixels(image: Image.Image) -> float:
    return image.size[0] * image.size[1] / 1e6


def _size_within(size: tuple[int, int], max_megapixels: float) -> tuple[int, int]:
    """Return the largest half, quarter or eighth of a size that is within the limit."""
    for factor in (2, 4, 8):
        smaller = (-(-size[0] // factor), -(-size[1] // factor))
        if smaller[0] * smaller[1] <= max_megapixels * 1e6:
            return smaller
    return smaller


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


_guard = threading.Lock()
_guarded = 0
_pillow_limit: int | None = None


class _quiet:  # noqa: N801 - reads as a word at its only use
    """Lift Pillow's own limit and its warning while any thread decodes: ours is checked instead, from the header."""

    def __enter__(self) -> None:
        global _guarded, _pillow_limit  # noqa: PLW0603 - Pillow's limit is a global
        with _guard:
            if _guarded == 0:
                _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            _guarded += 1

    def __exit__(self, *_: object) -> None:
        global _guarded  # noqa: PLW0603
        with _guard:
            _guarded -= 1
            if _guarded == 0:
                Image.MAX_IMAGE_PIXELS = _pillow_limit


# --- many pictures ----------------------------------------------------------------------------------------------------


def resize(rgb: np.ndarray, px: int) -> np.ndarray:
    """Return (3, px, px) uint8: the whole (h, w, 3) picture squeezed into a square, nothing cropped.

    Source: Kolesnikov et al. 2020 (Big Transfer), section 3.3, which resizes to a square and gives up the aspect ratio.
    """
    square = Image.fromarray(rgb).resize((px, px), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def content_hash(rgb: np.ndarray) -> str:
    """Return 32 hex digits over size and pixels of a decoded (h, w, 3) picture."""
    digest = hashlib.blake2b(f"{rgb.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Return (16, 16, 3) uint8, by which near duplicates are found."""
    small = Image.fromarray(rgb).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small)


def load_pictures(
    items: Sequence[Path] | Sequence[Image.Image],
    *,
    image_px: int,
    max_megapixels: float = MAX_MEGAPIXELS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Decode every picture once, in a few threads, and keep only what is small: square, thumbnail, hash and size.

    Args:
        items: files, or Pillow images that a library has decoded.
        image_px: side of the squares.
        max_megapixels: limit for a picture, from its header.
        on_progress: called with pictures done and pictures in all.
    """

    def one(item: Path | Image.Image) -> tuple[Decoded, np.ndarray, np.ndarray, str] | str:
        try:
            decoded = decode(item, max_megapixels=max_megapixels) if isinstance(item, Path) else from_image(item)
        except BadPictureError as error:
            return str(error)
        sized = Decoded(np.empty((*decoded.rgb.shape[:2], 0), np.uint8), decoded.notes)  # let go of the pixels
        return sized, resize(decoded.rgb, image_px), thumbnail(decoded.rgb), content_hash(decoded.rgb)

    kept, bad, notes, good = [], [], [], []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for position, outcome in enumerate(pool.map(one, items)):
            if isinstance(outcome, str):
                bad.append((position, outcome))
            else:
                kept.append(position)
                good.append(outcome)
                notes += [(position, note) for note in outcome[0].notes]
            if on_progress:
                on_progress(position + 1, len(items))
    return Loaded(
        kept=np.array(kept, dtype=np.int64),
        images=np.stack([g[1] for g in good]) if good else np.empty((0, 3, image_px, image_px), np.uint8),
        hashes=tuple(g[3] for g in good),
        thumbnails=np.stack([g[2] for g in good]) if good else np.empty((0, 16, 16, 3), np.uint8),
        sizes_px=np.array([g[0].rgb.shape[1::-1] for g in good], dtype=np.int64).reshape(-1, 2),
        bad=tuple(bad),
        notes=tuple(notes),
    )


def near_duplicate_groups(hashes: Sequence[str], thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers: pictures that are the same, or nearly, share one.

    Near duplicates' thumbnails differ by ``NEAR_RMS`` grey levels at most and by ``NEAR_CONTRAST`` of the higher
    contrast of the two; between flat pictures, by one grey level.

    Args:
        hashes: n content hashes.
        thumbnails: (n, 16, 16, 3) uint8.
    """
    n = len(hashes)
    if n == 0:
        return np.empty(0, np.int64)
    flat = thumbnails.reshape(n, -1).astype(np.float32)
    flat -= 127.5  # float32 keeps the differences of numbers near 0 well
    contrast = flat.std(axis=1)
    squares = (flat**2).sum(axis=1)
    left, right = [], []
    for low in range(0, n, _ROWS):
        rows = slice(low, low + _ROWS)
        distance = squares[rows, None] + squares[None] - 2 * flat[rows] @ flat.T
        rms = np.sqrt(np.maximum(distance, 0) / flat.shape[1])
        allowed = np.maximum(1.0, NEAR_CONTRAST * np.maximum(contrast[rows, None], contrast[None]))
        i, j = np.nonzero(rms <= np.minimum(NEAR_RMS, allowed))
        left.append(i + low)
        right.append(j)
    first = {h: i for i, h in reversed(list(enumerate(hashes)))}
    left.append(np.arange(n))
    right.append(np.array([first[h] for h in hashes]))
    pairs = (np.concatenate(left), np.concatenate(right))
    graph = coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
