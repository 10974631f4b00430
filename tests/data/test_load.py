"""Many images are decoded in their order, and only what is small of them is kept."""

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import noise, save
from PIL import Image

from scalepred.data import load as load_module
from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import content_hash, load_images
from scalepred.data.square import to_square

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


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
    assert loaded.bad == ((10, "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, JPEG2000"),)
    assert seen == [(done, 21) for done in range(1, 22)]


def test_no_image_at_all_is_no_error(tmp_path):
    for items in ([], [tmp_path / "gone.png"]):
        loaded = load_images(items, image_px=16)
        assert loaded.images.shape == (0, 3, 16, 16)
        assert loaded.thumbnails.shape == (0, 12, 12, 3)
        assert loaded.sizes_px.shape == (0, 2)
        assert near_duplicate_groups(loaded.hashes, loaded.thumbnails).shape == (0,)


def test_an_image_that_a_library_can_not_open_is_bad(tmp_path):
    def fail():
        raise ValueError("no such index\nand more")

    loaded = load_images([fail, lambda: Image.new("RGB", (2_000, 1_000))], image_px=16, max_megapixels=1)
    assert loaded.bad == ((0, "damaged: no such index"), (1, "2.0 megapixels, over the limit of 1"))


def test_an_interrupt_does_not_wait_for_the_images_that_are_left(monkeypatch):
    opened, cancelled = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown(wait=wait)

    def interrupt(*_):
        raise KeyboardInterrupt

    def image():
        return Image.new("RGB", (40, 40))

    def image_after_the_interrupt():
        opened.append(1)
        assert cancelled.wait(600)
        return image()

    monkeypatch.setattr(load_module, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        load_images([image, *[image_after_the_interrupt] * 2_000], image_px=16, on_progress=interrupt)
    assert len(opened) <= 4  # those that a thread was at


def test_hashes_and_squares_are_what_they_were_when_the_first_tasks_were_harvested():
    rgb = noise(40, 30)
    assert content_hash(rgb) == "46b85d6409e1ad696201997b3bdeadd0"
    assert zlib.crc32(to_square(rgb, 16).tobytes()) == 1_041_580_727
    assert content_hash(rgb) != content_hash(rgb.reshape(30, 40, 3))
