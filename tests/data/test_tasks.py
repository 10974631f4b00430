"""Layouts, manifests, splits and identities of tasks, and what is said of data that is not as it should be."""

import json
import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import NASTY, encoded, make_classes, noise, png, save, write_manifest
from PIL import Image

from scalepred.data import decode as decode_module
from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.splits import split_images
from scalepred.data.task import inspect, read_task
from scalepred.errors import DataError, UsageError


def refusal(data, read=inspect, **options):
    with pytest.raises(DataError) as caught:
        read(data, **options)
    assert caught.value.exit_code == 3
    return str(caught.value)


def skipped(found):
    return [(Path(each.path).name, each.reason) for each in found.skipped]


# --- folders ----------------------------------------------------------------------------------------------------------


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
    found = inspect(tmp_path / "t")
    assert found.splits == {"train": 20, "val": 6, "test": 0}
    assert found.warnings == ["your splits have no test images, so there is no test accuracy"]


def test_train_alone_is_split_like_no_split(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    assert inspect(tmp_path / "t").splits == {"train": 12, "val": 4, "test": 4}


def test_a_split_folder_without_class_folders_is_empty_and_its_images_are_skipped(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    (tmp_path / "t" / "val").mkdir()
    save(tmp_path / "t" / "test" / "unlabelled.png")
    found = inspect(tmp_path / "t")
    assert found.splits == {"train": 12, "val": 4, "test": 4}
    assert skipped(found) == [("unlabelled.png", "lies beside the class folders, so it has no class")]


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
def test_classes_may_be_called_train_and_test_but_it_is_said(tmp_path, names):
    found = inspect(make_classes(tmp_path / "t", names=names))
    assert found.classes == dict.fromkeys(names, 6)
    assert found.warnings == [
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


def test_a_image_is_no_data_set(tmp_path):
    path = save(tmp_path / "one.png")
    message = refusal(path)
    assert message.startswith(f"{path} can't be read as a CSV manifest of UTF-8 text: 'utf-8' codec can't decode")
    assert message.endswith(" Give a folder of class folders, or a CSV file with the columns path and label.")


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
    found = inspect(folder)
    assert found.classes == {"a": 6, "b": 6}
    assert skipped(found) == [("shut", "folder can't be read: Permission denied")]
    assert found.warnings == ["the class 'shut' has no images and is left out"]
    assert find_tasks(folder) == [str(folder)]


def test_hidden_and_junk_folders_are_no_classes(tmp_path):
    folder = make_classes(tmp_path / "t")
    for junk in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "$RECYCLE.BIN"):
        save(folder / junk / "x.png")
        save(folder / "a" / junk / "y.png")
    (folder / ".DS_Store").write_bytes(b"x")
    found = inspect(folder)
    assert (found.classes, found.skipped) == ({"a": 6, "b": 6}, [])


# --- links ------------------------------------------------------------------------------------------------------------


def test_class_folders_may_be_links_to_elsewhere(tmp_path):
    elsewhere = make_classes(tmp_path / "elsewhere", names=("x", "y"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").symlink_to(elsewhere / "x")
    (tmp_path / "t" / "b").symlink_to(elsewhere / "y")
    found = inspect(tmp_path / "t")
    assert (found.classes, found.skipped) == ({"a": 6, "b": 6}, [])


def test_a_link_to_a_class_is_no_second_class_though_its_name_comes_first(tmp_path):
    folder = make_classes(tmp_path / "t", names=("b", "c"))
    (folder / "a").symlink_to(folder / "b")
    found = inspect(folder)
    assert found.classes == {"b": 6, "c": 6}
    assert skipped(found) == [("a", f"the same as {folder / 'b'}")]


@pytest.mark.parametrize("above", [".", "..", "../..", "/"])
def test_a_link_to_the_data_or_above_it_leads_nowhere(tmp_path, above):
    folder = make_classes(tmp_path / "up" / "t")
    make_classes(tmp_path / "up" / "other")
    (folder / "0first").symlink_to(above)
    (folder / "a" / "inner").symlink_to(Path(os.path.normpath(folder / above)))
    found = inspect(folder)
    assert found.classes == {"a": 6, "b": 6}
    assert {name for name, reason in skipped(found) if reason.startswith("the same as ")} == {"0first", "inner"}


def test_a_split_that_is_a_link_to_another_split_is_skipped(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    (tmp_path / "t" / "test").symlink_to("train")
    found = inspect(tmp_path / "t")
    assert found.splits == {"train": 12, "val": 4, "test": 4}
    assert [reason for _, reason in skipped(found)] == [
        f"the same as {tmp_path / 't' / 'train' / 'a'}",
        f"the same as {tmp_path / 't' / 'train' / 'b'}",
    ]


# --- names ------------------------------------------------------------------------------------------------------------


def test_class_names_are_kept_as_they_are(tmp_path):
    folder = make_classes(tmp_path / "t", names=NASTY)
    assert sorted(read_task(folder).classes) == sorted(NASTY)
    assert json.loads(json.dumps(inspect(folder).to_json()))["classes"] == dict.fromkeys(sorted(NASTY), 6)


@pytest.mark.parametrize(
    ("one", "other"),
    [(unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")), ("Cat", "cat"), ("x", "x ")],
)
def test_class_names_that_look_the_same_are_kept_apart_and_warned_of(tmp_path, one, other):
    found = inspect(make_classes(tmp_path / "t", names=(one, other, "b")))
    assert len(found.classes) == 3
    first, second = sorted((one, other))
    assert found.warnings == [f"the classes {first!r} and {second!r} look the same and are kept apart"]


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


# --- too little -------------------------------------------------------------------------------------------------------


def test_one_class_is_refused_with_what_is_needed(tmp_path):
    folder = make_classes(tmp_path / "t", names=("only",))
    assert refusal(folder, read_task) == (
        f"{folder}: found one class, 'only'; at least two classes with images are needed."
    )
    assert inspect(folder).problem == "found one class, 'only'; at least two classes with images are needed."


def test_empty_classes_and_classes_of_bad_images_are_left_out_and_said(tmp_path):
    folder = make_classes(tmp_path / "t")
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "0.png").write_bytes(b"x")
    found = inspect(folder)
    assert found.classes == {"a": 6, "b": 6}
    assert found.warnings == [
        "the class 'empty' has no images and is left out",
        "the class 'broken' has no usable image and is left out",
    ]


def test_a_class_that_is_empty_in_one_split_only_is_no_empty_class(tmp_path):
    make_classes(tmp_path / "t" / "train", n=10)
    make_classes(tmp_path / "t" / "test", names=("a",), n=3, seed=1)
    (tmp_path / "t" / "test" / "b").mkdir()
    assert inspect(tmp_path / "t").warnings == [
        "1 class has no test images, so the test accuracy says nothing of it (your splits give none): 'b'"
    ]


def test_bad_images_alone_are_no_data(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"x")
    assert refusal(tmp_path, read_task) == (
        f"{tmp_path}: found no usable image; at least two classes with images are needed."
    )


def test_single_images_stay_in_training_and_it_is_said(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "single" / "0.png", noise(seed=999))
    task = read_task(folder)
    number = task.classes.index("single")
    assert number in task.train.labels
    assert number not in [*task.val.labels, *task.test.labels]
    assert task.inspection.warnings == [
        "1 class has one image, which is kept for training, so no accuracy says anything of it: 'single'"
    ]
    for name in "uvwxyz":
        save(folder / name / "0.png", noise(seed=[7, ord(name)]))
    assert inspect(folder).warnings == [
        "7 classes have one image, which is kept for training, so no accuracy says anything of them: "
        "'single', 'u', 'v', 'w', 'x' … (7 in all)"
    ]


def test_two_images_in_all_are_too_few(tmp_path):
    folder = make_classes(tmp_path / "t", n=1)
    assert refusal(folder, read_task) == (
        f"{folder}: 2 images leave none to validate on; at least one class needs two different images, "
        "and every class should have five or more."
    )


def test_a_class_of_copies_leaves_none_to_validate_on(tmp_path):
    for name in "ab":
        for index in range(6):
            save(tmp_path / name / f"{index}.png", noise(seed=ord(name)))
    assert inspect(tmp_path).problem.startswith("12 images leave none to validate on; ")


def test_near_duplicates_that_leave_none_to_validate_on_are_said_and_what_to_do(tmp_path):
    image = np.asarray(smooth(0))
    for at, name in enumerate(("good", "scratch")):
        for index in range(10):
            scratched = image.copy()
            scratched[20 : 20 + 30 * at, 5 + 8 * index] = 0
            scratched[index, 0, at] ^= 1
            save(tmp_path / name / f"{index}.png", scratched)
    hint = "give your own splits (folders train/val/test, or a `split` column)"
    found = inspect(tmp_path)
    assert found.problem == (
        "20 images leave none to validate on; 19 of 20 images count as near duplicates of another "
        f"and so share a split; if they are not, {hint}."
    )
    assert found.warnings == [
        f"19 images repeat another one exactly or nearly; duplicates share a split; if they are not duplicates, {hint}",
        f"20 images have duplicates under another class, such as {tmp_path / 'good' / '0.png'} (good) "
        f"and {tmp_path / 'scratch' / '9.png'} (scratch)",
    ]


def test_two_near_duplicates_and_another_class_leave_none_to_validate_on(tmp_path):
    save(tmp_path / "a" / "0.png", smooth(0))
    save(tmp_path / "a" / "1.jpg", smooth(0))
    save(tmp_path / "b" / "0.png", noise())
    assert inspect(tmp_path).problem.startswith(
        "3 images leave none to validate on; 1 of 3 images counts as a near duplicate of another and so shares a "
    )


def test_groups_that_leave_none_to_validate_on_are_said_and_what_to_do(tmp_path):
    make_classes(tmp_path)
    hint = "and images of a group share a split; make smaller groups, or give your own splits"
    for groups, count in (("gg", "1 group"), ("gh", "2 groups")):
        rows = [
            f"{name}/{index}.png,{name},{group}" for name, group in zip("ab", groups, strict=True) for index in range(6)
        ]
        found = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"))
        assert found.problem.startswith(f"12 images leave none to validate on; they lie in {count}, {hint}")


def group_of(path):
    """Return the group of an image: one for the class c, two for d, none for others."""
    return {"c": "c", "d": f"d{int(path.stem, 36) % 2}"}.get(path.parent.name, "")


def test_classes_without_an_accuracy_are_listed_by_the_reason(tmp_path):
    make_classes(tmp_path, names="abcd", n=10)
    make_classes(tmp_path, names=("few1", "few2"), n=4, seed=1)
    for index in range(8):
        save(tmp_path / "burst" / f"{index}.jpg", smooth(0), quality=60 + 5 * index)
    rows = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{group_of(path)}" for path in sorted(tmp_path.rglob("*.*"))
    ]
    found = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"))
    assert found.warnings == [
        "7 images repeat another one exactly or nearly; duplicates share a split",
        "2 classes have no validation or test images, so the validation and test accuracies say nothing of them "
        "(all images are one group or near duplicates, which share a split): 'burst', 'c'",
        "1 class has no test images, so the test accuracy says nothing of it "
        "(too few groups, with near duplicates counted as one): 'd'",
        "2 classes have no test images, so the test accuracy says nothing of them "
        "(fewer than 5 images to draw from): 'few1', 'few2'",
    ]


def test_many_classes_without_an_accuracy_are_a_line(tmp_path):
    make_classes(tmp_path, n=10)
    make_classes(tmp_path, names="cdefghi", n=4, seed=1)
    assert inspect(tmp_path).warnings == [
        "7 classes have no test images, so the test accuracy says nothing of them "
        "(fewer than 5 images to draw from): 'c', 'd', 'e', 'f', 'g' … (7 in all)"
    ]


def test_a_class_of_one_training_image_beside_its_own_test_images_has_none_to_validate_on(tmp_path):
    make_classes(tmp_path / "train")
    make_classes(tmp_path / "test", names="abc", n=3, seed=1)
    save(tmp_path / "train" / "c" / "0.png", noise(seed=99))
    assert inspect(tmp_path).warnings == [
        "1 class has no validation images, so the validation accuracy says nothing of it "
        "(fewer than 2 images to draw from): 'c'"
    ]


def test_a_class_without_training_images_is_refused(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test", names="abc", n=3, seed=1)
    assert refusal(tmp_path / "t", read_task) == (
        f"{tmp_path / 't'}: no training images of 'c'; add some, or remove the class."
    )


# --- bad images and notes -------------------------------------------------------------------------------------------


def test_bad_images_are_skipped_by_name_and_the_rest_goes_on(tmp_path):
    folder = make_classes(tmp_path / "t")
    whole = encoded(Image.fromarray(noise(200, 200)), "JPEG")
    (folder / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "empty.jpg").touch()
    (folder / "b" / "huge.png").write_bytes(png(13_000, 13_000))
    task = read_task(folder)
    assert task.record.label_counts == {"a": 6, "b": 6}
    (cut, reason), *others = skipped(task.inspection)
    assert cut == "cut.jpg"
    assert reason.startswith("damaged: image file is truncated")
    assert others == [("empty.jpg", "empty file"), ("huge.png", "169.0 megapixels, over the limit of 64")]


def test_on_bad_image_fail_names_every_bad_image(tmp_path):
    folder = make_classes(tmp_path / "t")
    (folder / "a" / "empty.png").touch()
    (folder / "b" / "text.png").write_text("x")
    (folder / "loose.txt").write_text("skipped, but no bad image")
    assert refusal(folder, read_task, on_bad_image="fail") == (
        f"{folder} holds bad images; remove them, or go on without them by --on-bad-image skip:\n"
        f"  - {folder / 'a' / 'empty.png'}: empty file\n"
        f"  - {folder / 'b' / 'text.png'}: not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF"
    )
    with pytest.raises(UsageError, match="on_bad_image is 'skip' or 'fail', not 'ignore'"):
        read_task(folder, on_bad_image="ignore")


def test_the_limit_in_megapixels_is_the_callers(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "a" / "large.png", noise(200, 200))
    assert inspect(folder, max_megapixels=0.03).classes == {"a": 6, "b": 6}
    assert inspect(folder, max_megapixels=0.05).classes == {"a": 7, "b": 6}


def test_notes_of_a_kind_are_one_warning(tmp_path):
    folder = make_classes(tmp_path / "t")
    for index in range(3):
        frames = [Image.fromarray(noise(seed=[9, index, frame])) for frame in range(2)]
        save(folder / "a" / f"moving{index}.gif", frames[0], save_all=True, append_images=frames[1:])
        save(folder / "b" / f"large{index}.jpg", noise(300, 400 + 2 * index, seed=[8, index]))
    save(folder / "b" / "odd.png", noise(seed=77), exif=b"Exif\x00\x00broken")
    assert inspect(folder, max_megapixels=0.1).warnings == [
        f"{folder / 'a' / 'moving0.gif'}: {decode_module.ANIMATED} (3 images like it)",
        f"{folder / 'b' / 'large0.jpg'}: decoded at 200 x 150 instead of 400 x 300 px (3 images like it)",
        f"{folder / 'b' / 'odd.png'}: {decode_module.NO_EXIF}",
    ]


def test_progress_is_told_of_every_image(tmp_path):
    seen = []
    inspect(make_classes(tmp_path / "t"), on_progress=lambda *n: seen.append(n))
    assert seen == [(done, 12) for done in range(1, 13)]


# --- duplicates and identity ------------------------------------------------------------------------------------------


def where(task):
    """Return the splits of every image, by its class and the beginning of its name."""
    found = {}
    for split in ("train", "val", "test"):
        for path in map(Path, getattr(task, split).paths):
            found.setdefault((path.parent.name, path.name.split(".")[0]), set()).add(split)
    return found


def smooth(seed, px=96):
    """Return an image whose halves and qualities look alike, as photographs' do."""
    coarse = Image.fromarray(noise(4, 4, seed))
    return coarse.resize((px, px), Image.Resampling.BICUBIC)


def test_exact_and_near_duplicates_share_a_split(tmp_path):
    for at, name in enumerate("ab"):
        for index in range(10):
            image = smooth([at, index])
            save(tmp_path / name / f"{index}.png", image)
            save(tmp_path / name / f"{index}.copy.bmp", image)
            save(tmp_path / name / f"{index}.small.jpg", image.resize((48, 48)), quality=85)
    task = read_task(tmp_path)
    assert all(len(splits) == 1 for splits in where(task).values())
    assert (task.inspection.n_exact_duplicates, task.inspection.n_near_duplicates) == (20, 20)
    assert task.inspection.warnings == ["40 images repeat another one exactly or nearly; duplicates share a split"]


def test_a_users_own_split_is_kept_and_duplicates_across_it_are_warned_of(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test")
    task = read_task(tmp_path / "t")
    assert task.record.n_test == 12
    assert task.inspection.warnings == [
        "12 images repeat another one exactly or nearly",
        "24 images have duplicates in another split of your own; the splits are kept, "
        "and accuracies will look better than they are",
    ]


def test_a_image_under_two_classes_is_warned_of(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "b" / "again.png", noise(seed=[0, 0, 3]))
    assert inspect(folder).warnings == [
        "1 image repeats another one exactly or nearly; duplicates share a split",
        f"2 images have duplicates under another class, such as {folder / 'a' / '3.png'} (a) "
        f"and {folder / 'b' / 'again.png'} (b)",
    ]


def test_names_places_and_order_of_files_are_no_part_of_a_tasks_identity(tmp_path):
    before = read_task(make_classes(tmp_path / "t"))
    for path in (tmp_path / "t").rglob("*.png"):
        path.rename(path.with_name(f"{(int(path.stem) * 7) % 11}-renamed.bmp"))
    (tmp_path / "t").rename(tmp_path / "moved")
    after = read_task(tmp_path / "moved")
    assert after.record.task_id == before.record.task_id
    for split in ("train", "val", "test"):
        assert np.array_equal(getattr(before, split).images, getattr(after, split).images)
        assert np.array_equal(getattr(before, split).labels, getattr(after, split).labels)


def test_changed_pixels_labels_or_splits_are_another_task(tmp_path):
    folder = make_classes(tmp_path / "t")
    before = read_task(folder).record
    other_split = read_task(folder, split_seed=1).record
    assert other_split.task_id != before.task_id
    assert other_split.data_hash == before.data_hash
    (folder / "a").rename(folder / "other")
    renamed = read_task(folder).record
    assert renamed.data_hash != before.data_hash
    (folder / "other").rename(folder / "a")
    pixels = noise(seed=[0, 0, 0])
    pixels[3, 3, 1] ^= 1
    save(folder / "a" / "0.png", pixels)
    touched = read_task(folder).record
    assert len({before.task_id, renamed.task_id, touched.task_id}) == 3


def test_a_task_says_what_it_holds(tmp_path):
    task = read_task(make_classes(tmp_path / "t", n=10), image_px=20)
    assert task.train.images.shape == (12, 3, 20, 20)
    assert task.train.images.dtype == np.uint8
    assert task.train.labels.dtype == np.int64
    assert (task.record.n_classes, task.record.n_train, task.record.n_val, task.record.n_test) == (2, 12, 4, 4)
    assert (task.record.median_width_px, task.record.median_height_px) == (32, 24)
    assert [Path(path).parent.name for path in task.test.paths] == [task.classes[label] for label in task.test.labels]


# --- manifests --------------------------------------------------------------------------------------------------------


def test_a_manifest_and_the_folders_it_lists_are_the_same_task(tmp_path):
    make_classes(tmp_path / "t")
    rows = [f"t/{name}/{index}.png,{name}" for name in "ba" for index in range(6)]
    path = write_manifest(tmp_path / "m.csv", rows)
    assert read_task(path).record.task_id == read_task(tmp_path / "t").record.task_id
    assert read_task(path).record.name == "m"


def test_all_problems_of_a_manifest_come_in_one_error(tmp_path):
    make_classes(tmp_path)
    rows = ["a/0.png,a,train", "a/0.png,b,train", "none.png,a,", "a/1.png, ,", "a/2.png,a,exam", ",a,"]
    rows += ["a,a,", "a/3.png,a,train,7", "a/4.png,a,train", "a/4.png,a,test", "a/5\0.png,a,"]
    path = write_manifest(tmp_path / "m.csv", rows, header="path,label,split")
    assert refusal(path) == (
        f"{path} can't be used as it is:\n"
        "  - line 3: a/0.png has two labels, 'a' and 'b'\n"
        f"  - line 4: no file {tmp_path / 'none.png'}\n"
        "  - line 5: the label of a/1.png is empty\n"
        "  - line 6: the split 'exam' is unknown; known are train, val and test\n"
        "  - line 7: the path is empty\n"
        f"  - line 8: no file {tmp_path / 'a'}\n"
        "  - line 9: it has more fields than there are columns\n"
        "  - line 11: a/4.png is in two splits, train and test\n"
        "  - line 12: it holds a NUL byte\n"
        f"  - line 12: no file {str(tmp_path / 'a')!r:.{len(str(tmp_path / 'a')) + 1}}/5\\x00.png'"
    )


def test_hundreds_of_problems_are_counted_and_not_all_shown(tmp_path):
    message = refusal(write_manifest(tmp_path / "m.csv", [f"{index}.png,a" for index in range(500)]))
    assert len(message.splitlines()) == 22
    assert message.endswith("\n  … and 480 more")


def test_columns_that_are_unknown_missing_or_doubled_are_named_together(tmp_path):
    path = write_manifest(tmp_path / "m.csv", [], header="file,label,label,weight")
    assert refusal(path) == (
        f"{path} can't be used as it is:\n"
        "  - the column 'path' is missing\n"
        "  - the column 'file' is unknown; known are path, label, split, group\n"
        "  - the column 'weight' is unknown; known are path, label, split, group\n"
        "  - the column 'label' comes twice"
    )
    (tmp_path / "m.csv").write_text("")
    assert "the column 'path' is missing\n  - the column 'label' is missing" in refusal(path)


def test_a_manifest_without_rows_is_no_data(tmp_path):
    assert refusal(write_manifest(tmp_path / "m.csv", []), read_task).endswith(
        "found no usable image; at least two classes with images are needed."
    )


@pytest.mark.parametrize(
    "content", [b"path,label\n\xff,a\n", b'path,label\n"a.png,a\n', b"path,label\n" + b"x" * 200_000 + b",a\n"]
)
def test_what_is_no_csv_of_utf_8_is_refused(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content)
    assert refusal(tmp_path / "m.csv").startswith(
        f"{tmp_path / 'm.csv'} can't be read as a CSV manifest of UTF-8 text: "
    )


def test_blanks_capitals_and_a_byte_order_mark_are_no_part_of_a_manifest(tmp_path):
    make_classes(tmp_path / "t")
    rows = [
        f"t/{name}/{index}.png, {name} , {'TEST' if index == 0 else 'Train'}" for name in "ab" for index in range(6)
    ]
    path = write_manifest(tmp_path / "m.csv", ["", *rows, ""], header="\ufeffPath, label,Split ")
    found = inspect(path)
    assert found.classes == {"a": 6, "b": 6}
    assert found.splits["test"] == 2


def test_labels_in_quotes_may_hold_anything(tmp_path):
    make_classes(tmp_path / "t")
    rows = [f't/{name}/{index}.png,"{name}, ""so"" to\nspeak"' for name in "ab" for index in range(6)]
    assert list(inspect(write_manifest(tmp_path / "m.csv", rows)).classes) == [
        'a, "so" to\nspeak',
        'b, "so" to\nspeak',
    ]


def test_a_file_listed_twice_counts_once_however_it_is_spelled(tmp_path):
    make_classes(tmp_path / "t", n=5)
    (tmp_path / "t" / "link.png").symlink_to(tmp_path / "t" / "a" / "0.png")
    rows = [f"t/{name}/{index}.png,{name}" for name in "ab" for index in range(5)]
    rows += ["t/a/0.png,a", "./t/a/0.png,a", "t/../t/a/0.png,a", "t/link.png,a", f"{tmp_path}/t/a/0.png,a"]
    listing = list_images(write_manifest(tmp_path / "m.csv", rows))
    assert len(listing.entries) == 10
    assert listing.entries[0].path == str(tmp_path / "t" / "a" / "0.png")
    message = refusal(write_manifest(tmp_path / "m.csv", ["t/a/0.png,a", "t/link.png,b"]))
    assert message.endswith("line 3: t/link.png has two labels, 'a' and 'b'")


def test_groups_of_a_manifest_share_a_split_and_a_file_has_one_group(tmp_path):
    make_classes(tmp_path, n=20)
    rows = [f"{name}/{index}.png,{name},patient{index // 2}" for name in "ab" for index in range(20)]
    task = read_task(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"))
    groups = [{int(Path(path).stem) // 2 for path in getattr(task, split).paths} for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all(groups)
    message = refusal(write_manifest(tmp_path / "m.csv", ["a/0.png,a,x", "a/0.png,a,y"], header="path,label,group"))
    assert message.endswith("line 3: a/0.png is in two groups, 'x' and 'y'")


def test_images_without_a_split_among_others_with_one_count_as_training(tmp_path):
    make_classes(tmp_path, n=5)
    rows = [
        f"{name}/{index}.png,{name},{['', 'val', 'test', 'train', ''][index]}" for name in "ab" for index in range(5)
    ]
    found = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split"))
    assert found.splits == {"train": 6, "val": 2, "test": 2}
    assert found.warnings == ["4 images are without a split and taken for training"]


def test_groups_in_several_of_a_users_own_splits_are_kept_and_warned_of(tmp_path):
    make_classes(tmp_path, n=12)
    splits = ["train", "val", "test", "train"]
    rows = [f"{name}/{at}.png,{name},{splits[at % 4]},p{at // 2}" for name in "ab" for at in range(12)]
    found = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group"))
    assert found.splits == {"train": 12, "val": 6, "test": 6}
    assert found.warnings == [
        "6 groups lie in several of your splits; the splits are kept, and accuracies will look better than they are: "
        "'p0', 'p1', 'p2', 'p3', 'p4' … (6 in all)"
    ]
    rows = [f"{name}/{at}.png,{name},{splits[at % 3]},{'p' if at < 2 else at}" for name in "ab" for at in range(12)]
    assert inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group")).warnings[0] == (
        "1 group lies in several of your splits; the splits are kept, and accuracies will look better than they are: "
        "'p'"
    )


def test_a_image_without_a_split_takes_the_only_one_of_its_group(tmp_path):
    make_classes(tmp_path, n=8)
    given = ["train", "", "test", "", "train", "test", "", ""]  # the third group has two splits, the last has none
    rows = [f"{name}/{at}.png,{name},{split},{name}{at // 2}" for name in "ab" for at, split in enumerate(given)]
    path = write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group")
    task = read_task(path)
    assert {Path(test).stem for test in task.test.paths} == {"2", "3", "5"}
    assert task.inspection.warnings == [
        "2 groups lie in several of your splits; the splits are kept, and accuracies will look better than they are: "
        "'a2', 'b2'",
        "4 images are without a split and taken for training",
    ]
    spelt = [row.replace("/3.png,a,,", "/3.png,a,test,").replace("/3.png,b,,", "/3.png,b,test,") for row in rows]
    again = write_manifest(tmp_path / "again.csv", spelt, header="path,label,split,group")
    assert read_task(again).record.task_id == task.record.task_id


def test_a_manifest_in_a_task_folder_takes_the_folders_name_however_it_is_given(tmp_path):
    write_manifest(make_classes(tmp_path / "t") / "manifest.csv", ["a/0.png,a", "b/0.png,b"])
    for data in (tmp_path / "t", tmp_path / "t" / "manifest.csv"):
        listing = list_images(data)
        assert (listing.name, listing.origin, len(listing.entries)) == ("t", "t", 2)


# --- names of tasks, folders of tasks ---------------------------------------------------------------------------------


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
    assert [Path(found).name for found in find_tasks(tmp_path / "all")] == ["four", "one", "three", "two"]
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


# --- splits -----------------------------------------------------------------------------------------------------------


@st.composite
def labelled(draw):
    """Draw labels and groups of up to 60 images; those of a group may have the same content, others never have."""
    n = draw(st.integers(2, 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    copies = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    hashes = [f"{group:02d}-{copy}" for group, copy in zip(groups, copies, strict=True)]
    return np.array(labels, dtype=object), np.array(groups), hashes


@settings(max_examples=100, deadline=None)
@given(labelled(), st.integers(0, 5))
def test_groups_never_straddle_and_every_class_keeps_a_training_image(data, seed):
    labels, groups, hashes = data
    codes = split_images(labels, groups, hashes, seed=seed)
    assert all(len(set(codes[groups == group])) == 1 for group in set(groups))
    assert set(labels[codes == 0]) == set(labels)
    assert np.array_equal(codes, split_images(labels, groups, hashes, seed=seed))


@settings(max_examples=60, deadline=None)
@given(labelled(), st.randoms())
def test_the_order_of_files_and_the_numbers_of_groups_decide_nothing(data, random):
    labels, groups, hashes = data
    order = list(range(len(labels)))
    random.shuffle(order)
    numbers = np.array(random.sample(range(100), 61))
    straight = split_images(labels, groups, hashes, seed=1)
    mixed = split_images(labels[order], numbers[groups[order]], [hashes[i] for i in order], seed=1)
    for content in {(h, label) for h, label in zip(hashes, labels, strict=True)}:
        one = Counter(straight[i] for i in range(len(order)) if (hashes[i], labels[i]) == content)
        other = Counter(mixed[at] for at, i in enumerate(order) if (hashes[i], labels[i]) == content)
        assert one == other


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(20, 80), min_size=2, max_size=4), st.integers(0, 9))
def test_every_class_is_split_in_a_fifth_and_a_fifth_of_the_rest(counts, seed):
    labels = np.repeat(np.array([*"abcd"], dtype=object)[: len(counts)], counts)
    codes = split_images(labels, np.arange(len(labels)), [f"{i:05d}" for i in range(len(labels))], seed=seed)
    for name, n in Counter(labels).items():
        train, val, test = (int((codes[labels == name] == code).sum()) for code in range(3))
        assert test == round(0.2 * n)
        assert val == round(0.2 * (n - test))
        assert 0.6 <= train / n <= 0.68


@settings(max_examples=60, deadline=None)
@given(labelled(), st.data())
def test_a_users_own_splits_are_kept(data, drawn):
    labels, groups, hashes = data
    n = len(labels)
    own = drawn.draw(st.lists(st.sampled_from([None, "train", "val", "test"]), min_size=n, max_size=n))
    codes = split_images(labels, groups, hashes, seed=0, given=own)
    for code, name in zip(codes, own, strict=True):
        if name in ("val", "test"):
            assert code == ("train", "val", "test").index(name)
        else:
            assert code == 0 or not {"val"} <= set(own)
    if "val" in own:
        assert Counter(codes)[1] == own.count("val")
    elif "test" in own:
        assert Counter(codes)[2] == own.count("test")


def test_another_seed_splits_otherwise():
    labels, hashes = np.array(["a", "b"] * 20, dtype=object), [f"{i:03d}" for i in range(40)]
    first, other = (split_images(labels, np.arange(40), hashes, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, other)


def test_the_split_is_what_it_was_when_the_first_tasks_were_harvested():
    labels, hashes = np.array(["a", "b"] * 10, dtype=object), [f"{i:03d}" for i in range(20)]
    codes = split_images(labels, np.arange(20), hashes, seed=0)
    assert "".join(map(str, codes)) == "00112020000102001002"
