"""The lists of CUB beside the images are read, with their split, and nothing outside of the folder."""

import pytest
from image_files import make_classes, noise, save
from readings import refusal, skipped

from scalepred.data.task import inspect


def lines(path, rows):
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")


@pytest.fixture
def birds(tmp_path):
    """Return a folder in CUB's form: two classes of ten images, four of each for the test."""
    make_classes(tmp_path / "cub" / "images", names=("001.Auk", "002.Wren"), n=10)
    files = [f"{name}/{index}.png" for name in ("001.Auk", "002.Wren") for index in range(10)]
    lines(tmp_path / "cub" / "images.txt", [f"{at} {file}" for at, file in enumerate(files, 1)])
    lines(tmp_path / "cub" / "image_class_labels.txt", [f"{at} {1 + (at > 10)}" for at in range(1, 21)])
    lines(tmp_path / "cub" / "train_test_split.txt", [f"{at} {int(at % 10 > 3)}" for at in range(1, 21)])
    return tmp_path / "cub"


def test_the_lists_of_cub_give_classes_and_split(birds):
    inspection = inspect(birds)
    assert (inspection.layout, inspection.classes) == (
        "lists of CUB (images.txt)",
        {"001.Auk": 10, "002.Wren": 10},
    )
    assert inspection.splits == {"train": 10, "val": 2, "test": 8}
    assert inspection.warnings == []


def test_classes_txt_names_the_classes_and_without_the_split_there_is_none(birds):
    lines(birds / "classes.txt", ["1 Great Auk", "2 Wren", "3 Not here"])
    (birds / "train_test_split.txt").unlink()
    inspection = inspect(birds)
    assert inspection.classes == {"Great Auk": 10, "Wren": 10}
    assert inspection.splits["test"] == 4


def test_a_class_whose_images_lie_in_several_folders_is_called_by_its_number(birds):
    (birds / "images" / "x").mkdir()
    (birds / "images" / "001.Auk" / "0.png").rename(birds / "images" / "x" / "0.png")
    text = (birds / "images.txt").read_text()
    (birds / "images.txt").write_text(text.replace("001.Auk/0.png", "x/0.png"))
    assert inspect(birds).classes == {"002.Wren": 10, "1": 10}


def test_lists_in_a_wrapper_are_read_and_what_they_do_not_name_is_skipped(birds, tmp_path):
    (tmp_path / "w").mkdir()
    inner = birds.rename(tmp_path / "w" / "cub")
    (tmp_path / "w" / "attributes.txt").write_text("x")
    save(inner / "images" / "001.Auk" / "more.png", noise(seed=5))
    (inner / "images" / "loop").symlink_to("..")
    inspection = inspect(tmp_path / "w")
    assert inspection.classes == {"001.Auk": 10, "002.Wren": 10}
    assert sorted(skipped(inspection))[1] == ("more.png", "images.txt doesn't name it")


def test_all_that_is_wrong_with_the_lists_comes_in_one_error(birds):
    for name, rows in {
        "images.txt": ["21 ../../../etc/passwd", "22 /etc/passwd", "23 001.Auk/gone.png", "24", "1 other.png"],
        "image_class_labels.txt": ["21 1", "22 1", "23 1"],
        "train_test_split.txt": ["21 1", "22 2", "23 0"],
    }.items():
        with (birds / name).open("a") as file:
            file.write("\n".join(rows))
    assert refusal(birds).splitlines() == [
        f"{birds} can't be used as its lists are:",
        "  - images.txt, line 24: '24' is not of the form NUMBER TEXT",
        "  - images.txt, line 25: the number 1 comes twice",
        "  - images.txt names '../../../etc/passwd', which leads out of the folder",
        "  - train_test_split.txt has neither 1 nor 0 for image 22",
        "  - images.txt names '/etc/passwd', which leads out of the folder",
        "  - images.txt names '001.Auk/gone.png', and there is no such file",
    ]


def test_lists_that_are_no_text_and_classes_without_a_name_are_refused(birds):
    lines(birds / "classes.txt", ["1 Auk"])
    assert "classes.txt has no class 2" in refusal(birds)
    (birds / "images.txt").write_bytes(b"\xff\xfe\x00")
    assert refusal(birds).startswith(f"{birds / 'images.txt'} can't be read as UTF-8 text: ")
