"""Class folders, perhaps under splits, with whatever else lies among them."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from image_files import NASTY, make_classes, save
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.task import inspect, read_task


def test_class_folders_take_their_images_from_any_depth(tmp_path):
    folder = make_classes(tmp_path / "t")
    (folder / "a" / "deep" / "deeper").mkdir(parents=True)
    (folder / "a" / "0.png").rename(folder / "a" / "deep" / "deeper" / "0.png")
    assert inspect(folder).classes == {"a": 6, "b": 6}


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "val", "test"),
        ("train", "valid", "TEST"),
        ("Training", "validation", "Testing"),
        ("TRAINING", "VAL", "TESTING"),
        ("training", "Validation", "testing"),
    ],
)
def test_split_folders_of_any_usual_name_are_kept(tmp_path, names):
    for seed, (name, n) in enumerate(zip(names, (6, 2, 3), strict=True)):
        make_classes(tmp_path / "t" / name, n=n, seed=seed)
    task = read_task(tmp_path / "t")
    assert (task.record.n_train, task.record.n_val, task.record.n_test) == (12, 4, 6)
    assert sorted(task.inspection.layout.removeprefix("class folders under ").split(", ")) == sorted(names)
    assert task.inspection.warnings == []


def test_validation_is_carved_from_train_where_only_test_is_given(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    make_classes(tmp_path / "t" / "test", n=3, seed=1)
    assert inspect(tmp_path / "t").splits == {"train": 16, "val": 4, "test": 6}


def test_test_stays_empty_where_only_validation_is_given(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    make_classes(tmp_path / "t" / "val", n=3, seed=1)
    inspection = inspect(tmp_path / "t")
    assert inspection.splits == {"train": 20, "val": 6, "test": 0}
    assert inspection.warnings == ["your splits have no test images, so there is no test accuracy"]


def test_train_alone_is_split_like_no_split(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    assert inspect(tmp_path / "t").splits == {"train": 12, "val": 4, "test": 4}


def test_a_split_folder_without_class_folders_is_empty_and_its_images_are_skipped(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    (tmp_path / "t" / "val").mkdir()
    save(tmp_path / "t" / "test" / "unlabelled.png")
    inspection = inspect(tmp_path / "t")
    assert inspection.splits == {"train": 12, "val": 4, "test": 4}
    assert skipped(inspection) == [("unlabelled.png", "lies beside the class folders, so it has no class")]


@pytest.mark.parametrize("twins", ["val valid", "Test Testing", "train training"])
def test_two_names_for_one_split_are_refused(tmp_path, twins):
    for name in {"train", *twins.split()}:
        make_classes(tmp_path / "t" / name, n=1)
    assert refusal(tmp_path / "t") == (
        f"{tmp_path / 't'} holds {twins.replace(' ', ' and ')}, which name the same split: keep one of them."
    )


def test_splits_without_train_are_refused(tmp_path):
    make_classes(tmp_path / "t" / "test", n=1)
    assert refusal(tmp_path / "t") == f"{tmp_path / 't'} holds test but no train folder: add one."


@pytest.mark.parametrize("train", ["train", "Training"])
def test_classes_beside_splits_are_refused(tmp_path, train):
    make_classes(tmp_path / "t" / train, n=1)
    make_classes(tmp_path / "t", names=("c", "d"), n=1)
    assert refusal(tmp_path / "t") == (
        f"{tmp_path / 't'} holds folders named after splits ({train}) beside others (c, d). "
        "Move the others under a split, or give each class its folder and no splits."
    )


@pytest.mark.parametrize("names", [("test", "train"), ("Testing", "Training")])
def test_a_split_is_never_taken_for_a_class_unless_it_is_asked_for(tmp_path, names):
    folder = make_classes(tmp_path / "t", names=names)
    assert refusal(folder) == (
        f"{folder} holds folders named after splits ({', '.join(names)}) without class folders, so nothing tells "
        "labels. Make one folder for each class in each of them. If they are classes, add --class-depth 1."
    )
    inspection = inspect(folder, layout=Layout(class_depth=1))
    assert inspection.classes == dict.fromkeys(names, 6)
    assert inspection.warnings == [
        f"the classes are called {names[0]!r}, {names[1]!r}; if these are splits, each needs a folder for each class"
    ]
    assert inspect(make_classes(tmp_path / "vehicles", names=(names[1], "bus"))).warnings == []


def test_loose_files_are_skipped(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "loose.png")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "README.md").write_text("x")
    beside = "lies beside the class folders, so it has no class"
    assert skipped(inspect(folder)) == [("README.md", beside), ("gone.png", "link to nothing"), ("loose.png", beside)]


def test_an_empty_folder_says_what_is_needed(tmp_path):
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no images in class folders. It has no class folders. "
        "Make one folder for each class and put its images there."
    )


def test_a_folder_of_loose_images_says_what_is_needed(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png")
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no images in class folders. Folders without images: 1; "
        f"paths that can't be used: 3, such as {tmp_path / '0.png'} "
        "(lies beside the class folders, so it has no class). "
        "Make one folder for each class and put its images there."
    )


def test_a_folder_that_may_not_be_read_is_an_error_of_the_data(tmp_path, monkeypatch):
    folder = make_classes(tmp_path / "t")
    real = Path.iterdir

    def iterdir(path):
        if path in (folder, folder / "a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert refusal(folder) == f"{folder} can't be read: Permission denied."
    assert refusal(folder, find_tasks) == f"{folder} can't be read: Permission denied."


def test_a_class_folder_that_may_not_be_read_costs_that_class_only(tmp_path, monkeypatch):
    folder = make_classes(tmp_path / "t", names=("a", "b", "shut"))
    real = Path.iterdir

    def iterdir(path):
        if path.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    inspection = inspect(folder)
    assert inspection.classes == {"a": 6, "b": 6}
    assert skipped(inspection) == [("shut", "folder can't be read: Permission denied")]
    assert inspection.warnings == ["the class 'shut' has no images and is left out"]
    assert find_tasks(folder) == [str(folder)]


def test_hidden_and_junk_folders_are_no_classes(tmp_path):
    folder = make_classes(tmp_path / "t")
    for junk in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "$RECYCLE.BIN"):
        save(folder / junk / "x.png")
        save(folder / "a" / junk / "y.png")
    (folder / ".DS_Store").write_bytes(b"x")
    inspection = inspect(folder)
    assert (inspection.classes, inspection.skipped) == ({"a": 6, "b": 6}, [])


def test_class_folders_may_be_links_to_elsewhere(tmp_path):
    elsewhere = make_classes(tmp_path / "elsewhere", names=("x", "y"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").symlink_to(elsewhere / "x")
    (tmp_path / "t" / "b").symlink_to(elsewhere / "y")
    inspection = inspect(tmp_path / "t")
    assert (inspection.classes, inspection.skipped) == ({"a": 6, "b": 6}, [])


def test_a_link_to_a_class_is_no_second_class_though_its_name_comes_first(tmp_path):
    folder = make_classes(tmp_path / "t", names=("b", "c"))
    (folder / "a").symlink_to(folder / "b")
    inspection = inspect(folder)
    assert inspection.classes == {"b": 6, "c": 6}
    assert skipped(inspection) == [("a", f"the same as {folder / 'b'}")]


@pytest.mark.parametrize("above", [".", "..", "../..", "/"])
def test_a_link_to_the_data_or_above_it_leads_nowhere(tmp_path, above):
    folder = make_classes(tmp_path / "up" / "t")
    make_classes(tmp_path / "up" / "other")
    (folder / "0first").symlink_to(above)
    (folder / "a" / "inner").symlink_to(Path(os.path.normpath(folder / above)))
    inspection = inspect(folder)
    assert inspection.classes == {"a": 6, "b": 6}
    assert {name for name, reason in skipped(inspection) if reason.startswith("the same as ")} == {"0first", "inner"}


def test_a_split_that_is_a_link_to_another_split_is_skipped(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    (tmp_path / "t" / "test").symlink_to("train")
    inspection = inspect(tmp_path / "t")
    assert inspection.splits == {"train": 12, "val": 4, "test": 4}
    assert [reason for _, reason in skipped(inspection)] == [
        f"the same as {tmp_path / 't' / 'train' / 'a'}",
        f"the same as {tmp_path / 't' / 'train' / 'b'}",
    ]


def test_class_names_are_kept_as_they_are(tmp_path):
    folder = make_classes(tmp_path / "t", names=NASTY)
    assert sorted(read_task(folder).classes) == sorted(NASTY)
    assert json.loads(json.dumps(inspect(folder).to_json()))["classes"] == dict.fromkeys(sorted(NASTY), 6)


@pytest.mark.parametrize(
    ("one", "other"),
    [(unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")), ("Cat", "cat"), ("x", "x ")],
)
def test_class_names_that_look_the_same_are_kept_apart_and_warned_of(tmp_path, one, other):
    inspection = inspect(make_classes(tmp_path / "t", names=(one, other, "b")))
    assert len(inspection.classes) == 3
    first, second = sorted((one, other))
    assert inspection.warnings == [f"the classes {first!r} and {second!r} look the same and are kept apart"]


def test_undecodable_names_of_classes_files_and_tasks_become_escapes(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    folder = make_classes(tmp_path / odd, names=(odd, "b"))
    (folder / odd / "0.png").rename(folder / odd / os.fsdecode(b"\xff.png"))
    (folder / odd / os.fsdecode(b"\xfe.png")).write_bytes(b"bad")
    task = read_task(folder)
    assert task.classes == ("b", "caf\\udce9")
    assert (task.record.name, task.record.origin) == ("caf\\udce9", "caf\\udce9")
    whole = json.dumps(
        [task.inspection.to_json(), task.train.paths, task.val.paths, task.test.paths], ensure_ascii=False
    )
    assert whole.encode("utf-8")
    (tmp_path / os.fsdecode(b"m\xff.csv")).write_text("path,label\n")
    assert list_images(tmp_path / os.fsdecode(b"m\xff.csv")).name == "m\\udcff"
