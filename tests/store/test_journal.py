"""The journal with real files: whole records, damage, two processes, and a disk that is full."""

import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from rows import FEATURE, NASTY, PREDICTION, RECIPE, SOURCE, TASK, make_run

from scalepred.errors import UsageError, WarehouseBusyError
from scalepred.records import RecipeRecord
from scalepred.store.journal import KINDS, Journal, journal_of, key_of

RECIPE_ROW = RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())
ALL = [TASK, SOURCE, RECIPE_ROW, FEATURE, make_run(), PREDICTION]


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "w.journal")


def read(journal):
    return [record for kind in KINDS for record in journal.records(kind, journal.keys(kind))]


def file_of(journal, kind="runs"):
    return next((journal.folder / kind).rglob("*.json"))


def test_every_kind_of_record_comes_back_as_it_was(journal):
    lost = make_run(
        status="diverged", val_correct=None, val_accuracy=None, epoch_losses=[], scale=None, diverged_step=3
    )
    odd = dataclasses.replace(TASK, task_id="f" * 32, name="\udcff" + NASTY, label_counts={"\ud83d": 36, "b": 0})
    records = [
        TASK,
        odd,
        SOURCE,
        RECIPE_ROW,
        FEATURE,
        make_run(role="extension", execution={"a": [1]}),
        lost,
        PREDICTION,
    ]
    for record in records:
        journal.add(record)
    assert sorted(map(repr, read(journal))) == sorted(map(repr, records))


def test_a_record_that_is_there_stays_as_it_was(journal):
    journal.add(make_run())
    before = file_of(journal).stat().st_mtime_ns
    journal.add(make_run(seconds=99.0))
    assert (file_of(journal).stat().st_mtime_ns, read(journal)) == (before, [make_run()])


def test_only_the_keys_that_are_asked_for_are_read(journal):
    runs = [make_run(scale) for scale in (1.0, 2.0, 3.0)]
    for run in runs:
        journal.add(run)
    assert journal.keys("runs") == set(map(key_of, runs))
    assert list(journal.records("runs", {key_of(runs[1])})) == [runs[1]]


def test_an_empty_journal_holds_nothing(journal):
    assert (journal.keys("runs"), journal.noted("scans", "a"), read(journal)) == (set(), None, [])


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_every_prefix_of_a_file_is_moved_aside_and_nothing_else_is_lost(journal, record):
    journal.add(record)
    kind = next(kind for kind in KINDS if journal.keys(kind))
    file = file_of(journal, kind)
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:length])
        assert read(journal) == []
        assert file.with_suffix(".corrupt").read_bytes() == whole[:length]
        assert journal.keys(kind) == set()
        journal.add(record)
        assert read(journal) == [record]


def test_a_file_with_one_changed_character_is_moved_aside(journal):
    run = make_run()
    for position in range(0, 400, 13):
        journal.add(run)
        text = file_of(journal).read_text()
        changed = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
        file_of(journal).write_text(changed)
        assert read(journal) in ([], [run])  # blanks may change


def test_a_record_under_anothers_name_is_moved_aside(journal):
    journal.add(make_run())
    file = file_of(journal)
    file.rename(file.with_name("ab" + "0" * 30 + ".json"))
    (journal.folder / "runs" / "ab").mkdir(exist_ok=True)
    moved = file.with_name("ab" + "0" * 30 + ".json")
    moved.rename(journal.folder / "runs" / "ab" / moved.name)
    assert read(journal) == []


def test_fields_that_a_record_lacks_take_their_defaults_and_unknown_ones_refuse_it(journal):
    journal.add(make_run(role="extension"))
    file = file_of(journal)
    whole = json.loads(file.read_text())
    for change, expected in (({}, 1), ({"unheard": 1}, 0)):
        value = {key: v for key, v in whole["value"].items() if key not in ("role", "execution")} | change
        journal._write(file, value)
        assert len(read(journal)) == expected


def test_a_temporary_file_of_a_killed_writer_is_no_record(journal):
    journal.add(make_run())
    file = file_of(journal)
    (file.parent / f".{file.name}.0123").write_bytes(file.read_bytes()[:50])
    assert len(journal.keys("runs")) == 1


def test_notes_can_be_changed_and_damage_makes_them_none(journal):
    journal.note("scans", "abcd", {"task_id": "t"})
    journal.note("scans", "abcd", {"task_id": "u"})
    assert journal.noted("scans", "abcd") == {"task_id": "u"}
    file_of(journal, "scans").write_text("{")
    assert journal.noted("scans", "abcd") is None


def test_lines_of_the_log_are_added_whatever_they_hold(journal):
    journal.folder.mkdir()
    for words in ("one", "two \udcff"):
        journal.log(words)
    assert (journal.folder / "harvest.log").read_text(encoding="utf-8") == "one\ntwo \\udcff\n"


