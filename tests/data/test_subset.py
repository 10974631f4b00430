"""Tasks that are cut down to fewer images."""

import numpy as np
import pytest
from fakes import write_task

from scalepred.data.subset import subset
from scalepred.data.task import Task, read_task

N = 60  # images of each class


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    folder = write_task(tmp_path_factory.mktemp("subset") / "birds", classes=("a", "b", "c"), n=N)
    for index in range(40):  # c becomes rare
        (folder / "c" / f"{index}.png").unlink()
    return read_task(folder, image_px=16)


def counts(split):
    return np.bincount(split.labels, minlength=3)


def test_every_class_keeps_its_share_of_training_and_validation_images(task):
    half = subset(task, (task.record.n_train + task.record.n_val) // 2)
    for before, after in ((task.train, half.train), (task.val, half.val)):
        assert np.abs(counts(after) - counts(before) / 2).max() <= 0.5
    assert half.record.n_train == len(half.train.labels)
    assert half.record.n_val == len(half.val.labels)


def test_test_images_and_classes_stay(task):
    few = subset(task, 12)
    assert few.test is task.test
    assert (few.classes, few.record.n_test) == (task.classes, task.record.n_test)
    assert sum(few.record.label_counts.values()) == few.record.n_train + few.record.n_val + few.record.n_test


@pytest.mark.parametrize("n_images", [2, 3, 5, 12])
def test_each_class_has_a_training_image_and_something_is_left_to_validate_on(task, n_images):
    few = subset(task, n_images)
    assert counts(few.train).min() >= 1
    assert len(few.val.labels) >= 1
    assert (
        few.record.n_train + few.record.n_val <= n_images + 3
    )  # classes that would have none, and the validation image


def test_images_go_with_their_labels_and_paths(task):
    few = subset(task, 24)
    whole = dict(zip(task.train.paths, zip(task.train.images, task.train.labels, strict=True), strict=True))
    for path, image, label in zip(few.train.paths, few.train.images, few.train.labels, strict=True):
        assert np.array_equal(whole[path][0], image)
        assert whole[path][1] == label


def test_a_smaller_subset_lies_within_a_larger_one(task):
    small, large = subset(task, 12), subset(task, 48)
    assert set(small.train.paths) < set(large.train.paths) < set(task.train.paths)
    assert set(small.val.paths) <= set(large.val.paths) <= set(task.val.paths)


def test_a_subset_has_an_identity_and_a_name_of_its_own_that_depend_on_task_and_number(task):
    ids = [subset(task, n).record.task_id for n in (12, 24, 12)]
    assert ids[0] == ids[2] != ids[1]
    assert task.record.task_id not in ids
    assert subset(task, 12).record.name == "birds~12"


def test_a_task_that_has_no_more_images_is_itself(task):
    assert subset(task, task.record.n_train + task.record.n_val) is task
    assert subset(task, 10_000) is task


def test_images_keep_their_groups(task):
    few = subset(task, 24)
    group = dict(zip(task.train.paths, task.train.groups, strict=True))
    assert few.train.groups == tuple(group[path] for path in few.train.paths)
    assert len(set(few.train.groups)) > 1
