"""Walking a folder ends, counts every file once, and says what it skips."""

import inspect
import os
import sys
from pathlib import Path

import pytest
from image_files import save

from scalepred.data.decode import decode
from scalepred.data.scan import readable, walk

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def paths_and_reasons(skipped):
    return [(Path(each.path).name, each.reason) for each in skipped]


def test_links_to_a_folder_that_holds_them_end_and_files_count_once(tmp_path):
    for name in ("0.png", "1.png"):
        save(tmp_path / "c" / "deep" / name)
    (tmp_path / "c" / "loop").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "deep" / "up").symlink_to("..")
    (tmp_path / "c" / "self").symlink_to("self")
    (tmp_path / "c" / "gone").symlink_to("nowhere")
    (tmp_path / "c" / "deep" / "hard.png").hardlink_to(tmp_path / "c" / "deep" / "0.png")
    files, skipped = walk(tmp_path / "c")
    assert [file.name for file in files] == ["0.png", "1.png"]
    assert sorted(paths_and_reasons(skipped)) == [
        ("gone", "link to nothing"),
        ("hard.png", f"the same as {tmp_path / 'c' / 'deep' / '0.png'}"),
        ("loop", f"the same as {tmp_path / 'c'}"),
        ("self", "link to itself"),
        ("up", f"the same as {tmp_path / 'c'}"),
    ]


def test_links_to_folders_outside_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "0.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "link").symlink_to(tmp_path / "elsewhere")
    assert walk(tmp_path / "c") == ([tmp_path / "c" / "link" / "0.png"], [])


def test_a_fifo_is_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    files, skipped = walk(tmp_path)
    assert (files, paths_and_reasons(skipped)) == ([], [("pipe.png", "not a regular file")])


def test_an_unreadable_folder_costs_itself_only(tmp_path, monkeypatch):
    save(tmp_path / "open" / "0.png")
    save(tmp_path / "shut" / "1.png")
    real = Path.iterdir

    def iterdir(path):
        if path.name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == ["0.png"]
    assert paths_and_reasons(skipped) == [("shut", "folder can't be read: Permission denied")]


def test_a_file_whose_status_is_refused_costs_itself_only(tmp_path, monkeypatch):
    save(tmp_path / "0.png")
    save(tmp_path / "odd.png")
    real = Path.stat

    def stat(path, **options):
        if path.name == "odd.png":
            raise OSError(5, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == ["0.png"]
    assert paths_and_reasons(skipped) == [("odd.png", "can't be read: Input/output error")]


def test_what_is_hidden_or_left_by_other_systems_is_skipped_without_a_word(tmp_path):
    save(tmp_path / "0.png")
    for junk in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "lost+found", "$RECYCLE.BIN"):
        save(tmp_path / junk / "1.png")
    for junk in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / junk).write_bytes(b"x")
    files, skipped = walk(tmp_path)
    assert ([file.name for file in files], skipped) == (["0.png"], [])


def test_folders_deeper_than_the_recursion_limit_are_walked(tmp_path):
    deepest = tmp_path.joinpath(*["d"] * 300)
    save(deepest / "0.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        listed = walk(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert listed == ([deepest / "0.png"], [])


def test_undecodable_names_are_found_and_shown_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / "0.png").rename(tmp_path / name)
    (tmp_path / os.fsdecode(b"gone\xff")).symlink_to("nowhere")
    files, skipped = walk(tmp_path)
    assert [file.name for file in files] == [name]
    assert decode(files[0]).rgb.shape == (24, 32, 3)
    assert readable(files[0]).encode("utf-8").endswith(b"caf\\udce9.png")
    assert paths_and_reasons(skipped) == [("gone\\udcff", "link to nothing")]
