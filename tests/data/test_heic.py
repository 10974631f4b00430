"""Phones' formats are read upright, and a HEIC image that nothing here can read names what does."""

import sys

import numpy as np
import pytest
from image_files import encoded, noise, save
from PIL import Image
from readings import reason_of

from scalepred.data import heic
from scalepred.data.decode import decode, is_image
from scalepred.data.task import inspect

pillow_heif = pytest.importorskip("pillow_heif")


@pytest.fixture
def photo(tmp_path):
    """A HEIC image, 48 x 40 px, of which the left half is red."""
    pixels = np.zeros((40, 48, 3), np.uint8)
    pixels[:, :24, 0], pixels[:, 24:, 2] = 255, 255
    pillow_heif.register_heif_opener()
    return save(tmp_path / "IMG_0001.HEIC", pixels, format="HEIF", quality=95)


@pytest.fixture
def without_extra(monkeypatch):
    heic.kinds.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    yield
    heic.kinds.cache_clear()


def test_a_heic_image_is_read_by_the_extra(photo):
    rgb = decode(photo).rgb
    assert rgb.shape == (40, 48, 3)
    assert rgb[:, 2:20].mean((0, 1)) == pytest.approx([255, 0, 0], abs=12)
    assert rgb[:, 28:46].mean((0, 1)) == pytest.approx([0, 0, 255], abs=12)
    assert is_image(photo)


def test_without_the_extra_a_heic_image_is_skipped_and_names_it(photo, without_extra):
    assert reason_of(photo) == "a HEIC image, which the extra `heic` reads: pip install 'scalepred[heic]'"
    assert not is_image(photo)


def test_a_damaged_heic_image_is_bad_and_the_others_are_read(photo, tmp_path):
    whole = photo.read_bytes()
    for name in ("a", "b"):
        for at in range(6):
            pixels = noise(seed=[ord(name), at])
            save(tmp_path / "data" / name / f"{at}.heic", pixels, format="HEIF")
    (tmp_path / "data" / "a" / "cut.heic").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "data" / "a" / "head.heic").write_bytes(whole[:20])
    inspection = inspect(tmp_path / "data")
    assert inspection.classes == {"a": 6, "b": 6}
    assert [each.reason.partition(":")[0] for each in inspection.skipped] == ["damaged", "damaged"]


def test_a_heic_image_over_the_limit_is_refused_before_its_pixels(photo):
    assert reason_of(photo, max_megapixels=0.001) == "0.002 megapixels, over the limit of 0.001"


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_phone_that_was_held_otherwise_still_gives_an_upright_image(tmp_path, kind, orientation):
    upright = np.zeros((40, 64, 3), np.uint8)
    upright[:20, :32] = 255  # white in the upper left corner alone
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = Image.fromarray(upright)
    stored = stored if turn[orientation] is None else stored.transpose(turn[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    pillow_heif.register_heif_opener()
    decoded = decode(save(tmp_path / "turned", stored, format=kind, exif=exif.tobytes(), quality=95)).rgb
    assert decoded.shape == (40, 64, 3)
    means = [
        decoded[rows, columns].mean() for rows in (slice(20), slice(20, 40)) for columns in (slice(32), slice(32, 64))
    ]
    assert means == pytest.approx([255, 0, 0, 0], abs=12)


def test_an_avif_image_is_not_taken_for_heic_whatever_its_first_brand():
    whole = encoded(Image.fromarray(noise()), "AVIF")
    assert not heic.is_heic(whole)
    assert not heic.is_heic(whole[:8] + b"mif1" + whole[12:])
    assert heic.is_heic(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    assert not heic.is_heic(b"")
