"""The plot of accuracy against jobs spent: a panel for each optimizer, named ways, and the same bytes again."""

import xml.etree.ElementTree as ET

import pytest
from wide_points import SGD, wide_points

from scalepred.errors import UsageError
from scalepred.job.accuracy_plot import SHOWN, save_accuracy_plot
from scalepred.predictor.formulations import FORMULATIONS
from scalepred.predictor.wide_evaluation import evaluate_points
from scalepred.predictor.wide_studies import STUDIED


def evaluated(**settings):
    points = wide_points(60, n_networks=3, n_origins=5, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalepred.predictor.wide_studies.ALSO_CURVED", STUDIED)
        return evaluate_points(points, formulations={STUDIED: FORMULATIONS[STUDIED]}, leaning={})


@pytest.fixture(scope="module")
def both():
    return evaluated()


def draw(evaluation, path):
    save_accuracy_plot(evaluation.rows, path, held_out=evaluation.studied)


def words_of(path):
    tag = "{http://www.w3.org/2000/svg}text"
    return {text.text.strip() for text in ET.parse(path).iter(tag) if text.text}  # noqa: S314 - our own file


def test_every_way_that_has_a_row_is_named_and_both_optimizers_have_a_panel(both, tmp_path):
    draw(both, tmp_path / "a.svg")
    words = words_of(tmp_path / "a.svg")
    told = {row.method for row in both.rows}
    assert set(SHOWN) & told <= words
    assert {"sgd, 30 points", "adamw, 30 points", "Held out: network and origin"} <= words
    assert {"jobs spent for a point, median", "mean test accuracy, per cent"} <= words
    domain = ("network and origin", "sgd, all", "best fixed rate")
    rate = next(row for row in both.rows if (row.hold_out, row.points, row.method) == domain)
    assert f"sgd, all, best fixed rate: {100 * rate.accuracy:.1f} % for 1 jobs" in (tmp_path / "a.svg").read_text()


def test_the_same_rows_give_the_same_bytes(both, tmp_path):
    for name in ("a.svg", "b.svg"):
        draw(both, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_one_optimizer_has_one_panel(tmp_path):
    draw(evaluated(recipes=(SGD,)), tmp_path / "a.svg")
    words = words_of(tmp_path / "a.svg")
    assert "sgd, 60 points" in words
    assert not any(word.startswith("adamw") for word in words)


def test_a_plot_that_can_not_be_written_is_told(both, tmp_path):
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(UsageError, match=r"The plot can't be written to .*folder\.svg: "):
        draw(both, tmp_path / "folder.svg")
