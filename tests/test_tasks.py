"""Layouts, manifests and splits; the faults of pictures have their own file."""

import gzip
import json
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scalepred.errors import DataError
from scalepred.tasks import find_tasks, inspect, read_task, split_pictures


def make(folder, classes="ab", n=10, seed=0):
    rng = np.random.default_rng([seed, len(folder.parts), *folder.name.encode()])
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


# --- layouts ---


def test_class_folders_take_their_pictures_from_any_depth(tmp_path):
    make(tmp_path / "t")
    (tmp_path / "t" / "a" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "t" / "a" / "0.png").rename(tmp_path / "t" / "a" / "deep" / "deeper" / "0.png")
    assert inspect(tmp_path / "t").classes == {"a": 10, "b": 10}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_of_any_usual_name_are_kept(tmp_path, val):
    for name, n in (("Train", 6), (val, 2), ("test", 3)):
        make(tmp_path / "t" / name, n=n)
    task = read_task(tmp_path / "t")
    assert (task.record.n_train, task.record.n_val, task.record.n_test) == (12, 4, 6)
    assert task.inspection.layout.startswith("class folders under ")


def test_validation_is_carved_from_train_where_only_test_is_given(tmp_path):
    make(tmp_path / "t" / "train")
    make(tmp_path / "t" / "test", n=3)
    assert inspect(tmp_path / "t").splits == {"train": 16, "val": 4, "test": 6}


def test_test_stays_empty_where_only_validation_is_given(tmp_path):
    make(tmp_path / "t" / "train")
    make(tmp_path / "t" / "val", n=3)
    found = inspect(tmp_path / "t")
    assert found.splits == {"train": 20, "val": 6, "test": 0}
    assert "your splits have no test pictures, so there is no test accuracy" in found.warnings


def test_train_alone_is_split_like_no_split(tmp_path):
    make(tmp_path / "t" / "train")
    assert inspect(tmp_path / "t").splits == {"train": 12, "val": 4, "test": 4}


def test_two_names_for_one_split_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        make(tmp_path / "t" / name, n=3)
    with pytest.raises(DataError, match="holds val and valid, which name the same split: keep one of them"):
        inspect(tmp_path / "t")


def test_test_without_train_is_refused(tmp_path):
    make(tmp_path / "t" / "test")
    with pytest.raises(DataError, match="holds test but no train folder: add one"):
        inspect(tmp_path / "t")


def test_classes_beside_splits_are_refused(tmp_path):
    make(tmp_path / "t" / "train")
    make(tmp_path / "t", classes="c")
    with pytest.raises(DataError, match=r"folders named after splits \(train\) beside others \(c\)"):
        inspect(tmp_path / "t")


def test_classes_may_be_called_train_and_test(tmp_path):
    assert inspect(make(tmp_path / "t", classes=("train", "test"))).classes == {"test": 10, "train": 10}


def test_a_class_without_training_pictures_is_refused(tmp_path):
    make(tmp_path / "t" / "train")
    make(tmp_path / "t" / "test", classes="abc", n=3)
    with pytest.raises(DataError, match="no training pictures of 'c'"):
        read_task(tmp_path / "t")


