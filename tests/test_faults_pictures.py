"""A test for each row of the table of picture faults, on pictures that the tests make."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from scalepred.errors import DataError
from scalepred.images import BadPictureError, decode, load_pictures, walk
from scalepred.tasks import inspect, read_task


def noise(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise() if pixels is None else pixels).save(path, **options)
    return path


def make_classes(folder, names=("a", "b"), n=6):
    for at, name in enumerate(names):
        for index in range(n):
            save(folder / name / f"{index}.png", noise(seed=100 * at + index))
    return folder


def reason_of(path, **options):
    with pytest.raises(BadPictureError) as caught:
        decode(path, **options)
    return str(caught.value)


# --- truncated, empty, mislabelled ---


def test_a_truncated_jpeg_is_set_aside_by_name_and_the_rest_goes_on(tmp_path):
    folder = make_classes(tmp_path / "task")
    whole = save(tmp_path / "whole.jpg", noise(200, 200)).read_bytes()
    (folder / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    task = read_task(folder)
    assert task.record.label_counts == {"a": 6, "b": 6}
    assert [(each.path, "truncated" in each.reason) for each in task.inspection.set_aside] == [
        (str(folder / "a" / "cut.jpg"), True)
    ]


def test_on_bad_image_fail_stops_and_names_the_file(tmp_path):
    folder = make_classes(tmp_path / "task")
    (folder / "a" / "empty.png").touch()
    with pytest.raises(DataError) as caught:
        read_task(folder, on_bad_image="fail")
    assert str(caught.value) == (
        f"{folder} holds bad pictures; remove them, or go on without them by --on-bad-image skip:\n"
        f"  - {folder / 'a' / 'empty.png'}: empty file"
    )


def test_an_empty_file_and_text_named_jpg_are_no_pictures(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    assert reason_of(tmp_path / "empty.jpg") == "empty file"
    assert reason_of(tmp_path / "text.jpg") == "not a picture of JPEG, PNG, WEBP, BMP, TIFF, GIF"


def test_content_decides_and_not_the_extension(tmp_path):
    path = save(tmp_path / "picture.png")
    path = path.rename(tmp_path / "picture.jpg")
    assert np.array_equal(decode(path).rgb, noise())
    assert np.array_equal(decode(path.rename(tmp_path / "picture")).rgb, noise())


def test_a_format_that_is_not_allowed_is_refused(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "picture.ppm")
    assert reason_of(tmp_path / "picture.ppm").startswith("not a picture of ")


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
def test_prefixes_and_random_edits_give_a_picture_or_a_reason(tmp_path, extension):
    whole = save(tmp_path / f"whole.{extension}", noise(12, 12)).read_bytes()
    rng = np.random.default_rng(7)
    target, reasons = tmp_path / "edited", []
    for _ in range(60):
        edited = bytearray(whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.4 else whole)
        for _ in range(int(rng.integers(1, 6))):
            edited[int(rng.integers(len(edited)))] = int(rng.integers(256))
        target.write_bytes(bytes(edited))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own remarks on damaged metadata
            try:
                assert decode(target).rgb.dtype == np.uint8
            except BadPictureError as error:
                reasons.append(str(error))
    assert all(reasons)


# --- depth, palette, alpha ---


def test_sixteen_bit_grey_is_scaled_by_its_depth(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    grey = decode(tmp_path / "deep.png").rgb[:, :, 0]
    assert np.array_equal(grey.ravel(), np.arange(256))


@pytest.mark.parametrize(("top", "expected"), [(1.0, 255), (200.0, 200), (1000.0, 255)])
def test_float_pictures_are_scaled_to_what_they_hold(tmp_path, top, expected):
    values = np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "float.tiff")
    assert decode(tmp_path / "float.tiff").rgb.max() == expected


def test_float_pictures_with_nan_are_bad(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "nan.tiff")
    assert reason_of(tmp_path / "nan.tiff") == "holds values that are not finite"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_alpha_hides_is_white(tmp_path, mode):
    Image.new(mode, (4, 4), (0,) * len(Image.new(mode, (1, 1)).getbands())).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png").rgb == 255).all()


def test_a_transparent_palette_colour_is_white_and_the_others_stay(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png", transparency=0)
    assert decode(tmp_path / "palette.png").rgb.tolist() == [[[255, 255, 255], [200, 100, 50]]]


# --- CMYK, EXIF, animation ---


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red, green, blue = decode(tmp_path / "cmyk.jpg").rgb[4, 4].tolist()
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    upright = Image.fromarray(noise(12, 20))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "turned.png").rgb, np.asarray(upright))


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_used_and_said(tmp_path, extension):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"moving.{extension}", save_all=True, append_images=frames[1:], lossless=True)
    found = decode(tmp_path / f"moving.{extension}")
    assert found.rgb[0, 0].tolist() == [255, 0, 0]
    assert len(found.notes) == 1


# --- huge ---


def huge_png(path, side=13_000):
    """Write a one-bit PNG of 169 megapixels, a few kilobytes on disk."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 2) * side), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def test_169_megapixels_are_refused_from_the_header(tmp_path):
    assert reason_of(huge_png(tmp_path / "huge.png")) == "169.0 megapixels, over the limit of 64"


