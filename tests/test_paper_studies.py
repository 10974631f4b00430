"""The paper's studies of runs: which runs they want, what they tell of them, and all of it once with tiny sizes."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.paper import graduated, rates, transfer
from benchmarks.paper.gains import gain
from benchmarks.paper.report import median_told, share_told
from benchmarks.paper.results import Accuracy
from benchmarks.paper.settings import FULL, SMOKE, graduated_recipes, rate_recipes
from benchmarks.paper.settings import rates as rates_recipe
from benchmarks.paper.transfer import Cell, Pair, Place
from scalepred.errors import DataError, UsageError
from scalepred.predictor.points import gather_points
from scalepred.recipe import GRADUATED, HEAD_ONLY, baseline_of
from scalepred.records import POINT
from scalepred.store.warehouse import open_warehouse

ROOT = Path(__file__).resolve().parent.parent


def place_of(folder, domains):
    place = Place(warehouse=folder / "w.duckdb", settings=SMOKE)
    place.folder.mkdir()
    (place.folder / "domains.json").write_text(json.dumps({"inputs": {"suite": "x"}, "domains": domains, "notes": []}))
    return place


def flat(values):
    """Return IL -> accuracies of these validation accuracies."""
    return {inner: Accuracy(value, value) for inner, value in zip((0.0, 0.0001, 0.001, 0.01), values, strict=False)}


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_the_rates_of_a_recipe_are_those_of_its_name():
    for name, recipe in rate_recipes(FULL).items():
        inner, outer = (float(part) for part in name.removeprefix("il-").split("-ll-"))
        assert [recipe.base_lr * m for m in recipe.multipliers] == pytest.approx([inner] * 5 + [outer])
        assert (recipe.schedule, recipe.optimizer, recipe.batchnorm) == ("step", "sgd", "batch")
    assert len(rate_recipes(FULL)) == 8


def test_the_last_layer_alone_at_001_is_the_baseline_of_all_and_so_is_run_once():
    recipe = rates_recipe(0.0, 0.01, FULL)[1]
    assert recipe.multipliers == HEAD_ONLY
    everything = [*rate_recipes(FULL).values(), *graduated_recipes(FULL).values()]
    assert {baseline_of(each).recipe_id for each in everything} == {recipe.recipe_id}


def test_figure_10_has_flat_and_graduated_multipliers_at_both_rates_of_the_head():
    named = graduated_recipes(FULL)
    assert named["flat-5-head-20"].multipliers == (5, 5, 5, 5, 5, 20)
    assert named["graduated-0-0-1-2-5-head-10"].multipliers == (0, 0, 1, 2, 5, 10)
    assert named["graduated-0-1-2-4-8-head-10"].multipliers == (*GRADUATED[:5], 10)
    assert len({recipe.recipe_id for recipe in named.values()}) == 10


# --- cells ------------------------------------------------------------------------------------------------------------

DOMAINS = {name: {"images": 9, "source": 4} for name in ("tool", "weapon", "plant")} | {"oxford": {"images": 9}}


def test_pairs_are_those_whose_target_and_source_are_there(tmp_path):
    place = place_of(tmp_path, DOMAINS)
    assert transfer.pairs_of(place) == [Pair("tool", "weapon", True), Pair("oxford", "plant", True)]
    assert transfer.paired_sources(place) == ["weapon", "plant"]


def test_each_study_wants_its_own_runs(tmp_path):
    place = place_of(tmp_path, DOMAINS)
    assert transfer.cells_of("rates", place) == [Cell("tool-target", "weapon"), Cell("oxford-target", "plant")]
    assert transfer.cells_of("source", place) == [Cell("tool-target", each) for each in ("random", "weapon", "plant")]
    assert Cell("plant-large", "random") in transfer.cells_of("size", place)
    assert len(transfer.cells_of("size", place)) == 6
    assert [cell.task for cell in transfer.cells_of("graduated", place)] == ["oxford-target", "oxford-target"]


def test_domains_of_other_data_are_refused(tmp_path):
    place = place_of(tmp_path, DOMAINS)
    with pytest.raises(UsageError, match=r"has domains of other data, \{'suite': 'x'\}: give another --warehouse"):
        transfer.read_domains(place, suite=tmp_path)
    assert transfer.read_domains(place) == []


def test_without_data_a_study_says_what_to_give(tmp_path):
    with pytest.raises(UsageError, match="give --suite, --imagenet or --flowers"):
        transfer.read_domains(Place(warehouse=tmp_path / "w.duckdb", settings=SMOKE))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_beta_is_equation_1_and_infinite_where_the_least_is_nothing():
    assert rates.beta(flat([0.2, 0.5, 0.3])) == pytest.approx((0.5 - 0.2) / 0.2 * 100)
    assert rates.beta(flat([0.0, 0.5])) == math.inf


def test_alpha_is_the_least_rate_of_the_best_accuracy():
    assert rates.alpha(flat([0.2, 0.5, 0.5, 0.4])) == 0.0001
    assert rates.best(flat([0.2, 0.5, 0.5, 0.4])).val == 0.5


def test_gains_are_in_per_cent_of_what_was_before():
    assert gain(Accuracy(0.3, 0), Accuracy(0.2, 0)) == pytest.approx(50)
    assert gain(Accuracy(0.3, 0), Accuracy(0.0, 0)) is None
    assert gain(None, Accuracy(0.2, 0)) is None


def curve(name, at_base, **octaves):
    """Return a set's curve from octave -> (validation, test), and its accuracies at the paper's rates."""
    seen = {float(octave.removeprefix("o")): Accuracy(*values) for octave, values in octaves.items()}
    return graduated.Curve(pair=Pair("a", "b", True), name=name, at_base=Accuracy(*at_base), octaves=seen)


def test_sets_are_compared_at_the_papers_rates_and_at_those_that_their_own_validation_chose():
    sets = [
        curve("flat-1-head-10", (0.5, 0.6), o0=(0.5, 0.6), o3=(0.9, 0.7)),
        curve("flat-5-head-10", (0.6, 0.4), o0=(0.6, 0.4), o3=(0.2, 0.9)),
        curve("graduated-0-1-2-4-8-head-10", (0.7, 0.7), o0=(0.7, 0.7), o3=(0.8, 0.75)),
        curve("graduated-0-0-1-2-5-head-20", (0.7, 0.7), o0=(0.7, 0.7)),
    ]
    (at_base,) = graduated.differences(sets, "at base")  # no flat set has LL 20
    (at_best,) = graduated.differences(sets, "at best")
    assert (at_base.val, at_base.test) == pytest.approx((0.7 - 0.6, 0.7 - 0.4))
    assert (at_best.val, at_best.test) == pytest.approx((0.8 - 0.9, 0.75 - 0.7))


def test_the_best_octave_is_the_middle_of_those_of_the_best_validation():
    tied = curve("flat-1-head-10", (0, 0), o0=(0.5, 0), o1=(0.5, 0), o2=(0.5, 0), o4=(0.1, 1))
    assert tied.best == 1


def test_frozen_layers_are_compared_with_those_that_learnt_at_the_best_rates_of_validation():
    low = dict(zip((0.0, 0.0001, 0.001, 0.01), (Accuracy(v, v) for v in (0.5, 0.6, 0.4, 0.3)), strict=True))
    high = dict(zip((0.0, 0.0001), (Accuracy(0.7, 0.2), Accuracy(0.55, 0.9)), strict=True))
    pair = rates.Curves(
        pair=Pair("a", "b", True), by_outer={rates.LOW: low, rates.HIGH: high}, images_per_label=5.0, similarity=None
    )
    assert rates.frozen_best(pair) == Accuracy(0.7, 0.2)
    assert rates.whole_best(pair) == Accuracy(0.6, 0.6)
    assert pair.at_best == (Accuracy(0.6, 0.6), Accuracy(0.7, 0.2))


def test_shares_and_medians_are_told_with_exact_and_bootstrap_intervals():
    assert share_told([1, 2, 3, -1]) == "3 of 4 (19 to 99 %)"  # Clopper and Pearson's
    assert median_told([5.0]) == "+5 % (n = 1)"
    assert median_told([1.0, 2.0, 3.0, 4.0, 100.0], unit=" points").startswith("+3.0 points (+1.0 to +")
    assert median_told([1.0, 1.0, 3.0, 3.0], groups="aabb") == "+2 % (+1 to +3, n = 4)"


def test_the_papers_gains_follow_from_its_table_1():
    told = {
        "fabric": 15.47,
        "tool": 1.63,
        "oxford": 24.44,
        "food": 12.52,
        "person": 59.75,
        "fruit": 12.92,
        "music": 62.22,
    }
    for (target, _), accuracies in rates.TABLE_1.items():
        if target in told:
            assert 100 * (max(accuracies) / min(accuracies) - 1) == pytest.approx(told[target], abs=0.2)


# --- all of it --------------------------------------------------------------------------------------------------------


def command(*arguments):
    line = [sys.executable, "-m", "benchmarks.paper", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    warehouse = tmp_path_factory.mktemp("smoke") / "w.duckdb"
    done = command("all", "--smoke", "--warehouse", warehouse)
    assert done.returncode == 0, done.stderr
    return warehouse, done.stdout


def runs_of(warehouse):
    with open_warehouse(warehouse, read_only=True) as store:
        assert store.verify() == []
        return store.runs(), {recipe.recipe_id: recipe.name for recipe in store.recipes()}


@pytest.mark.slow
def test_all_studies_run_on_made_data_and_tell_their_tables(smoke):
    _, out = smoke
    numbers = {
        line["study"]: line for line in map(json.loads, (each for each in out.splitlines() if each.startswith("{")))
    }
    assert set(numbers) == {"domains", "size", "source", "rates", "graduated", "svm", "scales", "humps"}
    counted = {name: numbers[name]["n"] for name in ("domains", "size", "source", "rates", "graduated", "svm")}
    assert counted == {"domains": 4, "size": 3, "source": 2, "rates": 2, "graduated": 4, "svm": 2}
    assert numbers["graduated"]["at_own_best"]["n"] == 4
    assert "tool from weapon" in out
    assert "oxford from plant" in out


@pytest.mark.slow
def test_every_run_is_in_the_warehouse_under_its_recipes_name(smoke):
    runs, recipes = runs_of(smoke[0])
    wanted = rate_recipes(SMOKE) | graduated_recipes(SMOKE)
    assert all(recipes[recipe.recipe_id] in wanted for recipe in wanted.values())
    # tool from weapon 9, oxford from plant 18 (IL-0.001/LL-0.01 is flat 1 too) and from weapon 11, tool from plant 2,
    # and six from noise 2 each
    assert sum(run.scale in (None, 1.0) for run in runs) == 9 + 18 + 11 + 2 + 6 * 2


@pytest.mark.slow
def test_figure_10s_sets_are_design_points_that_the_rule_can_learn_from(smoke):
    runs, recipes = runs_of(smoke[0])
    of_points = {(run.task_id, run.source_id, recipes[run.recipe_id]) for run in runs if run.role == POINT}
    assert {name for *_, name in of_points} == set(graduated_recipes(SMOKE))
    assert len(of_points) == 2 * 10
    with open_warehouse(smoke[0], read_only=True) as store:
        points = gather_points(
            tasks=store.tasks(),
            sources=store.sources(),
            recipes=store.recipes(),
            features=store.features(),
            runs=store.runs(),
        )
    assert len(points) == 2 * 10


@pytest.mark.slow
def test_the_report_and_its_figures_lie_beside_the_warehouse(smoke):
    folder = smoke[0].with_name("w-paper") / "report"
    text = (folder / "README.md").read_text(encoding="utf-8")
    drawn = {path.name for path in folder.glob("*.png")}
    assert drawn == {f"figure-{number}.png" for number in (1, 2, 6, 8, 9, 10)}
    assert all(f"({name})" in text for name in drawn)


@pytest.mark.slow
def test_a_study_that_is_done_trains_and_runs_nothing_again(smoke):
    warehouse, _ = smoke
    before = runs_of(warehouse)[0]
    sources = {path: path.stat().st_mtime_ns for path in warehouse.with_name("w-paper").glob("sources/*")}
    again = command("rates", "--smoke", "--warehouse", warehouse)
    assert again.returncode == 0, again.stderr
    assert runs_of(warehouse)[0] == before
    assert {path: path.stat().st_mtime_ns for path in sources} == sources


@pytest.mark.slow
def test_data_that_are_none_are_refused_with_the_exit_code_of_bad_data(tmp_path):
    done = command("domains", "--warehouse", tmp_path / "w.duckdb", "--imagenet", tmp_path)
    assert (done.returncode, done.stdout) == (DataError.exit_code, "")
    assert done.stderr.startswith(f"{tmp_path / 'wordnet.is_a.txt'} can't be read: No such file or directory.")