def test_a_file_that_cannot_be_read_now_is_no_damage_and_is_named(journal, monkeypatch):
    journal.add(make_run())
    journal.note("scans", "abcd", {"task_id": "t"})

    def failing(self, **_):
        raise OSError(5, "Input/output error", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing)
        for kind, read_all in (("runs", lambda: read(journal)), ("scans", lambda: journal.noted("scans", "abcd"))):
            words = (
                f"{file_of(journal, kind)}, of the journal, can't be read: Input/output error. It was left as it is; "
                "once it can be read, run the same command again."
            )
            with pytest.raises(UsageError, match=re.escape(words)):
                read_all()
    assert (read(journal), journal.noted("scans", "abcd")) == ([make_run()], {"task_id": "t"})


def test_a_folder_that_cannot_be_read_now_is_not_taken_for_an_empty_one(journal, monkeypatch):
    journal.add(make_run())

    def failing(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scalepred.store.journal.os.scandir", failing)
    words = f"{journal.folder / 'runs'}, of the journal, can't be read: Permission denied."
    with pytest.raises(UsageError, match=re.escape(words)):
        journal.keys("runs")


@pytest.mark.parametrize(
    ("warehouse", "folder"),
    [("a.duckdb", "a.journal"), ("a", "a.journal"), ("a.db", "a.db.journal"), ("exp.1", "exp.1.journal"),
     ("exp.2", "exp.2.journal"), ("lr0.1.duckdb", "lr0.1.journal")],
)  # fmt: skip
def test_a_journal_lies_beside_its_warehouse_and_has_its_name(tmp_path, warehouse, folder):
    assert journal_of(tmp_path / warehouse).folder == tmp_path / folder


def test_a_journal_under_its_earlier_name_is_not_passed_over(tmp_path):
    earlier, folder = tmp_path / "exp.journal", tmp_path / "exp.1.journal"
    earlier.mkdir()
    with pytest.raises(UsageError) as caught:
        journal_of(tmp_path / "exp.1")
    assert str(caught.value) == (
        f"The journal of {tmp_path / 'exp.1'} is {folder} by now, and no longer {earlier}, which others could "
        f"share with it. If that holds its runs, rename it, or copy it if others use it too: cp -r {earlier} {folder}; "
        f"if not, make an empty one: mkdir {folder}. Then run the same command again."
    )
    folder.mkdir()
    assert journal_of(tmp_path / "exp.1").folder == folder


def test_the_journal_of_another_warehouse_does_not_keep_a_new_one_from_its_own(tmp_path):
    (tmp_path / "exp.journal").mkdir()
    (tmp_path / "exp.duckdb").touch()
    assert journal_of(tmp_path / "exp.1").folder == tmp_path / "exp.1.journal"


def test_a_second_harvest_is_kept_out_and_told_by_whom(journal):
    code = f"""
        from pathlib import Path
        from scalepred.errors import WarehouseBusyError
        from scalepred.store.journal import Journal
        try:
            with Journal(Path({str(journal.folder)!r})).held(lock_timeout_seconds=0.2):
                print("held")
        except WarehouseBusyError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with journal.held(lock_timeout_seconds=0):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said == (
            f"A harvest is filling {journal.folder} already: process {os.getpid()} (waited 0.2 s). "
            "Try again when that is done, or wait longer with --lock-timeout.\n"
        )
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "held\n"


def test_a_holder_that_goes_while_it_is_looked_up_is_another_process(journal, monkeypatch):
    def gone(self, **_):
        raise FileNotFoundError(self)

    with journal.held(lock_timeout_seconds=0):
        monkeypatch.setattr(Path, "read_text", gone)
        with pytest.raises(WarehouseBusyError, match="already: another process"), journal.held(lock_timeout_seconds=0):
            pass


def test_a_lock_that_cannot_be_had_is_an_error_that_names_the_journal(journal):
    (journal.folder / "lock").mkdir(parents=True)
    words = f"The journal {journal.folder} can't be written: "
    with pytest.raises(UsageError, match=re.escape(words)), journal.held(lock_timeout_seconds=0):
        pass


def test_the_lock_of_a_killed_harvest_is_free(journal):
    code = f"""
        import os, signal
        from pathlib import Path
        from scalepred.store.journal import Journal
        with Journal(Path({str(journal.folder)!r})).held(lock_timeout_seconds=0):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == -9
    with journal.held(lock_timeout_seconds=0):
        pass


def test_a_journal_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written: Not a directory"):
        Journal(tmp_path / "file" / "w.journal").add(TASK)


def test_a_full_disk_leaves_whole_records_and_names_the_journal(journal):
    size = 900  # less than a run takes
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from rows import TASK, make_run
        from scalepred.errors import UsageError
        from scalepred.store.journal import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(Path({str(journal.folder)!r}))
        journal.add(TASK)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
        try:
            journal.add(make_run())
        except UsageError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"The journal {journal.folder} can't be written: File too large. What was finished before is kept; "
        "make room or mend the path, and run the same command again.\n"
    )
    assert read(journal) == [TASK]
    assert [file.name for file in (journal.folder / "runs").rglob("*") if file.is_file()] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != size
    journal.add(make_run())
    assert read(journal) == [TASK, make_run()]
