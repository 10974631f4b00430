"""The plot of the loss along the first update: what it shows, and what it needs."""

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest

from scalepred.errors import UsageError
from scalepred.job.choose import Prediction
from scalepred.job.line_plot import check_plot, save_line_plot
from scalepred.predictor.choice import Choice
from scalepred.predictor.rule import RuleAnswer
from scalepred.training.critical import CriticalRate

ANSWER = RuleAnswer(scale=2.0, critical_scale=8.0, safe_factor=4.0, n_points=120, n_origins=40, n_sources=6)
LINE = CriticalRate(
    factor=8.0,
    minimum=4.0,
    depth=0.5,
    loss=1.0,
    spread=0.0,
    curve=((0.0, 1.0), (1.0, 0.8), (4.0, 0.5), (16.0, 3.0), (64.0, math.inf)),
    lines=(),
)


def predicted(*, by="rule", **lines):
    choice = Choice(scale=2.0, by=by, reason="made", fixed_scale=2.0, rule=ANSWER)
    return Prediction(choice=choice, features={}, seconds=0.1, lines=lines)


def words_of(path):
    return {
        text.text.strip()
        for text in ET.parse(path).iter(  # noqa: S314 - our own file
            "{http://www.w3.org/2000/svg}text"
        )
        if text.text
    }


def test_the_plot_names_its_axes_its_heads_and_the_choice(tmp_path):
    save_line_plot(predicted(noise=LINE, half=LINE), tmp_path / "line.svg")
    words = words_of(tmp_path / "line.svg")
    assert {"at a new head", "at the fitted head, half way", "scale 2 (rule)"} <= words
    assert {"scale, the factor on all learning rates", "training loss after one step"} <= words


def test_the_same_prediction_gives_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        save_line_plot(predicted(noise=LINE), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("factor", [0.0, math.inf])
def test_a_line_without_a_crossing_is_drawn_too(tmp_path, factor):
    save_line_plot(predicted(noise=dataclasses.replace(LINE, factor=factor), by="fallback"), tmp_path / "line.svg")
    assert "scale 2 (fallback)" in words_of(tmp_path / "line.svg")


def test_a_prediction_keeps_its_lines_in_json_without_infinities(tmp_path):
    lines = predicted(noise=dataclasses.replace(LINE, factor=math.inf)).to_json()["lines"]
    assert lines["noise"]["critical_scale"] is None
    assert lines["noise"]["curve"][-1] == {"scale": 64.0, "loss": None}


def test_what_can_not_be_plotted_is_said_before_and_after_measuring(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"A plot is an SVG file, not .*line\.png: give a name that ends in \.svg\."):
        check_plot(tmp_path / "line.png")
    with pytest.raises(UsageError, match=r"There is no folder .*none to put the plot in: make it first\."):
        check_plot(tmp_path / "none" / "line.svg")
    with pytest.raises(UsageError, match="There is no line to plot: the loss or its gradient is not finite"):
        save_line_plot(predicted(), tmp_path / "line.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(UsageError, match=r"The plot can't be written to .*folder\.svg: "):
        save_line_plot(predicted(noise=LINE), tmp_path / "folder.svg")
    monkeypatch.setattr("scalepred.job.line_plot.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"A plot takes matplotlib: pip install 'scalepred\[plot\]'"):
        check_plot(tmp_path / "line.svg")
