"""A manifest's paths lead to files however they were written down, and never to one of several."""

import unicodedata

import pytest
from image_files import noise, save
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.layouts import list_images


def test_separators_of_windows_are_read_where_no_file_has_them_in_its_name(tmp_path):
    rows = images_of_two(tmp_path / "images")
    windows = [(f"images\\{path}".replace("/", "\\"), label) for path, label in rows]
    assert labels_by_name(list_images(write_rows(tmp_path / "m.csv", windows))) == sorted(rows)
    save(tmp_path / "images\\cat\\0.png")
    first = list_images(tmp_path / "m.csv").entries[0]
    assert first.path == str(tmp_path / "images\\cat\\0.png")


def test_paths_may_be_whole_and_lie_elsewhere(tmp_path):
    rows = images_of_two(tmp_path / "far" / "away")
    whole = [(tmp_path / "far" / "away" / path, label) for path, label in rows]
    assert labels_by_name(list_images(write_rows(tmp_path / "here" / "m.csv", whole))) == sorted(rows)
    climbing = [(f"../far/away/{path}", label) for path, label in rows]
    assert labels_by_name(list_images(write_rows(tmp_path / "here" / "m.csv", climbing))) == sorted(rows)


@pytest.mark.parametrize("folder", ["images", "Train", "photos", "."])
def test_ids_are_found_in_a_usual_folder_and_endings_are_tried(tmp_path, folder):
    for at, ending in enumerate(("jpg", "JPG", "jpeg", "png", "webp", "tif")):
        save(tmp_path / folder / f"id.{at}.{ending}", noise(seed=at))
    rows = [(f"id.{at}", "cat") for at in range(6)]
    listing = list_images(write_rows(tmp_path / "m.csv", rows, ("image_id", "label")))
    assert len(listing.entries) == 6


def test_ids_are_found_anywhere_below_the_folder_that_the_user_names(tmp_path):
    for at in range(6):
        save(tmp_path / "all" / f"part_{at % 2}" / f"{at}.jpg", noise(seed=at))
    path = write_rows(tmp_path / "m.csv", [(at, "cat") for at in range(6)], ("image_id", "label"))
    listing = list_images(path, layout=Layout(image_folder=str(tmp_path / "all")))
    assert [entry.path.rpartition("/")[2] for entry in listing.entries] == [f"{at}.jpg" for at in range(6)]


def test_a_name_that_several_files_have_is_listed_with_them(tmp_path):
    for name in ("images/1.jpg", "images/1.png", "images/a/2.jpg", "train/b/2.jpg", "images/3.jpg"):
        save(tmp_path / name)
    path = write_rows(tmp_path / "m.csv", [(1, "cat"), (2, "cat"), (3, "cat"), (4, "cat")], ("id", "label"))
    one, two, three = refusal(path).splitlines()[1:4]
    assert one.startswith("  - line 2: 1 may be any of 2 files: ")
    assert {"images/1.jpg", "images/1.png"} == {
        word.strip(",").removeprefix(f"{tmp_path}/") for word in one.split()[-2:]
    }
    assert two.startswith("  - line 3: 2 may be any of 2 files: ")
    assert three == f"  - line 5: no file {tmp_path / '4'}"


def test_a_file_beside_an_image_that_has_its_name_is_not_meant(tmp_path):
    save(tmp_path / "1.jpg")
    (tmp_path / "1.txt").write_text("x")
    (tmp_path / "1.xml").write_text("x")
    assert len(list_images(write_rows(tmp_path / "m.csv", [(1, "cat")], ("id", "label"))).entries) == 1


def test_where_none_is_found_the_folder_that_has_them_is_proposed_and_works(tmp_path):
    rows = images_of_two(tmp_path / "my shots" / "raw")
    path = write_rows(tmp_path / "m.csv", [(name.removesuffix(".png"), label) for name, label in rows])
    message = refusal(path)
    folder = tmp_path / "my shots" / "raw"
    assert message.endswith(
        f"\nImages of these names lie in {folder}. Try: scalepred inspect {path} --image-folder '{folder}'"
    )
    assert labels_by_name(list_images(path, layout=Layout(image_folder=str(folder)))) == sorted(rows)


def test_where_they_lie_in_several_folders_the_one_above_is_proposed_and_works(tmp_path):
    for at in range(6):
        save(tmp_path / f"part_{at % 2}" / f"{at}.jpg", noise(seed=at))
    path = write_rows(tmp_path / "m.csv", [(at, "cat") for at in range(6)], ("image_id", "label"))
    assert f"Images of these names lie in {tmp_path}. Try: " in refusal(path)
    assert len(list_images(path, layout=Layout(image_folder=str(tmp_path))).entries) == 6


@pytest.mark.parametrize("start", ["C:\\Users\\me\\data\\", "/home/someone/else/data/"])
def test_paths_of_another_computer_are_found_by_their_ends_in_the_folder_that_is_proposed(tmp_path, start):
    rows = images_of_two(tmp_path / "t")
    whole = [(start + (path.replace("/", "\\") if "\\" in start else path), label) for path, label in rows]
    path = write_rows(tmp_path / "t" / "m.csv", whole)
    assert f"Try: scalepred inspect {path} --image-folder {tmp_path / 't'}" in refusal(path)
    assert labels_by_name(list_images(path, layout=Layout(image_folder=str(tmp_path / "t")))) == sorted(rows)


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_list_and_files_in_two_unicode_forms_meet(tmp_path, listed, stored):
    save(tmp_path / unicodedata.normalize(stored, "café") / unicodedata.normalize(stored, "é.png"))
    path = write_rows(tmp_path / "m.csv", [(unicodedata.normalize(listed, "café/é.png"), "cat")])
    assert len(list_images(path).entries) == 1
