"""The benchmark of the rule, on points whose best rates are known constants times their critical rates."""

import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks import range_test
from benchmarks import rule as bench
from scalepred.predictor.points import Point
from scalepred.predictor.rule import DECLARED, kind_of, load_rule
from scalepred.predictor.rule_choice import FEWEST, for_constants
from scalepred.recipe import Recipe

RECIPES = {"sgd": Recipe(momentum=0.9, head_start="fitted"), "adamw": Recipe(optimizer="adamw")}


def points_with_known_constants(n=24):
    """Return points whose best scale is the declared coordinate times 2 (SGD) or a quarter (AdamW)."""
    rng = np.random.default_rng(0)
    scales = np.arange(-12.0, 13.0)
    points = []
    for index in range(2 * n):
        optimizer = "sgd" if index % 2 else "adamw"
        recipe = RECIPES[optimizer]
        noise, half = rng.uniform(-12, -4), rng.uniform(-12, -4)
        rate = (noise + half) / 2 + math.log2(0.1) + 1 if optimizer == "sgd" else noise - 2
        facts = {"noise_log2_critical": noise, "half_log2_critical": half}
        facts |= {"noise_log2_minimum": noise - 1, "half_log2_minimum": half - 1, "log2_steps": 3 + index % 5}
        curve = np.clip(0.9 - 0.05 * (scales - (rate - math.log2(recipe.base_lr))) ** 2, 0.1, 1)
        points.append(
            Point(
                task=f"t{index}",
                origin=f"o{index % 8}",
                source=f"s{index % 3}",
                architecture="tiny",
                task_id=f"t{index}",
                source_id=f"s{index % 3}",
                recipe=recipe,
                facts=facts,
                log2_scales=scales,
                accuracies=curve,
                diverged=curve < 0.2,
                chance=0.1,
                n_train=50,
                n_images=200,
                n_seeds=np.ones(len(scales), int),
                honest_best=0.9,
                job_seconds=10.0,
                facts_seconds=1.0,
            )
        )
    return points


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "read_points", lambda _: points_with_known_constants())
    monkeypatch.setattr(bench, "read_grid_points", lambda *_: [])
    monkeypatch.setattr("sys.argv", ["rule", str(tmp_path / "w.duckdb"), "--output", str(tmp_path)])
    bench.main()
    return capsys.readouterr().out


def test_declared_coordinates_find_their_constants_and_beat_the_best_fixed_rate(printed, tmp_path):
    rule = load_rule(tmp_path)
    assert rule.constants["sgd, fitted head"].log2 == pytest.approx(1, abs=0.25)
    assert rule.constants["adamw, noise head"].log2 == pytest.approx(-2, abs=0.25)
    rows = {(row["kind"], row["method"]): row for row in rule.evidence["judged"]}
    for optimizer, name in DECLARED.items():
        for kind in (kind_of(RECIPES[optimizer]), f"{optimizer}, all"):
            assert rows[kind, name]["interval"][0] > 0.1
            assert rows[kind, name]["spread_octaves"] < 0.5
            assert rows[kind, "rate"]["gain"] == rows[kind, "scale 1"]["over_scale_1"] == 0
    assert "48 points of 8 origins on 3 networks" in printed


def test_neither_the_points_origin_nor_its_network_sets_its_constant():
    members = [p for p in points_with_known_constants() if p.recipe.optimizer == "adamw"]
    point = members[0]
    seen = [p for p in members if p.origin != point.origin and p.source_id != point.source_id]
    assert bench.held_out(point, members, "noise") == bench.held_out(point, [point, *seen], "noise")


def test_a_task_of_several_collections_teaches_points_of_others_and_is_not_judged():
    members = [p for p in points_with_known_constants() if p.recipe.optimizer == "adamw"]
    merged = [dataclasses.replace(p, origin="o0 + o2", source_id="s9", log2_scales=p.log2_scales + 6) for p in members]
    everything = [*members, *merged]
    kin = next(p for p in members if p.origin == "o0")
    other = next(p for p in members if p.origin == "o4")
    assert bench.held_out(kin, everything, "noise") == bench.held_out(kin, members, "noise")
    assert bench.held_out(other, everything, "noise") > bench.held_out(other, members, "noise")
    assert bench.without(kin, everything, 64) == bench.without(kin, members, 64)
    assert bench.same_network(kin, [*members, *(dataclasses.replace(p, source_id=kin.source_id) for p in merged)]) == (
        bench.same_network(kin, members)
    )
    assert {row.n_points for row in bench.judge(everything, "all")} == {len(members)}


