"""What is computed in several processes at once: the same answers in the same order, and what stops it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from scalepred.errors import DataError, UsageError
from scalepred.processes import environment, side_by_side

pytestmark = pytest.mark.slow  # starts processes

ROOT = Path(__file__).resolve().parent.parent


def about(number: int) -> tuple[int, int, str | None]:
    return number, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def fails() -> None:
    raise DataError("no such data")


def dies() -> None:
    os._exit(9)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_answers_come_in_the_order_of_the_calls_and_each_is_told(n_processes):
    told = []
    answers = side_by_side(
        [partial(about, number) for number in range(6)], n_processes=n_processes, on_done=told.append
    )
    assert [number for number, _, _ in answers] == list(range(6))
    assert told == [1, 2, 3, 4, 5, 6]
    here = {process for _, process, _ in answers} == {os.getpid()}
    assert here == (n_processes == 1)


def test_several_processes_run_one_thread_each():
    assert [threads for _, _, threads in side_by_side([partial(about, 0)] * 2, n_processes=2)] == ["1", "1"]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_error_is_the_one_that_a_call_raised(n_processes):
    with pytest.raises(DataError, match="no such data"):
        side_by_side([fails, partial(about, 1)], n_processes=n_processes)


def test_a_process_that_is_killed_is_told_in_words():
    with pytest.raises(UsageError, match="killed as it computed"):
        side_by_side([dies, partial(about, 1)], n_processes=2)


def test_what_lies_in_the_current_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "statistics.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert side_by_side([partial(about, 3)] * 2, n_processes=2)[1][0] == 3


def test_the_environment_is_what_it_was_afterwards(monkeypatch):
    monkeypatch.setenv("SCALEPRED_A", "1")
    with environment({"SCALEPRED_A": "2", "SCALEPRED_B": "3"}):
        assert (os.environ["SCALEPRED_A"], os.environ["SCALEPRED_B"]) == ("2", "3")
    assert os.environ["SCALEPRED_A"] == "1"
    assert "SCALEPRED_B" not in os.environ


SCRIPT = """
import os, pathlib, sys, time
from functools import partial
from scalepred.processes import side_by_side

def beat(name):
    pathlib.Path(name).write_text(str(os.getpid()))
    time.sleep(300)

if __name__ == "__main__":
    side_by_side([partial(beat, name) for name in sys.argv[1:]], n_processes=2)
"""


def is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(happens) -> bool:
    for _ in range(600):
        if happens():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(tmp_path, number):
    (tmp_path / "beats.py").write_text(SCRIPT)
    files = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, str(tmp_path / "beats.py"), *map(str, files)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as parent:
        assert wait_until(lambda: all(file.is_file() and file.read_text() for file in files))
        parent.send_signal(number)
    started = [int(file.read_text()) for file in files]
    assert wait_until(lambda: not any(map(is_alive, started)))
