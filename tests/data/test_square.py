"""Images become squares in three ways, on images whose geometry is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import make_classes, noise, save
from torchvision.transforms import InterpolationMode, v2

from scalepred.data.square import to_square
from scalepred.data.task import read_task
from scalepred.errors import UsageError
from scalepred.recipe import RESIZES

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def thirds(height=60, width=180):
    """Return a wide image: its left third is red, the middle green, the right blue."""
    return np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), height, axis=0).repeat(width // 3, axis=1)


def sky_and_grass():
    """Return a wide image: its upper half is blue, the lower green."""
    return np.repeat(np.array([BLUE, GREEN], np.uint8), 30, axis=0)[:, None].repeat(120, axis=1)


def colours(square):
    """Return the colours of the pixels of a (3, h, w) square."""
    return set(map(tuple, square.reshape(3, -1).T.tolist()))


def upright(rgb):
    return np.ascontiguousarray(rgb.transpose(1, 0, 2))


def test_squash_keeps_all_thirds_of_a_wide_image():
    square = to_square(thirds(), 60)
    assert [tuple(square[:, 30, column]) for column in (5, 30, 55)] == [RED, GREEN, BLUE]


def test_crop_keeps_the_middle_third_alone_but_for_the_blur_of_its_borders():
    square = to_square(thirds(), 60, resize="crop")
    assert colours(square[:, :, 3:-3]) == {GREEN}


def test_pad_keeps_the_whole_image_at_its_shape_in_the_middle():
    square = to_square(thirds(), 60, resize="pad")
    middle = square[:, 20:40]
    assert [tuple(middle[:, 10, column]) for column in (5, 30, 55)] == [RED, GREEN, BLUE]
    assert len(colours(square[:, :20])) == len(colours(square[:, 40:])) == 1  # the bars


def test_each_bar_of_pad_has_the_mean_colour_of_the_edge_that_it_continues():
    square = to_square(sky_and_grass(), 40, resize="pad")
    assert (colours(square[:, :10]), colours(square[:, -10:])) == ({BLUE}, {GREEN})
    (bar,) = colours(to_square(thirds(), 60, resize="pad")[:, :20])
    assert bar == pytest.approx(np.mean([RED, GREEN, BLUE], axis=0), abs=1)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("make", [thirds, sky_and_grass, lambda: noise(33, 70)])
def test_a_tall_image_is_treated_as_a_wide_one_is(make, resize):
    rgb = make()
    wide, tall = to_square(rgb, 32, resize=resize), to_square(upright(rgb), 32, resize=resize)
    assert np.abs(wide.astype(int) - tall.transpose(0, 2, 1)).max() <= 1  # the axes are filtered one after the other


@pytest.mark.parametrize("side", [16, 48, 300])
def test_a_square_image_is_the_same_by_all_ways(side):
    rgb = noise(side, side)
    first, *others = [to_square(rgb, 48, resize=resize) for resize in RESIZES]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 500), (96, 64)])
def test_crop_is_that_of_torchvision(height, width):
    small = torch.from_numpy(noise(5, 5)).permute(
        2, 0, 1
    )  # so that the large one is smooth, and half a pixel matters little
    rgb = np.asarray(v2.functional.resize(small, [height, width]))
    theirs = v2.Compose([v2.Resize(48, InterpolationMode.BICUBIC), v2.CenterCrop(48)])(torch.from_numpy(rgb))
    crop, squash = (to_square(np.ascontiguousarray(rgb.transpose(1, 2, 0)), 48, resize=r) for r in ("crop", "squash"))
    assert np.abs(crop.astype(int) - theirs.numpy()).mean() < 2
    assert np.abs(squash.astype(int) - theirs.numpy()).mean() > 5


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 64), st.sampled_from(RESIZES))
def test_an_image_of_any_shape_becomes_a_square_of_one_colour_if_it_has_one(height, width, px, resize):
    square = to_square(np.full((height, width, 3), (9, 90, 200), np.uint8), px, resize=resize)
    assert (square.shape, square.dtype, square.flags.c_contiguous) == ((3, px, px), np.uint8, True)
    assert colours(square) == {(9, 90, 200)}


def test_a_task_is_read_as_it_is_asked_for_and_keeps_its_id_and_splits(tmp_path):
    folder = make_classes(tmp_path / "t")
    for at, name in enumerate("ab"):
        save(folder / name / "thirds.png", np.roll(thirds(), at, axis=2))
    tasks = {resize: read_task(folder, image_px=24, resize=resize) for resize in RESIZES}
    assert {task.record.task_id for task in tasks.values()} == {read_task(folder).record.task_id}
    assert {task.train.paths for task in tasks.values()} == {tasks["squash"].train.paths}
    assert {resize: task.resize for resize, task in tasks.items()} == {resize: resize for resize in RESIZES}
    assert len({task.train.images.tobytes() for task in tasks.values()}) == 3


def test_another_way_to_resize_is_refused(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_task(tmp_path, resize="stretch")
    assert str(caught.value) == "resize is one of squash, crop, pad, not 'stretch'."
