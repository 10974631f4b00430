"""The class is the outermost folder, or the one at the depth that the user says, and other depths are told."""

import pytest
from image_files import make_classes, noise, save
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.task import inspect
from scalepred.errors import UsageError


@pytest.fixture
def places(tmp_path):
    """Return a folder like SUN397's: a/abbey, a/airport, b/bar with indoor and outdoor, c/cave."""
    for seed, place in enumerate(("a/abbey", "a/airport", "b/bar/indoor", "b/bar/outdoor", "c/cave")):
        for index in range(5):
            save(tmp_path / "t" / place / f"{index}.png", noise(seed=[seed, index]))
    return tmp_path / "t"


def at(depth):
    return Layout(class_depth=depth)


def test_the_outermost_folder_is_the_class_and_what_others_give_is_said(places):
    inspection = inspect(places)
    assert inspection.classes == {"a": 10, "b": 10, "c": 5}
    assert inspection.warnings == [
        "3 classes at depth 1 ('a', 'b', 'c'); --class-depth 2 gives 4 ('abbey', 'airport', 'bar', …); "
        "--class-depth 3 gives 2 ('indoor', 'outdoor') and leaves out 15 images above it; "
        "--class-depth path gives 5 ('a/abbey', 'a/airport', 'b/bar/indoor', …)"
    ]


def test_a_depth_takes_the_folder_there_and_skips_what_lies_above_it(places):
    assert inspect(places, layout=at(1)).classes == {"a": 10, "b": 10, "c": 5}
    assert inspect(places, layout=at(2)).classes == {"abbey": 5, "airport": 5, "bar": 10, "cave": 5}
    third = inspect(places, layout=at(3))
    assert (third.layout, third.classes) == ("class folders, the class is at depth 3", {"indoor": 5, "outdoor": 5})
    assert skipped(third)[0] == ("0.png", "lies above --class-depth 3, so it has no class")
    assert len(third.skipped) == 15
    assert "lies above --class-depth 4" in refusal(places, layout=at(4))


def test_the_whole_path_may_be_the_class(places):
    inspection = inspect(places, layout=at("path"))
    assert inspection.classes == dict.fromkeys(("a/abbey", "a/airport", "b/bar/indoor", "b/bar/outdoor", "c/cave"), 5)


def test_folders_of_the_same_name_that_become_one_class_are_told(tmp_path):
    for name in ("x", "y"):
        make_classes(tmp_path / "t" / name, names=("in", "out"), seed=ord(name))
    inspection = inspect(tmp_path / "t", layout=at(2))
    assert inspection.classes == {"in": 12, "out": 12}
    assert inspection.warnings == [
        "2 classes join folders of the same name in several places ('in', 'out'); --class-depth path keeps them apart"
    ]


def test_depth_counts_below_splits_and_wrappers_are_levels(tmp_path):
    for seed, split in enumerate(("train", "test")):
        make_classes(tmp_path / "t" / "w" / split / "images", seed=seed)
    assert inspect(tmp_path / "t", layout=at(2)).classes == {"a": 12, "b": 12}
    make_classes(tmp_path / "u" / "w")
    assert inspect(tmp_path / "u", layout=at(2)).classes == {"a": 6, "b": 6}
    assert inspect(tmp_path / "u", layout=at(1)).problem.startswith("found one class, 'w'")


def test_one_folder_in_each_class_is_no_other_reading(tmp_path):
    for name in "ab":
        make_classes(tmp_path / "t" / name, names=("images",), seed=ord(name))
    assert inspect(tmp_path / "t").warnings == []


@pytest.mark.parametrize("depth", [0, -1, "x", "", True, 1.5, "9" * 5_000])
def test_a_depth_that_is_none_is_refused(depth):
    with pytest.raises(UsageError, match=r"--class-depth is 1, 2, … or 'path', not "):
        at(depth)


def test_a_depth_and_a_label_pattern_contradict_each_other():
    with pytest.raises(UsageError, match="Give one of --label-pattern and --class-depth"):
        Layout(class_depth=1, label_pattern="{label}.*")


def test_a_folder_of_any_depth_is_read(tmp_path):
    deep = tmp_path.joinpath("t", "a", *["d"] * 300)
    make_classes(deep, names=("x",))
    make_classes(tmp_path / "t", names=("b",), seed=1)
    assert inspect(tmp_path / "t").classes == {"a": 6, "b": 6}
