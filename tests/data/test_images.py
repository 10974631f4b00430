"""Every fault of an image file or a folder of them, on files that the tests make."""

import inspect
import os
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, huge_png, noise, one_of_each, png, save
from PIL import Image, ImageOps
from sklearn.datasets import load_digits, load_sample_image

from scalepred.data import decode as decode_module
from scalepred.data.decode import BadImageError, decode, is_image
from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import content_hash, load_images, resize, thumbnail
from scalepred.data.scan import readable, walk

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def reason_of(item, **options):
    with pytest.raises(BadImageError) as caught:
        decode(item, **options)
    return str(caught.value)


def names_and_reasons(skipped):
    return [(Path(each.path).name, each.reason) for each in skipped]


# --- truncated, empty, mislabelled ------------------------------------------------------------------------------------


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
    assert reason_of(tmp_path / "text.jpg") == "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF"
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
def test_hundreds_of_edits_give_a_image_or_a_reason_and_nothing_else(tmp_path, capfd, flavour):
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


# --- depth ------------------------------------------------------------------------------------------------------------


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


# --- palette, alpha ---------------------------------------------------------------------------------------------------


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


# --- CMYK, EXIF, animation --------------------------------------------------------------------------------------------


def test_cmyk_becomes_rgb(tmp_path):
    path = save(tmp_path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    red, green, blue = decode(path).rgb[4, 4].tolist()
    assert red > 200
    assert max(green, blue) < 60


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
    found = decode(path).rgb
    assert found.shape == (12, 20, 3)
    if extension == "jpg":
        with Image.open(path) as opened:
            assert np.array_equal(found, np.asarray(ImageOps.exif_transpose(opened)))
    else:
        assert np.array_equal(found, noise(12, 20))


@pytest.mark.parametrize("orientation", [0, 9, 6_000])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(save(tmp_path / "odd.png", noise(), exif=exif))
    assert np.array_equal(found.rgb, noise())


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00broken", b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\xff", b"Exif\x00\x00"]
)
def test_broken_exif_data_never_costs_a_good_image(tmp_path, exif):
    for name in ("image.png", "image.jpg", "image.webp"):
        found = decode(save(tmp_path / name, exif=exif))
        assert found.rgb.shape == (24, 32, 3)
        assert set(found.notes) <= {decode_module.NO_EXIF}


def test_exif_data_that_can_not_be_read_is_noted(tmp_path):
    assert decode(save(tmp_path / "image.png", exif=b"Exif\x00\x00broken")).notes == (
        "its EXIF data can't be read, so it is not turned",
    )


@pytest.mark.parametrize("extension", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_or_of_pages_the_first_is_used_and_said(tmp_path, extension):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    options = {"webp": {"lossless": True}}.get(extension, {})
    found = decode(
        save(tmp_path / f"moving.{extension}", frames[0], save_all=True, append_images=frames[1:], **options)
    )
    assert (found.rgb == [255, 0, 0]).all()
    assert found.notes == ("animated or of several pages, so the first is used",)


def test_a_phones_image_with_previews_behind_it_is_a_plain_image(tmp_path):
    big, preview = Image.fromarray(noise(48, 64)), Image.fromarray(noise(12, 16))
    path = save(tmp_path / "phone.jpg", big, format="MPO", save_all=True, append_images=[preview])
    with Image.open(path) as opened:
        assert opened.format == "MPO"
    found = decode(path)
    assert found.rgb.shape == (48, 64, 3)
    assert found.notes == ()


# --- huge -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "megapixels"), [(13_000, "169.0"), (20_000, "400.0")])
def test_huge_images_are_refused_from_the_header(tmp_path, side, megapixels):
    (tmp_path / "huge.png").write_bytes(png(side, side))  # not one pixel is in it
    assert reason_of(tmp_path / "huge.png") == f"{megapixels} megapixels, over the limit of 64"


def test_the_limit_is_the_callers(tmp_path):
    assert decode(huge_png(tmp_path / "huge.png", 1_300), max_megapixels=1.7).rgb.shape == (1_300, 1_300, 3)
    assert reason_of(tmp_path / "huge.png", max_megapixels=1.6) == "1.7 megapixels, over the limit of 1.6"


@pytest.mark.parametrize(
    ("size", "half"), [((600, 400), (300, 200)), ((601, 401), (301, 201)), ((599, 399), (300, 200))]
)
def test_a_jpeg_over_the_limit_is_decoded_at_half_its_size(tmp_path, size, half):
    path = save(tmp_path / "large.jpg", noise(size[1], size[0]))
    found = decode(path, max_megapixels=0.1)
    assert found.rgb.shape == (half[1], half[0], 3)
    assert found.notes == (f"decoded at {half[0]} x {half[1]} instead of {size[0]} x {size[1]} px",)


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


# --- folders ----------------------------------------------------------------------------------------------------------


def test_links_to_a_folder_that_holds_them_end_and_files_count_once(tmp_path):
    for name in ("0.png", "1.png"):
        save(tmp_path / "c" / "deep" / name)
    (tmp_path / "c" / "loop").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "deep" / "up").symlink_to("..")
    (tmp_path / "c" / "self").symlink_to("self")
    (tmp_path / "c" / "gone").symlink_to("nowhere")
    (tmp_path / "c" / "deep" / "hard.png").hardlink_to(tmp_path / "c" / "deep" / "0.png")
    files, skipped = walk(tmp_path / "c")
    assert [file.name for file in files] == ["0.png", "1.png"]
    assert sorted(names_and_reasons(skipped)) == [
        ("gone", "link to nothing"),
        ("hard.png", f"the same as {tmp_path / 'c' / 'deep' / '0.png'}"),
        ("loop", f"the same as {tmp_path / 'c'}"),
        ("self", "link to itself"),
        ("up", f"the same as {tmp_path / 'c'}"),
    ]


