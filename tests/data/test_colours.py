"""Every depth, mode and transparency becomes eight bits on white."""

import struct

import numpy as np
import pytest
from image_files import noise, png, save, tiff_of_12_bits
from PIL import Image
from readings import reason_of

from scalepred.data.decode import decode

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def test_sixteen_bit_grey_is_scaled_by_its_depth(tmp_path):
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    for name in ("deep.png", "deep.tiff"):
        rgb = decode(save(tmp_path / name, ramp)).rgb
        assert np.array_equal(rgb[:, :, 0].ravel(), np.arange(256))
        assert (rgb == rgb[:, :, :1]).all()


def test_every_sixteen_bit_value_is_rounded_to_the_nearest():
    every = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    exact = np.rint(every.astype(np.float64) / 257).astype(np.uint8)
    assert np.array_equal(decode(lambda: Image.fromarray(every)).rgb[:, :, 0], exact)


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path):
    assert decode(save(tmp_path / "dark.png", np.full((4, 4), 300, np.uint16))).rgb.max() == 1


def test_a_tiff_of_twelve_bits_is_scaled_by_twelve(tmp_path):
    (tmp_path / "deep.tiff").write_bytes(tiff_of_12_bits([0, 100, 2048, 4095]))
    decoded = decode(tmp_path / "deep.tiff")
    assert decoded.rgb[0, :, 0].tolist() == [0, 6, 128, 255]
    assert decoded.notes == ()


DARK = (
    "its brightest pixel is {} of 255, so it is dark; where images hold fewer bits than their files, such as 12 in 16, "
    "multiply the values of all by one number, such as 16, and save them as 16-bit PNG"
)


@pytest.mark.parametrize(("bits", "brightest"), [(10, 4), (12, 16), (14, 64)])
@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_fewer_bits_that_are_kept_in_sixteen_are_told(tmp_path, bits, brightest, name):
    decoded = decode(save(tmp_path / name, np.array([[0, 2**bits - 1]], np.uint16)))
    assert decoded.notes == (DARK.format(brightest),)


@pytest.mark.parametrize(
    ("values", "brightest"), [(np.int32(4095), 16), (np.int32(70_000), 0), (np.float32(1.01), 1), (np.float32(0.2), 51)]
)
def test_dark_images_of_32_bits_are_told(tmp_path, values, brightest):
    assert decode(save(tmp_path / "deep.tiff", np.full((2, 2), values))).notes == (DARK.format(brightest),)


def test_fewer_bits_that_are_kept_in_sixteen_of_each_colour_are_told(tmp_path):
    (tmp_path / "deep.png").write_bytes(png(1, 1, b"\0" + struct.pack(">3H", 0, 4095, 0), bits=16, colour=2))
    assert decode(tmp_path / "deep.png").notes == (DARK.format(15),)


def test_dark_images_of_eight_bits_and_light_ones_of_more_are_not_told(tmp_path):
    dark, light = np.full((2, 2), 3, np.uint8), np.array([[0, 20_000]], np.uint16)
    assert decode(save(tmp_path / "dark.png", dark)).notes == ()
    assert decode(save(tmp_path / "light.png", light)).notes == ()
    assert decode(save(tmp_path / "light.tiff", light.astype(np.float32))).notes == ()


@pytest.mark.parametrize(("top", "brightest"), [(200, 200), (65_535, 255), (2**31 - 1, 255), (2**30, 128)])
def test_32_bit_grey_is_scaled_by_the_least_depth_that_holds_it(tmp_path, top, brightest):
    values = np.array([[0, top // 2, top, -5]], dtype=np.int32)
    grey = decode(save(tmp_path / "deep.tiff", values)).rgb[0, :, 0]
    assert grey[2] == brightest
    assert abs(int(grey[1]) - brightest / 2) <= 1
    assert (grey[0], grey[3]) == (0, 0)


@pytest.mark.parametrize(("top", "brightest"), [(1.0, 255), (200.0, 200), (1000.0, 255)])
def test_float_images_are_scaled_to_what_they_hold(tmp_path, top, brightest):
    values = np.linspace(-1, top, 64, dtype=np.float32).reshape(8, 8)
    rgb = decode(save(tmp_path / "float.tiff", values)).rgb
    assert (rgb.min(), rgb.max()) == (0, brightest)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_images_with_values_that_are_not_finite_are_bad(tmp_path, value):
    path = save(tmp_path / "odd.tiff", np.full((4, 4), value, dtype=np.float32))
    assert reason_of(path) == "holds values that are not finite"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr"])
def test_other_opaque_modes_become_rgb(tmp_path, mode):
    image = Image.fromarray(noise()).convert(mode)
    path = save(tmp_path / f"image.{'tiff' if mode == 'YCbCr' else 'png'}", image)
    with Image.open(path) as opened:
        assert np.array_equal(decode(path).rgb, np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "clear", "opaque"),
    [("RGBA", (9, 8, 7, 0), (10, 20, 30, 255)), ("LA", (9, 0), (20, 255)), ("PA", (0, 0), (1, 255))],
)
def test_what_alpha_hides_is_white_and_the_rest_stays(tmp_path, mode, clear, opaque):
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), opaque)
    path = save(tmp_path / f"alpha.{'tiff' if mode == 'PA' else 'png'}", image)
    rgb = decode(path).rgb
    assert rgb[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(rgb[0, 1], np.asarray(image.convert("RGB"))[0, 1])


def test_half_transparent_black_is_grey(tmp_path):
    assert (
        decode(save(tmp_path / "half.png", Image.new("RGBA", (3, 3), (0, 0, 0, 128)))).rgb[1, 1].tolist() == [127] * 3
    )


def test_a_transparent_palette_colour_is_white_and_the_others_stay(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for name, options in (("one.png", 0), ("bytes.png", b"\x00\xff"), ("one.gif", 0)):
        path = save(tmp_path / name, image, transparency=options)
        assert decode(path).rgb.tolist() == [[[255, 255, 255], [200, 100, 50]]], name


@pytest.mark.parametrize(("mode", "clear", "other"), [("RGB", (1, 2, 3), (4, 5, 6)), ("L", 7, 8), ("1", 0, 255)])
def test_a_transparent_colour_without_an_alpha_channel_is_white(tmp_path, mode, clear, other):
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), other)
    rgb = decode(save(tmp_path / "clear.png", image, transparency=clear)).rgb
    assert rgb[0, 0].tolist() == [255, 255, 255]
    assert rgb[0, 1].tolist() == list(other if isinstance(other, tuple) else [other] * 3)


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path):
    rows = b"\x00" + struct.pack(">HH", 5_000, 20_000)
    (tmp_path / "clear.png").write_bytes(png(2, 1, rows, bits=16, chunks=[(b"tRNS", struct.pack(">H", 5_000))]))
    assert decode(tmp_path / "clear.png").rgb[0, :, 0].tolist() == [255, round(20_000 / 257)]


def test_a_tall_image_is_composited_in_strips_as_if_it_were_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1_100, 5, 4)).astype(np.uint8)
    layer = Image.fromarray(pixels)
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    whole = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    assert np.array_equal(decode(save(tmp_path / "tall.png", layer)).rgb, whole)


def test_cmyk_becomes_rgb(tmp_path):
    path = save(tmp_path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    red, green, blue = decode(path).rgb[4, 4].tolist()
    assert red > 200
    assert max(green, blue) < 60