def test_400_megapixels_are_refused_in_our_words_too(tmp_path):
    assert reason_of(huge_png(tmp_path / "huge.png", 20_000)) == "400.0 megapixels, over the limit of 64"


def test_a_jpeg_over_the_limit_is_decoded_smaller(tmp_path):
    save(tmp_path / "large.jpg", noise(400, 600))
    found = decode(tmp_path / "large.jpg", max_megapixels=0.1)
    assert found.rgb.shape == (200, 300, 3)
    assert found.notes == ("decoded at 300 x 200 instead of 600 x 400 px",)


# --- folders ---


def test_symlink_loops_end_and_a_file_counts_once(tmp_path):
    folder = make_classes(tmp_path / "task")
    (folder / "a" / "loop").symlink_to(folder / "a")
    (folder / "a" / "again.png").symlink_to(folder / "a" / "0.png")
    (folder / "b" / "gone.png").symlink_to(folder / "nowhere.png")
    task = read_task(folder)
    assert task.record.label_counts == {"a": 6, "b": 6}
    reasons = {Path(each.path).name: each.reason for each in task.inspection.set_aside}
    assert reasons["gone.png"] == "link to nothing"
    assert reasons["loop"] == f"the same as {folder / 'a'}"
    assert {"again.png", "0.png"} & set(reasons)


def test_a_fifo_is_set_aside_and_never_opened(tmp_path):
    folder = make_classes(tmp_path / "task")
    os.mkfifo(folder / "a" / "pipe.png")
    assert [(Path(e.path).name, e.reason) for e in inspect(folder).set_aside] == [("pipe.png", "not a regular file")]


