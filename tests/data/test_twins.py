"""A class whose name two splits write in two Unicode forms is one class."""

import unicodedata

from image_files import make_classes

from scalepred.data.task import inspect


def test_a_name_in_two_unicode_forms_in_two_splits_is_one_class(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    make_classes(tmp_path / "t" / "train", names=(nfd, "b"))
    make_classes(tmp_path / "t" / "val", names=(nfc, "b"), n=2, seed=1)
    inspection = inspect(tmp_path / "t")
    assert inspection.classes == {nfd: 8, "b": 8}
    assert inspection.set_aside == []
    assert inspection.warnings[0] == f"the class {nfd!r} is written in two Unicode forms and counts once"


def test_two_unicode_forms_in_one_split_stay_two_classes(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    make_classes(tmp_path / "t" / "train", names=(nfc, nfd))
    make_classes(tmp_path / "t" / "val", names=(nfc,), n=2, seed=1)
    assert inspect(tmp_path / "t").classes == {nfc: 8, nfd: 6}


def test_a_class_without_images_in_another_unicode_form_is_no_empty_class(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    make_classes(tmp_path / "t" / "train", names=(nfc, "b"))
    make_classes(tmp_path / "t" / "test", names=("b",), n=2, seed=1)
    (tmp_path / "t" / "test" / nfd).mkdir()
    assert not any("has no images" in warning for warning in inspect(tmp_path / "t").warnings)
