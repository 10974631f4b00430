"""JSON Lines, JSON and Parquet are manifests as CSV is, and each fault of theirs is named."""

import duckdb
import pytest
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layouts import list_images

ODD = '{"file_name": "cat/0.png", "label": '


def parquet(path, columns, rows):
    """Write a Parquet file; the table's name has what stands for several files elsewhere."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows ({columns})")
        connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson", "m.txt", "m.json"])
def test_json_lines_are_known_by_what_they_hold(tmp_path, name):
    rows = images_of_two(tmp_path)
    lines = [f'{{"file_name": "{path}", "label": "{label}", "by": null}}' for path, label in rows]
    (tmp_path / name).write_text("\n".join(lines) + "\n\n")
    listing = list_images(tmp_path / name)
    assert labels_by_name(listing) == sorted(rows)
    assert listing.notes == [f"{name}: 1 further column is not used: 'by'"]


@pytest.mark.parametrize(("value", "label"), [("7", "7"), ("1.0", "1.0"), ('"007"', "007"), ("true", "true")])
def test_values_of_json_are_labels_as_they_are_written(tmp_path, value, label):
    images_of_two(tmp_path)
    (tmp_path / "m.jsonl").write_text(ODD + value + "}\n")
    assert list_images(tmp_path / "m.jsonl").entries[0].label == label


@pytest.mark.parametrize("value", ['["cat", "dog"]', '{"a": 1}'])
def test_several_labels_in_one_value_are_refused_by_line(tmp_path, value):
    images_of_two(tmp_path)
    (tmp_path / "m.jsonl").write_text(ODD + '"cat"}\n' + ODD + value + "}\n")
    message = refusal(tmp_path / "m.jsonl")
    assert message.splitlines()[1].startswith("  - line 2: the column 'label' holds ")
    assert message.splitlines()[1].endswith(", which is not one text")


def test_a_list_of_objects_and_labels_by_path_are_read(tmp_path):
    rows = images_of_two(tmp_path)
    objects = ", ".join(f'{{"image": "{path}", "class": "{label}"}}' for path, label in rows)
    (tmp_path / "m.json").write_text(f"[{objects}]")
    assert labels_by_name(list_images(tmp_path / "m.json")) == sorted(rows)
    pairs = ", ".join(f'"{path}": "{label}"' for path, label in rows)
    (tmp_path / "m.json").write_text(f"{{{pairs}}}")
    assert labels_by_name(list_images(tmp_path / "m.json")) == sorted(rows)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "[" * 100_000, '{"a": 1}\n{"b"', "[]"])
def test_json_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    refusal(tmp_path / "m.json")


@pytest.mark.parametrize("name", ["m.parquet", "a*b[1]?.parquet", "x=1.parquet"])
def test_parquet_is_a_manifest_whatever_its_name_has(tmp_path, name):
    rows = images_of_two(tmp_path)
    columns = "file_name VARCHAR, label VARCHAR, bytes BLOB, n INTEGER"
    made = parquet(tmp_path / "made", columns, [(*row, b"\0", at) for at, row in enumerate(rows)])
    made.rename(tmp_path / name)
    listing = list_images(tmp_path / name)
    assert labels_by_name(listing) == sorted(rows)
    assert listing.layout == "Parquet manifest"
    assert listing.notes == [f"{name}: 1 further column is not used: 'n'"]


def test_numbers_of_parquet_are_labels_and_lists_are_refused_by_row(tmp_path):
    images_of_two(tmp_path)
    path = parquet(tmp_path / "m.parquet", "image VARCHAR, label INTEGER", [("cat/0.png", 7), ("cat/1.png", None)])
    assert refusal(path).splitlines()[1:] == ["  - row 2: the label of cat/1.png is empty"]
    path = parquet(tmp_path / "n.parquet", "image VARCHAR, label VARCHAR[]", [("cat/0.png", ["a", "b"])])
    assert refusal(path).splitlines()[1:] == [
        "  - row 1: the column 'label' holds ['a', 'b'], which is not one text",
    ]


def test_damaged_parquet_says_so(tmp_path):
    path = parquet(tmp_path / "m.parquet", "path VARCHAR, label VARCHAR", [("cat/0.png", "cat")])
    whole = path.read_bytes()
    for cut in (whole[:4], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(cut)
        assert refusal(path).startswith(f"{path} can't be read as Parquet: ")


def test_rows_that_come_late_are_read_as_the_first(tmp_path):
    rows = images_of_two(tmp_path) * 100
    path = write_rows(tmp_path / "m.csv", [*rows, ("gone.png", "cat")])
    assert refusal(path).splitlines()[1:] == [f"  - line 1202: no file {tmp_path / 'gone.png'}"]
