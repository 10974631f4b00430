"""A table is read whatever program wrote it: delimiters, marks of encodings, line ends, quotes."""

import pytest
from image_files import make_classes, write_manifest
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.layouts import list_images
from scalepred.data.task import inspect


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_delimiters_line_ends_and_encodings_are_found(tmp_path, delimiter, end, encoding):
    rows = [(path, f"{label}é", "phone") for path, label in images_of_two(tmp_path)]
    path = write_rows(
        tmp_path / "m.csv", rows, ("path", "label", "by"), delimiter=delimiter, end=end, encoding=encoding
    )
    listing = list_images(path)
    assert labels_by_name(listing) == sorted(row[:2] for row in rows)


def test_utf_16_of_both_byte_orders_is_known_by_its_mark(tmp_path):
    rows = images_of_two(tmp_path)
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        path = write_rows(tmp_path / "m.csv", rows, encoding=encoding)
        path.write_bytes(mark + path.read_bytes())
        assert labels_by_name(list_images(path)) == sorted(rows)


def test_the_header_decides_and_not_what_labels_hold(tmp_path):
    rows = [(path, f"{label}, {label}, {label}") for path, label in images_of_two(tmp_path)]
    listing = list_images(write_rows(tmp_path / "m.csv", rows, delimiter=";"))
    assert {entry.label for entry in listing.entries} == {"cat, cat, cat", "dog, dog, dog"}
    assert listing.layout == "CSV manifest with semicolons"


def test_a_column_that_the_user_names_tells_the_delimiter_too(tmp_path):
    rows = [(path, label, 1, 2) for path, label in images_of_two(tmp_path)]
    path = write_rows(tmp_path / "m.csv", rows, ("wo, genau", "was", "a,b,c,d", "e"), delimiter=";")
    asked = Layout(image_column="wo, genau", label_column="was")
    assert len(list_images(path, layout=asked).entries) == 12


def test_quotes_hold_delimiters_and_line_breaks_in_header_and_rows(tmp_path):
    make_classes(tmp_path / "a, b", ("x",), n=2)
    rows = ['"a, b/x/0.png","two\r\nlines",7', '"a, b/x/1.png","say ""so""",7']
    listing = list_images(write_manifest(tmp_path / "m.csv", rows, header='path,"label","line\nbreak, too"'))
    assert [entry.label for entry in listing.entries] == ["two\r\nlines", 'say "so"']


def test_the_line_by_which_excel_states_its_delimiter_is_no_row(tmp_path):
    images_of_two(tmp_path)
    path = write_rows(tmp_path / "m.csv", [("cat/0.png", "cat"), ("gone.png", "dog")], delimiter=";")
    path.write_bytes(b"sep=;\n" + path.read_bytes())
    assert refusal(path).splitlines()[1:] == [f"  - line 4: no file {tmp_path / 'gone.png'}"]


def test_rows_without_anything_are_passed_over(tmp_path):
    images_of_two(tmp_path)
    path = write_rows(
        tmp_path / "m.csv",
        [("cat/0.png", "cat", ""), ("", "", ""), ("dog/0.png", "dog", "", "")],
        ("path", "label", ""),
    )
    assert len(list_images(path).entries) == 2


def test_utf_16_without_a_mark_says_so(tmp_path):
    path = write_rows(tmp_path / "m.csv", [("a.png", "a")], encoding="utf-16-le")
    assert "it holds NUL bytes, as UTF-16 without a byte order mark does" in refusal(path)


def test_a_manifest_of_excels_own_code_page_is_refused_and_says_which_it_should_be(tmp_path):
    path = write_rows(tmp_path / "m.csv", [("a.png", "café")], encoding="cp1252")
    assert "can't be read as a CSV manifest of UTF-8 text: 'utf-8' codec" in refusal(path, inspect)
