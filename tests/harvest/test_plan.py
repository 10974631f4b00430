"""Which runs are wanted, which are missing, and when the grid is extended."""

import dataclasses
import math

import pytest
from fakes import QUICK

from scalepred.harvest.plan import missing_runs, next_scale, point_runs, wanted_runs
from scalepred.predictor.context import feature_set
from scalepred.recipe import GRID, baseline_of
from scalepred.records import DIVERGED, DONE, EXTENSION, GRID_RUN, POINT, Outcome
from scalepred.training.planned import planned_run

FROZEN = dataclasses.replace(QUICK, batchnorm="frozen")


def missing(outcomes, *, recipes=(QUICK,), n_seeds=1, **settings):
    return missing_runs("task", "source", recipes, n_seeds=n_seeds, outcomes=outcomes, **settings)


def grow(curve, *, n_seeds=1, at_most=20):
    """Return the scales beyond the grid that a harvest would run, one after another, where accuracy is ``curve``."""
    outcomes, beyond = {}, []
    for _ in range(at_most):
        runs = missing(outcomes, n_seeds=n_seeds)
        if not runs:
            return beyond
        beyond += sorted({run.scale for run in runs if run.role == EXTENSION})
        outcomes |= {run.run_id: curve(run) for run in runs}
    raise AssertionError(beyond)


def rising(run):
    return Outcome(DONE, 0.5, 0.5) if run.scale is None else Outcome(DONE, 1 - 1 / (1 + run.scale), 0.5)


def test_a_grid_is_the_baseline_and_eleven_scales_for_every_seed():
    runs = wanted_runs("task", "source", [QUICK], n_seeds=2)
    assert [(run.seed, run.scale) for run in runs] == [(seed, x) for seed in (0, 1) for x in (None, *GRID)]
    assert {run.recipe for run in runs if run.scale is None} == {baseline_of(QUICK)}
    assert {run.role for run in runs} == {GRID_RUN}
    assert len({run.run_id for run in runs}) == 24


def test_recipes_that_differ_in_multipliers_only_share_a_baseline():
    other = dataclasses.replace(QUICK, multipliers=(1, 1, 1, 1, 1, 1))
    assert len(wanted_runs("task", "source", [QUICK, other], n_seeds=1)) == 1 + 2 * 11
    assert len(wanted_runs("task", "source", [QUICK, FROZEN], n_seeds=1)) == 2 * 12


def test_what_is_done_is_not_missing_and_what_was_given_up_is_not_tried_again():
    wanted = wanted_runs("task", "source", [QUICK], n_seeds=1)
    done = {run.run_id: rising(run) for run in wanted[:5]}
    assert missing(done) == wanted[5:]
    assert missing(done, given_up={wanted[5].run_id}) == wanted[6:]


def test_a_grid_with_a_run_that_failed_is_not_extended():
    wanted = wanted_runs("task", "source", [QUICK], n_seeds=1)
    assert missing({run.run_id: rising(run) for run in wanted[1:]}, given_up={wanted[0].run_id}) == []


def test_an_edge_that_is_best_is_extended_until_accuracy_falls():
    def best_at_30(run):
        return rising(run) if not run.scale or run.scale <= 30 else Outcome(DONE, 0.5, 0.5)

    assert grow(best_at_30) == [20.0, 40.0]


def test_an_edge_is_extended_four_times_at_most():
    assert grow(rising) == [20.0, 40.0, 80.0, 160.0]
    assert grow(lambda run: Outcome(DONE, 1 / (1 + (run.scale or 9)), 0.5)) == [0.125, 0.0625, 0.03125, 0.015625]


def test_a_harvest_that_does_not_extend_wants_the_grid_alone():
    done = {run.run_id: rising(run) for run in missing({})}
    assert missing(done)
    assert missing(done, extends=False) == []


