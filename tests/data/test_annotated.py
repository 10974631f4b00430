"""A text file with the labels of a split's images is read, as Tiny ImageNet has one for validation."""

import pytest
from image_files import make_classes, noise, save
from readings import refusal, skipped

from scalepred.data.task import inspect, read_task


def lines(path, rows):
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")


@pytest.fixture
def tiny(tmp_path):
    """Return a folder in the form of Tiny ImageNet, with test images that have no labels."""
    for seed, name in enumerate(("n00", "n01")):
        make_classes(tmp_path / "tiny" / "train" / name, names=("images",), seed=seed)
        (tmp_path / "tiny" / "train" / name / f"{name}_boxes.txt").write_text("0.png 0 0 1 1")
    for index in range(6):
        save(tmp_path / "tiny" / "val" / "images" / f"val_{index}.png", noise(seed=[7, index]))
        save(tmp_path / "tiny" / "test" / "images" / f"test_{index}.png", noise(seed=[8, index]))
    rows = [f"val_{index}.png\tn0{index % 2}\t0\t0\t9\t9" for index in range(6)]
    lines(tmp_path / "tiny" / "val" / "val_annotations.txt", rows)
    return tmp_path / "tiny"


def test_labels_of_validation_images_are_read_from_their_text_file(tiny):
    task = read_task(tiny)
    assert task.classes == ("n00", "n01")
    assert (task.record.n_train, task.record.n_val, task.record.n_test) == (12, 6, 0)
    labels = {path.rpartition("_")[2]: int(label) for path, label in zip(task.val.paths, task.val.labels, strict=True)}
    assert labels == {f"{index}.png": index % 2 for index in range(6)}
    assert task.inspection.warnings[0] == "the labels of val images come from 'val_annotations.txt'"
    reasons = {reason for _, reason in skipped(task.inspection)}
    assert "lies in no class folder, so it has no class" in reasons


def test_lines_without_a_file_files_without_a_line_and_other_classes_are_told(tiny):
    rows = ["val_0.png,n00", "images/val_1.png,n01", "val_2.png,n02", "gone.png,n00", "", "alone"]
    lines(tiny / "val" / "val_annotations.txt", ["file,label", *rows])
    inspection = inspect(tiny)
    assert inspection.splits["val"] == 2
    assert [(each.label, each.n_images) for each in inspection.set_aside] == [("n02", 1)]
    assert {
        ("val_3.png", "val_annotations.txt has no line for it"),
        ("gone.png", "val_annotations.txt names it, and there is no such file"),
    } <= set(skipped(inspection))


def test_class_folders_in_validation_go_before_a_text_file(tiny):
    for index in range(6):
        target = tiny / "val" / f"n0{(index + 1) % 2}" / f"val_{index}.png"
        target.parent.mkdir(exist_ok=True)
        (tiny / "val" / "images" / f"val_{index}.png").rename(target)
    (tiny / "val" / "images").rmdir()
    task = read_task(tiny)
    labels = {path.rpartition("_")[2]: int(label) for path, label in zip(task.val.paths, task.val.labels, strict=True)}
    assert labels == {f"{index}.png": (index + 1) % 2 for index in range(6)}


def test_two_labels_for_an_image_are_refused(tiny):
    lines(tiny / "val" / "val_annotations.txt", ["val_0.png n00", "val_0.png n01"])
    assert refusal(tiny).endswith("line 2: 'val_0.png' has two labels, 'n00' and 'n01'")


@pytest.mark.parametrize("inside", ["", "images"])
def test_training_images_may_have_their_labels_in_a_text_file_too(tmp_path, inside):
    for seed, (split, n) in enumerate({"train": 12, "val": 4, "test": 2}.items()):
        for index in range(n):
            save(tmp_path / "t" / split / inside / f"{index}.png", noise(seed=[seed, index]))
        lines(tmp_path / "t" / split / "labels.csv", ["file,label", *(f"{i}.png,{'ab'[i % 2]}" for i in range(n))])
    inspection = inspect(tmp_path / "t")
    assert inspection.layout == "labels in text files under test, train, val"
    assert (inspection.classes, inspection.splits) == ({"a": 9, "b": 9}, {"train": 12, "val": 4, "test": 2})
    assert inspection.skipped == []
