"""Labels are read from the names of files by a pattern, and a pattern is proposed where names allow it."""

import os
import shlex
import unicodedata

import pytest
from image_files import noise, save
from readings import refusal, skipped

from scalepred.data.layout import Layout
from scalepred.data.patterns import group_reader, label_reader
from scalepred.data.proposals import proposal
from scalepred.data.task import inspect
from scalepred.errors import UsageError


def flat(folder, names):
    for index, name in enumerate(names):
        save(folder / f"{name}.png", noise(seed=[5, index])).rename(folder / name)
    return folder


def by(pattern):
    return Layout(label_pattern=pattern)


CATS = [f"{label}.{index}.jpg" for label in ("cat", "dog") for index in range(6)]


@pytest.mark.parametrize(
    ("pattern", "path", "label"),
    [
        ("{label}.*", "train/cat.0.jpg", "cat"),
        ("{label}.*", "cat.jpg", "cat"),
        ("{label}_*", "cat_001.jpg", "cat"),
        ("{label}_*", "cat.jpg", None),
        ("*_{label}", "001_cat.jpg", "cat"),
        ("*_{label}.png", "001_cat.jpg", None),
        ("IMG_*_{label}_*", "IMG_7_big cat_1.jpg", "big cat"),
        ("{label} (*", "cat (1).jpg", "cat"),
        ("{label}/*", "cat/deep/0.jpg", "cat"),
        ("*/{label}/*.jpg", "a/cat/0.jpg", "cat"),
        ("{label}[x]*", "cat[x]1.jpg", "cat"),
        (r"(.+)_\d+", "yorkshire_terrier_12.jpg", "yorkshire_terrier"),
        (r"^(?P<label>[a-z]+)(\d+)", "cat12.jpg", "cat"),
        (r"/([^/]+)_\d+.jpg$", "train/cat_1.jpg", "cat"),
        (r"^(\d+)", "007_x.jpg", "007"),
        (r"^(x*)", "cat.jpg", None),
        (r"(\n.)", "a\nb.jpg", "\nb"),
    ],
)
def test_a_pattern_reads_the_label_of_a_name_or_a_path(pattern, path, label):
    assert label_reader(pattern)(path) == label


FORMS = "give text with {label} in it and * for anything, such as '{label}.*', or a regular expression with a group"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("cat", f"--label-pattern 'cat' has 0 groups and none named 'label': {FORMS}."),
        ("", f"--label-pattern '' has 0 groups and none named 'label': {FORMS}."),
        ("(a)(b)", f"--label-pattern '(a)(b)' has 2 groups and none named 'label': {FORMS}."),
        ("{label}_{label}", f"--label-pattern '{{label}}_{{label}}' holds {{label}} more than once: {FORMS}."),
    ],
)
def test_a_pattern_that_can_not_read_labels_is_refused(pattern, words):
    with pytest.raises(UsageError) as caught:
        Layout(label_pattern=pattern)
    assert str(caught.value) == words


def test_a_pattern_for_groups_has_one_group_at_most():
    assert group_reader(r"patient(\d+)")("a/patient12_3.png") == "12"
    assert group_reader(r"clip\d")("a/clip3/0.png") == "clip3"
    assert group_reader(r"x(\d)?")("x.png") is None
    with pytest.raises(UsageError, match="has 2 groups: write "):
        Layout(group_pattern="(a)(b)")
    with pytest.raises(UsageError, match="--label-pattern '\\(' is no regular expression"):
        Layout(label_pattern="(")
    with pytest.raises(UsageError, match="--group-pattern '\\[' is no regular expression"):
        Layout(group_pattern="[")


def test_labels_are_read_from_names_and_what_does_not_fit_is_skipped(tmp_path):
    folder = flat(tmp_path / "t", [*CATS, "odd.png"])
    (folder / "README.md").write_text("x")
    inspection = inspect(folder, layout=by("{label}.*.jpg"))
    assert (inspection.layout, inspection.classes) == ("labels from names of files", {"cat": 6, "dog": 6})
    assert skipped(inspection) == [
        ("README.md", "no image"),
        ("odd.png", "--label-pattern '{label}.*.jpg' doesn't fit its name"),
    ]


@pytest.mark.parametrize("wrapper", ["{}", "{}/{}", "images/{}", "{}/images"])
def test_labels_are_read_from_names_under_splits(tmp_path, wrapper):
    for split, names in {"train": CATS, "val": ["cat.v.jpg", "dog.v.jpg"], "test": ["dog.t.jpg"]}.items():
        flat(tmp_path / "t" / wrapper.replace("{}", split), names)
    inspection = inspect(tmp_path / "t", layout=by("{label}.*"))
    assert inspection.splits == {"train": 12, "val": 2, "test": 1}
    assert inspection.classes == {"cat": 7, "dog": 8}