def test_an_unreadable_folder_is_an_error_of_its_path_only(tmp_path, monkeypatch):
    save(tmp_path / "class" / "open" / "0.png")
    save(tmp_path / "class" / "shut" / "1.png")
    real = os.listdir

    def listdir(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    files, aside = walk(tmp_path / "class")
    assert [file.name for file in files] == ["0.png"]
    assert [(Path(each.path).name, each.reason) for each in aside] == [
        ("shut", "folder can't be read: Permission denied")
    ]


def test_hidden_and_junk_folders_are_no_classes(tmp_path):
    folder = make_classes(tmp_path / "task")
    for name in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir"):
        save(folder / name / "x.png")
        save(folder / "a" / name / "y.png")
    (folder / "a" / ".DS_Store").write_bytes(b"x")
    found = inspect(folder)
    assert found.classes == {"a": 6, "b": 6}
    assert found.set_aside == []


# --- class names ---


def test_class_names_are_kept_as_they_are(tmp_path):
    names = ["caf\u00e9", "🐈", "two\nlines", "[red]", "<script>", "=1+1", "'; drop table tasks; --", " blank "]
    folder = make_classes(tmp_path / "task", names=[name.replace("/", "") for name in names])
    assert sorted(read_task(folder).classes) == sorted(names)


def test_twins_in_unicode_are_kept_apart_and_warned_of(tmp_path):
    found = inspect(make_classes(tmp_path / "task", names=("caf\u00e9", "cafe\u0301", "b")))
    assert len(found.classes) == 3
    assert any("look the same and are kept apart" in warning for warning in found.warnings)


# --- too little ---


def test_one_class_is_refused_with_what_is_needed(tmp_path):
    folder = make_classes(tmp_path / "task", names=("only",))
    with pytest.raises(DataError) as caught:
        read_task(folder)
    assert caught.value.exit_code == 3
    assert str(caught.value) == f"{folder}: found one class, 'only'; at least two classes with pictures are needed."


def test_an_empty_class_is_left_out_and_said(tmp_path):
    folder = make_classes(tmp_path / "task")
    (folder / "empty").mkdir()
    found = inspect(folder)
    assert found.classes == {"a": 6, "b": 6}
    assert "the class 'empty' has no pictures and is left out" in found.warnings


def test_a_single_picture_of_a_class_stays_in_training_and_is_said(tmp_path):
    folder = make_classes(tmp_path / "task")
    save(folder / "single" / "0.png", noise(seed=999))
    task = read_task(folder)
    assert task.classes.index("single") in task.train.labels
    assert task.classes.index("single") not in [*task.val.labels, *task.test.labels]
    assert "1 classes have one picture, which is kept for training: 'single'" in task.inspection.warnings


def test_two_pictures_in_all_are_too_few(tmp_path):
    with pytest.raises(DataError, match="2 pictures leave none to validate on"):
        read_task(make_classes(tmp_path / "task", n=1))


# --- duplicates ---


def test_exact_and_near_duplicates_share_a_split(tmp_path):
    photograph = load_sample_image("china.jpg")
    for name, top in (("a", 0), ("b", 250)):
        for index in range(20):
            crop = Image.fromarray(photograph[top + index * 7 :, index * 24 :][:130, :120])
            path = tmp_path / "task" / name / f"{index}"
            save(path.with_suffix(".png"), np.asarray(crop))
            crop.save(path.with_suffix(".copy.bmp"))
            crop.resize((60, 65)).save(path.with_suffix(".small.jpg"), quality=85)
    task = read_task(tmp_path / "task")
    where = {}
    for split in ("train", "val", "test"):
        for path in getattr(task, split).paths:
            where.setdefault((Path(path).parent.name, Path(path).name.split(".")[0]), set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert (task.inspection.n_exact_duplicates, task.inspection.n_near_duplicates) == (40, 40)


def test_a_users_own_split_is_kept_and_duplicates_across_it_are_warned_of(tmp_path):
    make_classes(tmp_path / "task" / "train")
    make_classes(tmp_path / "task" / "test")
    task = read_task(tmp_path / "task")
    assert task.record.n_test == 12
    assert any("12 pictures have duplicates in another split of your own" in w for w in task.inspection.warnings)


def test_changed_data_is_another_task(tmp_path):
    folder = make_classes(tmp_path / "task")
    before = read_task(folder).record
    for path in folder.rglob("*.png"):
        path.rename(path.with_name(f"renamed-{path.name}"))
    assert read_task(folder).record.task_id == before.task_id
    save(folder / "a" / "renamed-0.png", noise(seed=12345))
    assert read_task(folder).record.task_id != before.task_id


# --- manifests ---


def test_all_problems_of_a_manifest_come_in_one_error(tmp_path):
    make_classes(tmp_path)
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label,split\na/0.png,a,train\na/0.png,b,train\nnone.png,a,\na/1.png,,\na/2.png,a,exam\n")
    with pytest.raises(DataError) as caught:
        read_task(manifest)
    assert str(caught.value) == (
        f"{manifest} can't be used as it is:\n"
        "  - line 3: a/0.png has two labels, 'a' and 'b'\n"
        f"  - line 4: no file {tmp_path / 'none.png'}\n"
        "  - line 5: the label of a/1.png is empty\n"
        "  - line 6: the split 'exam' is unknown; known are train, val and test"
    )


def test_unknown_and_missing_columns_of_a_manifest_are_named(tmp_path):
    (tmp_path / "m.csv").write_text("file,label,weight\n")
    with pytest.raises(DataError) as caught:
        read_task(tmp_path / "m.csv")
    message = str(caught.value)
    assert "the column 'path' is missing" in message
    assert "the column 'weight' is unknown; known are path, label, split, group" in message


def test_groups_of_a_manifest_share_a_split(tmp_path):
    make_classes(tmp_path, n=20)
    rows = [f"{name}/{index}.png,{name},patient{index // 2}" for name in "ab" for index in range(20)]
    (tmp_path / "m.csv").write_text("\ufeffpath,label,group\n" + "\n".join(rows) + "\n")
    task = read_task(tmp_path / "m.csv")
    groups = [{int(Path(path).stem) // 2 for path in getattr(task, split).paths} for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert task.record.n_val
    assert task.record.n_test


def test_many_pictures_are_decoded_in_their_order(tmp_path):
    paths = [save(tmp_path / f"{index}.png", np.full((5, 7, 3), index, np.uint8)) for index in range(20)]
    (tmp_path / "bad.png").write_bytes(b"bad")
    loaded = load_pictures([*paths[:10], tmp_path / "bad.png", *paths[10:]], image_px=16)
    assert loaded.images[:, 0, 0, 0].tolist() == list(range(20))
    assert loaded.kept.tolist() == [*range(10), *range(11, 21)]
    assert loaded.sizes_px.tolist() == [[7, 5]] * 20
    assert [position for position, _ in loaded.bad] == [10]
