"""A CSV manifest is read as it is meant, and all that is wrong with it comes in one error."""

from pathlib import Path

import pytest
from image_files import make_classes, write_manifest
from readings import refusal

from scalepred.data.layouts import list_images
from scalepred.data.task import inspect, read_task


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


def test_columns_that_are_missing_or_doubled_are_named_together_with_those_that_there_are(tmp_path):
    path = write_manifest(tmp_path / "m.csv", [], header="where,label,label,weight")
    assert refusal(path) == (
        f"{path} can't be used as it is:\n"
        "  - the column 'label' comes twice\n"
        "  - the column 'path' is missing\n"
        "Its columns: 'where', 'label', 'label', 'weight'. "
        f"Try: scalepred inspect {path} --image-column where --label-column label"
    )
    (tmp_path / "m.csv").write_text("")
    assert refusal(path) == (
        f"{path} can't be used as it is:\n  - the column 'path' is missing\n  - the column 'label' is missing\n"
        "It has no columns: give a CSV file with the columns path and label."
    )


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
    inspection = inspect(path)
    assert inspection.classes == {"a": 6, "b": 6}
    assert inspection.splits["test"] == 2


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
    inspection = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split"))
    assert inspection.splits == {"train": 6, "val": 2, "test": 2}
    assert inspection.warnings == ["4 images are without a split and taken for training"]


def test_groups_in_several_of_a_users_own_splits_are_kept_and_warned_of(tmp_path):
    make_classes(tmp_path, n=12)
    splits = ["train", "val", "test", "train"]
    rows = [f"{name}/{at}.png,{name},{splits[at % 4]},p{at // 2}" for name in "ab" for at in range(12)]
    inspection = inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group"))
    assert inspection.splits == {"train": 12, "val": 6, "test": 6}
    assert inspection.warnings == [
        "6 groups lie in several of your splits; the splits are kept, and accuracies will look better than they are: "
        "'p0', 'p1', 'p2', 'p3', 'p4' … (6 in all)"
    ]
    rows = [f"{name}/{at}.png,{name},{splits[at % 3]},{'p' if at < 2 else at}" for name in "ab" for at in range(12)]
    assert inspect(write_manifest(tmp_path / "m.csv", rows, header="path,label,split,group")).warnings[0] == (
        "1 group lies in several of your splits; the splits are kept, and accuracies will look better than they are: "
        "'p'"
    )


def test_an_image_without_a_split_takes_the_only_one_of_its_group(tmp_path):
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
