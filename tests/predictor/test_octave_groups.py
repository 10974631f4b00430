"""Fixed scales of what was run over octaves: where known curves are best together, and of enough tasks alone."""

import dataclasses

import numpy as np
import pytest
from wide_points import ADAMW, SGD, wide_point

from scalepred.predictor.octave_groups import octave_groups


def points(recipe, bests, *, source="s0"):
    """Return points of one network that are best at these octaves."""
    made = [wide_point(at, recipe, best=best, facts={}) for at, best in enumerate(bests)]
    return [dataclasses.replace(point, source_id=source) for point in made]


def test_the_fixed_scale_is_the_best_of_the_mean_curve_and_leans_away_from_the_cliff():
    (alike,) = octave_groups(points(SGD, [3.0] * 4), known=())
    (spread,) = octave_groups(points(SGD, [1.0, 3.0, 3.0, 5.0]), known=())
    assert alike.fixed_scale == pytest.approx(8, rel=0.25)
    assert spread.fixed_scale < alike.fixed_scale  # above the best accuracy falls faster than below
    assert (spread.n_tasks, spread.n_origins) == (4, 4)


def test_a_scale_may_lie_far_beyond_the_grid():
    (group,) = octave_groups(points(SGD, [7.0] * 3), known=())
    assert group.fixed_scale == pytest.approx(128, rel=0.25)


def test_sources_and_recipes_have_their_own_and_those_with_few_tasks_none():
    made = [*points(SGD, [0.0] * 3), *points(ADAMW, [-4.0] * 3), *points(SGD, [2.0] * 2, source="s1")]
    found = {(group.source_id, group.recipe_id): group.fixed_scale for group in octave_groups(made, known=())}
    assert found == {
        ("s0", SGD.recipe_id): pytest.approx(1, rel=0.25),
        ("s0", ADAMW.recipe_id): pytest.approx(1 / 16, rel=0.25),
    }


def test_what_has_whole_grids_is_left_to_them():
    assert octave_groups(points(SGD, [0.0] * 3), known={("s0", SGD.recipe_id)}) == ()


@pytest.mark.parametrize("accuracies", [[0.8, 0.8, 0.795, 0.79, 0.7, 0.6, 0.5], [0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4]])
def test_a_scale_that_was_never_run_is_no_best_fixed_scale(accuracies):
    scales = np.arange(-3.0, 4.0)
    curve = {"log2_scales": scales, "accuracies": np.array(accuracies), "diverged": np.zeros(len(scales), bool)}
    members = [dataclasses.replace(point, **curve) for point in points(SGD, [0.0] * 3)]
    (group,) = octave_groups(members, known=())
    assert 2**-3 <= group.fixed_scale <= 2**-2
