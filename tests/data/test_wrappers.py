"""Folders that hold all images in one folder are stepped into, and folders of splits are found inside."""

import json

import pytest
from image_files import make_classes, save
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.layouts import list_images
from scalepred.data.task import inspect, read_task


def test_wrappers_are_stepped_into_and_it_is_said(tmp_path):
    make_classes(tmp_path / "t" / "images" / "Images")
    inspection = inspect(tmp_path / "t")
    assert inspection.classes == {"a": 6, "b": 6}
    assert inspection.warnings == ["all images lie in 'images/Images', which was stepped into and is no class"]
    assert read_task(tmp_path / "t").record.name == "t"


def test_a_wrapped_task_has_the_id_of_the_same_task_unwrapped(tmp_path):
    make_classes(tmp_path / "t" / "w" / "w")
    make_classes(tmp_path / "u")
    assert read_task(tmp_path / "t").record.task_id == read_task(tmp_path / "u").record.task_id


def test_what_is_no_image_does_not_keep_a_wrapper_from_being_one(tmp_path):
    make_classes(tmp_path / "t" / "flowers")
    for text in ("README.md", "LICENSE", "labels.xml", ".DS_Store"):
        (tmp_path / "t" / text).write_text("x")
    save(tmp_path / "t" / "__MACOSX" / "._0.png")
    (tmp_path / "t" / "annotations").mkdir()
    (tmp_path / "t" / "annotations" / "0.xml").write_text("<a/>")
    assert inspect(tmp_path / "t").classes == {"a": 6, "b": 6}


def test_a_few_images_beside_a_wrapper_are_skipped_and_more_are_no_wrapper(tmp_path):
    make_classes(tmp_path / "t" / "flowers")
    save(tmp_path / "t" / "cover.png")
    inspection = inspect(tmp_path / "t")
    assert inspection.classes == {"a": 6, "b": 6}
    assert skipped(inspection) == [("cover.png", "lies beside the folder of all other images, so it has no class")]
    for index in range(3):
        save(tmp_path / "t" / f"{index}.png")
    more = inspect(tmp_path / "t")
    assert more.classes == {"flowers": 12}
    assert more.warnings == [
        "1 class at depth 1 ('flowers'); --class-depth 2 gives 2 ('a', 'b'); "
        "--class-depth path gives 2 ('flowers/a', 'flowers/b')"
    ]


def test_a_class_that_is_called_as_folders_of_all_images_are_is_told(tmp_path):
    inspection = inspect(make_classes(tmp_path / "t", names=("images", "masks")))
    assert inspection.warnings == [
        f"the folder 'images' is taken for a class; if it holds the images of all, give {tmp_path / 't' / 'images'} "
        "for the data"
    ]


def test_a_folder_beside_that_is_empty_may_be_a_class_so_nothing_is_stepped_into(tmp_path):
    make_classes(tmp_path / "t" / "cat", names=("indoor", "outdoor"))
    (tmp_path / "t" / "dog").mkdir()
    assert inspect(tmp_path / "t").problem == ("found one class, 'cat'; at least two classes with images are needed.")


def test_a_single_class_folder_is_no_wrapper(tmp_path):
    make_classes(tmp_path / "t", names=("only",))
    assert inspect(tmp_path / "t").classes == {"only": 6}


