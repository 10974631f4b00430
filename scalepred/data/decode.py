"""Decodes one image file of any kind to (h, w, 3) uint8, upright and on white."""

import errno
import stat
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from scalepred.data import heic
from scalepred.data.scan import readable
from scalepred.errors import DataError, UsageError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000")

MAX_MEGAPIXELS = 64.0

ANIMATED = "animated or of several pages, so the first is used"

NO_EXIF = "its EXIF data can't be read, so it is not turned"

DARK = 64
"""An image of more than 8 bits that is nowhere brighter, of 255, is told; 14 bits kept in 16 come to 64."""

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
"""Errors of the system that say something of a file, and are the same tomorrow; Pillow's errors have no number."""

_ROWS = 512

Item = Path | Callable[[], Image.Image]
"""An image file, or what opens an image that a library holds."""


class BadImageError(DataError):
    """A file that can't be used as an image; the message is the reason alone, the caller knows the path."""


@dataclass(frozen=True)
class Decoded:
    """An image as (h, w, 3) uint8, upright and on white, and what a user should know of how it got there."""

    rgb: np.ndarray
    notes: tuple[str, ...] = ()


def check_megapixels(value: float) -> float:
    """Return a limit in megapixels; raise UsageError unless it is a number above 0."""
    given: object = value
    if isinstance(given, bool) or not isinstance(given, Real):
        raise UsageError(f"max_megapixels must be a number above 0, not {value!r}.")
    if not value > 0:
        raise UsageError(f"max_megapixels must be above 0, not {value!r}.")
    return value


def decode(item: Item, *, max_megapixels: float = MAX_MEGAPIXELS) -> Decoded:
    """Decode an image fully, going by its content and not by its name.

    A JPEG over the limit is decoded at a half or a quarter of its size; everything else over it is refused before a
    pixel is decoded.

    Raises:
        BadImageError: if it is empty, of another format, damaged, truncated, or over the limit.
        DataError: if the system can't read it now, which says nothing of the image; names it.
        MemoryError: if there is no memory to decode it.
    """
    formats: tuple[str, ...] = IMAGE_FORMATS
    try:
        with _pillow_held_back:
            if callable(item):
                return _decoded(item(), max_megapixels)
            with _opened(item) as file:
                formats = _formats(file)
                with Image.open(file, formats=formats) as image:
                    return _decoded(image, max_megapixels)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        is_other = formats is IMAGE_FORMATS
        reason = f"not an image of {', '.join(formats)}" if is_other else "damaged: a HEIC image only by its beginning"
        raise BadImageError(reason) from error
    except Exception as error:  # Pillow raises a dozen kinds on damaged files, and all mean the same
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise (_passing(item, error) or BadImageError(f"damaged: {_first_line(error)}")) from error


def _passing(item: Item, error: Exception) -> DataError | None:
    """Return the error for what the system can't do now, such as a disk or network that fails; None for others."""
    if not isinstance(error, OSError) or error.errno is None or error.errno in _OF_THE_FILE:
        return None
    name = readable(item) if isinstance(item, Path) else "An image"
    return DataError(f"{name} can't be read now: {error.strerror}. Whether it is good is not known: try again later.")


def is_image(path: Path) -> bool:
    """Say whether a file begins like an image; its pixels may be damaged all the same."""
    try:
        with _pillow_held_back, _opened(path) as file, Image.open(file, formats=_formats(file)):
            return True
    except Exception:  # as in decode
        return False


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """Return the formats that a file may be of; one that begins like HEIC is nothing else.

    Raises:
        BadImageError: if it is HEIC, and what reads it is not installed.
    """
    begin = file.read(heic.BEGIN_BYTES)
    file.seek(0)
    if not heic.is_heic(begin):
        return IMAGE_FORMATS
    if not heic.kinds():
        raise BadImageError(heic.NEEDED)
    return heic.kinds()


