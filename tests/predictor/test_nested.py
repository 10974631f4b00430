"""Nested evaluation: what is held out is never seen, planted facts are found, and permuted ones close nothing."""

import dataclasses
import itertools

import numpy as np
import pytest
from wide_points import SGD, wide_point, wide_points

from scalepred.errors import DataError
from scalepred.predictor.formulations import FORMULATIONS, LEANING
from scalepred.predictor.nested import (
    Cells,
    Chosen,
    HeldOut,
    accuracies_at,
    average,
    cells_of,
    choose,
    place_held_out,
    place_outside,
    place_ways,
    select,
)
from scalepred.predictor.placing import by_rule
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.wide_table import wide_table

RIDGE = FORMULATIONS["ridge on the place"]


def reached(fit, points, *, cells=None, table=None):
    """Return the mean accuracy at the scales that a formulation chooses for points that it did not see."""
    table, cells = table or wide_table(points), cells or cells_of(points)
    chosen = choose(place_held_out(fit, table, cells), table, cells)
    return accuracies_at(points, chosen.log2_scales).mean()


# --- nothing leaks ----------------------------------------------------------------------------------------------------


def test_no_model_places_a_point_whose_origin_or_network_it_saw_inside_and_outside():
    points = wide_points(60)
    table, cells = wide_table(points), cells_of(points)
    seen = []

    def spy(train):
        """Place every point at the number of the fit, and keep what it was fitted to."""
        number = float(len(seen))
        seen.append(({p.origin for p in train.points}, {p.source_id for p in train.points}))
        return lambda held: np.full(len(held.points), number)

    held_out = place_held_out(spy, table, cells)
    for i, point in enumerate(points):
        origins, networks = seen[int(held_out.outer[i])]
        assert point.origin not in origins
        assert point.source_id not in networks
    for cell, places in held_out.inner.items():
        out = cells.held(cell)
        for i in np.flatnonzero(~np.isnan(places)):
            origins, networks = seen[int(places[i])]
            assert points[i].origin not in origins
            assert points[i].source_id not in networks
            assert not origins & {points[j].origin for j in np.flatnonzero(out)}
            assert not networks & {points[j].source_id for j in np.flatnonzero(out)}


def test_inside_a_cell_every_point_that_its_model_sees_is_placed_once():
    points = wide_points(60)
    table, cells = wide_table(points), cells_of(points)
    held_out = place_held_out(by_rule(DECLARED), table, cells)
    assert set(held_out.inner) == set(cells.ids)
    for cell, places in held_out.inner.items():
        assert (~np.isnan(places)).tolist() == cells.seen(cell).tolist()


def test_an_origin_is_in_one_fold_alone():
    points = wide_points(60)
    cells = cells_of(points)
    folds = {(point.origin, fold) for point, fold in zip(points, cells.folds.tolist(), strict=True)}
    assert len(folds) == len({point.origin for point in points}) == 12


def points_that_networks_and_origins_place():
    """Return points whose best scales depend on network and origin alone, and say in facts which those are."""
    rng = np.random.default_rng(1)
    of_network, of_origin = rng.normal(0, 2.5, 5), rng.normal(0, 2.5, 12)
    points = []
    for index in range(120):
        network, origin = index % 5, index % 12
        facts = {f"is_s{k}": float(k == network) for k in range(5)} | {
            f"is_o{k}": float(k == origin) for k in range(12)
        }
        facts |= {"noise_log2_critical": -10.0, "half_log2_critical": -10.0}
        points.append(wide_point(index, SGD, best=of_network[network] + of_origin[origin] - 3, facts=facts))
    return points


def test_a_planted_leak_gains_nothing_where_networks_and_origins_are_held_out_and_much_where_they_are_not():
    points = points_that_networks_and_origins_place()
    table = wide_table(points)
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(120) % 5)
    leaky = Cells(outer=groups, inner=groups, folds=rng.permutation(np.arange(120) % 4))
    blind = reached(RIDGE, points, table=table.columns([n for n in table.fact_names if not n.startswith("is_")]))
    assert reached(RIDGE, points, table=table) < blind + 0.01
    assert reached(RIDGE, points, table=table, cells=leaky) > blind + 0.05


# --- what is there is found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULATIONS)
def test_every_formulation_finds_a_planted_dependence_on_steps_that_a_constant_misses(name):
    points = wide_points(120)
    table, cells = wide_table(points), cells_of(points)
    held = cells.held((0, 0)) | cells.held((0, 1))
    train, held = (table.rows(np.flatnonzero(rows)) for rows in (cells.seen((0, 0)), held))
    learnt, constant = (
        accuracies_at(held.points, fit(train)(held)).mean() for fit in (FORMULATIONS[name], by_rule(DECLARED))
    )
    assert learnt > constant + 0.05


def test_permuted_facts_close_nothing():
    points = wide_points(120)
    table = wide_table(points)
    order = np.random.default_rng(0).permutation(len(points))
    mixed = dataclasses.replace(table, facts=table.facts[order], coordinates=table.coordinates[order])
    constant = reached(by_rule(DECLARED), points)
    assert reached(RIDGE, points) > constant + 0.05
    assert reached(RIDGE, points, table=mixed) < constant + 0.01


