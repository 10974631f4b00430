"""Design points from a warehouse's rows: curves with gaps, divergence, seeds, and what is not a point."""

import dataclasses
import math

import numpy as np
import pytest
from fakes import QUICK, SOURCE, run_record, source_record, task_record

from scalepred.predictor.context import start_set
from scalepred.predictor.points import gather_points, of_one_collection
from scalepred.records import EXTENSION, GRID_RUN, POINT, FeatureRecord, RecipeRecord

TASK = task_record()
SOURCE_ROW = source_record()
SOURCE_ROW.facts["architecture"] = "tiny"
RECIPE_ROW = RecipeRecord(recipe_id=QUICK.recipe_id, name="drawn", json=QUICK.to_json())


def fact(name, value, seconds=0.5):
    return FeatureRecord(
        task_id=TASK.task_id,
        source_id=SOURCE,
        feature_set=start_set(QUICK),
        name=name,
        value=value,
        seconds=seconds,
    )


def run(octave, n_right, *, seed=0, role=POINT):
    """Return a run with so many of the eight test images right; it diverged where that is None."""
    val, test = (None, None) if n_right is None else ([1, 0, 1, 0], [1] * n_right + [0] * (8 - n_right))
    record = run_record(TASK, 2.0**octave, val=val, test=test, seed=seed)
    return type(record)(**vars(record) | {"role": role})


def gather(runs, facts=(("noise_log2_critical", -3.0), ("log2_steps", 5.0)), **settings):
    return gather_points(
        tasks=[TASK],
        sources=[SOURCE_ROW],
        recipes=[RECIPE_ROW],
        features=[fact(name, value) for name, value in facts],
        runs=runs,
        **settings,
    )


CURVE = [run(-2, 4), run(-1, 6), run(0, 8), run(1, 6), run(2, None)]


def test_a_point_has_its_curve_its_facts_and_chance_where_it_diverged():
    (point,) = gather(CURVE)
    assert point.log2_scales.tolist() == [-2, -1, 0, 1, 2]
    assert point.accuracies.tolist() == [0.5, 0.75, 1.0, 0.75, 0.5]
    assert point.diverged.tolist() == [False] * 4 + [True]
    assert point.facts == {"noise_log2_critical": -3.0, "log2_steps": 5.0}
    assert (point.facts_seconds, point.job_seconds, point.best_log2_scale) == (1.0, 1.0, 0.0)
    assert point.recipe == QUICK


def test_between_scales_it_is_interpolated_and_beyond_them_held_or_chance():
    (point,) = gather(CURVE)
    assert point.accuracy_at(-0.5) == pytest.approx(0.875)
    assert point.accuracy_at(-9) == 0.5
    assert point.accuracy_at(9) == point.chance
    assert point.diverges_at(1.8)
    assert not point.diverges_at(1.2)
    (open_end,) = gather([*CURVE[:4], run(2, 5)])
    assert open_end.accuracy_at(9) == 5 / 8


def test_seeds_are_averaged():
    (point,) = gather([*CURVE, run(0, 4, seed=1)])
    assert point.accuracies[2] == np.mean([1.0, 0.5])


@pytest.mark.parametrize("runs", [CURVE[:4], [run(o, 4, role="grid") for o in range(5)], []])
def test_a_curve_in_work_and_runs_of_a_grid_are_no_point(runs):
    assert gather(runs) == []


def test_a_point_without_the_facts_of_its_start_is_none():
    assert gather(CURVE, facts=()) == []


def test_ties_are_settled_in_the_middle():
    (point,) = gather([run(o, 8) for o in range(-2, 3)])
    assert point.best_log2_scale == 0
    assert not math.isnan(point.accuracy_at(0.3))


def test_a_point_says_how_many_images_and_runs_are_behind_its_accuracies():
    (point,) = gather([*CURVE, run(0, 4, seed=1)])
    assert (point.n_train, point.n_images) == (TASK.n_train, 8)
    assert point.n_seeds.tolist() == [1, 1, 2, 1, 1]


def test_the_honest_best_of_a_curve_is_chosen_on_other_images_than_it_is_scored_on():
    (sure,) = gather([run(octave, 8 if octave == 0 else 2) for octave in range(-2, 3)])
    assert sure.honest_best == 1.0
    (mixed,) = gather([run(o, 4) for o in range(5)])
    assert mixed.honest_best == pytest.approx(0.5)


def test_accuracies_at_several_scales_are_those_at_each():
    (point,) = gather(CURVE)
    places = np.array([[-9.0, -0.5, 0.0], [1.2, 1.8, 9.0]])
    assert point.accuracies_at(places).tolist() == [[point.accuracy_at(x) for x in row] for row in places]


def test_a_point_keeps_losses_of_epochs_until_a_run_diverged_seconds_of_facts_and_validation():
    def with_losses(record, losses):
        return type(record)(**vars(record) | {"epoch_losses": losses})

    runs = [with_losses(each, [2.0, 1.0]) for each in CURVE[:4]] + [with_losses(CURVE[4], [9.0])]
    (point,) = gather([*runs, with_losses(run(0, 4, seed=1), [4.0, 2.0])])
    assert point.epoch_losses[:4].tolist() == [[2, 1], [2, 1], [3, 1.5], [2, 1]]
    assert point.epoch_losses[4, 0] == 9.0
    assert math.isnan(point.epoch_losses[4, 1])
    assert point.fact_seconds == {"noise_log2_critical": 0.5, "log2_steps": 0.5}
    assert point.val_accuracies.tolist() == [0.5, 0.5, 0.5, 0.5, point.chance]


def test_grids_are_points_where_they_are_asked_for_and_their_start_is_known():
    grid = [run(octave, 4, role=GRID_RUN) for octave in (-2, -1, 0, 1)] + [run(2, 8, role=EXTENSION)]
    (point,) = gather(grid, of_grids=True)
    assert point.accuracies.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert gather(grid) == []
    assert gather(grid, facts=(), of_grids=True) == []


def test_a_design_point_that_goes_on_from_a_grid_has_its_runs_at_whole_octaves():
    began = [run(octave, 4, role=GRID_RUN) for octave in (-2, -1, 0, math.log2(3), 1)]
    (point,) = gather([*began, run(2, 8), run(3, 6)])
    assert point.log2_scales.tolist() == [-2, -1, 0, 1, 2, 3]


def test_a_grid_that_goes_on_from_a_design_point_has_its_runs():
    (point,) = gather([run(0, 8), *(run(octave, 4, role=GRID_RUN) for octave in (-2, -1, 1, 2))], of_grids=True)
    assert point.accuracies.tolist() == [0.5, 0.5, 1.0, 0.5, 0.5]


def test_a_task_of_several_collections_is_apart_from_all_others_and_is_not_judged():
    (point,) = gather(CURVE)
    a, b, both, more = (dataclasses.replace(point, origin=origin) for origin in ("a", "b", "a + b", "c + b"))
    apart = [[one.is_apart(other) for other in (a, b, both, more)] for one in (a, b, both, more)]
    assert apart == [
        [False, True, False, True],
        [True, False, False, False],
        [False, False, False, False],
        [True, False, False, False],
    ]
    assert of_one_collection([a, both, b, more]) == [a, b]