def _opened(path: Path) -> BinaryIO:
    """Open a file; refuse what it would block to open, what holds nothing, and what can't be opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError("not a regular file")
        if status.st_size == 0:
            raise BadImageError("empty file")
        return path.open("rb")
    except OSError as error:
        raise (_passing(path, error) or BadImageError(f"can't be read: {error.strerror or error}")) from error


def _decoded(image: Image.Image, max_megapixels: float) -> Decoded:
    notes = []
    size, megapixels = image.size, _megapixels(image)
    is_jpeg = image.format in ("JPEG", "MPO")  # the second is a JPEG with previews behind it, as some phones write
    if megapixels > max_megapixels and is_jpeg:
        _shrink(image, max_megapixels)
        notes.append(f"decoded at {image.size[0]} x {image.size[1]} instead of {size[0]} x {size[1]} px")
    if _megapixels(image) > max_megapixels:
        raise BadImageError(_over(megapixels, max_megapixels))
    if megapixels == 0:
        raise BadImageError("no pixels")
    if not is_jpeg and getattr(image, "is_animated", False):
        notes.append(ANIMATED)
    raw_mode = _raw_mode(image)
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are good whatever is wrong with the EXIF data
        turn = None
        notes.append(NO_EXIF)
    bits = 12 if raw_mode == "I;12" else 16
    rgb = _on_white(image if turn is None else image.transpose(turn), bits=bits)
    if (";16" in raw_mode or _is_deep(image)) and rgb.max() <= DARK:
        notes.append(
            f"its brightest pixel is {rgb.max()} of 255, so it is dark; where images hold fewer bits than their files, "
            "such as 12 in 16, multiply the values of all by one number, such as 16, and save them as 16-bit PNG"
        )
    return Decoded(rgb, tuple(notes))


def _raw_mode(image: Image.Image) -> str:
    """Return how the file holds pixels, as "I;12" and "RGB;16B"; "" once it is loaded, and where no file says it."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _shrink(image: Image.Image, max_megapixels: float) -> None:
    """Have a JPEG decoded at a half, else a quarter of its size, where that is within the limit."""
    width, height = image.size
    for factor in (2, 4):
        if -(-width // factor) * -(-height // factor) <= max_megapixels * 1e6:
            image.draft(None, (width // factor, height // factor))
            return


def _on_white(image: Image.Image, *, bits: int) -> np.ndarray:
    clear = image.info.get("transparency")
    if _is_deep(image):
        values = np.asarray(image)
        grey = _eight_bits(values, image.mode, bits=bits)
        if isinstance(clear, int):
            grey[values == clear] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if clear is None and image.mode not in ("RGBA", "LA", "PA"):
        return np.asarray(image.convert("RGB"))
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):  # in strips, because a whole large image would be held five times over
        box = (0, top, width, min(top + _ROWS, height))
        layer = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        rgb[box[1] : box[3]] = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return rgb


def _eight_bits(values: np.ndarray, mode: str, *, bits: int) -> np.ndarray:
    """Scale grey values to 0..255 by their depth: 8, 16 or 32 bits, the least that holds them; floats of 0..1 or more.

    A 16-bit image is always scaled by 16 bits, or by the fewer that its file says, and a float image whose values pass
    255 by its highest. What a file says of its own lowest and highest values counts for nothing: each image of a task
    would be stretched by another factor, and its brightness lost.
    """
    values = values.astype(np.float32)
    top = float(values.max(initial=0.0))
    if mode == "F":
        if not np.isfinite(values).all():
            raise BadImageError("holds values that are not finite")
        factor = 255.0 if top <= 1 else 1.0 if top <= 255 else 255 / top
    elif mode == "I" and (top <= 255 or top > 65_535):
        factor = 1.0 if top <= 255 else 255 / (2**31 - 1)
    else:
        factor = 255 / (2**bits - 1)
    values *= factor
    eight: np.ndarray = np.clip(np.rint(values, out=values), 0, 255).astype(np.uint8)
    return eight


def _over(megapixels: float, limit: float) -> str:
    """Return by what an image is over the limit, in as many digits as tell them apart."""
    digits = next((n for n in range(1, 6) if round(megapixels, n) > limit), 6)
    return f"{megapixels:.{digits}f} megapixels, over the limit of {limit:.12g}"


def _megapixels(image: Image.Image) -> float:
    return image.size[0] * image.size[1] / 1e6


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class _HeldBack:
    """While any thread is inside, Pillow's limit is lifted and nobody is warned.

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