def test_links_to_folders_outside_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "0.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "link").symlink_to(tmp_path / "elsewhere")
    assert walk(tmp_path / "c") == ([tmp_path / "c" / "link" / "0.png"], [])


def test_a_fifo_is_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    files, skipped = walk(tmp_path)
    assert (files, names_and_reasons(skipped)) == ([], [("pipe.png", "not a regular file")])


def test_an_unreadable_folder_costs_itself_only(tmp_path, monkeypatch):
    save(tmp_path / "open" / "0.png")
    save(tmp_path / "shut" / "1.png")
    real = Path.iterdir

    def iterdir(path):
        if path.name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == ["0.png"]
    assert names_and_reasons(skipped) == [("shut", "folder can't be read: Permission denied")]


def test_a_file_whose_status_is_refused_costs_itself_only(tmp_path, monkeypatch):
    save(tmp_path / "0.png")
    save(tmp_path / "odd.png")
    real = Path.stat

    def stat(path, **options):
        if path.name == "odd.png":
            raise OSError(5, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == ["0.png"]
    assert names_and_reasons(skipped) == [("odd.png", "can't be read: Input/output error")]


def test_what_is_hidden_or_left_by_other_systems_is_skipped_without_a_word(tmp_path):
    save(tmp_path / "0.png")
    for junk in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "lost+found", "$RECYCLE.BIN"):
        save(tmp_path / junk / "1.png")
    for junk in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / junk).write_bytes(b"x")
    files, skipped = walk(tmp_path)
    assert ([file.name for file in files], skipped) == (["0.png"], [])


def test_folders_deeper_than_the_recursion_limit_are_walked(tmp_path):
    deepest = tmp_path.joinpath(*["d"] * 300)
    save(deepest / "0.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        found = walk(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == ([deepest / "0.png"], [])


def test_undecodable_names_are_found_and_shown_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / "0.png").rename(tmp_path / name)
    (tmp_path / os.fsdecode(b"gone\xff")).symlink_to("nowhere")
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == [name]
    assert decode(files[0]).rgb.shape == (24, 32, 3)
    assert readable(files[0]).encode("utf-8").endswith(b"caf\\udce9.png")
    assert names_and_reasons(skipped) == [("gone\\udcff", "link to nothing")]


# --- many images ----------------------------------------------------------------------------------------------------


def test_many_images_are_decoded_in_their_order(tmp_path):
    paths = [save(tmp_path / f"{index}.png", np.full((5, 7, 3), index, np.uint8)) for index in range(20)]
    (tmp_path / "bad.png").write_bytes(b"bad")
    seen = []
    loaded = load_images(
        [*paths[:10], tmp_path / "bad.png", *paths[10:]], image_px=16, on_progress=lambda *n: seen.append(n)
    )
    assert loaded.images[:, 0, 0, 0].tolist() == list(range(20))
    assert loaded.thumbnails.shape == (20, 12, 12, 3)
    assert loaded.kept.tolist() == [*range(10), *range(11, 21)]
    assert loaded.sizes_px.tolist() == [[7, 5]] * 20
    assert loaded.bad == ((10, "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF"),)
    assert seen == [(done, 21) for done in range(1, 22)]


def test_no_image_at_all_is_no_error(tmp_path):
    for items in ([], [tmp_path / "gone.png"]):
        loaded = load_images(items, image_px=16)
        assert loaded.images.shape == (0, 3, 16, 16)
        assert loaded.thumbnails.shape == (0, 12, 12, 3)
        assert loaded.sizes_px.shape == (0, 2)
        assert near_duplicate_groups(loaded.hashes, loaded.thumbnails).shape == (0,)


def test_a_image_that_a_library_can_not_open_is_bad(tmp_path):
    def fail():
        raise ValueError("no such index\nand more")

    loaded = load_images([fail, lambda: Image.new("RGB", (2_000, 1_000))], image_px=16, max_megapixels=1)
    assert loaded.bad == ((0, "damaged: no such index"), (1, "2.0 megapixels, over the limit of 1"))


