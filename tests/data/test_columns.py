"""The columns of a manifest are those that the user names, else those of usual names where these are clear."""

import pytest
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.layouts import list_images
from scalepred.data.task import inspect
from scalepred.errors import UsageError


@pytest.mark.parametrize(
    "header",
    [
        "filename,class",
        "image,label",
        "IMG,Lbl",
        "File Path,Species",
        "image_id,category",
        "id,target",
        "Filepaths,labels",
    ],
)
def test_usual_names_need_no_options(tmp_path, header):
    rows = images_of_two(tmp_path)
    listing = list_images(write_rows(tmp_path / "m.csv", rows, header.split(",")))
    assert labels_by_name(listing) == sorted(rows)
    assert listing.notes == []


def test_path_and_label_go_before_other_usual_names(tmp_path):
    rows = [(path, label, "x", "y") for path, label in images_of_two(tmp_path)]
    listing = list_images(write_rows(tmp_path / "m.csv", rows, ("path", "label", "image", "class")))
    assert {entry.label for entry in listing.entries} == {"cat", "dog"}
    assert listing.notes == ["m.csv: 2 further columns are not used: 'image', 'class'"]


def test_the_user_names_columns_and_the_others_are_told(tmp_path):
    rows = [(at, path, label, "phone") for at, (path, label) in enumerate(images_of_two(tmp_path))]
    path = write_rows(tmp_path / "m.csv", rows, ("no", "Where It Is", "what", "source"))
    inspection = inspect(path, layout=Layout(image_column="where it is", label_column="what"))
    assert inspection.classes == {"cat": 6, "dog": 6}
    assert inspection.warnings == ["m.csv: 2 further columns are not used: 'no', 'source'"]


def test_without_a_usual_name_the_error_names_the_columns_and_the_command(tmp_path):
    path = write_rows(tmp_path / "my m.csv", [], ("no", "picture file", "kind of thing"))
    assert refusal(path) == (
        f"{path} can't be used as it is:\n  - the column 'path' is missing\n  - the column 'label' is missing\n"
        "Its columns: 'no', 'picture file', 'kind of thing'. "
        f"Try: scalepred inspect '{path}' --image-column 'picture file' --label-column 'kind of thing'"
    )


def test_the_command_that_is_proposed_works(tmp_path):
    import shlex

    rows = [(label, path, 7) for path, label in images_of_two(tmp_path)]
    message = refusal(write_rows(tmp_path / "m.csv", rows, ("kind", "photo file", "size")))
    words = shlex.split(message.partition("Try: scalepred inspect ")[2])
    options = dict(zip(words[1::2], words[2::2], strict=True))
    layout = Layout(image_column=options["--image-column"], label_column=options["--label-column"])
    assert inspect(words[0], layout=layout).classes == {"cat": 6, "dog": 6}


@pytest.mark.parametrize(
    ("header", "which"), [("image,file,label", "'image' and 'file'"), ("path,class,species", "'class' and 'species'")]
)
def test_two_usual_names_are_not_guessed_between(tmp_path, header, which):
    message = refusal(write_rows(tmp_path / "m.csv", [], header.split(",")))
    assert f"{which} could each be the column of --" in message
    assert "Try: scalepred inspect " in message


def test_a_column_that_is_asked_for_and_missing_is_named(tmp_path):
    path = write_rows(tmp_path / "m.csv", [], ("path", "label"))
    message = refusal(path, layout=Layout(label_column="kind", group_column="patient"))
    assert "the column 'kind' of --label-column is missing" in message
    assert "the column 'patient' of --group is missing" in message


def test_a_column_of_groups_has_the_name_that_the_user_gives(tmp_path):
    rows = [(path, label, f"p{at // 3}") for at, (path, label) in enumerate(images_of_two(tmp_path))]
    path = write_rows(tmp_path / "m.csv", rows, ("path", "label", "patient"))
    assert {entry.group for entry in list_images(path).entries} == {None}
    asked = list_images(path, layout=Layout(group_column="patient"))
    assert {entry.group for entry in asked.entries} == {"p0", "p1", "p2", "p3"}


@pytest.mark.parametrize(
    ("name", "values", "split"), [("data set", "train", "train"), ("subset", "Valid", "val"), ("set", "A", None)]
)
def test_a_column_of_splits_may_have_another_name_if_it_holds_splits_alone(tmp_path, name, values, split):
    rows = [(path, label, values) for path, label in images_of_two(tmp_path)]
    listing = list_images(write_rows(tmp_path / "m.csv", rows, ("path", "label", name)))
    assert {entry.split for entry in listing.entries} == {split}


def test_labels_stay_the_text_that_they_are(tmp_path):
    images_of_two(tmp_path)
    rows = [("cat/0.png", "007"), ("cat/1.png", "7"), ("cat/2.png", "1.0"), ("cat/3.png", "1e3"), ("cat/4.png", "NA")]
    listing = list_images(write_rows(tmp_path / "m.csv", rows))
    assert [entry.label for entry in listing.entries] == ["007", "7", "1.0", "1e3", "NA"]


def test_a_column_for_each_class_is_read_with_its_zeros_and_ones(tmp_path):
    rows = [(path, int(label == "cat"), f"{int(label == 'dog')}.0", 0, "x") for path, label in images_of_two(tmp_path)]
    listing = list_images(write_rows(tmp_path / "m.csv", rows, ("file", "cat", "dog", "bird", "by")))
    assert {(path.split("/")[0], label) for path, label in labels_by_name(listing)} == {("cat", "cat"), ("dog", "dog")}
    assert listing.layout == "CSV manifest, a column for each class"
    assert listing.notes == ["m.csv: 1 further column is not used: 'by'"]


def test_an_image_of_several_classes_or_none_is_refused_by_name(tmp_path):
    images_of_two(tmp_path)
    rows = [("cat/0.png", 1, 1), ("cat/1.png", 0, 0), ("cat/2.png", 1, 0)]
    rows += [("dog/0.png", 0, 1)] * 300 + [("cat/3.png", 2, 0)]  # beyond the rows by which columns are known
    assert refusal(write_rows(tmp_path / "m.csv", rows, ("file", "cat", "dog"))).splitlines()[1:] == [
        "  - line 2: cat/0.png has 2 classes, 'cat', 'dog'; one label per image is needed",
        "  - line 3: cat/1.png has no class: each of its 2 columns is 0",
        "  - line 305: cat/3.png has '2' for 'cat'; the column of a class holds 0 or 1",
    ]


@pytest.mark.parametrize("option", ["image_column", "label_column", "group_column", "image_folder"])
def test_options_of_manifests_are_refused_where_there_is_none_or_they_are_empty(tmp_path, option):
    images_of_two(tmp_path / "t")
    name = {"group_column": "--group"}.get(option, f"--{option.replace('_', '-')}")
    with pytest.raises(UsageError, match=rf"^{name}: .* is read without a manifest, which this is for"):
        list_images(tmp_path / "t", layout=Layout(**{option: str(tmp_path)}))
    with pytest.raises(UsageError, match=rf"^{name} is empty: give a "):
        Layout(**{option: " "})


def test_one_column_can_not_be_both_and_a_folder_must_be_there():
    with pytest.raises(UsageError, match=r"^--image-column and --label-column are both 'x': give two columns"):
        Layout(image_column="x", label_column="x")
    with pytest.raises(UsageError, match=r"^--image-folder nowhere is no folder"):
        Layout(image_folder="nowhere")