def test_range_tests_are_judged_on_their_own_points_and_cost_seconds(tmp_path, monkeypatch, capsys):
    points = points_with_known_constants()
    file = tmp_path / "tests.jsonl"
    found = [
        {"point": p.key, "valley": 2**p.best_log2_scale, "steepest": None, "seconds": 5.0}
        for p in points
        if p.origin in ("o1", "o2", "o3")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in found))
    monkeypatch.setattr(bench, "read_points", lambda _: points)
    monkeypatch.setattr(bench, "read_grid_points", lambda *_: [])
    monkeypatch.setattr("sys.argv", ["rule", "w.duckdb", "--range-tests", str(file)])
    bench.main()
    out = capsys.readouterr().out
    rows = {(row["kind"], row["method"]): row for row in json.loads(out.splitlines()[-1])["rows"]}
    best = rows["sgd, range tests", "best of each curve (biased)"]
    assert rows["sgd, range tests", "range test, valley"]["accuracy"] == best["accuracy"]
    assert rows["sgd, range tests", "range test, steepest"]["over_scale_1"] == 0  # nothing to read leaves the rates
    assert f"range tests of {len(found)} points took 50% of a job in the median" in out
    assert rows["sgd, range tests", "scale 1"]["n"] == sum("o1" in p.origin or "o3" in p.origin for p in points) > 0


def as_grids(points, multipliers, *, off):
    """Return SGD's points as tasks of grids by a recipe of other multipliers, best so many octaves higher."""
    recipe = dataclasses.replace(RECIPES["sgd"], multipliers=multipliers)
    of_sgd = [p for p in points if p.recipe.optimizer == "sgd"]
    return [dataclasses.replace(p, recipe=recipe, log2_scales=p.log2_scales + off) for p in of_sgd]


def test_tasks_of_grids_set_constants_too_but_not_where_their_own_recipe_is_new(tmp_path, monkeypatch, capsys):
    points = points_with_known_constants()
    grids = as_grids(points, (1.0,) * 6, off=3.0) + as_grids(points, (2.0,) * 6, off=3.0)
    for name, found in (("read_points", points), ("read_grid_points", grids)):
        monkeypatch.setattr(bench, name, lambda *_, found=found: found)
    monkeypatch.setattr("sys.argv", ["rule", str(tmp_path / "w.duckdb"), "--output", str(tmp_path)])
    bench.main()
    rule = load_rule(tmp_path)
    assert (rule.evidence["n_points"], rule.evidence["n_of_grids"]) == (48, 48)
    longer = [p for p in (*points, *grids) if p.recipe.optimizer == "sgd" and p.facts["log2_steps"] >= 6]
    assert rule.constants["sgd, fitted head"].n_points == len(longer) == 27
    assert 1 < rule.constants["sgd, fitted head"].log2 <= 4  # between that of design points and of grids
    rows = {(row["kind"], row["method"]): row for row in rule.evidence["judged"]}
    alone = rows["sgd, fitted head, grids, new recipe, design points alone", bench.SHIPPED]["accuracy"]
    new = rows["sgd, fitted head, grids, new recipe", bench.SHIPPED]["accuracy"]
    assert alone < new < rows["sgd, fitted head, grids", bench.SHIPPED]["accuracy"]


def test_the_valley_and_the_steepest_fall_of_a_known_curve():
    rates = np.geomspace(1e-7, 10, 100)
    losses = 1 / (1 + np.exp(2 * (np.log10(rates) + 3))) + np.where(rates > 0.1, rates, 0)
    valley, steepest = range_test._read(rates, losses)
    assert steepest == pytest.approx(1e-3, rel=0.1)
    falling = rates[10:-5][np.flatnonzero(np.diff(losses[10:-5]) < 0)]
    assert falling[0] < valley < falling[-1]
    assert np.log(valley / falling[0]) == pytest.approx(np.log(falling[-1] / falling[0]) / 2, rel=0.1)
    assert range_test._read(rates[:12], losses[:12]) == (None, None)


def test_shorter_and_longer_jobs_have_constants_of_their_own(capsys):
    shorter = [dataclasses.replace(p, facts=p.facts | {"log2_steps": 3.0}) for p in points_with_known_constants()]
    longer = [
        dataclasses.replace(p, log2_scales=p.log2_scales + 2, facts=p.facts | {"log2_steps": 7.0}) for p in shorter
    ]
    bench.show_lengths([*shorter, *longer])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| sgd, fitted head")]
    assert [row[1:4] for row in rows] == [["all", "48", "32"], ["shorter", "24", "8"], ["longer", "24", "128"]]
    constants = {row[1]: float(row[4].removeprefix("2^")) for row in rows}
    assert constants["shorter"] == pytest.approx(1, abs=0.25)
    assert constants["longer"] == pytest.approx(3, abs=0.25)


def test_constants_come_from_longer_jobs_where_there_are_enough_of_them():
    shorter = [dataclasses.replace(p, facts=p.facts | {"log2_steps": 3.0}) for p in points_with_known_constants()]
    longer = [dataclasses.replace(p, facts=p.facts | {"log2_steps": 7.0}) for p in shorter]
    adamw = [p for p in longer if p.recipe.optimizer == "adamw"]
    few = [p for p in longer if p.recipe.optimizer == "sgd"][: FEWEST - 1]
    chosen = for_constants([*shorter, *adamw, *few], 64)
    assert [p for p in chosen if p.recipe.optimizer == "adamw"] == adamw
    assert len([p for p in chosen if p.recipe.optimizer == "sgd"]) == len(shorter) / 2 + len(few)
