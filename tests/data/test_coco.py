"""COCO's annotations, and camera traps', are read with one class for an image; the rest is named."""

import json

import pytest
from image_files import make_classes, noise, save
from manifest_files import images_of_two, labels_by_name, write_coco
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.task import inspect, read_task
from scalepred.errors import UsageError


@pytest.fixture
def traps(tmp_path):
    """A folder of images by site with annotations, as ecologists have it; returns it with its (path, label)."""
    rows = [(f"site{at % 4}/{name}{at}.png", name) for name in ("cat", "dog") for at in range(8)]
    for at, (path, _) in enumerate(rows):
        save(tmp_path / "t" / "images" / path, noise(seed=at))
    fields = [{"location": at % 4, "seq_id": f"s{at // 2}"} for at in range(len(rows))]
    write_coco(tmp_path / "t" / "annotations.json", rows, fields=fields)
    return tmp_path / "t", rows


def test_the_file_and_its_folder_are_the_same_task(traps):
    folder, rows = traps
    assert find_tasks(folder) == [str(folder)]
    for data in (folder, folder / "annotations.json"):
        listing = list_images(data)
        assert labels_by_name(listing) == sorted(rows)
        assert (listing.name, listing.origin, listing.layout) == ("t", "t", "COCO annotations")


def test_a_location_is_on_one_side_of_the_splits(traps):
    task = read_task(traps[0], layout=Layout(group_column="location"))
    places = [{path.split("/")[-2] for path in getattr(task, split).paths} for split in ("train", "val", "test")]
    assert sum(map(len, places)) == len(set().union(*places)) == 4
    assert {entry.group for entry in list_images(traps[0], layout=Layout(group_column="seq_id")).entries} == {
        f"s{at}" for at in range(8)
    }


def test_a_field_that_images_lack_is_named_with_those_that_they_have(traps):
    message = refusal(traps[0], layout=Layout(group_column="place"))
    assert message.splitlines()[1:] == [
        "  - 16 images have no field 'place' (--group); the fields are 'file_name', 'id', 'location', 'seq_id'"
    ]


def test_images_of_several_classes_or_none_are_skipped_and_counted(tmp_path):
    rows = images_of_two(tmp_path / "images")
    path = write_coco(tmp_path / "a.json", rows, several=[(0, 11), (1, 10)])  # the first is of both, the second of one
    document = json.loads(path.read_text())
    document["annotations"] = [mark for mark in document["annotations"] if mark["image_id"] != 2]
    path.write_text(json.dumps(document))
    inspection = inspect(path)
    assert skipped(inspection) == [("0.png", "has 2 classes: cat, dog"), ("2.png", "has no annotation")]
    assert inspection.warnings[0] == (
        "1 image has several classes in a.json and is skipped: one label per image is needed"
    )
    assert inspection.classes == {"cat": 4, "dog": 6}


def test_an_image_may_name_its_split(tmp_path):
    rows = images_of_two(tmp_path)
    fields = [{"split": "Train" if at % 2 else "val"} for at in range(len(rows))]
    assert inspect(write_coco(tmp_path / "a.json", rows, fields=fields)).splits == {"train": 6, "val": 6, "test": 0}
    fields[3]["split"] = "later"
    message = refusal(write_coco(tmp_path / "a.json", rows, fields=fields))
    assert "the split 'later' of cat/3.png is unknown; known are train, val and test" in message


@pytest.mark.parametrize("name", ["{}/_annotations.coco.json", "annotations/instances_{}2017.json", "{}.json"])
def test_splits_may_have_annotations_each(tmp_path, name):
    for seed, split in enumerate(("train", "val", "test")):
        folder = tmp_path / split
        make_classes(folder, ("cat", "dog"), n=4, seed=seed)
        start = "" if name.startswith("{}/") else f"{split}/"
        rows = [(f"{start}{kind}/{at}.png", kind) for kind in ("cat", "dog") for at in range(4)]
        write_coco(tmp_path / name.format(split), [(path, f"a {label}") for path, label in rows])
    inspection = inspect(tmp_path)
    assert inspection.splits == {"train": 8, "val": 8, "test": 8}
    assert inspection.classes == {"a cat": 12, "a dog": 12}


