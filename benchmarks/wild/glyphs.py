"""Renders glyphs of scalable fonts: black on white, whole, with margins."""

import unicodedata
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 80
INK_PX = 60
LATIN = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x180)) if chr(code) != "\xad"]


def render(font: Path, text: str) -> Image.Image:
    """Return a grey image of (80, 80) pixels.

    Raises:
        ValueError: if the glyph is empty.
        OSError: if the font can't be read.
    """
    left, top, right, bottom = ImageFont.truetype(font, 64).getbbox(text)
    if right <= left or bottom <= top:
        raise ValueError(f"{font.name} has nothing to show for {text!r}")
    size = max(8, int(64 * min(1.0, INK_PX / max(right - left, bottom - top))))
    face = ImageFont.truetype(font, size)
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (SIDE_PX, SIDE_PX), 255)
    at = ((SIDE_PX - right - left) / 2, (SIDE_PX - bottom - top) / 2)
    ImageDraw.Draw(image).text(at, text, font=face, fill=0)
    return image


@cache
def characters(font: Path) -> frozenset[str]:
    """Return the characters that a font maps."""
    with TTFont(font, lazy=True, fontNumber=0) as opened:
        return frozenset(map(chr, opened.getBestCmap() or {}))


def letters(font: Path) -> list[str]:
    """Return a font's letters and syllables outside Latin, in the order of Unicode."""
    return sorted(c for c in characters(font) if ord(c) > 0x2FF and unicodedata.category(c) in ("Lo", "Lu", "Ll"))
