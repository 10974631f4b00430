"""Classes are set aside where training lacks them, where they are too small, and where the user excludes them."""

import unicodedata

import pytest
from image_files import make_classes, noise, save, write_manifest
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.task import inspect, read_task
from scalepred.errors import UsageError


def aside(inspection):
    return [(each.label, each.n_images, each.reason) for each in inspection.set_aside]


def test_a_class_that_training_lacks_is_set_aside_and_counted(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "val", names="abc", n=2, seed=1)
    make_classes(tmp_path / "t" / "test", names="bd", n=3, seed=2)
    task = read_task(tmp_path / "t")
    assert task.classes == ("a", "b")
    assert aside(task.inspection) == [("c", 2, "no training images"), ("d", 3, "no training images")]
    assert task.inspection.to_json()["set_aside"][0] == {"class": "c", "images": 2, "reason": "no training images"}
    assert task.inspection.warnings[0] == "2 classes are set aside with 5 images (no training images): 'c', 'd'"
    assert task.inspection.splits == {"train": 12, "val": 4, "test": 3}
    assert {int(label) for label in task.test.labels} == {1}


def test_setting_a_class_aside_gives_the_task_that_never_had_it(tmp_path):
    for name, extra in (("t", "ac"), ("u", "a")):
        make_classes(tmp_path / name / "train")
        make_classes(tmp_path / name / "test", names=extra, n=3, seed=1)
    assert read_task(tmp_path / "t").record.task_id == read_task(tmp_path / "u").record.task_id
    assert inspect(tmp_path / "u").set_aside == []


def test_a_class_whose_training_images_are_all_damaged_is_set_aside(tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test", names="abc", n=3, seed=1)
    (tmp_path / "t" / "train" / "c").mkdir()
    (tmp_path / "t" / "train" / "c" / "0.png").write_bytes(b"x")
    inspection = inspect(tmp_path / "t")
    assert aside(inspection) == [("c", 3, "no training images")]
    assert not any("no usable image" in warning for warning in inspection.warnings)


def test_a_class_that_differs_from_trainings_by_case_is_set_aside_with_the_likely_one(tmp_path):
    make_classes(tmp_path / "t" / "train", names=("Cat", "dog"))
    make_classes(tmp_path / "t" / "val", names=("cat", "dog"), n=2, seed=1)
    assert inspect(tmp_path / "t").warnings[0] == (
        "1 class is set aside with 2 images (no training images): 'cat' (training has 'Cat')"
    )


def test_strict_sets_nothing_aside(tmp_path):
    rows = ["a/0.png,a,train", "a/1.png,a,train", "b/0.png,b,train", "b/1.png,b,val", "c/0.png,c,test"]
    make_classes(tmp_path, names="abc")
    manifest = write_manifest(tmp_path / "m.csv", rows, header="path,label,split")
    assert aside(inspect(manifest)) == [("c", 1, "no training images")]
    strict = inspect(manifest, layout=Layout(strict=True))
    assert strict.set_aside == []
    assert strict.problem.startswith("no training images of 'c'; add some, or remove the class, or leave out --strict")


def test_splits_without_any_training_image_are_an_error_as_before(tmp_path):
    make_classes(tmp_path)
    rows = [f"{name}/{index}.png,{name},{'test' if index else 'val'}" for name in "ab" for index in range(6)]
    manifest = write_manifest(tmp_path / "m.csv", rows, header="path,label,split")
    assert refusal(manifest, read_task).endswith("no training images of 'a', 'b'; add some, or remove the class.")


def test_excluded_classes_are_left_out_without_being_read(tmp_path):
    make_classes(tmp_path / "t", names="abc")
    (tmp_path / "t" / "c" / "bad.png").write_bytes(b"x")
    (tmp_path / "t" / "empty").mkdir()
    inspection = inspect(tmp_path / "t", layout=Layout(exclude_classes=("c", "empty")))
    assert (inspection.classes, inspection.skipped) == ({"a": 6, "b": 6}, [])
    assert aside(inspection) == [("c", 7, "excluded"), ("empty", 0, "excluded")]
    assert inspection.warnings == ["2 classes are set aside with 7 images (excluded): 'c', 'empty'"]


def test_an_excluded_class_may_be_written_in_another_unicode_form(tmp_path):
    names = [unicodedata.normalize("NFD", "café"), "b", "c"]
    layout = Layout(exclude_classes=(unicodedata.normalize("NFC", "café"),))
    assert inspect(make_classes(tmp_path / "t", names=names), layout=layout).classes == {"b": 6, "c": 6}


def test_an_excluded_class_that_there_is_not_is_refused_with_those_nearly_so(tmp_path):
    folder = make_classes(tmp_path / "t", names=("Cat", "dog", "horse"), n=1)
    with pytest.raises(UsageError) as caught:
        inspect(folder, layout=Layout(exclude_classes=("cats",)))
    assert str(caught.value) == (
        "--exclude-class 'cats' is none of the classes: 'Cat', 'dog', 'horse'. Did you mean 'Cat'?"
    )
    with pytest.raises(UsageError, match=r"--exclude-class '7' is none of the classes: 'Cat', 'dog', 'horse'\.$"):
        inspect(folder, layout=Layout(exclude_classes=("7",)))


def test_classes_of_few_usable_images_are_left_out_and_told(tmp_path):
    folder = make_classes(tmp_path / "t")
    save(folder / "few" / "0.png", noise(seed=77))
    (folder / "few" / "bad.png").write_bytes(b"x")
    inspection = inspect(folder, layout=Layout(min_images=2))
    assert inspection.classes == {"a": 6, "b": 6}
    assert inspection.warnings == ["1 class is set aside with 1 image (fewer than 2 images): 'few'"]
    assert inspect(folder, layout=Layout(min_images=7)).problem == (
        "found no usable image; at least two classes with images are needed. Set aside: 3 classes."
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_images": 0}, "--min-images is a whole number of 1 or more, not 0."),
        ({"min_images": True}, "--min-images is a whole number of 1 or more, not True."),
        ({"exclude_classes": "cat"}, "exclude_classes is a tuple of names, such as ('cat', 'dog'), not 'cat'."),
    ],
)
def test_values_that_say_nothing_of_classes_are_refused(values, words):
    with pytest.raises(UsageError) as caught:
        Layout(**values)
    assert str(caught.value) == words


def test_images_that_are_kept_are_those_of_their_files(tmp_path):
    make_classes(tmp_path / "t", names="abcd")
    whole, part = (
        read_task(tmp_path / "t", layout=Layout(exclude_classes=names), max_bytes=1) for names in ((), ("a",))
    )
    save(tmp_path / "t" / "a2" / "0.png", noise(seed=99))
    few = read_task(tmp_path / "t", layout=Layout(min_images=2), max_bytes=1)
    for other in (part, few):
        for path, image in zip(other.train.paths, other.train.images, strict=True):
            known = {p: i for s in (whole.train, whole.val, whole.test) for p, i in zip(s.paths, s.images, strict=True)}
            assert (known[path] == image).all()
    assert few.record.task_id == whole.record.task_id


def test_labels_stay_text(tmp_path):
    make_classes(tmp_path / "t", names=("007", "7", "1e3"))
    assert inspect(tmp_path / "t").classes == {"007": 6, "1e3": 6, "7": 6}
    assert inspect(tmp_path / "t", layout=Layout(exclude_classes=("7",))).classes == {"007": 6, "1e3": 6}
