"""A task leaves bad images out, and its identity is its images, labels and splits."""

from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, make_classes, noise, png, save
from PIL import Image
from readings import refusal, skipped

from scalepred.data import decode as decode_module
from scalepred.data.task import inspect, read_task
from scalepred.errors import UsageError


def test_bad_images_are_skipped_by_name_and_the_rest_goes_on(tmp_path):
    folder = make_classes(tmp_path / "t")
    whole = encoded(Image.fromarray(noise(200, 200)), "JPEG")
    (folder / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "empty.jpg").touch()
    (folder / "b" / "huge.png").write_bytes(png(13_000, 13_000))
    task = read_task(folder)
    assert task.record.label_counts == {"a": 6, "b": 6}
    (cut, reason), *others = skipped(task.inspection)
    assert cut == "cut.jpg"
    assert reason.startswith("damaged: image file is truncated")
    assert others == [("empty.jpg", "empty file"), ("huge.png", "169.0 megapixels, over the limit of 64")]


def test_on_bad_image_fail_names_every_bad_image(tmp_path):
    folder = make_classes(tmp_path / "t")
    (folder / "a" / "empty.png").touch()
    (folder / "b" / "text.png").write_text("x")
    (folder / "loose.txt").write_text("skipped, but no bad image")
    assert refusal(folder, read_task, on_bad_image="fail") == (
        f"{folder} holds bad images; remove them, or go on without them by --on-bad-image skip:\n"
        f"  - {folder / 'a' / 'empty.png'}: empty file\n"
        f"  - {folder / 'b' / 'text.png'}: not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, JPEG2000"
    )
    with pytest.raises(UsageError, match="on_bad_image is 'skip' or 'fail', not 'ignore'"):
        read_task(folder, on_bad_image="ignore")


def test_the_limit_in_megapixels_is_the_callers(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "a" / "large.png", noise(200, 200))
    assert inspect(folder, max_megapixels=0.03).classes == {"a": 6, "b": 6}
    assert inspect(folder, max_megapixels=0.05).classes == {"a": 7, "b": 6}


def test_notes_of_a_kind_are_one_warning(tmp_path):
    folder = make_classes(tmp_path / "t")
    for index in range(3):
        frames = [Image.fromarray(noise(seed=[9, index, frame])) for frame in range(2)]
        save(folder / "a" / f"moving{index}.gif", frames[0], save_all=True, append_images=frames[1:])
        save(folder / "b" / f"large{index}.jpg", noise(300, 400 + 2 * index, seed=[8, index]))
    save(folder / "b" / "odd.png", noise(seed=77), exif=b"Exif\x00\x00broken")
    assert inspect(folder, max_megapixels=0.1).warnings == [
        f"{folder / 'a' / 'moving0.gif'}: {decode_module.ANIMATED} (3 images like it)",
        f"{folder / 'b' / 'large0.jpg'}: decoded at 200 x 150 instead of 400 x 300 px (3 images like it)",
        f"{folder / 'b' / 'odd.png'}: {decode_module.NO_EXIF}",
    ]


def test_progress_is_told_of_every_image(tmp_path):
    seen = []
    inspect(make_classes(tmp_path / "t"), on_progress=lambda *n: seen.append(n))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_names_places_and_order_of_files_are_no_part_of_a_tasks_identity(tmp_path):
    before = read_task(make_classes(tmp_path / "t"))
    for path in (tmp_path / "t").rglob("*.png"):
        path.rename(path.with_name(f"{(int(path.stem) * 7) % 11}-renamed.bmp"))
    (tmp_path / "t").rename(tmp_path / "moved")
    after = read_task(tmp_path / "moved")
    assert after.record.task_id == before.record.task_id
    for split in ("train", "val", "test"):
        assert np.array_equal(getattr(before, split).images, getattr(after, split).images)
        assert np.array_equal(getattr(before, split).labels, getattr(after, split).labels)


def test_changed_pixels_labels_or_splits_are_another_task(tmp_path):
    folder = make_classes(tmp_path / "t")
    before = read_task(folder).record
    other_split = read_task(folder, split_seed=1).record
    assert other_split.task_id != before.task_id
    assert other_split.data_hash == before.data_hash
    (folder / "a").rename(folder / "other")
    renamed = read_task(folder).record
    assert renamed.data_hash != before.data_hash
    (folder / "other").rename(folder / "a")
    pixels = noise(seed=[0, 0, 0])
    pixels[3, 3, 1] ^= 1
    save(folder / "a" / "0.png", pixels)
    touched = read_task(folder).record
    assert len({before.task_id, renamed.task_id, touched.task_id}) == 3


def test_a_task_says_what_it_holds(tmp_path):
    task = read_task(make_classes(tmp_path / "t", n=10), image_px=20)
    assert task.train.images.shape == (12, 3, 20, 20)
    assert task.train.images.dtype == np.uint8
    assert task.train.labels.dtype == np.int64
    assert (task.record.n_classes, task.record.n_train, task.record.n_val, task.record.n_test) == (2, 12, 4, 4)
    assert (task.record.median_width_px, task.record.median_height_px) == (32, 24)
    assert [Path(path).parent.name for path in task.test.paths] == [task.classes[label] for label in task.test.labels]
