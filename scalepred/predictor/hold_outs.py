"""Hold-outs: what a point's models may not have seen besides its origin: its family, network, or kind of recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.networks.names import family_of
from scalepred.predictor.nested import KEPT, Cells, cells_of, folds_of
from scalepred.predictor.points import Point
from scalepred.recipe import GRADUATED, Recipe

FAMILY = "family and origin"
NETWORK = "network and origin"
PATTERN = "recipe pattern and origin"
ORIGIN = "origin alone"

N_PATTERN_GROUPS = 6
"""Patterns are dealt into so many groups, and a group is held out at a time: most patterns have few points."""

FEWEST_INSIDE = 2
"""So many groups are left inside at least, so that one of them can be held out once more."""


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """What is held out, in which cells, and which groups intervals draw beside origins.

    Attributes:
        name: one of ``FAMILY``, ``NETWORK``, ``PATTERN`` and ``ORIGIN``.
        cells: of the points.
        n_groups: groups that are held out in turn; 0 where none is.
        drawn: (n,) names; families where families are held out inside too, else networks.
    """

    name: str
    cells: Cells
    n_groups: int
    drawn: tuple[str, ...]


def family(point: Point) -> str:
    """Return the family of a point's network, as ``networks.names.family_of`` has it."""
    return family_of(point.architecture)


def multipliers_kind(multipliers: Sequence[float]) -> str:
    """Return what six multipliers have in common with others: how they go from conv1 to the head."""
    learning = [m for m in multipliers if m > 0]
    if len(learning) < len(GRADUATED) - 1:
        return "last stages"
    if len(learning) < len(GRADUATED):
        return "graduated"
    inner, head = multipliers[:-1], multipliers[-1]
    if len(set(inner)) == 1:
        return "flat" if head == inner[0] else "flat, other head"
    return "decay"


def pattern_of(recipe: Recipe) -> str:
    """Return a recipe's pattern: optimizer, kind of multipliers, statistics, and what the head starts from."""
    kind = multipliers_kind(recipe.multipliers)
    return f"{recipe.optimizer}, {kind}, {recipe.batchnorm} statistics, {recipe.head_start} head"


def hold_outs(points: Sequence[Point]) -> list[HoldOut]:
    """Return all hold-outs that these points allow, the hardest first.

    Families are held out once more inside where there are at least three; with two, the networks of the other one are.

    Raises:
        DataError: if there are fewer than three networks or origins.
    """
    networks = tuple(point.source_id for point in points)
    by_network = cells_of(points)
    found = [_by_family(points), _of(NETWORK, by_network, drawn=networks), _by_pattern(points, networks)]
    alone = np.full(len(points), KEPT)
    found.append(_of(ORIGIN, Cells(outer=alone, inner=alone, folds=by_network.folds), drawn=networks))
    return [each for each in found if each is not None]


def _of(name: str, cells: Cells, *, drawn: tuple[str, ...]) -> HoldOut:
    groups = set(cells.outer.tolist()) - {KEPT}
    return HoldOut(name=name, cells=cells, n_groups=len(groups), drawn=drawn)


def _by_family(points: Sequence[Point]) -> HoldOut | None:
    families = codes_of(points, family)
    networks = codes_of(points, lambda point: point.source_id)
    n_families = int(families.max()) + 1
    inside = min((len(set(networks[families != each])) for each in range(n_families)), default=0)
    if n_families < 2 or inside < FEWEST_INSIDE:
        return None
    inner = families if n_families > FEWEST_INSIDE else networks
    drawn = family if n_families > FEWEST_INSIDE else lambda point: point.source_id
    cells = Cells(outer=families, inner=inner, folds=folds_of(points))
    return _of(FAMILY, cells, drawn=tuple(drawn(point) for point in points))


def _by_pattern(points: Sequence[Point], networks: tuple[str, ...]) -> HoldOut | None:
    patterns = codes_of(points, lambda point: pattern_of(point.recipe))
    n = int(patterns.max()) + 1
    if n <= FEWEST_INSIDE:
        return None
    groups = (np.random.default_rng(0).permutation(n) % N_PATTERN_GROUPS)[patterns]
    return _of(PATTERN, Cells(outer=groups, inner=groups, folds=folds_of(points)), drawn=networks)


def codes_of(points: Sequence[Point], name: Callable[[Point], str]) -> np.ndarray:
    """Return the number of each point's name among all names in order, (n,) int64."""
    _, codes = np.unique([name(point) for point in points], return_inverse=True)
    return codes
