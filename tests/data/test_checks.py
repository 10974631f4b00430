"""The warnings say what a user should know, and the problem what keeps data from being used."""

from pathlib import Path

import numpy as np
from image_files import make_classes, noise, save, write_manifest
from PIL import Image
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.task import inspect, read_task


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
    inspection = inspect(folder)
    assert inspection.classes == {"a": 6, "b": 6}
    assert inspection.warnings == [
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
    inspection = inspect(tmp_path)
    assert inspection.problem == (
        "20 images leave none to validate on; 19 of 20 images count as near duplicates of another "
        f"and so share a split; if they are not, {hint}."
    )
    assert inspection.warnings == [
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
        inspection = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"))
        assert inspection.problem.startswith(f"12 images leave none to validate on; they lie in {count}, {hint}")


NO_TEST = "there are no test images, so there is no test accuracy: "
INSTEAD = (
    "give your own splits (folders train/val/test, or a `split` column), or finetune by --train-on train, which "
    "measures on the validation images"
)


def test_groups_that_leave_no_test_set_are_said_and_what_to_do(tmp_path):
    make_classes(tmp_path)
    rows = [f"{name}/{index}.png,{name},{name}{index % 2}" for name in "ab" for index in range(6)]
    for header, splits in (("path,label,group", ""), ("path,label,group,split", ",train")):
        inspection = inspect(write_manifest(tmp_path / "m.csv", [row + splits for row in rows], header=header))
        assert inspection.splits == {"train": 6, "val": 6, "test": 0}
        assert inspection.warnings == [
            f"{NO_TEST}images of a group share a split, and the groups are too few; make three groups or more of a "
            f"class, {INSTEAD}"
        ]


def test_classes_too_small_for_a_test_set_are_said_and_what_to_do(tmp_path):
    make_classes(tmp_path, n=4)
    assert read_task(tmp_path).inspection.warnings == [
        f"{NO_TEST}every class has fewer than 5 images; add images, {INSTEAD}"
    ]


def test_near_duplicates_that_leave_no_test_set_are_said_and_what_to_do(tmp_path):
    for at, name in enumerate("ab"):
        for index in range(6):
            save(tmp_path / name / f"{index}.png", noise(seed=[at, index % 2]))
    assert inspect(tmp_path).warnings == [
        "8 images repeat another one exactly or nearly; duplicates share a split",
        f"{NO_TEST}near duplicates share a split, and too few of each class differ; add images, {INSTEAD}",
    ]


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
    inspection = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,group"))
    assert inspection.warnings == [
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


def test_a_class_without_training_images_is_set_aside_and_refused_if_strict(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test", names="abc", n=3, seed=1)
    assert read_task(tmp_path / "t").inspection.warnings[0] == (
        "1 class is set aside with 3 images (no training images): 'c'"
    )
    assert refusal(tmp_path / "t", read_task, layout=Layout(strict=True)) == (
        f"{tmp_path / 't'}: no training images of 'c'; add some, or remove the class, or leave out --strict, which "
        "sets it aside."
    )


def test_a_class_of_one_test_image_is_not_said_to_be_kept_for_training(tmp_path):
    make_classes(tmp_path / "train")
    make_classes(tmp_path / "test", names="ab", n=3, seed=1)
    save(tmp_path / "test" / "c" / "0.png", noise(seed=99))
    inspection = inspect(tmp_path, layout=Layout(strict=True))
    assert inspection.warnings == []
    assert inspection.problem.startswith("no training images of 'c'; add some, ")


def where(task):
    """Return the splits of every image, by its class and the beginning of its name."""
    splits = {}
    for split in ("train", "val", "test"):
        for path in map(Path, getattr(task, split).paths):
            splits.setdefault((path.parent.name, path.name.split(".")[0]), set()).add(split)
    return splits


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


def test_an_image_under_two_classes_is_warned_of(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "b" / "again.png", noise(seed=[0, 0, 3]))
    assert inspect(folder).warnings == [
        "1 image repeats another one exactly or nearly; duplicates share a split",
        f"2 images have duplicates under another class, such as {folder / 'a' / '3.png'} (a) "
        f"and {folder / 'b' / 'again.png'} (b)",
    ]


def test_classes_of_which_one_has_over_ten_times_the_images_of_another_are_told(tmp_path):
    for folder, n in (("even", 10), ("uneven", 11)):
        for index in range(n):
            save(tmp_path / folder / "<b>large" / f"{index}.png", noise(seed=[n, index]))
        save(tmp_path / folder / "small" / "0.png", noise(seed=999))
    words = (
        "the classes are uneven: '<b>large' has 11 images and 'small' 1; --class-weights balanced has all of them "
        "weigh the same in training"
    )
    warnings = {name: inspect(tmp_path / name).warnings for name in ("even", "uneven")}
    assert [words in each for each in warnings.values()] == [False, True]


def test_dark_images_of_more_than_eight_bits_are_counted(tmp_path):
    make_classes(tmp_path)
    for index in range(3):
        save(tmp_path / "a" / f"{index}.png", noise(seed=index)[:, :, 0].astype(np.uint16) * (16 + index))
    (warning,) = inspect(tmp_path).warnings
    assert warning.startswith(f"{tmp_path / 'a' / '0.png'}: its brightest pixel is 16 of 255, so it is dark; where ")
    assert warning.endswith("save them as 16-bit PNG (3 images like it)")