def test_loose_files_are_set_aside_and_an_empty_folder_is_refused(tmp_path):
    make(tmp_path / "t")
    Image.new("RGB", (9, 9)).save(tmp_path / "t" / "loose.png")
    assert [each.reason for each in inspect(tmp_path / "t").set_aside] == [
        "lies beside the class folders, so it has no class"
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no pictures in class folders\. It has no class folders\. Make one"):
        inspect(tmp_path / "empty")


def test_a_manifest_and_the_folders_it_lists_are_the_same_task(tmp_path):
    make(tmp_path / "t")
    rows = [f"t/{name}/{index}.png,{name}" for name in "ba" for index in range(10)]
    (tmp_path / "m.csv").write_text("path,label\n" + "\n".join(rows))
    assert read_task(tmp_path / "m.csv").record.task_id == read_task(tmp_path / "t").record.task_id


def test_a_file_listed_twice_counts_once_however_it_is_spelled(tmp_path):
    make(tmp_path / "t", n=5)
    (tmp_path / "t" / "link.png").symlink_to(tmp_path / "t" / "a" / "0.png")
    rows = [f"t/{name}/{index}.png,{name}" for name in "ab" for index in range(5)]
    rows += ["t/a/0.png,a", "t/../t/a/0.png,a", "t/link.png,a"]
    (tmp_path / "m.csv").write_text("path,label\n" + "\n".join(rows))
    assert inspect(tmp_path / "m.csv").classes == {"a": 5, "b": 5}


def test_a_file_in_two_splits_or_with_too_many_fields_is_refused(tmp_path):
    make(tmp_path / "t", n=2)
    (tmp_path / "m.csv").write_text("path,label,split\nt/a/0.png,a,train\nt/a/0.png,a,test\n")
    with pytest.raises(DataError, match=r"line 3: t/a/0\.png is in two splits, train and test"):
        inspect(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("path,label\nt/a/0.png,a,train\n")
    with pytest.raises(DataError, match="line 2: it has more fields than there are columns"):
        inspect(tmp_path / "m.csv")


def test_task_json_names_task_and_origin(tmp_path):
    folder = make(tmp_path / "t")
    assert (read_task(folder).record.name, read_task(folder).record.origin) == ("t", "t")
    (folder / "task.json").write_text(json.dumps({"name": "birds", "origin": "animals"}))
    assert (read_task(folder).record.name, read_task(folder).record.origin) == ("birds", "animals")
    (folder / "task.json").write_text("[")
    with pytest.raises(DataError, match="is not of the form"):
        read_task(folder)


def test_tasks_are_found_in_a_folder_of_tasks(tmp_path):
    make(tmp_path / "all" / "one", n=1)
    make(tmp_path / "all" / "two" / "train", n=1)
    (tmp_path / "all" / "three").mkdir()
    (tmp_path / "all" / "three" / "manifest.csv").write_text("path,label\n")
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / "one" / "README.md").write_text("x")
    assert [Path(found).name for found in find_tasks(tmp_path / "all")] == ["one", "three", "two"]
    assert find_tasks(tmp_path / "all" / "one") == [str(tmp_path / "all" / "one")]
    with pytest.raises(DataError, match="neither a task nor a folder of tasks"):
        find_tasks(tmp_path / "all" / "notes")
    with pytest.raises(DataError, match="neither a task nor a folder of tasks"):
        find_tasks(tmp_path / "nowhere")


# --- splits ---


@st.composite
def labelled(draw):
    n = draw(st.integers(2, 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    return np.array(labels, dtype=object), np.array(groups), [f"{index:04d}" for index in range(n)]


@settings(max_examples=100, deadline=None)
@given(labelled(), st.integers(0, 5))
def test_groups_never_straddle_and_every_class_keeps_a_training_picture(data, seed):
    labels, groups, hashes = data
    codes = split_pictures(labels, groups, hashes, seed=seed)
    for group in set(groups):
        assert len(set(codes[groups == group])) == 1
    assert set(labels[codes == 0]) == set(labels)


@settings(max_examples=50, deadline=None)
@given(labelled(), st.randoms())
def test_the_order_of_files_decides_nothing(data, random):
    labels, groups, hashes = data
    order = list(range(len(labels)))
    random.shuffle(order)
    straight = split_pictures(labels, groups, hashes, seed=1)
    mixed = split_pictures(labels[order], groups[order], [hashes[i] for i in order], seed=1)
    assert np.array_equal(straight[order], mixed)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(20, 80), min_size=2, max_size=4), st.integers(0, 9))
def test_every_class_is_split_in_a_fifth_and_a_fifth_of_the_rest(counts, seed):
    labels = np.repeat(np.arange(len(counts)).astype(str).astype(object), counts)
    codes = split_pictures(labels, np.arange(len(labels)), [f"{i:05d}" for i in range(len(labels))], seed=seed)
    for name, n in Counter(labels).items():
        found = Counter(codes[labels == name])
        assert found[2] == round(0.2 * n)
        assert found[1] == round(0.2 * (n - found[2]))


def test_another_seed_splits_otherwise():
    labels, hashes = np.array(["a", "b"] * 20, dtype=object), [f"{i:03d}" for i in range(40)]
    first, again, other = (split_pictures(labels, np.arange(40), hashes, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# --- torchvision ---


def write_mnist(root, n=30):
    """Write MNIST's own files, of random pictures: idx format, big-endian."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8).tobytes()
        labels = bytes(index % 3 for index in range(n))
        for name, head, body in (
            (f"{part}-images-idx3-ubyte", struct.pack(">IIII", 2051, n, 28, 28), images),
            (f"{part}-labels-idx1-ubyte", struct.pack(">II", 2049, n), labels),
        ):
            (folder / name).write_bytes(head + body)
            (folder / f"{name}.gz").write_bytes(gzip.compress(head + body))


def test_a_torchvision_set_is_read_with_its_own_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPRED_DATA", str(tmp_path))
    write_mnist(tmp_path)
    task = read_task("torchvision:MNIST")
    assert task.record.name == "MNIST"
    assert task.record.n_test == 30
    assert task.record.n_train + task.record.n_val == 30
    assert task.classes == ("0 - zero", "1 - one", "2 - two")


def test_an_unknown_torchvision_set_is_refused_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPRED_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no torchvision set 'CIFAR11' here. Did you mean torchvision:CIFAR10\d?\?"):
        read_task("torchvision:CIFAR11")


def test_a_set_that_can_not_be_downloaded_says_where_to_put_it(tmp_path, monkeypatch):
    from torchvision import datasets

    def refuse(self):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("SCALEPRED_DATA", str(tmp_path))
    monkeypatch.setattr(datasets.MNIST, "download", refuse)
    with pytest.raises(DataError) as caught:
        read_task("torchvision:MNIST")
    assert str(caught.value) == (
        f"torchvision's MNIST is not below {tmp_path} and could not be downloaded: Network is unreachable\n"
        "Copy the data set there from a machine with a network, or point SCALEPRED_DATA at the folder that has it."
    )
