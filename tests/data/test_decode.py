"""Every fault of an image file is a reason, and its header, size and metadata are heeded."""

import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, huge_png, noise, one_of_each, png, save
from PIL import Image, ImageOps
from readings import reason_of

from scalepred.data import decode as decode_module
from scalepred.data.decode import BadImageError, decode, is_image
from scalepred.data.load import load_images

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_jpeg_is_bad_though_its_header_is_good(tmp_path, share):
    whole = save(tmp_path / "whole.jpg", noise(200, 200)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: int(len(whole) * share)])
    assert is_image(tmp_path / "cut.jpg")
    assert reason_of(tmp_path / "cut.jpg").startswith("damaged: image file is truncated")


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert reason_of(tmp_path / "empty.jpg") == "empty file"


def test_text_named_jpg_is_no_image(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    assert reason_of(tmp_path / "text.jpg") == "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, JPEG2000"
    assert not is_image(tmp_path / "text.jpg")


@pytest.mark.parametrize("name", ["image.jpg", "image", "image.txt"])
def test_content_decides_and_not_the_extension(tmp_path, name):
    (tmp_path / name).write_bytes(encoded(Image.fromarray(noise()), "PNG"))
    assert np.array_equal(decode(tmp_path / name).rgb, noise())


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PDF", "EPS"])
def test_formats_that_are_not_allowed_are_refused(tmp_path, kind):
    (tmp_path / "image.png").write_bytes(encoded(Image.fromarray(noise()), kind))
    assert reason_of(tmp_path / "image.png").startswith("not an image of ")


def test_what_is_missing_or_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert reason_of(tmp_path / "gone.png") == "can't be read: No such file or directory"
    assert reason_of(tmp_path) == "not a regular file"
    assert reason_of(tmp_path / "pipe") == "not a regular file"
    assert not is_image(tmp_path / "pipe")


def test_a_file_that_may_not_be_opened_says_so(tmp_path, monkeypatch):
    path = save(tmp_path / "shut.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert reason_of(path) == "can't be read: Permission denied"


def edits_of(whole, seed):
    """Return 60 beginnings of a file, and 120 copies in each of which up to six bytes are others."""
    rng = np.random.default_rng(seed)
    cuts = [whole[:end] for end in range(0, len(whole), max(1, len(whole) // 60))]
    edits = [bytearray(whole) for _ in range(120)]
    for edit in edits:
        for _ in range(rng.integers(1, 7)):
            edit[rng.integers(rng.choice([40, len(edit)]))] = rng.integers(256)  # headers more often
    return [*cuts, *map(bytes, edits)]


@pytest.mark.parametrize("flavour", one_of_each())
def test_hundreds_of_edits_give_an_image_or_a_reason_and_nothing_else(tmp_path, capfd, flavour):
    whole, target = one_of_each()[flavour], tmp_path / "edited"
    images, reasons = [], []
    for content in [whole, *edits_of(whole, zlib.crc32(whole))]:
        target.write_bytes(content)
        try:  # a warning is an error in tests, and would be one here
            images.append(decode(target, max_megapixels=1).rgb)
        except BadImageError as error:
            reasons.append(str(error))
    assert images
    assert all(rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size for rgb in images)
    assert reasons
    assert all(reason and reason.isprintable() for reason in reasons)
    if flavour != "lzw":  # for these a library in C writes a line of its own, which no setting of Python's stops
        assert capfd.readouterr() == ("", "")


UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(upright, orientation):
    """Return an image as a camera stores it, and the EXIF data that says how it was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return (upright if UNDO[orientation] is None else upright.transpose(UNDO[orientation])), exif


@pytest.mark.parametrize("extension", ["png", "webp", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", UNDO)
def test_every_exif_orientation_is_undone(tmp_path, extension, orientation):
    stored, exif = turned(Image.fromarray(noise(12, 20)), orientation)
    options = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(extension, {})
    path = save(tmp_path / f"turned.{extension}", stored, exif=exif, **options)
    decoded = decode(path).rgb
    assert decoded.shape == (12, 20, 3)
    if extension == "jpg":
        with Image.open(path) as opened:
            assert np.array_equal(decoded, np.asarray(ImageOps.exif_transpose(opened)))
    else:
        assert np.array_equal(decoded, noise(12, 20))


@pytest.mark.parametrize("orientation", [0, 9, 6_000])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(save(tmp_path / "odd.png", noise(), exif=exif))
    assert np.array_equal(decoded.rgb, noise())


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00broken", b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\xff", b"Exif\x00\x00"]
)
def test_broken_exif_data_never_costs_a_good_image(tmp_path, exif):
    for name in ("image.png", "image.jpg", "image.webp"):
        decoded = decode(save(tmp_path / name, exif=exif))
        assert decoded.rgb.shape == (24, 32, 3)
        assert set(decoded.notes) <= {decode_module.NO_EXIF}


def test_exif_data_that_can_not_be_read_is_noted(tmp_path):
    assert decode(save(tmp_path / "image.png", exif=b"Exif\x00\x00broken")).notes == (
        "its EXIF data can't be read, so it is not turned",
    )


@pytest.mark.parametrize("extension", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_or_of_pages_the_first_is_used_and_said(tmp_path, extension):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    options = {"webp": {"lossless": True}}.get(extension, {})
    decoded = decode(
        save(tmp_path / f"moving.{extension}", frames[0], save_all=True, append_images=frames[1:], **options)
    )
    assert (decoded.rgb == [255, 0, 0]).all()
    assert decoded.notes == ("animated or of several pages, so the first is used",)


def test_a_phones_image_with_previews_behind_it_is_a_plain_image(tmp_path):
    big, preview = Image.fromarray(noise(48, 64)), Image.fromarray(noise(12, 16))
    path = save(tmp_path / "phone.jpg", big, format="MPO", save_all=True, append_images=[preview])
    with Image.open(path) as opened:
        assert opened.format == "MPO"
    decoded = decode(path)
    assert decoded.rgb.shape == (48, 64, 3)
    assert decoded.notes == ()


@pytest.mark.parametrize(("side", "megapixels"), [(13_000, "169.0"), (20_000, "400.0")])
def test_huge_images_are_refused_from_the_header(tmp_path, side, megapixels):
    (tmp_path / "huge.png").write_bytes(png(side, side))  # not one pixel is in it
    assert reason_of(tmp_path / "huge.png") == f"{megapixels} megapixels, over the limit of 64"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (64, "64.000001 megapixels, over the limit of 64"),
        (63.99, "64.0 megapixels, over the limit of 63.99"),
        (64.0000005, "64.000001 megapixels, over the limit of 64.0000005"),
    ],
)
def test_an_image_just_over_the_limit_is_told_in_as_many_digits_as_it_takes(tmp_path, limit, words):
    (tmp_path / "huge.png").write_bytes(png(64_000_001, 1))
    assert reason_of(tmp_path / "huge.png", max_megapixels=limit) == words


def test_the_limit_is_the_callers(tmp_path):
    assert decode(huge_png(tmp_path / "huge.png", 1_300), max_megapixels=1.7).rgb.shape == (1_300, 1_300, 3)
    assert reason_of(tmp_path / "huge.png", max_megapixels=1.6) == "1.7 megapixels, over the limit of 1.6"


@pytest.mark.parametrize(
    ("size", "half"), [((600, 400), (300, 200)), ((601, 401), (301, 201)), ((599, 399), (300, 200))]
)
def test_a_jpeg_over_the_limit_is_decoded_at_half_its_size(tmp_path, size, half):
    path = save(tmp_path / "large.jpg", noise(size[1], size[0]))
    decoded = decode(path, max_megapixels=0.1)
    assert decoded.rgb.shape == (half[1], half[0], 3)
    assert decoded.notes == (f"decoded at {half[0]} x {half[1]} instead of {size[0]} x {size[1]} px",)


def test_a_jpeg_far_over_the_limit_is_decoded_at_a_quarter_and_then_refused(tmp_path):
    path = save(tmp_path / "large.jpg", noise(401, 601))
    assert decode(path, max_megapixels=0.05).rgb.shape == (101, 151, 3)
    assert reason_of(path, max_megapixels=0.01) == "0.2 megapixels, over the limit of 0.01"


def test_a_phones_image_over_the_limit_is_decoded_smaller_and_turned(tmp_path):
    stored, exif = turned(Image.fromarray(noise(400, 600)), 6)
    path = save(tmp_path / "phone.jpg", stored, format="MPO", save_all=True, append_images=[stored], exif=exif)
    assert decode(path, max_megapixels=0.1).rgb.shape == (200, 300, 3)


def test_a_png_with_a_bomb_of_text_is_bad_and_says_why(tmp_path):
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(50_000_000), 9)
    (tmp_path / "bomb.png").write_bytes(png(8, 8, bytes(16), chunks=[(b"zTXt", bomb)]))
    assert reason_of(tmp_path / "bomb.png").startswith("damaged: Decompressed data too large")


def test_extreme_shapes_are_resized_like_others():
    loaded = load_images([lambda: Image.new("L", (1, 60_000)), lambda: Image.new("L", (60_000, 1))], image_px=16)
    assert loaded.images.shape == (2, 3, 16, 16)
    assert loaded.sizes_px.tolist() == [[1, 60_000], [60_000, 1]]


def test_pillows_limit_and_warnings_are_as_before_after_any_decoding(tmp_path):
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    (tmp_path / "bad").write_bytes(b"bad")
    load_images([save(tmp_path / "good.png"), tmp_path / "bad"] * 20, image_px=16)
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before
