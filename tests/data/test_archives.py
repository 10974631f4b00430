"""An archive is data: unpacked once into a cache by its content, and never used by half."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from archive_files import KINDS, pack, write_archive
from image_files import make_classes
from manifest_files import images_of_two, write_coco, write_rows
from readings import refusal

from scalepred.data import archives
from scalepred.data.layout import Layout
from scalepred.data.layouts import find_tasks, list_images
from scalepred.data.task import inspect, read_task
from scalepred.job.output import default_output


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPRED_CACHE", str(tmp_path / "cache"))
    archives._digest.cache_clear()
    return tmp_path / "cache" / "archives"


@pytest.mark.parametrize("ending", KINDS)
def test_an_archive_and_the_folder_that_was_packed_are_the_same_task(tmp_path, ending):
    make_classes(tmp_path / "src")
    archive = pack(tmp_path / f"my.photos.{ending}", tmp_path / "src")
    task = read_task(archive)
    assert task.record.task_id == read_task(tmp_path / "src").record.task_id
    assert (task.record.name, task.record.origin) == ("my.photos", "my.photos")
    assert str(default_output(archive)) == "my.photos-model"
    assert find_tasks(archive) == [str(archive)]


def test_it_is_told_where_it_is_unpacked_and_done_once(tmp_path, cache):
    archive = pack(tmp_path / "t.zip", make_classes(tmp_path / "src"))
    (note,) = list_images(archive).notes
    (home,) = cache.iterdir()
    assert note == f"t.zip is unpacked to {home / 'files'}; SCALEPRED_CACHE=FOLDER has archives unpacked elsewhere"
    before = (home / "files" / "a" / "0.png").stat().st_mtime_ns
    shutil.copy(archive, tmp_path / "same.zip")
    assert list_images(tmp_path / "same.zip").name == "same"
    assert list(cache.iterdir()) == [home]
    assert (home / "files" / "a" / "0.png").stat().st_mtime_ns == before


def test_another_content_under_the_same_name_is_unpacked_anew(tmp_path):
    make_classes(tmp_path / "src")
    archive = pack(tmp_path / "t.zip", tmp_path / "src")
    assert set(inspect(archive).classes) == {"a", "b"}
    make_classes(tmp_path / "src", ("c",), seed=1)
    pack(archive, tmp_path / "src")
    assert set(inspect(archive).classes) == {"a", "b", "c"}


@pytest.mark.parametrize("harm", ["remove", "shorten", "forget"])
def test_a_copy_that_lacks_something_is_made_again(tmp_path, cache, harm):
    archive = pack(tmp_path / "t.zip", make_classes(tmp_path / "src"))
    before = read_task(archive).record.task_id
    (home,) = cache.iterdir()
    file = home / "files" / "a" / "0.png"
    if harm == "remove":
        file.unlink()
    elif harm == "shorten":
        file.write_bytes(b"")
    else:
        (home / "contents.json").unlink()
    assert read_task(archive).record.task_id == before
    assert list(cache.iterdir()) == [home]


def test_what_fails_leaves_nothing_in_the_cache(tmp_path, cache):
    archive = write_archive(tmp_path / "t.zip", {"a/1.png": b"x", "../out.png": b"x"})
    assert "leads outside" in refusal(archive)
    assert list(cache.iterdir()) == []


def test_an_archive_without_files_is_refused(tmp_path, cache):
    assert refusal(write_archive(tmp_path / "t.zip", {})) == f"{tmp_path / 't.zip'} holds no files."
    assert refusal(write_archive(tmp_path / "u.tar", {".hidden": b"x"})) == f"{tmp_path / 'u.tar'} holds no files."


def test_what_a_killed_process_left_is_removed_after_a_day_and_not_before(tmp_path, cache):
    for name, age in (("old", 25 * 3600), ("new", 3600)):
        (cache / f".part-{name}").mkdir(parents=True)
        os.utime(cache / f".part-{name}", (time.time() - age,) * 2)
    list_images(pack(tmp_path / "t.zip", make_classes(tmp_path / "src")))
    assert [path.name for path in cache.glob(".part-*")] == [".part-new"]


@pytest.mark.slow
def test_processes_that_unpack_the_same_archive_at_once_all_read_it(tmp_path, cache):
    archive = pack(tmp_path / "t.zip", make_classes(tmp_path / "src", n=40))
    code = "import sys; from scalepred.data.task import read_task; print(read_task(sys.argv[1]).record.task_id)"
    command = [sys.executable, "-c", code, str(archive)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {run.communicate(timeout=300)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert answers == {f"{read_task(tmp_path / 'src').record.task_id}\n"}
    assert len(list(cache.iterdir())) == 1


def test_a_process_that_came_first_wins(tmp_path, cache, monkeypatch):
    archive = pack(tmp_path / "t.zip", make_classes(tmp_path / "src"))
    fill = archives._fill

    def later(part, path):
        fill(part, path)
        monkeypatch.setattr(archives, "_fill", fill)
        archives.unpacked(path)  # as if by another process, meanwhile

    monkeypatch.setattr(archives, "_fill", later)
    assert len(list_images(archive).entries) == 12
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_can_not_be_written_to_names_the_variable(tmp_path, monkeypatch):
    archive = pack(tmp_path / "t.zip", make_classes(tmp_path / "src"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCALEPRED_CACHE", str(tmp_path / "file"))
    assert refusal(archive) == (
        f"{tmp_path / 'file' / 'archives'}, where archives are unpacked, can't be written to: Not a directory. "
        "Set SCALEPRED_CACHE to a folder elsewhere, or unpack the archive and give the folder."
    )


@pytest.mark.parametrize("names", [["../secret.png", "/etc/secret.png"], ["..\\secret.png", "a\\..\\..\\secret.png"]])
def test_a_manifest_in_an_archive_names_nothing_outside_of_it(tmp_path, names):
    make_classes(tmp_path / "src")
    write_rows(tmp_path / "src" / "manifest.csv", [*((name, "a") for name in names), ("a/../b/0.png", "b")])
    message = refusal(pack(tmp_path / "t.zip", tmp_path / "src"))
    assert message.splitlines()[1:] == [f"  - line {at}: the path leads out of the archive" for at in (2, 3)]


def test_annotations_and_metadata_in_an_archive_are_held_to_it_too(tmp_path):
    images_of_two(tmp_path / "src")
    write_coco(tmp_path / "src" / "a.json", [("../x.png", "a"), ("cat/0.png", "b")])
    assert "the path leads out of the archive" in refusal(pack(tmp_path / "t.zip", tmp_path / "src"))
    (tmp_path / "src" / "a.json").unlink()
    write_rows(tmp_path / "src" / "metadata.csv", [("../x.png", "a"), ("cat/0.png", "b")], ("file_name", "label"))
    assert "line 2: the path leads out of the archive" in refusal(pack(tmp_path / "u.zip", tmp_path / "src"))


def test_an_archives_own_task_json_names_it(tmp_path):
    make_classes(tmp_path / "src")
    (tmp_path / "src" / "task.json").write_text(json.dumps({"name": "birds", "origin": "garden"}))
    listing = list_images(pack(tmp_path / "t.zip", tmp_path / "src"))
    assert (listing.name, listing.origin) == ("birds", "garden")


def test_options_of_manifests_reach_into_an_archive(tmp_path):
    rows = images_of_two(tmp_path / "src")
    write_rows(tmp_path / "src" / "manifest.csv", rows, ("wo", "was"))
    listing = list_images(
        pack(tmp_path / "t.zip", tmp_path / "src"), layout=Layout(image_column="wo", label_column="was")
    )
    assert len(listing.entries) == 12


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    ],
)
def test_other_archives_say_to_unpack_them(tmp_path, begin, what):
    (tmp_path / "t.bin").write_bytes(begin + bytes(20))
    assert refusal(tmp_path / "t.bin") == (
        f"{tmp_path / 't.bin'} is {what}, which is not read: unpack it and give the folder."
    )


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_a_spreadsheet_says_to_save_it_as_csv(tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert refusal(path) == f"{path} is a spreadsheet, which is not read: save it as CSV in UTF-8."


@pytest.mark.parametrize("ending", KINDS)
def test_an_empty_file_that_is_called_like_an_archive_is_damaged(tmp_path, ending):
    (tmp_path / f"t.{ending}").touch()
    assert refusal(tmp_path / f"t.{ending}").startswith(f"{tmp_path / f't.{ending}'} is damaged or cut off: ")


def test_a_compressed_file_that_is_no_tar_is_refused(tmp_path):
    import gzip

    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(b"path,label\n"))
    assert "is damaged or cut off" in refusal(tmp_path / "labels.csv.gz")


def test_the_command_reads_an_archive(tmp_path, run):
    archive = pack(tmp_path / "photos.zip", make_classes(tmp_path / "src"))
    code, out, _ = run("inspect", archive)
    assert code == 0
    assert "12 images of 2 classes" in out
    assert "photos.zip is unpacked to " in out