def test_images_beside_a_wrapper_are_read_and_those_beside_splits_are_told(tmp_path):
    flat(tmp_path / "t" / "images" / "more", CATS)
    flat(tmp_path / "t", ["cat.x.jpg"])
    assert inspect(tmp_path / "t", layout=by("{label}.*")).classes == {"cat": 7, "dog": 6}
    flat(tmp_path / "u" / "w" / "train", CATS)
    flat(tmp_path / "u", ["cat.x.jpg"])
    inspection = inspect(tmp_path / "u", layout=by("{label}.*"))
    assert inspection.classes == {"cat": 6, "dog": 6}
    assert skipped(inspection) == [("cat.x.jpg", "lies beside the folders of splits")]


def test_unlabelled_test_images_are_set_aside_by_a_pattern_that_fits_them(tmp_path):
    flat(tmp_path / "t" / "train", CATS)
    flat(tmp_path / "t" / "test1", ["1.jpg", "2.jpg"])
    inspection = inspect(tmp_path / "t", layout=by("{label}.*"))
    assert inspection.warnings[0] == "2 classes are set aside with 2 images (no training images): '1', '2'"
    assert inspection.problem is None


def test_a_pattern_that_fits_nothing_is_refused_with_examples_and_one_that_fits(tmp_path):
    folder = flat(tmp_path / "my images", CATS)
    assert refusal(folder, layout=by("{label}_*")) == (
        f"--label-pattern '{{label}}_*' fits none of 12 names in {folder}, such as 'cat.0.jpg', 'cat.1.jpg', "
        f"'cat.2.jpg'. The names of the files look like labels: `scalepred inspect '{folder}' --label-pattern "
        "'{label}.*'` reads 2 classes ('cat', 'dog')."
    )
    (tmp_path / "none").mkdir()
    assert refusal(tmp_path / "none", layout=by("{label}_*")) == f"{tmp_path / 'none'} holds no images."


PROPOSED = {
    "{label}.*": CATS,
    "{label}_*": ["cat_001.jpg", "cat_002.jpg", "dog_001.jpg", "dog_002.jpg"],
    "{label} *": ["cat (1).jpg", "cat (2).jpg", "dog (1).jpg", "dog (2).jpg"],
    r"(.+)_\d+": ["Abyssinian_1.jpg", "Abyssinian_2.jpg", "great_dane_1.jpg", "great_dane_2.jpg"],
    "*_{label}": ["001_cat.jpg", "002_cat.jpg", "003_dog.jpg", "004_dog.jpg"],
    r"^(.+?)[\W_]*\d+\)?\.\w+$": ["cat1.jpg", "cat2.jpg", "dog1.jpg", "dog2.jpg"],
}


@pytest.mark.parametrize("pattern", PROPOSED)
def test_the_pattern_that_is_proposed_reads_two_labels(pattern):
    names = PROPOSED[pattern]
    assert f"--label-pattern {shlex.quote(pattern)}`" in proposal("data", names)
    assert len({label_reader(pattern)(name) for name in names}) == 2


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{index:04d}.jpg" for index in range(9)],
        [f"{kind}_{index}.jpg" for kind in ("IMG", "DSC") for index in range(9)],
        [f"2024010{index % 3}_{index}.jpg" for index in range(9)],
        [f"{index}.jpg" for index in range(9)],
        [f"{kind}_{index}.png" for kind in ("train", "test") for index in range(9)],
        [f"{chr(97 + index)}x.jpg" for index in range(9)],
        [],
    ],
)
def test_nothing_is_proposed_where_names_tell_no_labels(names):
    assert proposal("data", names) == ""


def test_two_unicode_forms_of_a_name_are_one_label_and_undecodable_names_are_escaped(tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    names = [f"{form}_{form[-1].encode().hex()}{index}.png" for form in forms for index in range(3)]
    flat(tmp_path / "t", [*names, *(f"{os.fsdecode(bytes([0xFF]))}_{index}.png" for index in range(3))])
    assert inspect(tmp_path / "t", layout=by("{label}_*")).classes == {"café": 6, "\\udcff": 3}


def test_a_link_to_the_folder_above_a_pipe_and_hostile_names_do_no_harm(tmp_path):
    names = [f"{label}~{index}.png" for label in ("=1+1", "[red]", "'; drop", "two\nlines") for index in range(3)]
    folder = flat(tmp_path / "t", names)
    flat(tmp_path, CATS)
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe~1.png")
    inspection = inspect(folder, layout=by("{label}~*"))
    assert inspection.classes == {"'; drop": 3, "=1+1": 3, "[red]": 3, "two\nlines": 3}
    assert sorted(name for name, _ in skipped(inspection)) == ["pipe~1.png", "up"]


def test_patterns_and_depths_are_for_folders_alone(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n")
    for option, layout in {"--label-pattern": by("{label}.*"), "--class-depth": Layout(class_depth=2)}.items():
        with pytest.raises(UsageError, match=f"{option} reads labels from a folder's files, and .*m.csv is no folder."):
            inspect(tmp_path / "m.csv", layout=layout)
        with pytest.raises(UsageError, match="torchvision:MNIST is no folder"):
            inspect("torchvision:MNIST", layout=layout)
