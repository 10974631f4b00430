"""Slopes of the rule: 1 where critical rates tell the scale, the smallest where they tell nothing; and their rows."""

import contextlib
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from wide_points import SGD, wide_points

from benchmarks import rule_slopes as bench
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.rule import DECLARED, fit_rule, kind_of

MIN_STEPS = 64
SHORT = {"log2_steps": 3.0}
HEADS = {"sgd": "fitted", "adamw": "noise"}
"""Heads whose coordinates, of those that ship, are the declared ones, so that a slope has something to draw."""


def short_points(n=60, **options):
    points = wide_points(n, per_octave_of_steps=0, **options)
    recipes = [dataclasses.replace(p.recipe, head_start=HEADS[p.recipe.optimizer]) for p in points]
    return [
        dataclasses.replace(point, recipe=recipe, facts=point.facts | SHORT)
        for point, recipe in zip(points, recipes, strict=True)
    ]


def with_facts_of_others(points):
    """Return points with the facts of other points of the same optimizer, so that they tell nothing of the scale."""
    order = np.random.default_rng(1).permutation(len(points) // 2)
    return [
        dataclasses.replace(point, facts=points[2 * order[at // 2] + at % 2].facts) for at, point in enumerate(points)
    ]


# --- the rule with a slope --------------------------------------------------------------------------------------------


def test_at_a_slope_of_1_every_scale_is_the_very_number_of_the_rule():
    points = short_points()
    rule, slope_1 = fit_rule(points, DECLARED), bench.fit(points, DECLARED, 1.0)
    assert {kind: constant.log2 for kind, constant in slope_1.items()} == {
        kind: constant.log2 for kind, constant in rule.constants.items()
    }
    for point in points:
        assert slope_1[kind_of(point.recipe)].log2_scale(point) == rule.log2_scale(point.facts, point.recipe)


@pytest.mark.parametrize("slope", [0.5, 0.75])
def test_a_smaller_slope_draws_an_extreme_start_to_the_middle_and_leaves_the_middle_alone(slope):
    points = [point for point in short_points() if point.recipe.optimizer == "sgd"]
    plain, shrunken = (bench.fit(points, DECLARED, each)["sgd, fitted head"] for each in (1.0, slope))
    assert shrunken.center == pytest.approx(np.mean([coordinate("both, damped", p.facts, SGD) for p in points]))
    middle = shrunken.center - math.log2(0.1)
    for off in (-10, 0, 10):
        start = dataclasses.replace(points[0], facts={"noise_log2_critical": middle + off})
        moved = shrunken.log2_scale(start) - plain.log2_scale(start)
        assert moved == pytest.approx(shrunken.log2 - plain.log2 - (1 - slope) * off)


def test_what_can_not_be_told_is_no_scale_and_the_rates_stay():
    rule = bench.fit(short_points(), DECLARED, 0.5)
    unknown = dataclasses.replace(short_points(2)[0], facts={})
    assert rule[kind_of(unknown.recipe)].log2_scale(unknown) is None
    assert bench.place_of(rule, unknown) == bench.place_of({}, unknown) == 0


# --- the choice of the slope ------------------------------------------------------------------------------------------


def test_where_best_rates_are_multiples_of_the_critical_rate_the_slope_is_1():
    assert bench.choose_slope(short_points(), MIN_STEPS) == 1


def test_where_critical_rates_are_noise_the_slope_is_the_smallest():
    assert bench.choose_slope(with_facts_of_others(short_points()), MIN_STEPS) == 0.5


@pytest.mark.parametrize("options", [{"n_networks": 1}, {"n_origins": 1}], ids=["network", "origin"])
def test_where_nothing_can_be_held_out_the_slope_is_1(options):
    assert bench.choose_slope(with_facts_of_others(short_points(24, **options)), MIN_STEPS) == 1


@pytest.mark.parametrize(
    ("accuracies", "slope"),
    [
        ({0.5: 0.60, 0.75: 0.61, 1.0: 0.62}, 1.0),
        ({0.5: 0.6176, 0.75: 0.61, 1.0: 0.62}, 0.5),
        ({0.5: 0.6174, 0.75: 0.6176, 1.0: 0.62}, 0.75),
        ({0.5: 0.60, 0.75: 0.62, 1.0: 0.6199}, 0.75),
        ({}, 1.0),
    ],
)
def test_the_smallest_slope_within_a_quarter_of_a_point_of_the_best_is_taken(accuracies, slope):
    assert bench.smallest_as_good(accuracies) == slope


# --- what is held out -------------------------------------------------------------------------------------------------


def test_every_point_is_held_out_once_with_its_network_and_its_origin():
    points = short_points()
    parts = bench.held_and_seen(points, bench.GROUPS["network"])
    assert sorted(point.key for held, _ in parts for point in held) == sorted(point.key for point in points)
    for held, seen in parts:
        assert {point.source_id for point in held}.isdisjoint(point.source_id for point in seen)
        assert {point.origin for point in held}.isdisjoint(point.origin for point in seen)


def test_neither_the_points_origin_nor_its_family_has_a_part_in_its_rules_and_slope():
    points, group = short_points(n_families=3), bench.GROUPS["family"]
    mine = points[0]
    wrecked = [
        dataclasses.replace(p, accuracies=p.accuracies[::-1])
        if p.origin == mine.origin or group(p) == group(mine)
        else p
        for p in points
    ]
    slopes = [bench.slopes_without(each, MIN_STEPS, group) for each in (points, wrecked)]
    whole, less = (
        bench.without(each, MIN_STEPS, group, slopes=of) for each, of in zip((points, wrecked), slopes, strict=True)
    )
    for way in ("rate", "slope 0.5", "as it ships", "shrunken"):
        assert whole[way][mine.key] == less[way][mine.key]
    other = next(p for p in points if p.origin != mine.origin and group(p) != group(mine))
    assert whole["as it ships"][other.key] != less["as it ships"][other.key]


# --- the tables -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    file, out = tmp_path_factory.mktemp("slopes") / "line.json", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(bench, "read_points", lambda _: short_points(40, n_networks=3, n_origins=5, n_families=2))
        patch.setattr("sys.argv", ["rule_slopes", "w.duckdb", "--json", str(file)])
        bench.main()
    assert file.read_text() == out.getvalue().splitlines()[-1] + "\n"
    return out.getvalue()


@pytest.mark.parametrize("held_out", ["network", "family"])
def test_slopes_are_judged_beside_the_rule_that_ships_which_is_best_where_its_slope_is_the_truth(printed, held_out):
    found = json.loads(printed.splitlines()[-1])
    rows = {row["method"]: row for row in found["rows"] if (row["held_out"], row["points"]) == (held_out, "all")}
    half, ships, shrunken = (rows[way] for way in ("slope 0.5", "as it ships", "shrunken"))
    assert half["accuracy"] < ships["accuracy"] == shrunken["accuracy"]
    assert half["far_octaves"] > ships["far_octaves"]
    assert half["over_shipped"][2] < 0 == shrunken["over_shipped"][0]
    assert ships["over_rate"][1] > 0
    assert (ships["n"], found["chosen"][held_out], found["chosen"]["all"]) == (40, {"1": 40}, 1)
    assert found["cells"]["0.5"] < found["cells"]["0.75"] < found["cells"]["1"]
    assert f"{held_out} and origin held out; chosen slopes: 1 for 40 points" in printed


def test_points_that_are_far_too_high_and_far_too_low_are_counted():
    points = short_points(12)
    octaves = {point.key: off for point, off in zip(points, [5, 5, -6, 3, -3, 0, 0, 0, 0, 0, 0, 0], strict=True)}
    ways = {way: {point.key: point.best_log2_scale for point in points} for way in ("rate", "as it ships")}
    ways["moved"] = {point.key: point.best_log2_scale + octaves[point.key] for point in points}
    row = next(each for each in bench.rows_of("network", "all", points, ways) if each["method"] == "moved")
    assert (row["n_too_high"], row["n_too_low"]) == (2, 1)
    assert row["spread_octaves"] == pytest.approx(np.std(list(octaves.values())), abs=1e-4)
    assert row["over_shipped"][0] < -0.1


def test_there_are_rows_for_each_optimizer_and_none_for_long_jobs_where_there_are_none(printed):
    rows = json.loads(printed.splitlines()[-1])["rows"]
    assert {row["points"] for row in rows} == {"all", "sgd, all", "adamw, all"}
    assert sum(row["n"] for row in rows if row["points"] != "all") == sum(r["n"] for r in rows if r["points"] == "all")