def test_fewer_points_to_learn_from_gain_less():
    points = wide_points(120)
    table, cells = wide_table(points), cells_of(points)
    usable = np.random.default_rng(0).random(120) < 0.15
    some, whole = (accuracies_at(points, place_outside(RIDGE, table, cells, usable=of)) for of in (usable, None))
    assert not np.isnan(some).any()
    assert some.mean() < whole.mean()


# --- the choice -------------------------------------------------------------------------------------------------------


def held_out_with(points, cells, errors):
    """Return places that are wrong by so many octaves, outside and inside."""
    places = np.array([point.best_log2_scale for point in points]) + errors
    inner = {cell: np.where(cells.seen(cell), places, np.nan) for cell in cells.ids}
    return HeldOut(outer=places, inner=inner)


def test_a_place_that_is_unsure_is_moved_to_the_side_that_costs_little():
    points = wide_points(120)
    table, cells = wide_table(points), cells_of(points)
    errors = 2.0 * np.random.default_rng(0).normal(size=120)
    sure, unsure = (held_out_with(points, cells, each) for each in (0 * errors, errors))
    moved = choose(unsure, table, cells).log2_scales - unsure.outer
    assert moved.max() < -0.25
    assert np.abs(choose(sure, table, cells).log2_scales - sure.outer).max() <= 0.75
    assert accuracies_at(points, unsure.outer + moved).mean() > accuracies_at(points, unsure.outer).mean() + 0.02


def test_points_that_do_not_count_move_nothing_while_enough_others_do():
    points = wide_points(120)
    table, cells = wide_table(points), cells_of(points)
    counts = np.arange(120) < 90
    errors = np.where(counts, 0.0, 5.0)
    held_out = held_out_with(points, cells, errors)
    moved = choose(held_out, table, cells, counts=counts).log2_scales - held_out.outer
    assert np.abs(moved).max() <= 0.75


def test_the_way_that_reaches_most_inside_is_taken_for_each_point_and_the_first_of_equals():
    ways = [
        Chosen(log2_scales=np.array([1.0, 1.0, 1.0]), inner_accuracies=np.array([0.5, 0.6, 0.5])),
        Chosen(log2_scales=np.array([2.0, 2.0, 2.0]), inner_accuracies=np.array([0.6, 0.5, 0.5])),
    ]
    assert select(ways).tolist() == [2.0, 1.0, 1.0]


def test_an_ensemble_of_two_is_half_way_between_them():
    first = HeldOut(outer=np.array([0.0, 2.0]), inner={(0, 0): np.array([1.0, np.nan])})
    second = HeldOut(outer=np.array([4.0, 2.0]), inner={(0, 0): np.array([2.0, np.nan])})
    both = average(first, second)
    assert both.outer.tolist() == [2.0, 2.0]
    assert both.inner[0, 0][0] == 1.5
    assert np.isnan(both.inner[0, 0][1])


@pytest.mark.parametrize(("n_networks", "n_origins"), [(2, 12), (5, 2)])
def test_too_few_networks_or_origins_are_told_with_what_to_run(n_networks, n_origins):
    points = wide_points(40, n_networks=n_networks, n_origins=n_origins)
    with pytest.raises(DataError) as told:
        cells_of(points)
    assert str(told.value) == (
        f"Nested evaluation takes points of at least 3 networks and 3 origins, and these are of {n_networks} and "
        f"{n_origins}. Harvest design points of more networks: scalepred harvest --draw N --source NAME."
    )


def test_cells_are_pairs_of_a_group_and_a_fold_that_hold_points():
    cells = Cells(outer=np.array([0, 0, 1]), inner=np.array([0, 0, 1]), folds=np.array([1, 1, 0]))
    assert cells.ids == [(0, 1), (1, 0)]
    for cell in itertools.product(range(2), range(2)):
        assert not (cells.held(cell) & cells.seen(cell)).any()


def test_a_model_that_serves_several_cells_is_fitted_once():
    points = wide_points(60)
    table, cells = wide_table(points), cells_of(points)
    fits = []

    def spy(train):
        fits.append(len(train.points))
        return lambda held: np.zeros(len(held.points))

    place_held_out(spy, table, cells)
    pairs_of_networks, pairs_of_folds, outside = 10, 6, 20
    assert len(fits) == pairs_of_networks * pairs_of_folds + outside


@pytest.mark.parametrize("leaning", LEANING)
def test_a_model_that_places_in_two_ways_gives_what_each_would_alone(leaning):
    points = wide_points(30, n_networks=3, n_origins=3)
    table, cells = wide_table(points), cells_of(points)
    plain, fit = LEANING[leaning]
    first, second = place_ways(fit, table, cells, n_ways=2)
    alone = place_held_out(FORMULATIONS[plain], table, cells)
    assert first.outer.tolist() == alone.outer.tolist()
    for cell, places in alone.inner.items():
        assert np.array_equal(first.inner[cell], places, equal_nan=True)
        moved = second.inner[cell] - places
        assert (np.isnan(moved) == np.isnan(places)).all()
    assert (second.outer <= first.outer).all()  # made curves fall off faster above their best
    assert (second.outer < first.outer).any()


def test_where_no_point_is_left_to_learn_from_the_rates_stay_as_they_are():
    points = wide_points(60)
    table, cells = wide_table(points), cells_of(points)
    for fit in (RIDGE, FORMULATIONS["joint LightGBM"]):
        assert place_outside(fit, table, cells, usable=np.zeros(60, bool)).tolist() == [0.0] * 60