def test_an_interrupt_does_not_wait_for_the_images_that_are_left():
    opened = []

    def interrupt(*_):
        raise KeyboardInterrupt

    def image():
        opened.append(1)
        return Image.new("RGB", (400, 400))

    with pytest.raises(KeyboardInterrupt):
        load_images([image] * 2_000, image_px=16, on_progress=interrupt)
    assert len(opened) < 1_000


def test_hashes_and_squares_are_what_they_were_when_the_first_tasks_were_harvested():
    rgb = noise(40, 30)
    assert content_hash(rgb) == "46b85d6409e1ad696201997b3bdeadd0"
    assert zlib.crc32(resize(rgb, 16).tobytes()) == 1_041_580_727
    assert content_hash(rgb) != content_hash(rgb.reshape(30, 40, 3))


# --- duplicates -------------------------------------------------------------------------------------------------------


def photographs(n, seed=0):
    """Return n thumbnails with contrast, each its own."""
    return np.random.default_rng(seed).integers(0, 256, (n, 12, 12, 3)).astype(np.uint8)


def test_groups_are_numbered_by_their_first_image():
    thumbs = photographs(4)[[0, 1, 0, 2, 1]]
    assert near_duplicate_groups(["a", "b", "c", "d", "e"], thumbs).tolist() == [0, 1, 0, 2, 1]


def test_equal_hashes_are_one_group_whatever_the_thumbnails():
    assert near_duplicate_groups(["x", "y", "x"], photographs(3)).tolist() == [0, 1, 0]


def test_neighbours_of_neighbours_share_a_group():
    first = photographs(1)[0].astype(int).clip(0, 240)
    thumbs = np.stack([first + 2 * step for step in range(4)]).astype(np.uint8)
    assert near_duplicate_groups(list("abcd"), thumbs).tolist() == [0, 0, 0, 0]


def test_flat_images_of_other_colours_are_no_duplicates():
    thumbs = np.stack([np.full((12, 12, 3), grey, np.uint8) for grey in (100, 101, 104, 200)])
    assert near_duplicate_groups(list("abcd"), thumbs).tolist() == [0, 0, 1, 2]


def test_groups_are_those_of_a_slow_plain_loop():
    n = 530  # more than one block
    rng = np.random.default_rng(1)
    thumbs = photographs(12)[rng.integers(0, 12, n)].astype(int) + rng.integers(-5, 6, (n, 1, 1, 1))
    thumbs = thumbs.clip(0, 255).astype(np.uint8)
    flat = thumbs.reshape(n, -1).astype(np.float64)
    spread = flat.std(axis=1)
    groups = np.arange(n)
    for i in range(n):
        rms = np.sqrt(((flat - flat[i]) ** 2).mean(axis=1))
        for j in np.flatnonzero(rms <= np.maximum(1, 0.05 * np.maximum(spread, spread[i]))):
            groups[groups == groups[j]] = groups[i]
    found = near_duplicate_groups([str(i) for i in range(n)], thumbs)
    assert len(set(zip(found, groups, strict=True))) == len(set(found)) == len(set(groups))


def test_images_just_at_the_limit_are_near():
    rng = np.random.default_rng(0)
    for _ in range(50):
        base = rng.permutation(np.repeat([26, 226], 216)).reshape(12, 12, 3).astype(np.uint8)  # its contrast is 100
        assert near_duplicate_groups(["a", "b"], np.stack([base, base + 5])).tolist() == [0, 0]
        assert near_duplicate_groups(["a", "b"], np.stack([base, base + 6])).tolist() == [0, 1]


def test_thousands_of_images_that_are_all_alike_take_little_memory():
    n = 2_000
    thumbs = np.repeat(photographs(1), n, axis=0)
    tracemalloc.start()
    try:
        groups = near_duplicate_groups([str(index) for index in range(n)], thumbs)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not groups.any()
    assert peak_bytes < 130e6  # 310 MB where all four million pairs were held at once


def test_a_copy_that_was_scaled_or_saved_again_is_found_and_another_image_is_not(tmp_path):
    photograph = load_sample_image("china.jpg")
    paths = []
    for index in range(12):
        crop = Image.fromarray(photograph[index * 20 :, index * 40 :][:130, :120])
        paths += [tmp_path / f"{index}.png", tmp_path / f"{index}.jpg", tmp_path / f"{index}.half.jpg"]
        crop.save(paths[-3])
        crop.save(paths[-2], quality=85)
        crop.resize((60, 65)).save(paths[-1], quality=90)
    loaded = load_images(paths, image_px=16)
    groups = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    assert groups.tolist() == np.repeat(np.arange(12), 3).tolist()


def test_digits_are_all_different():
    pixels = (load_digits().images * 255 / 16).astype(np.uint8)
    thumbs = np.stack([thumbnail(np.repeat(each[:, :, None], 3, axis=2)) for each in pixels])
    groups = near_duplicate_groups([str(index) for index in range(len(thumbs))], thumbs)
    assert len(set(groups)) == len(thumbs)
