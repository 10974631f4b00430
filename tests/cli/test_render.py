"""What is shown of a line that has a critical rate, and of one that has none."""

import io
import math

import pytest
from rich.console import Console

from scalepred.cli import render
from scalepred.job.choose import Prediction
from scalepred.predictor.choice import Choice
from scalepred.training.critical import CriticalRate

CHOICE = Choice(scale=2.0, by="given", reason="made", fixed_scale=2.0)


def shown(factor):
    curve = ((0.0, 1.0), (1.0, 0.8), (4.0, 0.5), (16.0, math.inf))
    line = CriticalRate(factor=factor, minimum=factor, depth=0.5, loss=1.0, spread=0.0, curve=curve, lines=())
    out = io.StringIO()
    render.show_lines(
        Console(file=out, width=200), Prediction(choice=CHOICE, features={}, seconds=0, lines={"noise": line})
    )
    return out.getvalue()


def test_a_line_shows_every_look_the_choice_and_where_the_loss_is_back():
    rows = [row.split(maxsplit=1) for row in shown(8.0).splitlines()[2:]]
    assert [row[0] for row in rows] == ["0", "1", "2", "4", "8", "8", "16"]
    assert rows[2][1].strip() == "chosen"
    assert any("back where it was: the critical rate" in row[1] for row in rows)


@pytest.mark.parametrize("factor", [0.0, math.inf])
def test_a_line_without_a_critical_rate_claims_none(factor):
    assert "critical" not in shown(factor)
    assert "minimum" not in shown(factor)
