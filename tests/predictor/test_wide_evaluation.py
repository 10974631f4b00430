"""The evaluation on design points: planted gains are found, a control closes nothing, and rivals have their costs."""

import dataclasses
import json
import math

import numpy as np
import pytest
from wide_points import wide_points

from scalepred.errors import DataError
from scalepred.predictor import wide_rivals as rivals
from scalepred.predictor.formulations import FORMULATIONS, nearest_point
from scalepred.predictor.hold_outs import FAMILY, NETWORK, ORIGIN
from scalepred.predictor.probes import PROBES, two_epochs
from scalepred.predictor.wide_evaluation import CONSTANT, SELECTED, evaluate_points, frames_of, studied_of
from scalepred.predictor.wide_rivals import rivals_of
from scalepred.predictor.wide_studies import ALL, STUDIED, fact_seconds, ranks
from scalepred.predictor.wide_tables import tables_of

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

NEAREST = "nearest point"
N = 120
TESTED = range(0, N, 6)
"""Points that a made range test has read: those of SGD alone."""


@pytest.fixture(scope="module")
def points():
    return wide_points(N, n_networks=5, n_origins=7, n_families=2)


@pytest.fixture(scope="module")
def evaluation(points):
    tests = {
        points[i].key: {"valley": 2.0 ** points[i].best_log2_scale, "steepest": None, "seconds": 5.0} for i in TESTED
    }
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalepred.predictor.wide_studies.ALSO_CURVED", STUDIED)  # the process takes a minute
        found = evaluate_points(
            points,
            tests=tests,
            formulations={STUDIED: FORMULATIONS[STUDIED], NEAREST: nearest_point},
            leaning={},
            on_step=lambda done, total: steps.append((done, total)),
        )
    n_calls = 6 + 3 * 3 + 3  # studies, places under three hold-outs, and their rows
    assert steps == [(done, n_calls) for done in range(1, n_calls + 1)]
    return found


@pytest.fixture(scope="module")
def rows(evaluation):
    return {(row.hold_out, row.points, row.method): row for row in evaluation.rows}