def test_several_files_of_annotations_that_name_no_split_are_refused(tmp_path):
    rows = images_of_two(tmp_path)
    for name in ("boxes.json", "captions.json"):
        write_coco(tmp_path / name, [(path, f"a {label}") for path, label in rows])
    assert refusal(tmp_path) == (
        f"{tmp_path} holds several files of annotations, boxes.json, captions.json: give the one to read."
    )


def test_annotations_that_say_what_the_folders_say_change_nothing(tmp_path):
    rows = images_of_two(tmp_path)
    before = read_task(tmp_path).record.task_id
    write_coco(tmp_path / "annotations.json", rows[1:])
    assert read_task(tmp_path).record.task_id == before


def test_all_that_is_wrong_with_annotations_comes_in_one_error(tmp_path):
    images = [
        {"id": 1, "file_name": "gone.png"},
        {"id": 1, "file_name": "b.png"},
        {"id": 2},
        {"id": 3, "file_name": "\0"},
    ]
    marks = [{"image_id": 1, "category_id": 5}, {"image_id": 9, "category_id": 5}, {"image_id": 1, "category_id": 6}, 7]
    kinds = [{"id": 5, "name": "cat"}, {"id": 8}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": kinds}))
    assert refusal(path).splitlines() == [
        f"{path} can't be used as it is:",
        "  - the image id 1 comes twice",
        "  - image 3 lacks its id or file_name",
        "  - the file_name of image 4 holds a NUL byte",
        "  - the category 8 has no name",
        "  - annotation 2 is of an unknown image, '9'",
        "  - annotation 3 is of an unknown category, '6'",
        "  - annotation 4 is of an unknown image, ''",
        f"  - no file {tmp_path / 'gone.png'}",
    ]


def test_one_file_under_two_image_ids_counts_once_and_contradictions_are_told(tmp_path):
    rows = images_of_two(tmp_path)
    same = [*rows, ("./cat/0.png", "cat")]
    assert inspect(write_coco(tmp_path / "a.json", same)).classes == {"cat": 6, "dog": 6}
    fields = [{"split": "train", "site": 1}] * len(rows) + [{"split": "test", "site": 2}]
    path = write_coco(tmp_path / "a.json", [*rows, ("./cat/0.png", "dog")], fields=fields)
    assert refusal(path, layout=Layout(group_column="site")).splitlines() == [
        f"{path} can't be used as it is:",
        "  - image id 12: ./cat/0.png has two labels, 'cat' and 'dog'",
        "  - image id 12: ./cat/0.png is in two splits, train and test",
        "  - image id 12: ./cat/0.png is in two groups, '1' and '2'",
    ]


def test_a_file_in_the_annotations_of_two_splits_is_told(tmp_path):
    rows = images_of_two(tmp_path)
    write_coco(tmp_path / "train.json", [(path, f"a {label}") for path, label in rows])
    write_coco(tmp_path / "val.json", [(path, f"a {label}") for path, label in rows[:1]])
    assert refusal(tmp_path).splitlines()[1:] == ["  - image id 0: cat/0.png is in two splits, train and val"]


def test_a_category_id_that_comes_twice_with_two_names_is_told(tmp_path):
    path = write_coco(tmp_path / "a.json", images_of_two(tmp_path))
    document = json.loads(path.read_text())
    document["categories"] += [{"id": 10, "name": "cat"}, {"id": 10, "name": "lynx"}, {"id": "11", "name": "wolf"}]
    path.write_text(json.dumps(document))
    assert refusal(path).splitlines()[1:] == [
        "  - the category id 10 comes twice, as 'cat' and 'lynx'",
        "  - the category id '11' comes twice, as 'dog' and 'wolf'",
    ]


def test_images_that_lie_elsewhere_are_found_by_the_folder_that_is_proposed(tmp_path):
    rows = images_of_two(tmp_path / "far" / "off")
    path = write_coco(tmp_path / "a.json", rows)
    folder = tmp_path / "far" / "off"
    assert refusal(path).endswith(f"\nImages of these names lie in {folder}: give it by --image-folder.")
    assert labels_by_name(list_images(path, layout=Layout(image_folder=str(folder)))) == sorted(rows)


def test_annotations_have_no_columns(traps):
    with pytest.raises(UsageError, match=r"^COCO annotations have no columns: leave --image-column"):
        list_images(traps[0] / "annotations.json", layout=Layout(image_column="file_name"))