def test_given_scales_are_run_beside_the_baseline_and_never_extended():
    runs = missing({}, scales=(1.0, 3.5))
    assert [(run.scale, run.recipe) for run in runs] == [(None, baseline_of(QUICK)), (1.0, QUICK), (3.5, QUICK)]
    done = {run.run_id: rising(run) for run in runs}
    assert missing(done, scales=(1.0, 3.5)) == []
    assert [run.scale for run in missing(done)] == [scale for scale in GRID if scale != 1.0]


def test_a_grid_whose_best_scale_lies_within_is_not_extended():
    assert grow(lambda run: Outcome(DONE, 0.9 if run.scale == 2 else 0.5, 0.5)) == []


def test_of_scales_with_the_same_accuracy_the_loss_tells_the_best():
    assert grow(lambda run: Outcome(DONE, 1.0, 0.1 if run.scale == 2 else 0.2)) == []
    assert grow(lambda run: Outcome(DONE, 1.0, 1 / run.scale if run.scale else 9.0)) == [20.0, 40.0, 80.0, 160.0]


def test_a_scale_at_which_a_run_diverged_is_worse_than_all_others():
    def diverging(run):
        return Outcome(DIVERGED, None, None) if run.scale and run.scale > 15 else rising(run)

    assert grow(diverging) == [20.0]
    assert grow(lambda run: Outcome(DIVERGED, None, None) if run.scale == 10 else rising(run)) == []


def test_all_seeds_decide_together_and_all_are_run_beyond():
    def one_seed_likes_ten(run):
        return rising(run) if run.seed == 0 else Outcome(DONE, 0.99 if run.scale == 2 else 0.1, 0.5)

    assert grow(rising, n_seeds=2) == [20.0, 40.0, 80.0, 160.0]
    assert grow(one_seed_likes_ten, n_seeds=2) == []
    done = {run.run_id: rising(run) for run in wanted_runs("task", "source", [QUICK], n_seeds=2)}
    assert [(run.scale, run.seed, run.role) for run in missing(done, n_seeds=2)] == [
        (20.0, 0, EXTENSION),
        (20.0, 1, EXTENSION),
    ]


def test_a_seed_that_is_added_later_gets_the_scales_beyond_the_grid_too():
    outcomes = {}
    while runs := missing(outcomes):
        outcomes |= {run.run_id: rising(run) for run in runs}
    outcomes |= {run.run_id: rising(run) for run in missing(outcomes, n_seeds=2)}
    assert [(run.scale, run.seed) for run in missing(outcomes, n_seeds=2)] == [(20.0, 1)]


@pytest.mark.parametrize(("best", "then"), [(10.0, 20.0), (0.25, 0.125), (2.0, None)])
def test_the_next_scale_doubles_or_halves_the_best_edge(best, then):
    assert next_scale({scale: (float(scale == best), 0.0) for scale in GRID}) == then


def test_a_set_of_features_is_named_by_the_size_of_images():
    assert feature_set(64) == "basic-1@64px"


# --- design points ----------------------------------------------------------------------------------------------------


def point_of(curve, *, guess=0, n_seeds=1, given=None):
    """Run what a point asks for until it asks for nothing; returns the runs in turns, and what came out."""
    outcomes, turns = dict(given or {}), []
    while True:
        done, following = point_runs(
            "task", "source", QUICK, guess=guess, n_seeds=n_seeds, n_val=100, n_test=0, outcomes=outcomes
        )
        assert {run.run_id for run in done} == set(outcomes)
        if not following:
            return turns, outcomes
        turns.append([(math.log2(run.scale), run.seed, run.role) for run in following])
        outcomes |= {run.run_id: curve(math.log2(run.scale), run.seed) for run in following}


def best_at(octave):
    return lambda at, _seed: Outcome(DONE, 0.9 - 0.1 * abs(at - octave), 0.5)


def test_a_point_begins_with_three_octaves_around_its_guess_and_goes_on_until_its_curve_falls():
    turns, _ = point_of(best_at(3), guess=1)
    assert turns[0] == [(octave, 0, POINT) for octave in (-1, 1, 3)]
    assert [octave for turn in turns for octave, *_ in turn][3:] == [5, 2, 4]


ONE_SEED = {"n_seeds": 1, "n_val": 100, "n_test": 0}


