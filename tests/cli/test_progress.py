"""How far work is, where stderr is no terminal: a line now and then, by a clock that the test winds."""

from types import SimpleNamespace

import pytest

from scalepred.cli.progress import Pace, harvesting, progress


class Clock:
    """A clock that stands still until it is wound."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(clock)


def scan(clock, pace, *, n, seconds_each):
    """Do a piece of work of n steps."""
    with progress("reading images", pace=pace) as bar:
        for done in range(1, n + 1):
            clock.now += seconds_each
            bar.update(done, n)


def test_work_under_two_seconds_says_nothing(clock, pace, capsys):
    scan(clock, pace, n=24, seconds_each=0.08)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_something_every_ten_seconds_at_most(clock, pace, capsys):
    scan(clock, pace, n=120, seconds_each=0.25)
    assert capsys.readouterr().err.splitlines() == [
        "reading images: 8 of 120, 2 s, 28 s left",
        "reading images: 48 of 120, 12 s, 18 s left",
        "reading images: 88 of 120, 22 s, 8 s left",
    ]


def test_slow_steps_get_a_line_each(clock, pace, capsys):
    with progress("finetuning", total=2, pace=pace) as bar:
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            clock.now += 60
            bar.update(epoch, 2, f"loss {loss}")
    assert capsys.readouterr().err.splitlines() == [
        "finetuning: 1 of 2, 60 s, 60 s left, loss 0.5",
        "finetuning: 2 of 2, 120 s, 0 s left, loss 0.25",
    ]


def test_pieces_of_work_in_a_row_share_a_pace(clock, pace, capsys):
    for _ in range(3):
        scan(clock, pace, n=6, seconds_each=0.5)
    assert len(capsys.readouterr().err.splitlines()) == 1
    scan(clock, pace, n=6, seconds_each=0.5)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_names_from_outside_are_made_safe(clock, pace, capsys):
    with progress("reading", pace=pace) as bar:
        clock.now += 3
        bar.update(1, 2, "[red]\x1b")
    assert capsys.readouterr().err == "reading: 1 of 2, 3 s, 3 s left, [red]\\x1b\n"


def harvested(n_done, n_left, *notes):
    return SimpleNamespace(
        n_done=n_done, n_left=n_left, n_diverged=0, images_per_second=50.0, seconds_left=90.0, notes=notes, workers={}
    )


def test_a_harvest_tells_its_notes_at_once_and_its_counts_every_ten_seconds_at_most(clock, pace, capsys):
    with harvesting(pace) as shown:
        for n_done in range(1, 41):
            clock.now += 0.5
            shown.update(harvested(n_done, 40 - n_done, *(["a worker died"] if n_done == 2 else [])))
    assert capsys.readouterr().err.splitlines() == [
        "a worker died",
        "4 runs done, 36 left, 0 diverged, 50 images/s, 0:01:30 left",
        "24 runs done, 16 left, 0 diverged, 50 images/s, 0:01:30 left",
    ]


def test_a_harvest_says_nothing_while_no_run_is_done(clock, pace, capsys):
    with harvesting(pace) as shown:
        for _ in range(5):
            clock.now += 30
            shown.update(harvested(0, 40))
    assert capsys.readouterr() == ("", "")
