"""Folders with metadata beside their images are read by it, and by their folders where it says no more than these."""

import json

import pytest
from image_files import make_classes, noise, save
from manifest_files import images_of_two, labels_by_name, write_rows
from readings import refusal

from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.task import inspect, read_task


def flat(folder, n=6, seed=0):
    """Save cat_0.png … dog_5.png in a folder; returns their (name, label)."""
    rows = [(f"{name}_{at}.png", name) for name in ("cat", "dog") for at in range(n)]
    for at, (name, _) in enumerate(rows):
        save(folder / name, noise(seed=[seed, at]))
    return rows


def write_metadata(folder, rows, kind):
    if kind == "csv":
        return write_rows(folder / "metadata.csv", rows, ("file_name", "label"))
    if kind == "jsonl":
        lines = [json.dumps({"file_name": path, "label": label}) for path, label in rows]
        (folder / "metadata.jsonl").write_text("\n".join(lines))
        return folder / "metadata.jsonl"
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE m (file_name VARCHAR, label VARCHAR)")
        connection.executemany("INSERT INTO m VALUES (?, ?)", rows)
        connection.execute(f"COPY m TO '{folder / 'metadata.parquet'}'")
    return folder / "metadata.parquet"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_of_every_kind_gives_the_same_task(tmp_path, kind):
    rows = flat(tmp_path / "t" / "train")
    file = write_metadata(tmp_path / "t" / "train", rows, kind)
    task = read_task(tmp_path / "t")
    assert find_tasks(tmp_path / "t") == [str(tmp_path / "t")]
    make_classes(tmp_path / "plain", ())
    for path, label in rows:
        save(tmp_path / "plain" / label / path, noise(seed=[0, rows.index((path, label))]))
    assert task.classes == ("cat", "dog")
    assert task.record.task_id == read_task(tmp_path / "plain").record.task_id
    assert task.inspection.layout == f"labels from {file.name}"


def test_each_split_has_its_own_metadata(tmp_path):
    for seed, split in enumerate(("train", "validation", "test")):
        rows = [(*row, "phone") for row in flat(tmp_path / split, seed=seed)]
        write_rows(tmp_path / split / "metadata.csv", rows, ("file_name", "label", "by"))
    inspection = inspect(tmp_path)
    assert inspection.warnings == ["metadata.csv: 1 further column is not used: 'by'"]
    assert inspection.splits == {"train": 12, "val": 12, "test": 12}
    assert inspection.classes == {"cat": 18, "dog": 18}
    assert inspection.layout == "labels from metadata.csv of 3 splits"


def test_metadata_at_the_top_takes_splits_from_the_folders(tmp_path):
    rows = []
    for seed, split in enumerate(("train", "test")):
        rows += [(f"{split}/{path}", label) for path, label in flat(tmp_path / split, seed=seed)]
    write_metadata(tmp_path, rows, "csv")
    assert inspect(tmp_path).splits["test"] == 12


def test_files_that_metadata_does_not_name_are_told(tmp_path):
    write_metadata(tmp_path, flat(tmp_path), "csv")
    save(tmp_path / "extra.png")
    assert list_images(tmp_path).notes == [
        f"1 file is not named in metadata.csv and not used: {tmp_path / 'extra.png'}"
    ]


def test_metadata_that_says_what_the_folders_say_changes_nothing(tmp_path):
    rows = images_of_two(tmp_path)
    before = read_task(tmp_path).record.task_id
    write_metadata(tmp_path, rows[1:], "csv")
    again = read_task(tmp_path)
    assert again.record.task_id == before
    assert again.inspection.layout == "class folders"


def test_metadata_without_labels_such_as_captions_leaves_the_class_folders(tmp_path):
    images_of_two(tmp_path)
    write_rows(tmp_path / "metadata.csv", [("cat/0.png", "an animal")], ("file_name", "text"))
    assert inspect(tmp_path).classes == {"cat": 6, "dog": 6}


def test_a_table_beside_class_folders_is_told_with_the_command_that_reads_it(tmp_path):
    rows = images_of_two(tmp_path)
    write_rows(tmp_path / "my table.csv", rows, ("image", "class"))
    write_rows(tmp_path / "scores.csv", rows, ("when", "what"))
    (note,) = list_images(tmp_path).notes
    command = f"scalepred inspect '{tmp_path / 'my table.csv'}'"
    assert note == f"my table.csv names images and their labels; it is read by: {command}"


def test_a_flat_folder_with_a_table_says_how_the_table_is_read(tmp_path):
    write_rows(tmp_path / "labels.csv", flat(tmp_path), ("id", "breed"))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path} holds no images in class folders.")
    assert message.endswith(f"it is read by: scalepred inspect {tmp_path / 'labels.csv'}")
    assert inspect(tmp_path / "labels.csv").classes == {"cat": 6, "dog": 6}


def test_two_files_of_metadata_for_the_same_images_are_refused(tmp_path):
    rows = flat(tmp_path)
    write_metadata(tmp_path, rows, "csv")
    write_metadata(tmp_path, rows, "jsonl")
    assert refusal(tmp_path) == (
        f"{tmp_path} holds metadata.csv and metadata.jsonl for the same images: keep one of them."
    )


def test_what_is_wrong_with_metadata_is_told_by_line(tmp_path):
    write_metadata(tmp_path, [*flat(tmp_path), ("gone.png", "cat")], "csv")
    assert refusal(tmp_path).splitlines()[1:] == [f"  - line 14: no file {tmp_path / 'gone.png'}"]


def test_a_folder_of_columns_for_each_class_is_read_split_by_split(tmp_path):
    for seed, split in enumerate(("train", "valid")):
        rows = [(path, int(label == "cat"), int(label == "dog")) for path, label in flat(tmp_path / split, seed=seed)]
        write_rows(tmp_path / split / "_classes.csv", rows, ("filename", " cat", " dog"))
    listing = list_images(tmp_path)
    assert {entry.split for entry in listing.entries} == {"train", "val"}
    assert {(path.rpartition("/")[2].split("_")[0], label) for path, label in labels_by_name(listing)} == {
        ("cat", "cat"),
        ("dog", "dog"),
    }