def stored_at(octaves):
    """Return what is stored of a point whose best octave is 2, by run."""
    runs = [planned_run("task", "source", recipe=QUICK, scale=2.0**at, seed=0, role=POINT) for at in octaves]
    return {run.run_id: best_at(2)(math.log2(run.scale), 0) for run in runs}


@pytest.mark.parametrize("guess", [0, 1, 5])
def test_a_curve_that_was_placed_otherwise_and_is_whole_is_left_as_it_is(guess):
    _, following = point_runs("task", "source", QUICK, guess=guess, **ONE_SEED, outcomes=stored_at(range(-2, 5)))
    assert following == []


def test_a_second_seed_of_a_curve_that_was_placed_otherwise_is_run_over_the_same_octaves():
    two = ONE_SEED | {"n_seeds": 2}
    _, following = point_runs("task", "source", QUICK, guess=5, **two, outcomes=stored_at(range(-2, 5)))
    assert [(math.log2(run.scale), run.seed) for run in following] == [(at, 1) for at in range(-2, 5)]


def test_a_curve_that_was_placed_otherwise_and_is_not_whole_goes_on():
    done, following = point_runs("task", "source", QUICK, guess=1, **ONE_SEED, outcomes=stored_at(range(-2, 3)))
    assert [run.scale for run in done] == [0.5, 2]
    assert [run.scale for run in following] == [8]


def test_a_second_seed_is_run_over_the_octaves_that_the_first_has_chosen():
    turns, _ = point_of(lambda at, seed: best_at(0 if seed == 0 else 9)(at, seed), n_seeds=2)
    first = sorted(octave for turn in turns for octave, seed, _ in turn if seed == 0)
    assert turns[-1] == [(octave, 1, POINT) for octave in first]
    assert all(seed == 0 for turn in turns[:-1] for _, seed, _ in turn)


def test_a_diverged_run_ends_its_side_of_a_point():
    def cliff(at, _seed):
        return Outcome(DIVERGED, None, None) if at > 1 else Outcome(DONE, 0.9 - 0.1 * (1 - at), 0.5)

    _, outcomes = point_of(cliff)
    assert sum(each.status == DIVERGED for each in outcomes.values()) == 1


def test_a_point_that_is_taken_up_again_asks_for_what_is_left_and_for_nothing_when_it_is_done():
    turns, outcomes = point_of(best_at(2), n_seeds=2)
    asked = [run for turn in turns for run in turn]
    for n in range(len(outcomes)):
        given = dict(list(outcomes.items())[:n])
        again, all_of = point_of(best_at(2), n_seeds=2, given=given)
        assert [run for turn in again for run in turn] == asked[n:]
        assert all_of == outcomes
    assert point_of(best_at(2), n_seeds=2, given=outcomes) == ([], outcomes)


def test_nothing_is_decided_before_all_that_was_asked_for_is_in():
    at = {"guess": 0, "n_seeds": 2, "n_val": 100, "n_test": 0}
    _, following = point_runs("task", "source", QUICK, **at, outcomes={})
    two = {run.run_id: best_at(9)(math.log2(run.scale), 0) for run in following[:2]}
    done, rest = point_runs("task", "source", QUICK, **at, outcomes=two)
    assert (done, rest) == (following[:2], following[2:])


def test_validation_and_test_images_decide_together_how_far_a_curve_is_followed():
    def hump_in_test(at):
        return Outcome(DONE, 0.3 + 0.05 * at, 0.5, 0.9 - 0.1 * abs(at - 1))

    found = {}
    for n_val, n_test in ((10, 990), (1000, 0)):
        outcomes = {}
        while True:
            sizes = {"guess": 0, "n_seeds": 1, "n_val": n_val, "n_test": n_test}
            _, following = point_runs("task", "source", QUICK, **sizes, outcomes=outcomes)
            if not following:
                break
            outcomes |= {run.run_id: hump_in_test(math.log2(run.scale)) for run in following}
        found[n_val] = len(outcomes)
    assert found == {10: 6, 1000: 14}  # by validation images alone the curve rises for ever
