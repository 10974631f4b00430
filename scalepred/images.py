"""Finds picture files and decodes them, whatever they are, to one kind of array."""

import errno
import hashlib
import math
import os
import stat
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from scalepred.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_MEGAPIXELS = 64.0
IN_MEMORY_BYTES = 1 << 30
"""Decoded pictures of a task beyond this lie in a file that is mapped into memory."""

THUMBNAIL_PX = 12
JUNK = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information"}
NEAR_CONTRAST = 0.05
"""Thumbnails of near duplicates differ by so much of their contrast at most; see the log of 2026-11-23."""

NEAR_FLAT = 1.0
"""And those of flat pictures by so many of 255 levels at most. Both are root mean squares."""

ANIMATED = "animated or of several pages, so the first is used"
NO_EXIF = "its EXIF data can't be read, so it is not turned"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OF_THE_FILE = {
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM),
    errno.EINVAL,  # Pillow seeks to where a damaged file says
}
"""Errors of the system that say something of a file, and are the same tomorrow; Pillow's own have no number."""

_ROWS = 512
_TILE = 2048

Item = Path | Callable[[], Image.Image]
"""A picture file, or what opens a picture that a library holds."""

Place = tuple[int, int]
"""The device and inode of a file or folder, by which links and other spellings of it are known."""


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


# --- finding ----------------------------------------------------------------------------------------------------------


def walk(folder: Path, *, places: dict[Place, Path] | None = None) -> tuple[list[Path], list[SetAside]]:
    """Return the regular files below a folder in the order of their names, and what was set aside.

    Links are followed, but every place counts once, so loops end. Hidden names and the leavings of archives and
    operating systems are skipped without a word. Nothing is raised: what can't be read is set aside and says why.

    Args:
        folder: where to start; a file is found itself.
        places: the path at which each place counts, from other walks; this one adds to it.
    """
    places = {} if places is None else places
    files: list[Path] = []
    aside: list[SetAside] = []
    ahead = [folder]
    while ahead:
        path = ahead.pop()
        status = None
        try:
            status = path.stat()
            first = places.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                aside.append(SetAside(readable(path), f"the same as {readable(first)}"))
            elif stat.S_ISDIR(status.st_mode):
                ahead += reversed(children(path))
            elif stat.S_ISREG(status.st_mode):
                files.append(path)
            else:
                aside.append(SetAside(readable(path), "not a regular file"))
        except OSError as error:
            aside.append(SetAside(readable(path), ("folder " if status else "") + _why(error)))
    return files, aside


def children(folder: Path) -> list[Path]:
    """Return what lies in a folder, in the order of the names, without what is hidden.

    Raises:
        OSError: if the folder can't be read.
    """
    return sorted((child for child in folder.iterdir() if not is_hidden(child.name)), key=lambda child: child.name)


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is passed over."""
    return name.startswith(".") or name.lower() in JUNK


def readable(text: str | Path) -> str:
    """Return text that UTF-8 can hold: the bytes of a file name that it can't are shown as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _why(error: OSError) -> str:
    known = {errno.ENOENT: "link to nothing", errno.ELOOP: "link to itself"}
    return known.get(error.errno or 0) or f"can't be read: {error.strerror or error}"


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(item: Item, *, max_megapixels: float = MAX_MEGAPIXELS) -> Decoded:
    """Decode a picture fully, going by its content and not by its name.

    A JPEG over the limit is decoded at a half or a quarter of its size; everything else over it is refused before a
    pixel is decoded.

    Raises:
        BadPictureError: if it is empty, of another format, damaged, truncated, or over the limit.
        DataError: if the system can't read it now, which says nothing of the picture; names it.
        MemoryError: if there is no memory to decode it.
    """
    try:
        with _pillow_held_back:
            if callable(item):
                return _decoded(item(), max_megapixels)
            with _opened(item) as file, Image.open(file, formats=IMAGE_FORMATS) as image:
                return _decoded(image, max_megapixels)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadPictureError(f"not a picture of {', '.join(IMAGE_FORMATS)}") from error
    except Exception as error:  # Pillow raises a dozen kinds on damaged files, and all mean the same
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise (_passing(item, error) or BadPictureError(f"damaged: {_first_line(error)}")) from error


