"""The layout is recognised: a task, a folder of tasks, or neither, and what it is called."""

import json
import os
from pathlib import Path

import pytest
from image_files import make_classes, save, write_manifest
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.task import inspect
from scalepred.errors import UsageError


def test_nothing_a_pipe_and_impossible_paths_are_refused(tmp_path):
    expected = "give a folder of class folders or a CSV manifest"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for read in (inspect, find_tasks):
        assert refusal(tmp_path / "gone", read) == f"There is nothing at {tmp_path / 'gone'}: {expected}."
        assert refusal(tmp_path / "pipe" / "x", read) == f"There is nothing at {tmp_path / 'pipe' / 'x'}: {expected}."
        assert refusal("", read) == f"The path of the data is empty: {expected}."
        assert refusal(tmp_path / "pipe", read) == f"{tmp_path / 'pipe'} is neither a file nor a folder: {expected}."
        assert refusal(tmp_path / "loop", read).endswith("can't be read: Too many levels of symbolic links.")
        assert refusal("nul\0byte", read) == "'nul\\x00byte' can't be read: embedded null byte."
        assert refusal("x" * 5_000, read).endswith("can't be read: File name too long.")


def test_an_image_is_no_data_set(tmp_path):
    path = save(tmp_path / "one.png")
    message = refusal(path)
    assert message.startswith(f"{path} can't be read as a CSV manifest of UTF-8 text: 'utf-8' codec can't decode")
    assert message.endswith(" Give a folder of class folders, or a CSV file with the columns path and label.")


def test_a_manifest_in_a_task_folder_takes_the_folders_name_however_it_is_given(tmp_path):
    write_manifest(make_classes(tmp_path / "t") / "manifest.csv", ["a/0.png,a", "b/0.png,b"])
    for data in (tmp_path / "t", tmp_path / "t" / "manifest.csv"):
        listing = list_images(data)
        assert (listing.name, listing.origin, len(listing.entries)) == ("t", "t", 2)


def test_task_json_names_task_and_origin(tmp_path):
    folder = make_classes(tmp_path / "t")

    def names():
        return list_images(folder).name, list_images(folder).origin

    assert names() == ("t", "t")
    (folder / "task.json").write_text(json.dumps({"name": "birds", "origin": "animals"}))
    assert names() == ("birds", "animals")
    (folder / "task.json").write_text("\ufeff" + json.dumps({"name": "birds"}), encoding="utf-8")
    assert names() == ("birds", "birds")
    (folder / "task.json").write_text('{"origin": "half \\ud83d a pair"}')
    assert names() == ("t", "half \\ud83d a pair")
    assert skipped(inspect(folder)) == []


@pytest.mark.parametrize("text", ["[", "[]", "7", "", "[" * 100_000, "\udcff"])
def test_a_task_json_of_another_form_is_refused(tmp_path, text):
    folder = make_classes(tmp_path / "t", n=1)
    (folder / "task.json").write_text(text, errors="surrogateescape")
    assert refusal(folder).startswith(f'{folder / "task.json"} is not of the form {{"name": …, "origin": …}}: ')


@pytest.mark.parametrize("name", [7, None, "", " ", "nul\0", ["a"]])
def test_names_that_are_no_text_are_refused(tmp_path, name):
    folder = make_classes(tmp_path / "t", n=1)
    (folder / "task.json").write_text(json.dumps({"name": name, "origin": "x"}))
    assert refusal(folder) == f"{folder / 'task.json'}: name and origin must be text."


def test_tasks_are_found_in_a_folder_of_tasks(tmp_path):
    make_classes(tmp_path / "all" / "one", n=1)
    make_classes(tmp_path / "all" / "two" / "train", n=1)
    make_classes(tmp_path / "all" / "four" / "deep", n=1)
    write_manifest(save(tmp_path / "all" / "three" / "x.png").with_name("manifest.csv"), [])
    (tmp_path / "all" / "four" / "task.json").write_text("{}")
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / ".hidden").symlink_to("one")
    for text in ("README.md", "one/LICENSE", "notes/todo.txt"):  # none of which makes its folder a class
        (tmp_path / "all" / text).write_text("x")
    assert [Path(task).name for task in find_tasks(tmp_path / "all")] == ["four", "one", "three", "two"]
    assert find_tasks(str(tmp_path / "all" / "one")) == [str(tmp_path / "all" / "one")]
    assert find_tasks(tmp_path / "all" / "three" / "manifest.csv") == [str(tmp_path / "all" / "three" / "manifest.csv")]
    assert find_tasks("torchvision:MNIST") == ["torchvision:MNIST"]


def test_a_folder_with_nothing_of_the_kind_is_no_folder_of_tasks(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path, find_tasks) == (
        f"{tmp_path} is neither a task nor a folder of tasks. A task is a folder of class folders with images in "
        "them, perhaps under train, val and test, or a folder that holds manifest.csv."
    )


def test_a_folder_of_damaged_images_is_taken_for_a_task_to_be_told_what_is_wrong(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(b"x")
    assert find_tasks(tmp_path) == [str(tmp_path)]


@pytest.mark.parametrize("option", ["label_pattern", "group_pattern", "image_column", "image_folder"])
def test_what_is_no_text_and_should_be_is_refused(option):
    with pytest.raises(UsageError, match=f"^--{option.replace('_', '-')} is text, not 3\\.$"):
        Layout(**{option: 3})
