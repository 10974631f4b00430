"""Near duplicates share a group, and what only looks alike does not."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import load_images, thumbnail

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


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
    near = near_duplicate_groups([str(i) for i in range(n)], thumbs)
    assert len(set(zip(near, groups, strict=True))) == len(set(near)) == len(set(groups))


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
