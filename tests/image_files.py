"""Makes the images and folders that the tests use."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

NASTY = ["café", "🐈", "two\nlines", "[red]", "<script>", "=1+1", "'; drop table tasks; --", " blank ", "-rf", "%s {x}"]
"""Class names that have broken something somewhere."""


def noise(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path, pixels=None, **options):
    """Save pixels, or an image, or noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(noise() if pixels is None else pixels)
    image.save(path, **options)
    return path


def make_classes(folder, names=("a", "b"), n=6, seed=0):
    """Make a folder for each class, with n images that no other seed or folder has."""
    for at, name in enumerate(names):
        for index in range(n):
            save(folder / name / f"{index}.png", noise(seed=[seed, at, index]))
    return folder


def write_manifest(path, rows, header="path,label"):
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def encoded(image, kind, *, frames=(), **options):
    """Return the bytes of a file; copies are saved, because Pillow leaves an encoder's settings on an image."""
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [frame.copy() for frame in frames]} if frames else {}
    image.copy().save(buffer, kind, **more, **options)
    return buffer.getvalue()


def one_of_each():
    """Return small files of every format and most of their flavours, by name."""
    image, *frames = [Image.fromarray(noise(12, 12, seed)) for seed in range(3)]
    few, *few_frames = [each.quantize(8) for each in (image, *frames)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encoded(image, "JPEG", exif=exif),
        "progressive": encoded(image, "JPEG", progressive=True),
        "cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "mpo": encoded(image, "MPO", frames=frames),
        "png": encoded(image, "PNG", exif=exif),
        "palette": encoded(few, "PNG", transparency=0),
        "apng": encoded(image, "PNG", frames=frames),
        "webp": encoded(image, "WEBP", exif=exif),
        "lossless": encoded(image.convert("RGBA"), "WEBP", frames=frames, lossless=True),
        "bmp": encoded(image, "BMP"),
        "tiff": encoded(image, "TIFF", exif=exif),
        "lzw": encoded(image, "TIFF", frames=frames, compression="tiff_lzw"),
        "gif": encoded(few, "GIF", frames=few_frames),
        "avif": encoded(image, "AVIF", exif=exif),
        "avifs": encoded(image, "AVIF", frames=frames),
        "jp2": encoded(image, "JPEG2000"),
        "j2k": encoded(image.convert("L"), "JPEG2000", no_jp2=True),
    }


def png(width, height, rows=b"", *, bits=1, colour=0, chunks=()):
    """Return a PNG file of any size and depth, with these decompressed rows and extra (kind, data) chunks.

    ``colour`` is PNG's colour type: 0 is grey, 2 is RGB.
    """

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def tiff_of_12_bits(values):
    """Return a grey TIFF file of one row of an even number of values, packed at 12 bits each."""
    bits = "".join(f"{value:012b}" for value in values)
    rows = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = {256: len(values), 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(rows)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + rows


def huge_png(path, side):
    """Write a one-bit PNG with every row, side x side pixels, in a few hundred kilobytes at most."""
    path.write_bytes(png(side, side, bytes((side // 8 + 2) * side)))
    return path
