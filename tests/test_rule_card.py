"""The card of the rule, and README's table of it, say what was measured last."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import pytest

from benchmarks.rule_card import CARD, FOLDER, HELD_OUT, PLOT, WIDE, card, constant_row, readme_table, save_plot
from benchmarks.timed import ROOT
from scalepred.predictor.rule import Constant, load_rule

DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"


@pytest.fixture(scope="module")
def wide():
    return json.loads(WIDE.read_text(encoding="utf-8"))


def test_the_card_is_that_of_the_rule_and_the_evaluation_that_are_here(wide):
    assert (FOLDER / CARD).read_text(encoding="utf-8") == card(load_rule(FOLDER), wide)


def test_the_plot_is_that_of_the_evaluation_that_is_here(wide, tmp_path):
    save_plot(wide, tmp_path / "jobs.svg")
    drawn, again = (ET.parse(path).find(DESCRIPTION).text for path in (PLOT, tmp_path / "jobs.svg"))  # noqa: S314 - ours
    assert drawn == again
    rule = next(row for row in wide["rows"] if row["hold_out"] == HELD_OUT and row["method"] == "the rule, as it ships")
    assert f"sgd, all, the rule, as it ships: {100 * rule['accuracy']:.1f} % for" in drawn


def test_readme_has_the_table(wide):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    table = list(readme_table(wide))
    start = lines.index(table[0])
    assert lines[start : start + len(table)] == table


def test_a_constant_says_what_it_is_times():
    constant = Constant(coordinate="half", log2=-5.0, octaves=2.0, n_points=6, n_origins=5, n_sources=4)
    assert constant_row("sgd, fitted head", constant) == (
        "| sgd, fitted head | 2^-5 | the critical rate half way | 6 | 5 | 4 | a factor of 4 |"
    )
    other = dataclasses.replace(constant, coordinate="noise minimum, damped")
    assert constant_row("sgd, noise head", other).split(" | ")[2] == (
        "the rate at the lowest loss, instead of the critical rate at a new head, times (1 - momentum)"
    )