def _passing(item: Item, error: Exception) -> DataError | None:
    """Return the error for what the system can't do now, such as a disk or network that fails; None for others."""
    if not isinstance(error, OSError) or error.errno is None or error.errno in _OF_THE_FILE:
        return None
    name = readable(item) if isinstance(item, Path) else "A picture"
    return DataError(f"{name} can't be read now: {error.strerror}. Whether it is good is not known: try again later.")


def is_picture(path: Path) -> bool:
    """Say whether a file begins like a picture; its pixels may be damaged all the same."""
    try:
        with _pillow_held_back, _opened(path) as file, Image.open(file, formats=IMAGE_FORMATS):
            return True
    except Exception:  # as in decode
        return False


def _opened(path: Path) -> BinaryIO:
    """Open a file; refuse what it would block to open, what holds nothing, and what can't be opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadPictureError("not a regular file")
        if status.st_size == 0:
            raise BadPictureError("empty file")
        return path.open("rb")
    except OSError as error:
        raise (_passing(path, error) or BadPictureError(f"can't be read: {error.strerror or error}")) from error


def _decoded(image: Image.Image, max_megapixels: float) -> Decoded:
    notes = []
    size, megapixels = image.size, _megapixels(image)
    is_jpeg = image.format in ("JPEG", "MPO")  # the second is a JPEG with previews behind it, as some phones write
    if megapixels > max_megapixels and is_jpeg:
        _shrink(image, max_megapixels)
        notes.append(f"decoded at {image.size[0]} x {image.size[1]} instead of {size[0]} x {size[1]} px")
    if _megapixels(image) > max_megapixels:
        raise BadPictureError(f"{megapixels:.1f} megapixels, over the limit of {max_megapixels:g}")
    if megapixels == 0:
        raise BadPictureError("no pixels")
    if not is_jpeg and getattr(image, "is_animated", False):
        notes.append(ANIMATED)
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are good whatever is wrong with the EXIF data
        turn = None
        notes.append(NO_EXIF)
    return Decoded(_on_white(image if turn is None else image.transpose(turn)), tuple(notes))


def _shrink(image: Image.Image, max_megapixels: float) -> None:
    """Have a JPEG decoded at a half, else a quarter of its size, where that is within the limit."""
    width, height = image.size
    for factor in (2, 4):
        if -(-width // factor) * -(-height // factor) <= max_megapixels * 1e6:
            image.draft(None, (width // factor, height // factor))
            return


def _on_white(image: Image.Image) -> np.ndarray:
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        grey = _eight_bits(values, image.mode)
        if isinstance(clear, int):
            grey[values == clear] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if clear is None and image.mode not in ("RGBA", "LA", "PA"):
        return np.asarray(image.convert("RGB"))
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):  # in strips, because a whole large picture would be held five times over
        box = (0, top, width, min(top + _ROWS, height))
        layer = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        rgb[box[1] : box[3]] = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return rgb


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale grey values to 0..255 by their depth: 8, 16 or 32 bits, the least that holds them; floats of 0..1 or more.

    A 16-bit picture is always scaled by 16 bits, and a float picture whose values pass 255 by its highest.
    """
    values = values.astype(np.float32)
    top = float(values.max(initial=0.0))
    if mode == "F":
        if not np.isfinite(values).all():
            raise BadPictureError("holds values that are not finite")
        factor = 255.0 if top <= 1 else 1.0 if top <= 255 else 255 / top
    elif mode == "I" and (top <= 255 or top > 65_535):
        factor = 1.0 if top <= 255 else 255 / (2**31 - 1)
    else:
        factor = 1 / 257
    values *= factor
    eight: np.ndarray = np.clip(np.rint(values, out=values), 0, 255).astype(np.uint8)
    return eight


