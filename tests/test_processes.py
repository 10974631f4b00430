"""What is computed in several processes at once: the same answers in the same order, and what stops it."""

import os
import sys
from functools import partial

import pytest

from scalepred.errors import DataError, UsageError
from scalepred.processes import environment, side_by_side

pytestmark = pytest.mark.slow  # starts processes


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
