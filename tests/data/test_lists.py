"""Lists without a header are read: a path, and the label at the end of the line."""

import pytest
from image_files import save
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layouts import list_images


@pytest.mark.parametrize("delimiter", [" ", "   ", "\t", ",", ";", "|"])
@pytest.mark.parametrize("name", ["train.txt", "train.csv", "train"])
def test_lines_of_path_and_label_need_no_header(tmp_path, delimiter, name):
    rows = images_of_two(tmp_path)
    listing = list_images(write_rows(tmp_path / name, rows, (), delimiter=delimiter))
    assert labels_by_name(listing) == sorted(rows)
    assert (listing.name, listing.layout) == ("train", "list of paths and labels")


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_the_label_may_come_first_or_behind_a_number(tmp_path, delimiter):
    rows = images_of_two(tmp_path)
    first = write_rows(tmp_path / "first.csv", [(label, path) for path, label in rows], (), delimiter=delimiter)
    assert labels_by_name(list_images(first)) == sorted(rows)
    numbered = [(at, label, path) for at, (path, label) in enumerate(rows)]
    third = write_rows(tmp_path / "third.lst", numbered, (), delimiter=delimiter)
    assert labels_by_name(list_images(third)) == sorted(rows)


def test_more_cells_without_a_header_ask_for_one(tmp_path):
    rows = [(path, label, "phone", 7) for path, label in images_of_two(tmp_path)]
    assert refusal(write_rows(tmp_path / "m.csv", rows, ())).endswith(
        "They name an image, so it has no header: put a line such as path,label above the first."
    )


def test_a_path_may_have_blanks_and_the_label_is_the_last_word(tmp_path):
    for at in range(3):
        save(tmp_path / "my images" / f"no {at}.jpg")
    rows = [(f"my images/no {at}.jpg", at) for at in range(3)]
    listing = list_images(write_rows(tmp_path / "list.txt", rows, (), delimiter=" "))
    assert [entry.label for entry in listing.entries] == ["0", "1", "2"]


def test_labels_may_have_blanks_where_tabs_are_between(tmp_path):
    rows = [(path, f"a {label}") for path, label in images_of_two(tmp_path)]
    listing = list_images(write_rows(tmp_path / "list.txt", rows, (), delimiter="\t"))
    assert {entry.label for entry in listing.entries} == {"a cat", "a dog"}


def test_a_header_of_usual_names_is_no_image(tmp_path):
    rows = images_of_two(tmp_path)
    listing = list_images(write_rows(tmp_path / "list.txt", rows, ("filename", "label"), delimiter=" "))
    assert labels_by_name(listing) == sorted(rows)


def test_a_line_without_a_label_and_one_without_a_file_are_named(tmp_path):
    images_of_two(tmp_path)
    path = write_rows(tmp_path / "list.txt", [("cat/0.png", 0), ("cat/1.png",), ("gone.png", 1)], (), delimiter=" ")
    assert refusal(path).splitlines()[1:] == [
        "  - line 2: the label of cat/1.png is empty",
        f"  - line 3: no file {tmp_path / 'gone.png'}",
    ]


def test_a_list_of_paths_alone_says_that_labels_are_missing(tmp_path):
    rows = [(path,) for path, _ in images_of_two(tmp_path)]
    message = refusal(write_rows(tmp_path / "list.txt", rows, ()))
    assert "the column 'label' is missing" in message