def _megapixels(image: Image.Image) -> float:
    return image.size[0] * image.size[1] / 1e6


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class _HeldBack:
    """While any thread is inside, Pillow's own limit is lifted and nobody is warned.

    Our limit is checked instead, from the header, and what Pillow says of damaged metadata is none of the user's
    business. Both are settings of the whole process, so the first thread in sets them and the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: int | None = None
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit


_pillow_held_back = _HeldBack()


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
    """Return (12, 12, 3) uint8, by which near duplicates are found."""
    small = Image.fromarray(rgb).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return np.asarray(small)


@dataclass(frozen=True)
class _Small:
    """What is kept of one picture beside its square."""

    thumbnail: np.ndarray
    hash: str
    size_px: tuple[int, int]
    notes: tuple[str, ...]


def _small(item: Item, image_px: int, max_megapixels: float) -> tuple[np.ndarray, _Small] | str:
    """Decode a picture and return its square and the rest that is kept of it, or why it can't be used."""
    try:
        decoded = decode(item, max_megapixels=max_megapixels)
    except BadPictureError as error:
        return str(error)
    rgb = decoded.rgb
    size_px = (rgb.shape[1], rgb.shape[0])
    return resize(rgb, image_px), _Small(thumbnail(rgb), content_hash(rgb), size_px, decoded.notes)


def load_pictures(
    items: Sequence[Item],
    *,
    image_px: int,
    max_megapixels: float = MAX_MEGAPIXELS,
    max_bytes: int = IN_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Decode every picture once, in a few threads, and keep only what is small: square, thumbnail, hash and size.

    Args:
        items: files, or what opens the pictures that a library holds.
        image_px: side of the squares.
        max_megapixels: limit for a picture, from its header.
        max_bytes: squares that take more lie in a file that is mapped into memory.
        on_progress: called with pictures done and pictures in all.
    """
    images = room_for((len(items), 3, image_px, image_px), max_bytes=max_bytes)
    good: list[tuple[int, _Small]] = []
    bad: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        outcomes = pool.map(partial(_small, image_px=image_px, max_megapixels=max_megapixels), items)
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


def room_for(shape: tuple[int, ...], *, max_bytes: int) -> np.ndarray:
    """Return an array of uint8: in memory up to ``max_bytes``, else in a file without a name, mapped into memory."""
    if math.prod(shape) <= max_bytes:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="scalepred-") as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def near_duplicate_groups(hashes: Sequence[str], thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers, in the order of their first pictures: those that are the same, or nearly, share one.

    Near duplicates' thumbnails differ by ``NEAR_CONTRAST`` of the higher contrast of the two at most, or ``NEAR_FLAT``
    levels.

    Args:
        hashes: n content hashes.
        thumbnails: (n, 12, 12, 3) uint8.
    """
    if not hashes:
        return np.empty(0, np.int64)
    number: dict[bytes, int] = {}  # each thumbnail once, because thousands that are all alike make millions of pairs
    which = [number.setdefault(each.tobytes(), len(number)) for each in thumbnails]
    different = np.frombuffer(b"".join(number), np.uint8).reshape(len(number), -1)
    return joined(_near(different)[which], hashes)


def _near(thumbnails: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers of different thumbnails (n, d), compared in tiles, so that memory stays bounded."""
    n, d = thumbnails.shape
    flat = thumbnails.astype(np.float32)
    flat -= 128  # whole numbers, whose products' sums stay below 2**24: exact in any order, so the same on any machine
    squares = (flat**2).sum(axis=1)
    variances = squares.astype(np.float64) / d - (flat.sum(axis=1).astype(np.float64) / d) ** 2
    allowed = (d * np.maximum(NEAR_CONTRAST * np.sqrt(variances), NEAR_FLAT) ** 2).astype(np.float32)
    groups = np.arange(n)
    for top in range(0, n, _TILE):
        rows = slice(top, top + _TILE)
        for left in range(top, n, _TILE):
            columns = slice(left, left + _TILE)
            distance = flat[rows] @ flat[columns].T
            distance *= -2
            distance += squares[rows, None]
            distance += squares[columns]
            i, j = np.nonzero(distance <= np.maximum(allowed[rows, None], allowed[columns]))
            if (i + top != j + left).any():
                groups = _merged(groups, groups[i + top], groups[j + left])
    return groups


def joined(groups: np.ndarray, keys: Sequence[str | None]) -> np.ndarray:
    """Return (n,) group numbers that also join the members with the same key; those without one stay as they are."""
    first: dict[str, int] = {}
    pairs = [(int(group), first.setdefault(key, int(group))) for group, key in zip(groups, keys, strict=True) if key]
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return _merged(groups, left, right)


def _merged(groups: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (n,) group numbers after each group in ``left`` is joined with its partner in ``right``."""
    graph = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(len(groups), len(groups)))
    return np.asarray(connected_components(graph, directed=False)[1][groups], dtype=np.int64)