def test_several_processes_find_the_same(points):
    few = [points[i] for i in range(0, N, 2)]
    quick = {"formulations": {STUDIED: FORMULATIONS[STUDIED]}, "leaning": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalepred.predictor.wide_studies.ALSO_CURVED", STUDIED)
        one, two = (evaluate_points(few, n_processes=n, **quick).to_json() for n in (1, 2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold_out", [FAMILY, NETWORK, ORIGIN])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_learning_beats_the_constant_where_steps_place_the_best_whatever_is_held_out(rows, hold_out, optimizer):
    def of(method):
        return rows[hold_out, f"{optimizer}, all", method]

    assert of(STUDIED).over_rule > 0.05
    assert of(STUDIED).over_rule_interval[0] > 0
    assert of(STUDIED).gap_closed > of(rivals.SHIPPED).gap_closed
    assert of(SELECTED).over_rule > 0.03
    assert of(rivals.SHIPPED).over_rule == of(rivals.RATE).over_rate == 0
    assert of(rivals.HONEST).gap_closed == 1
    assert of(rivals.OWN).own_gap_closed in (1, None)
    assert of(rivals.NAIVE).accuracy >= of(f"{STUDIED} + {NEAREST}").accuracy
    assert of(rivals.SEARCH).accuracy == of(rivals.NAIVE).accuracy  # validation is as the test here


def test_all_lengths_and_optimizers_are_judged_under_every_hold_out(evaluation):
    domains = {(row.hold_out, row.points) for row in evaluation.rows if "range tests" not in row.points}
    assert domains == {
        (name, f"{optimizer}, {words}")
        for name in (FAMILY, NETWORK, ORIGIN)
        for optimizer in ("sgd", "adamw")
        for words in ("all", "64 steps or more")
    }
    assert (evaluation.n_points, evaluation.n_origins, evaluation.n_networks, evaluation.n_families) == (N, 7, 5, 2)
    assert evaluation.studied == NETWORK


def test_the_control_with_the_facts_of_other_points_closes_nothing(evaluation, rows):
    for domain in ("sgd, all", "adamw, all"):
        constant = 100 * rows[NETWORK, domain, CONSTANT].over_rule
        learnt = evaluation.studies["sets"][ALL]["gains"][domain][0]
        assert evaluation.studies["permuted"][domain][0] < constant + 2 < learnt


def test_the_ablation_tells_which_facts_matter_and_what_they_took(evaluation):
    sets = evaluation.studies["sets"]
    of = {words.partition(",")[0]: each for words, each in sets.items()}
    for domain in ("sgd, all", "adamw, all"):
        gains = {words: each["gains"][domain][0] for words, each in of.items()}
        assert gains["+ critical rates"] > gains["images per label alone"] + 5
    assert [each["seconds"] for each in sets.values()] == [0, 0, 1.0, 1.0, 1.0]
    assert of["+ critical rates"]["share_of_a_job"] == 0.1


def test_images_per_label_that_are_all_the_same_tell_nothing(evaluation):
    assert set(map(tuple, evaluation.studies["conjecture"].values())) == {(0.0, 0.0, 0.0)}


def test_more_points_and_more_networks_gain_more(evaluation):
    curve = evaluation.studies["curve"][STUDIED]
    assert curve["25% of the points"]["sgd, all"][0] < curve["all points"]["sgd, all"][0]
    assert curve["for twice as many"]["sgd, all"][0] > 0
    assert set(evaluation.studies["group_curve"]) == {"2 learnt from", "3 learnt from", "4 learnt from"}


def test_the_best_place_scatters_less_over_the_coordinate_that_places_it(evaluation):
    spread = evaluation.studies["spread"]["adamw, all"]
    assert spread["z_noise"] < spread["z_rate"]


def test_intervals_of_the_place_are_told_with_their_coverage(evaluation):
    of = {(row.hold_out, row.points, row.method): row for row in evaluation.coverages}
    rule, learnt = (of[NETWORK, "sgd, all", method] for method in (CONSTANT, STUDIED))
    assert learnt.half_width_octaves < rule.half_width_octaves
    for row in (rule, learnt):
        assert row.nominal == 0.9
        assert row.covered == pytest.approx(0.9, abs=0.09)
        assert row.interval[0] <= row.covered <= row.interval[1]


# --- rivals -----------------------------------------------------------------------------------------------------------


def test_rivals_cost_what_they_cost(rows):
    jobs = {
        method: row.jobs
        for (hold_out, words, method), row in rows.items()
        if (hold_out, words) == (NETWORK, "sgd, all")
    }
    n_scales, epochs = 21, 20
    assert jobs[rivals.SCALE_1] == jobs[rivals.RATE] == 1
    assert jobs[rivals.SHIPPED] == jobs[STUDIED] == 1.1
    assert jobs[rivals.PROBE] == 0.05
    assert jobs[next(iter(PROBES))] == pytest.approx(1 + (n_scales - 1) * 2 / epochs)
    assert jobs[rivals.AROUND] == pytest.approx(1.1 + 2 * 2 / epochs)
    assert jobs[rivals.SEARCH] == jobs[rivals.HONEST] == n_scales


def test_probes_whose_losses_rank_as_accuracies_find_the_best(rows, points):
    best = rows[NETWORK, "sgd, all", rivals.NAIVE].accuracy
    assert rows[NETWORK, "sgd, all", next(iter(PROBES))].accuracy == best
    probed = [two_epochs(point).log2_scale for point in points]
    assert [p.accuracy_at(s) for p, s in zip(points, probed, strict=True)] == [p.accuracies.max() for p in points]
    around = rows[NETWORK, "sgd, all", rivals.AROUND]
    assert around.accuracy > rows[NETWORK, "sgd, all", rivals.SHIPPED].accuracy


def test_range_tests_are_judged_on_their_own_points_and_what_could_not_be_read_is_scale_1(rows):
    domain = (NETWORK, "sgd, range tests")
    assert rows[(*domain, rivals.SCALE_1)].n == len(TESTED)
    assert rows[(*domain, "range test, valley")].accuracy == rows[(*domain, rivals.NAIVE)].accuracy
    assert rows[(*domain, "range test, steepest")].accuracy == rows[(*domain, rivals.SCALE_1)].accuracy
    assert rows[(*domain, "range test, valley")].jobs == 1.5
    assert (NETWORK, "sgd, all", "range test, valley") not in rows
    assert (NETWORK, "adamw, range tests", rivals.SCALE_1) not in rows


def test_a_way_that_says_nothing_of_a_few_points_is_judged_on_the_others_alone(points):
    few = [
        dataclasses.replace(p, facts={k: v for k, v in p.facts.items() if k != "fitted_accuracy"}) if i < 4 else p
        for i, p in enumerate(points)
    ]
    frame = frames_of(few, 64)[NETWORK]
    from scalepred.predictor.wide_scores import judge

    everything = np.ones(N, bool)
    rows = {row.method: row for row in judge(frame, "all", everything, rivals_of(frame, {}))}
    assert (rows[rivals.PROBE].n, rows[rivals.SCALE_1].n) == (N - 4, N)
    assert rows[rivals.PROBE].accuracy == pytest.approx(0.6)


def test_without_losses_or_validation_there_are_no_probes_and_no_search(points):
    bare = [dataclasses.replace(p, epoch_losses=np.empty((0, 0)), val_accuracies=np.empty(0)) for p in points]
    found = rivals_of(frames_of(bare, 64)[NETWORK], {})
    assert {rivals.AROUND, rivals.SEARCH, *PROBES}.isdisjoint(found)


def test_the_nearest_point_is_asked_for_its_rate_and_has_neither_origin_nor_network(points):
    frame = frames_of(points, 64)[NETWORK]
    places = rivals_of(frame, {})[rivals.NEAREST].log2_scales
    for i in range(0, N, 17):
        allowed = [
            frame.table.places[j]
            for j, other in enumerate(points)
            if other.origin != points[i].origin and other.source_id != points[i].source_id
        ]
        assert np.abs(np.array(allowed) - places[i]).min() < 0.01


# --- parts ------------------------------------------------------------------------------------------------------------


def test_studies_are_of_families_where_three_can_be_held_out():
    points = wide_points(60, n_networks=6, n_origins=5, n_families=3)
    assert studied_of(frames_of(points, 64)) == FAMILY


def test_too_few_networks_are_told_before_anything_is_learnt():
    with pytest.raises(DataError, match="at least 3 networks and 3 origins, and these are of 1 and 5"):
        evaluate_points(wide_points(20, n_networks=1, n_origins=5))


def test_ranks_are_spearmans():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=50), 1)
    y = x + rng.normal(size=50)
    from scipy.stats import spearmanr

    assert (ranks(x) * ranks(y)).mean() == pytest.approx(spearmanr(x, y).statistic)


def test_facts_that_are_not_measured_take_no_time(points):
    from scalepred.predictor.wide_studies import SETS

    assert fact_seconds(points, SETS["recipe and counts alone, from the fixed rate"]).max() == 0


# --- how it is told ---------------------------------------------------------------------------------------------------


def test_what_is_found_is_json_without_what_is_not_finite(evaluation):
    found = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert {"rows", "coverage", "sets", "curve", "group_curve", "permuted", "conjecture", "spread"} <= set(found)
    assert found["hold_outs"][FAMILY] == {"groups": 2, "cells": 8}
    assert len(found["rows"]) == len(evaluation.rows)


def test_tables_leave_out_ensembles_unless_asked_for_and_every_row_is_as_wide_as_its_headings(evaluation):
    short, whole = list(tables_of(evaluation)), list(tables_of(evaluation, ensembles=True))
    assert [table.title for table in short][:3] == [f"held out: {name}" for name in (FAMILY, NETWORK, ORIGIN)]
    for table in (*short, *whole):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.headings)}
    assert not any(" + " in row[1] for row in short[0].rows)
    assert any(" + " in row[1] for row in whole[0].rows)
    assert not any("nan" in cell or "inf" in cell for table in whole for row in table.rows for cell in row)


def test_a_gain_over_itself_is_left_empty_and_others_have_signs():
    from scalepred.predictor.wide_tables import gain

    assert gain([0.0, 0.0, 0.0]) == ""
    assert gain([1.25, -0.5, 3.0]) == "+1.2 (-0.5 to +3.0)"
    assert gain([0.5, math.nan, math.nan]) == "+0.5"


def test_a_search_on_validation_images_is_not_judged_by_the_same(points):
    bare = [dataclasses.replace(point, has_test=at > 0) for at, point in enumerate(points)]
    assert rivals.SEARCH in rivals_of(frames_of(points, 64)[NETWORK], {})
    assert rivals.SEARCH not in rivals_of(frames_of(bare, 64)[NETWORK], {})
