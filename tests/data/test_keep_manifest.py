"""What was read is saved as a manifest that gives the same task again, whatever its classes are called."""

import csv
import os

import pytest
from image_files import NASTY, make_classes, save, write_manifest
from manifest_files import images_of_two, write_coco
from readings import refusal

from scalepred.data.keep_manifest import check_manifest, save_manifest
from scalepred.data.layout import Layout
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry
from scalepred.data.task import inspect, read_task
from scalepred.errors import UsageError


def saved(data, file, **options):
    save_manifest(file, inspect(data, **options).entries)
    return file


def test_the_saved_manifest_is_the_same_task_with_the_users_splits_and_groups(tmp_path):
    make_classes(tmp_path / "t", n=8)
    rows = [f"t/{name}/{at}.png,{name},{'test' if at > 5 else ''},g{at // 2}" for name in "ab" for at in range(8)]
    path = write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group")
    again = saved(path, tmp_path / "again.csv")
    assert read_task(again).record.task_id == read_task(path).record.task_id
    assert read_task(again).inspection.splits == read_task(path).inspection.splits
    keys = [(entry.path, entry.label, entry.split, entry.group) for entry in list_images(again).entries]
    assert keys == [(entry.path, entry.label, entry.split, entry.group) for entry in list_images(path).entries]


@pytest.mark.parametrize("names", [NASTY, ["=1", "+1", "-1", "@x", "'=1", "''", "\tx", "plain"]])
def test_hostile_names_come_back_as_they_were_and_no_cell_is_a_formula(tmp_path, names):
    make_classes(tmp_path / "=t", names, n=2)
    file = saved(tmp_path / "=t", tmp_path / "m.csv")
    assert inspect(file).classes == dict.fromkeys(sorted(names), 2)
    assert read_task(file).record.task_id == read_task(tmp_path / "=t").record.task_id
    with file.open(newline="", encoding="utf-8") as rows:
        cells = [cell for row in csv.reader(rows) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_a_foreign_manifest_keeps_its_apostrophes(tmp_path):
    images_of_two(tmp_path)
    path = write_manifest(tmp_path / "m.csv", ["cat/0.png,'quoted", "cat/1.png,=1"])
    assert [entry.label for entry in list_images(path).entries] == ["'quoted", "=1"]


def test_paths_start_from_the_manifest_where_they_can_and_are_whole_elsewhere(tmp_path):
    images_of_two(tmp_path / "t")
    (tmp_path / "elsewhere").mkdir()
    near = saved(tmp_path / "t", tmp_path / "near.csv").read_text().splitlines()
    far = saved(tmp_path / "t", tmp_path / "elsewhere" / "far.csv").read_text().splitlines()
    assert near[:2] == ["path,label,split,group", "t/cat/0.png,cat,,"]
    assert far[1] == f"{tmp_path}/t/cat/0.png,cat,,"


def test_bad_images_are_left_out_and_labels_of_annotations_are_kept(tmp_path):
    rows = images_of_two(tmp_path / "images")
    (tmp_path / "images" / "cat" / "0.png").write_bytes(b"no image")
    path = write_coco(tmp_path / "a.json", rows, fields=[{"location": at % 3} for at in range(len(rows))])
    file = saved(path, tmp_path / "m.csv", layout=Layout(group_column="location"))
    assert inspect(file).classes == {"cat": 5, "dog": 6}
    assert {entry.group for entry in list_images(file).entries} == {"0", "1", "2"}


def test_a_path_that_is_no_text_and_an_image_without_a_file_are_refused(tmp_path):
    name = os.fsdecode(b"\xff.png")
    entries = [Entry("x", save(tmp_path / name, format="PNG"), "a")]
    assert refusal(tmp_path / "m.csv", save_manifest, entries=entries).startswith(
        f"{tmp_path / 'm.csv'} can't be written"
    )
    assert not (tmp_path / "m.csv").exists()
    entries = [Entry("torchvision:X/train/0", lambda: None, "a")]
    assert refusal(tmp_path / "m.csv", save_manifest, entries=entries).startswith(
        "torchvision:X/train/0 lies in no file"
    )


def test_a_manifest_replaces_nothing_and_has_a_folder_to_lie_in(tmp_path):
    (tmp_path / "there.csv").touch()
    for name, words in (
        ("there.csv", "is there already: give another name, or remove it."),
        ("m.txt", "is no CSV file: give a name that ends in .csv."),
        ("none/m.csv", f": there is no folder {tmp_path / 'none'}."),
    ):
        with pytest.raises(UsageError) as caught:
            check_manifest(tmp_path / name)
        assert str(caught.value).endswith(words)


def test_the_command_saves_it_and_other_commands_take_it(tmp_path, run):
    images_of_two(tmp_path / "t")
    code, out, err = run("inspect", tmp_path / "t", "--save-manifest", tmp_path / "m.csv", "--json")
    assert code == 0
    assert f"saved {tmp_path / 'm.csv'}, which every command takes as DATA" in err
    code, again, _ = run("inspect", tmp_path / "m.csv", "--json")
    assert code == 0
    assert again.replace("CSV manifest", "class folders") == out
    code, _, err = run("inspect", tmp_path / "t", "--save-manifest", tmp_path / "m.csv")
    assert code == 2
    assert "is there already" in err
