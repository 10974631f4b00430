"""The digits of the demo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scalepred.data.decode import decode
from scalepred.data.digits import DEMO_IMAGES, write_digits
from scalepred.data.task import inspect
from scalepred.errors import DataError


def test_the_demos_digits_are_a_task_of_ten_classes(tmp_path):
    written = write_digits(tmp_path)
    assert len(written) == len(set(written)) == DEMO_IMAGES
    inspection = inspect(tmp_path)
    assert (list(inspection.classes), sum(inspection.classes.values())) == ([*"0123456789"], DEMO_IMAGES)
    assert inspection.problem is None


def test_digits_are_black_on_white_and_lie_under_their_class(tmp_path):
    from sklearn.datasets import load_digits

    collection = load_digits()
    for index, path in enumerate(write_digits(tmp_path, last=20)):
        assert path == tmp_path / str(collection.target[index]) / f"{index:04d}.png"
        grey = decode(path).rgb[:, :, 0]
        assert np.abs(255 - grey.astype(float) - collection.images[index] * 255 / 16).max() <= 0.5


def test_the_rest_of_the_collection_begins_where_the_demo_ends(tmp_path):
    names = [path.name for path in write_digits(tmp_path, first=1_790, last=None)]
    assert names == [f"{index:04d}.png" for index in range(1_790, 1_797)]


def test_writing_again_writes_the_same(tmp_path):
    first = {path: path.read_bytes() for path in write_digits(tmp_path, last=5)}
    Image.new("L", (1, 1)).save(next(iter(first)))
    assert {path: path.read_bytes() for path in write_digits(tmp_path, last=5)} == first


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        write_digits(tmp_path / "file", last=1)
    assert (
        str(caught.value)
        == f"The digits can't be written to {Path(tmp_path, 'file', '0', '0000.png')}: Not a directory."
    )