def test_a_wrapped_manifest_is_read(tmp_path):
    make_classes(tmp_path / "t" / "w" / "images")
    rows = [f"images/{name}/{index}.png,{name}{index % 2}" for name in "ab" for index in range(6)]
    (tmp_path / "t" / "w" / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    listing = list_images(tmp_path / "t")
    assert {entry.label for entry in listing.entries} == {"a0", "a1", "b0", "b1"}
    assert listing.notes == ["all images lie in 'w', which was stepped into and is no class"]


def test_a_wrapped_task_json_names_the_task(tmp_path):
    make_classes(tmp_path / "t" / "w")
    (tmp_path / "t" / "w" / "task.json").write_text(json.dumps({"name": "birds"}))
    assert list_images(tmp_path / "t").name == "birds"


@pytest.mark.parametrize("wrapper", ["t/images/{}", "t/{}/images", "t/flowers/flowers/{}", "t/x/{}/{}_images"])
def test_splits_are_found_whatever_wraps_them_or_lies_in_them(tmp_path, wrapper):
    for seed, (name, n) in enumerate({"train": 6, "valid": 2, "test": 3}.items()):
        make_classes(tmp_path / wrapper.replace("{}", name), n=n, seed=seed)
    inspection = inspect(tmp_path / "t")
    assert inspection.splits == {"train": 12, "val": 4, "test": 6}
    assert inspection.classes == {"a": 11, "b": 11}


@pytest.mark.parametrize(
    "names", ["seg_train seg_test", "train2017 val2017", "Train_Set Test_Set", "train_images test"]
)
def test_names_of_splits_may_have_more_words(tmp_path, names):
    for seed, name in enumerate(names.split()):
        make_classes(tmp_path / "t" / name / name, seed=seed)
    assert inspect(tmp_path / "t").splits["train"] == (12 if "val" in names else 10)
    assert inspect(tmp_path / "t").classes == {"a": 12, "b": 12}


def test_a_class_whose_name_holds_a_splits_name_is_a_class(tmp_path):
    names = ("test_strip", "training shoes", "train 1")
    for name in names:
        make_classes(tmp_path / "t" / name, names=("x", "y"))
    assert inspect(tmp_path / "t").classes == dict.fromkeys(sorted(names), 12)


def test_a_class_in_validation_alone_is_no_wrapper_though_its_images_lie_deeper(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "val" / "a", names=("2020", "2021"), n=2, seed=1)
    assert inspect(tmp_path / "t").splits == {"train": 12, "val": 4, "test": 0}


def test_a_wrapper_with_a_class_of_training_in_another_split_is_read_either_way(tmp_path):
    make_classes(tmp_path / "t" / "train" / "images")
    make_classes(tmp_path / "t" / "val", n=2, seed=1)
    inspection = inspect(tmp_path / "t")
    assert (inspection.classes, inspection.splits["val"]) == ({"a": 8, "b": 8}, 4)
    assert inspection.warnings[0] == "all images lie in 'train/images', which was stepped into and is no class"


def test_folders_without_images_beside_splits_are_passed_over_and_it_is_said(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test", seed=1)
    (tmp_path / "t" / "labels").mkdir()
    (tmp_path / "t" / "labels" / "0.txt").write_text("0")
    inspection = inspect(tmp_path / "t")
    assert inspection.classes == {"a": 12, "b": 12}
    assert inspection.warnings == ["'labels' holds no images and is passed over"]


@pytest.mark.parametrize("inside", ["", "images", "test"])
def test_images_of_a_split_without_class_folders_have_no_class(tmp_path, inside):
    make_classes(tmp_path / "t" / "train", n=10)
    save(tmp_path / "t" / "test" / inside / "unlabelled.png")
    inspection = inspect(tmp_path / "t")
    assert inspection.classes == {"a": 10, "b": 10}
    ((name, reason),) = skipped(inspection)
    assert (name, reason.endswith("so it has no class")) == ("unlabelled.png", True)


def test_splits_in_every_class_are_taken_and_it_is_said(tmp_path):
    for name in "ab":
        make_classes(tmp_path / "t" / name, names=("train",), n=6, seed=ord(name))
        make_classes(tmp_path / "t" / name, names=("test",), n=3, seed=ord(name) + 50)
        (tmp_path / "t" / name / "README.txt").write_text("no image")
    inspection = inspect(tmp_path / "t")
    assert inspection.splits == {"train": 10, "val": 2, "test": 6}
    assert inspection.warnings == [
        "the folders 'test', 'train' in the classes are taken for splits; --class-depth 1 takes no notice of them"
    ]
    plain = inspect(tmp_path / "t", layout=Layout(class_depth=1))
    assert (plain.classes, plain.splits) == ({"a": 9, "b": 9}, {"train": 12, "val": 2, "test": 4})


def test_links_in_a_loop_and_to_all_files_of_the_machine_end(tmp_path):
    make_classes(tmp_path / "t" / "w" / "w")
    (tmp_path / "t" / "w" / "up").symlink_to(tmp_path)
    (tmp_path / "t" / "w" / "w" / "loop").symlink_to(tmp_path / "t")
    (tmp_path / "t" / "w" / "w" / "a" / "root").symlink_to("/")
    assert inspect(tmp_path / "t").classes == {"a": 6, "b": 6}


def test_two_hundred_wrappers_are_stepped_into(tmp_path):
    make_classes(tmp_path.joinpath("t", *["w"] * 200))
    assert inspect(tmp_path / "t").classes == {"a": 6, "b": 6}


def test_flat_folders_of_splits_are_refused_however_deep(tmp_path):
    save(tmp_path / "t" / "train" / "train" / "0.png")
    save(tmp_path / "t" / "test" / "images" / "1.png")
    assert refusal(tmp_path / "t").startswith(
        f"{tmp_path / 't'} holds folders named after splits (test, train) without class folders, so nothing tells "
    )
