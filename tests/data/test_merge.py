"""Tasks that train on images that were held out."""

from pathlib import Path

import numpy as np
import pytest
from fakes import write_task
from image_files import make_classes, save, write_manifest

from scalepred.data.merge import merged
from scalepred.data.subset import subset
from scalepred.data.task import read_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("merge") / "birds", n=20), image_px=16)


def contents(*splits):
    return sorted(
        (path, int(label), image.tobytes())
        for split in splits
        for path, label, image in zip(split.paths, split.labels, split.images, strict=True)
    )


def test_the_images_of_merged_splits_are_trained_on_and_none_is_lost(task):
    both = merged(task, "val")
    assert contents(both.train) == contents(task.train, task.val)
    assert (len(both.val.labels), both.val.images.shape) == (0, (0, 3, 16, 16))
    assert both.test is task.test
    assert (both.record.n_train, both.record.n_val, both.record.n_test) == (32, 0, 8)
    everything = merged(task, "val", "test")
    assert contents(everything.train) == contents(task.train, task.val, task.test)
    assert (everything.record.n_train, everything.record.n_test) == (40, 0)


def test_a_merged_task_is_another_one_however_it_was_reached(task):
    ids = [each.record.task_id for each in (task, merged(task, "val"), merged(task, "val", "test"))]
    assert len(set(ids)) == 3
    assert merged(merged(task, "val"), "test").record == merged(task, "val", "test").record
    assert merged(task, "val").record.data_hash == task.record.data_hash


def test_it_is_the_task_that_the_user_would_have_with_these_images_in_the_training_set(tmp_path):
    folder = make_classes(tmp_path / "t", n=9)
    save(folder / "b" / "twin.png", np.full((9, 9, 3), 7, np.uint8))
    save(folder / "b" / "triplet.png", np.full((9, 9, 3), 7, np.uint8))
    task = read_task(folder, image_px=16)
    both = merged(task, "val")
    names = {"train": both.train.paths[1:], "val": both.train.paths[:1], "test": both.test.paths}
    rows = [f"{path},{path.split('/')[-2]},{split}" for split, paths in names.items() for path in paths]
    by_hand = merged(read_task(write_manifest(tmp_path / "m.csv", rows, header="path,label,split"), image_px=16), "val")
    assert by_hand.record.task_id == both.record.task_id
    assert np.array_equal(by_hand.train.labels, both.train.labels)
    assert np.array_equal(by_hand.train.images, both.train.images)


def test_without_anything_to_merge_a_task_is_itself(task):
    assert merged(task) is task
    assert merged(merged(task, "val"), "val").record == merged(task, "val").record


def test_a_subset_can_be_merged_too(task):
    few = subset(task, 12)
    assert contents(merged(few, "val").train) == contents(few.train, few.val)
    assert merged(few, "val").record.task_id != few.record.task_id


def test_a_task_knows_which_splits_its_user_made(task, tmp_path):
    assert task.own_splits == ()
    paths = [str(path) for path in sorted(make_classes(tmp_path / "t", n=8).rglob("*.png"))]
    made = {"train": ("train",), "test": ("train", "test"), "val": ("train", "val")}
    for last, own in made.items():
        rows = [f"{path},{path.split('/')[-2]},{last if at % 4 == 3 else 'train'}" for at, path in enumerate(paths)]
        manifest = write_manifest(tmp_path / f"{last}.csv", rows, header="path,label,split")
        assert read_task(manifest, image_px=16).own_splits == own


def test_merged_images_keep_their_groups(tmp_path):
    folder = make_classes(tmp_path / "t", n=12)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    rows = [f"t/{name},{name.split('/')[0]},animal {int(Path(name).stem) // 3}" for name in names]
    task = read_task(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"), image_px=16)
    whole = merged(task, "val", "test")
    number = {path: int(Path(path).stem) // 3 for path in whole.train.paths}
    pairs = {(number[path], group) for path, group in zip(whole.train.paths, whole.train.groups, strict=True)}
    assert len(pairs) == len({group for _, group in pairs}) == 4
