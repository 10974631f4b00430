"""How near harvested tasks are to each other: against all pairs at once, in parts, and what one origin leaves."""

import numpy as np

from scalepred.predictor import nearness
from scalepred.predictor.nearness import distances_between, nearest_distances


def test_the_nearest_is_that_of_all_pairs_whatever_the_parts(monkeypatch):
    rng = np.random.default_rng(0)
    standard, others = rng.normal(size=(40, 7)), rng.normal(size=(25, 7))
    expected = distances_between(standard, others).min(axis=1)
    for at_once in (1, 60, 10_000):
        monkeypatch.setattr(nearness, "MOST_AT_ONCE", at_once)
        assert nearest_distances(standard, others).tolist() == expected.tolist()


def test_what_is_alike_does_not_count_and_where_all_are_nothing_is_near():
    rng = np.random.default_rng(1)
    standard = rng.normal(size=(30, 5))
    origins = np.array([0] * 10 + [1] * 19 + [2])
    pairs = distances_between(standard, standard)
    pairs[origins[:, None] == origins[None, :]] = np.inf
    assert nearest_distances(standard, standard, alike=(origins, origins)).tolist() == pairs.min(axis=1).tolist()
    one = np.zeros(30)
    assert np.isinf(nearest_distances(standard, standard, alike=(one, one))).all()


def test_equal_rows_are_at_no_distance_even_far_from_the_middle():
    standard = np.full((3, 4), 1e6)
    assert nearest_distances(standard, standard).tolist() == [0.0] * 3
