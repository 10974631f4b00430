"""Hold-outs: what is held out is never seen, and what only a held-out family knows can't be known."""

import dataclasses

import numpy as np
import pytest
from wide_points import SGD, wide_point, wide_points

from scalepred.errors import DataError
from scalepred.predictor import hold_outs as module
from scalepred.predictor.hold_outs import (
    FAMILY,
    NETWORK,
    ORIGIN,
    PATTERN,
    family,
    hold_outs,
    multipliers_kind,
    pattern_of,
)
from scalepred.predictor.nested import accuracies_at, choose, place_held_out
from scalepred.predictor.placing import by_rule
from scalepred.predictor.wide_table import wide_table
from scalepred.recipe import GRADUATED, Recipe

N_NETWORKS = 6
"""Two of each of three families."""


def points_of(n=72, *, n_families=3, n_networks=N_NETWORKS):
    flat, last = (1.0,) * 6, (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    recipes = [Recipe(multipliers=m, batchnorm=b) for m in (flat, last, GRADUATED) for b in ("batch", "frozen")]
    return wide_points(n, recipes=recipes, n_networks=n_networks, n_families=n_families, n_origins=11)


def by_name(points):
    return {each.name: each for each in hold_outs(points)}


def seen_by(points, hold_out):
    """Yield (point, the points that its model saw outside, those that it saw inside a cell that holds others)."""
    fits = []

    def spy(train):
        fits.append(train.points)
        number = len(fits) - 1.0
        return lambda held: np.full(len(held.points), number)

    held_out = place_held_out(spy, wide_table(points), hold_out.cells)
    for i, point in enumerate(points):
        yield (
            point,
            [fits[int(held_out.outer[i])]],
            [(cell, fits[int(places[i])]) for cell, places in held_out.inner.items() if not np.isnan(places[i])],
        )


GROUPS = {
    FAMILY: family,
    NETWORK: lambda point: point.source_id,
    PATTERN: lambda point: pattern_of(point.recipe),
    ORIGIN: lambda point: point.task_id,
}


@pytest.mark.parametrize("name", GROUPS)
def test_no_model_saw_the_group_or_the_origin_of_a_point_outside_or_inside(name):
    points = points_of()
    hold_out = by_name(points)[name]
    for point, outside, inside in seen_by(points, hold_out):
        assert inside
        for seen in (*outside, *(of_cell for _, of_cell in inside)):
            assert seen
            assert GROUPS[name](point) not in {GROUPS[name](each) for each in seen}
            assert point.origin not in {each.origin for each in seen}
        for cell, seen in inside:
            out = hold_out.cells.held(cell)
            kept_out = [each for each, is_out in zip(points, out, strict=True) if is_out]
            assert not {each.key for each in kept_out} & {each.key for each in seen}


def test_where_the_origin_alone_is_held_out_the_own_network_and_recipe_are_seen():
    points = points_of()
    for point, (outside,), _ in seen_by(points, by_name(points)[ORIGIN]):
        assert point.source_id in {each.source_id for each in outside}
        assert point.recipe in {each.recipe for each in outside}


def test_two_families_are_held_out_in_turn_and_networks_of_the_other_inside():
    points = points_of(n_families=2)
    hold_out = by_name(points)[FAMILY]
    assert (hold_out.n_groups, set(hold_out.drawn)) == (2, {f"s{k}" for k in range(N_NETWORKS)})
    for point, (outside,), inside in seen_by(points, hold_out):
        assert {family(each) for each in outside}.isdisjoint({family(point)})
        assert len(inside) > 0


def test_one_family_or_a_lone_network_beside_it_is_no_hold_out_by_family():
    assert FAMILY not in by_name(points_of(n_families=1))
    points = [dataclasses.replace(p, architecture="b" if p.source_id == "s0" else "a") for p in points_of()]
    assert FAMILY not in by_name(points)


def test_one_pattern_of_recipes_is_no_hold_out_by_pattern():
    assert PATTERN not in by_name(wide_points(60, recipes=(SGD,)))


def test_too_few_networks_are_told():
    with pytest.raises(DataError, match="at least 3 networks and 3 origins, and these are of 2 and 11"):
        hold_outs(points_of(n_networks=2, n_families=2))
    with pytest.raises(DataError, match="these are of 0 and 0"):
        hold_outs([])


def test_a_constant_of_a_family_of_its_own_is_known_where_its_networks_may_be_seen_and_not_where_they_may_not():
    facts = {"noise_log2_critical": -8.0, "half_log2_critical": -8.0}
    points = [
        wide_point(i, SGD, best=-4.0 if i % 6 < 3 else 2.0, facts=facts, n_networks=6, n_families=2, n_origins=11)
        for i in range(72)
    ]
    table, held = wide_table(points), by_name(points)
    odd = np.array([family(point) == "anet" for point in points])

    def by_family(part):
        """Return the mean best place of the family's points that were seen, and of all where none was."""
        of = np.array([family(p) for p in part.points])
        mean = {name: part.places[of == name].mean() for name in set(of.tolist())}
        rest = part.places.mean()
        return lambda others: np.array([mean.get(family(p), rest) for p in others.points])

    reached = {
        name: accuracies_at(points, choose(place_held_out(by_family, table, held[name].cells), table, held[name].cells)
        .log2_scales)[odd].mean()
        for name in (FAMILY, NETWORK, ORIGIN)
    }  # fmt: skip
    assert min(reached[ORIGIN], reached[NETWORK]) > 0.75
    assert reached[FAMILY] < 0.4
    constant = choose(place_held_out(by_rule({"sgd": "rate"}), table, held[FAMILY].cells), table, held[FAMILY].cells)
    assert accuracies_at(points, constant.log2_scales)[odd].mean() < 0.4


@pytest.mark.parametrize(
    ("multipliers", "kind"),
    [
        (GRADUATED, "graduated"),
        ([m / 10 for m in GRADUATED], "graduated"),
        ((1,) * 6, "flat"),
        ((1, 1, 1, 1, 1, 10), "flat, other head"),
        ((0.03125, 0.0625, 0.125, 0.25, 0.5, 1), "decay"),
        ((0, 0, 0, 1, 1, 1), "last stages"),
    ],
)
def test_multipliers_are_told_apart_by_how_they_go_from_the_first_stage_to_the_head(multipliers, kind):
    assert multipliers_kind(multipliers) == kind
    assert kind in pattern_of(Recipe(multipliers=tuple(multipliers)))


def test_a_pattern_is_in_one_group_whatever_else_its_recipes_say():
    points = points_of()
    groups = by_name(points)[PATTERN].cells.outer
    assert len({(pattern_of(p.recipe), g) for p, g in zip(points, groups.tolist(), strict=True)}) == 6
    assert pattern_of(Recipe(epochs=3, batch_size=8)) == pattern_of(Recipe(epochs=40, image_px=32))
    assert len(set(groups.tolist())) == module.N_PATTERN_GROUPS
