"""The card says what a predictor was trained on and how it does, in words that are true of it."""

import dataclasses
import io
import math

import pytest
from fakes import QUICK, RECIPE, SOURCE, as_harvested, curve_table, source_record
from rich.console import Console

from scalepred.cli.render import show_besides, show_evaluation
from scalepred.predictor import evaluate as evaluate_module
from scalepred.predictor.card import BESIDES, HEADINGS, OVERVIEW, beside_cells, card, cells, facts, write_card
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.scores import Row
from scalepred.predictor.train import train
from scalepred.records import RecipeRecord

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

ROW = Row(
    method="predicted scale",
    jobs=1,
    n_tasks=20,
    accuracy=0.8374,
    over_fixed=0.0213,
    over_fixed_interval=(-0.001, 0.043),
    regret_mean=0.012,
    regret_median=0.01,
    regret_p90=0.03,
    gap_closed=0.634,
    worse_share=0.05,
)


@pytest.fixture(scope="module")
def described():
    harvested = as_harvested(curve_table(8, per_origin=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "CONTROLS", 1)
        predictor, _ = evaluate_module.train_and_evaluate(harvested)
    recipes = [RecipeRecord(recipe_id="recipe-a", name="graduated", json=QUICK.to_json())]
    return facts(predictor, harvested, [source_record()], recipes, label="fake")


def test_a_row_is_told_in_per_cent_and_points():
    row = dataclasses.asdict(ROW)
    assert cells(row, 20) == ["predicted scale", "1", "83.7 %", "+2.1 (-0.1 to +4.3)", "1.2", "63 %", "5 %"]
    assert cells(row | {"over_fixed_interval": None, "gap_closed": None}, 20)[3:6] == ["+2.1", "1.2", ""]
    assert cells(row | {"regret_mean": None}, 21)[0::4] == ["predicted scale, 20 tasks", ""]


def test_the_card_tells_what_it_was_trained_on(described):
    text = card(described)
    assert text.startswith("# Scale predictor: fake\n\nTrained 20")
    assert "on 8 tasks of 8 origins." in text
    assert (
        f"- `tiny`, recipe `graduated`: best fixed scale {described.groups[0].fixed_scale:g} (8 tasks of 8 origins)"
        in text
    )
    assert "Features: hint, nothing, size, log2_scale." in text
    assert "Tasks: task-000, task-001, " in text


def test_the_card_shows_every_row_of_the_evaluation(described):
    lines = [line for line in card(described).splitlines() if line.startswith("| ")]
    (group,) = described.evaluation["groups"]
    assert [line.count("|") for line in lines] == [len(OVERVIEW) + 1] * 2 + [len(HEADINGS) + 1] * (
        1 + len(group["rows"])
    )
    assert lines[1].startswith("| tiny | graduated | 8 | 8 | ")
    assert lines[1].split(" | ")[5] == cells(group["rows"][0], 8)[3]
    assert "## `tiny` with recipe `graduated`" in card(described)


def test_the_card_says_when_the_fixed_scale_is_left(described):
    (group,) = described.evaluation["groups"]
    told = f"left the fixed scale for {group['n_moved']} of 8 held-out tasks, and found 0 unlike all others."
    assert told in card(described)
    for threshold, words in (
        (0.005, "It leaves the fixed scale above a predicted gain of 0.50 points."),
        (math.inf, "No predicted gain paid on held-out tasks, so it keeps the fixed scale."),
    ):
        assert words in card(dataclasses.replace(described, threshold=threshold))


def test_the_card_tells_the_measured_coverage_of_intervals_if_there_is_one(described):
    for share, told in ((0.7, True), (None, False)):
        text = card(dataclasses.replace(described, evaluation=described.evaluation | {"interval_coverage": share}))
        assert ("Its 80 % interval for the gain held 70 % of the gains of origins held out." in text) == told


def test_the_card_of_few_origins_claims_nothing():
    harvested = as_harvested(curve_table(3))
    text = card(facts(train(harvested.table), harvested, [], [], label=""))
    assert text.startswith("# Scale predictor\n")
    assert "Nothing is predicted: fewer than 8 origins. The best fixed scale is used for every task." in text
    assert "|" not in text


def test_where_every_source_has_met_few_origins_card_and_command_say_so():
    table = curve_table(10, per_origin=1)
    harvested = as_harvested(dataclasses.replace(table, source_ids=("source-a",) * 5 + ("source-b",) * 5))
    predictor, evaluation = evaluate_module.train_and_evaluate(harvested)
    assert evaluation.groups == ()
    told = facts(predictor, harvested, [], [], label="")
    shown = Console(record=True, file=io.StringIO(), width=200)
    show_evaluation(shown, told, evaluation)
    for text in (card(told), shown.export_text()):
        assert "Nothing is predicted: no source has met 8 origins with one recipe." in text
        assert "|" not in text


def test_sources_and_recipes_that_were_not_used_are_not_named():
    harvested = as_harvested(curve_table(3))
    other = RecipeRecord(recipe_id="unused", name="unused", json=QUICK.to_json())
    told = facts(train(harvested.table), harvested, [source_record(), source_record("unused")], [other], label="").facts
    assert told["sources"] == {"source-a": "tiny"}
    assert told["recipes"] == {}
    assert (told["n_bundles"], told["n_incomplete"], len(told["origins"])) == (6, 0, 3)
    assert set(told["versions"]) == {"scalepred", "lightgbm", "numpy"}


def test_the_card_lies_beside_the_predictor(described, tmp_path):
    write_card(described, tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card(described)


def test_the_choice_between_probe_and_finetune_is_told_where_both_are_known(described):
    assert "Linear probe or finetune" not in card(described)
    beside = Beside(
        source_id=SOURCE,
        recipe_id=RECIPE,
        n_train=(*[20] * 20, *[200] * 20),
        origins=tuple(range(40)),
        gains=(*[0.05] * 20, *[-0.02] * 20),
    )
    known = dataclasses.replace(described, besides=(beside,))
    row = beside_cells(known, beside)
    assert row[2:5] == ["40", "40", "200 images"]
    assert row[5].startswith("+1.5 (")
    assert row[6:] == ["50%", row[7], row[8]]
    assert (row[7].split()[0], row[8].split()[0]) == ("+2.5", "+1.0")
    assert "| " + " | ".join(row) + " |" in card(known)
    shown = io.StringIO()
    show_besides(Console(file=shown, width=300), known)
    assert all(cell in shown.getvalue() for cell in (*BESIDES, *row))
