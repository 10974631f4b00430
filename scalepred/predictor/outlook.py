"""What a user is told of the width of a choice: which scales are as good, what a factor of two costs, what was near."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.curves import HEADS, Curve, Curves, critical_rates
from scalepred.predictor.rule import kind_of
from scalepred.predictor.search import REACH, believe, prior_of
from scalepred.predictor.threshold import same_around
from scalepred.recipe import HEAD_STARTS, OPTIMIZERS, Recipe

WIDE = 4.0
"""Octaves of as good scales from which on the scale hardly matters: a factor of 16."""

N_NEAREST = 3

N_PARTS = 2
"""Of a kind of recipe: optimizer, and start of the head."""

PER_KIND = 2.0
"""Octaves that another optimizer, or another start of the head, counts as in a distance."""

USUAL = 0.95
"""Share of harvested points that are no farther from the nearest of another network than a start that is not unlike."""

MIDDLE = (0.4, 0.6)
"""A critical scale with such a share of the harvested ones below it is an ordinary one."""

FINE = np.arange(REACH[0], REACH[-1] + 0.25, 0.25)


@dataclass(frozen=True, kw_only=True)
class Near:
    """A harvested point that is near a start; scales are factors on its own recipe's rates."""

    source: str
    kind: str
    n_steps: int
    best_scale: float
    rule_scale: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What harvested curves let one expect around a choice by the rule.

    Attributes:
        lowest, highest: the scales between which the expected accuracy is within half a point of its highest; the
            bounds of what is looked at where that goes on.
        lost_half, lost_double: expected accuracy at the chosen scale minus that at half of it, and at twice it; a
            fraction, below 0 where that is better.
        nearest: harvested points, the nearest first.
        n_curves: harvested curves behind it.
        moved: sentences on what moved the scale.
        is_unlike: the nearest harvested point is farther than such points of different networks are from each other.
    """

    lowest: float
    highest: float
    lost_half: float
    lost_double: float
    nearest: tuple[Near, ...]
    n_curves: int
    moved: tuple[str, ...] = ()
    is_unlike: bool = False

    @property
    def octaves(self) -> float:
        """How wide the range of as good scales is."""
        return math.log2(self.highest / self.lowest)

    def in_words(self) -> list[str]:
        """Return sentences for a user."""
        said = [
            f"scales from {self.lowest:g} to {self.highest:g} are expected within half a point of the best",
            f"half the scale is expected to {_change(self.lost_half)}, twice the scale to {_change(self.lost_double)}",
        ]
        if self.octaves >= WIDE:
            said.append("the scale hardly matters here")
        near = "; ".join(
            f"{each.source} ({each.kind}, {each.n_steps} steps), best at {each.best_scale:g} where the rule says "
            f"{each.rule_scale:g}"
            for each in self.nearest
        )
        said += [*self.moved, f"nearest harvested points: {near}"]
        if self.is_unlike:
            said.append(
                f"this start is unlike all {self.n_curves} that were harvested, so little is known of it: "
                "`--jobs 5` tries further scales"
            )
        return said


def _change(lost: float) -> str:
    return f"{'lose' if lost >= 0 else 'gain'} {100 * abs(lost):.1f} points"


def outlook(
    curves: Curves,
    facts: Mapping[str, float],
    recipe: Recipe,
    *,
    scale: float,
    chance: float,
    is_damped: bool = False,
    is_fixed: bool = False,
) -> Outlook:
    """Return what harvested curves let one expect around the rule's scale of a start, before any job.

    Args:
        curves: of the rule.
        facts: of the start, as ``start_facts`` has them.
        recipe: of the job.
        scale: that the rule chose.
        chance: 1 / n_classes, which is what a job that diverges has.
        is_damped: the rule's coordinate has (1 - momentum) in it.
        is_fixed: it has nothing of the start in it.
    """
    mean = believe(prior_of(curves, kind_of(recipe), octaves=FINE, chance=chance, n_images=1), []).mean
    first, last = same_around(mean, int(mean.argmax()))
    at = {octave: float(mean[int(np.flatnonzero(octave == FINE)[0])]) for octave in (-1.0, 0.0, 1.0)}
    return Outlook(
        lowest=_rounded(scale * 2 ** FINE[first]),
        highest=_rounded(scale * 2 ** FINE[last]),
        lost_half=at[0.0] - at[-1.0],
        lost_double=at[0.0] - at[1.0],
        nearest=nearest(curves, facts, recipe),
        n_curves=len(curves.curves),
        moved=tuple(moved_by(curves, facts, recipe, is_damped=is_damped, is_fixed=is_fixed)),
        is_unlike=is_unlike(curves, facts, recipe),
    )


def moved_by(
    curves: Curves, facts: Mapping[str, float], recipe: Recipe, *, is_damped: bool, is_fixed: bool = False
) -> list[str]:
    """Return sentences on what moved the rule's scale, most first: how sharp the start is, and momentum.

    A fixed rate is moved by neither; how sharp the start is is said all the same.
    """
    said = []
    critical = critical_rates(facts)
    like = [c.critical_rates for c in curves.curves if c.kind.startswith(f"{recipe.optimizer},")]
    known = [each for each in like if each.keys() >= critical.keys()]
    if critical and known:
        of_all = np.array([[each[head] for head in critical] for each in known]).mean(axis=1)
        mine = float(np.mean(list(critical.values())))
        below = float(np.mean(of_all < mine))
        if below < MIDDLE[0]:
            how = (
                f"sooner than at {1 - below:.0%} of harvested starts: a sharp start{'' if is_fixed else ', so slower'}"
            )
        elif below > MIDDLE[1]:
            how = f"later than at {below:.0%} of harvested starts: a gentle start{'' if is_fixed else ', so faster'}"
        else:
            how = "about where it does at harvested starts"
        said.append(
            "along the first step the loss is back where it was at "
            f"{_rounded(2**mine / recipe.base_lr):g} of the recipe's rates, {how}"
        )
    if is_damped and recipe.momentum:
        said.append(
            f"momentum {recipe.momentum:g} makes steps up to {1 / (1 - recipe.momentum):.3g} times as long, so slower"
        )
    return said


def is_unlike(curves: Curves, facts: Mapping[str, float], recipe: Recipe) -> bool:
    """Say whether a start is farther from all points than ``USUAL`` of them are from those of other networks."""
    _, sources = np.unique([curve.source for curve in curves.curves], return_inverse=True)
    squares = _squared_distances(curves.curves, curves.curves)
    squares[sources[:, None] == sources] = np.inf
    of_others = squares.min(axis=1)
    apart = np.sqrt(of_others[np.isfinite(of_others)])
    mine = math.sqrt(_squared_distances([_as_curve(facts, recipe)], curves.curves).min())
    return len(apart) > 0 and bool(mine > np.quantile(apart, USUAL))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def nearest(curves: Curves, facts: Mapping[str, float], recipe: Recipe) -> tuple[Near, ...]:
    """Return the harvested points nearest to a start, by steps, critical rates, optimizer and start of the head.

    The distance is that of Euclid, in octaves of steps and of both critical rates; a critical rate that either lacks
    is passed over, and another optimizer or start of the head counts as ``PER_KIND`` octaves each.
    """
    squares = _squared_distances([_as_curve(facts, recipe)], curves.curves)[0]
    order = np.argsort(squares, kind="stable")[:N_NEAREST]
    return tuple(
        Near(
            source=curve.source,
            kind=curve.kind,
            n_steps=round(2**curve.log2_steps),
            best_scale=curve.best_scale,
            rule_scale=curve.rule_scale,
        )
        for curve in (curves.curves[i] for i in order)
    )


def _as_curve(facts: Mapping[str, float], recipe: Recipe) -> Curve:
    """Return a start as a curve of which nothing is known but what distances take."""
    return Curve(
        source="",
        kind=kind_of(recipe),
        log2_steps=facts["log2_steps"],
        critical_rates=critical_rates(facts),
        best_scale=math.nan,
        rule_scale=math.nan,
        relative=(),
        diverges=0,
    )


def _squared_distances(ones: Sequence[Curve], others: Sequence[Curve]) -> np.ndarray:
    """Return the squared distance of each of n curves from each of m others, (n, m) float32.

    A square of differences is that of both, less twice their product, so all pairs are one product of matrices; and a
    number that either lacks is passed over, since what is known is a factor of 0 or 1.
    """
    (mine, known), (its, there) = _numbers(ones), _numbers(others)
    kinds, of_others = _parts_of_kinds(ones), _parts_of_kinds(others)
    left = np.concatenate([mine**2, -2 * mine, known, -(PER_KIND**2) * kinds], axis=1, dtype=np.float32)
    right = np.concatenate([there, its, its**2, of_others], axis=1, dtype=np.float32)
    squares: np.ndarray = left @ right.T
    squares += N_PARTS * PER_KIND**2
    np.maximum(squares, 0, out=squares)
    return squares


def _numbers(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and critical rates in octaves, (n, 3) float64, 0 where one is not known; and 1 where it is."""
    rows = [[curve.log2_steps, *(curve.critical_rates.get(head, math.nan) for head in HEADS)] for curve in curves]
    numbers = np.array(rows, dtype=np.float64)
    known = np.isfinite(numbers)
    return np.where(known, numbers, 0.0), known.astype(np.float64)


def _parts_of_kinds(curves: Sequence[Curve]) -> np.ndarray:
    """Return which optimizer and which start of the head curves have, (n, ...) float64: 1 for these, 0 for others."""
    names = [*OPTIMIZERS, *(f"{start} head" for start in HEAD_STARTS)]
    of_kind = {kind: [float(name in kind.split(", ")) for name in names] for kind in {curve.kind for curve in curves}}
    return np.array([of_kind[curve.kind] for curve in curves])
