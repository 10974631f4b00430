"""What a user is told of the width of a choice: which scales are as good, what a factor of two costs, what was near."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.curves import Curve, Curves, critical_scales
from scalepred.predictor.rule import kind_of
from scalepred.predictor.search import REACH, believe, prior_of
from scalepred.recipe import Recipe

AS_GOOD = 0.005
"""Half a point, a fraction of accuracy."""

WIDE = 4.0
"""Octaves of as good scales from which on the scale hardly matters: a factor of 16."""

N_NEAREST = 3

PER_KIND = 2.0
"""Octaves that another optimizer, or another start of the head, counts as in a distance."""

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
    """

    lowest: float
    highest: float
    lost_half: float
    lost_double: float
    nearest: tuple[Near, ...]
    n_curves: int

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
        return [*said, f"nearest harvested points: {near}"]


def _change(lost: float) -> str:
    return f"{'lose' if lost >= 0 else 'gain'} {100 * abs(lost):.1f} points"


def outlook(curves: Curves, facts: Mapping[str, float], recipe: Recipe, *, scale: float, chance: float) -> Outlook:
    """Return what harvested curves let one expect around the rule's scale of a start, before any job.

    Args:
        curves: of the rule.
        facts: of the start, as ``start_facts`` has them.
        recipe: of the job.
        scale: that the rule chose.
        chance: 1 / n_classes, which is what a job that diverges has.
    """
    mean = believe(prior_of(curves, kind_of(recipe), octaves=FINE, chance=chance, n_images=1), []).mean
    best = int(mean.argmax())
    good = mean >= mean[best] - AS_GOOD
    first, last = best, best
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    at = {octave: float(mean[int(np.flatnonzero(octave == FINE)[0])]) for octave in (-1.0, 0.0, 1.0)}
    return Outlook(
        lowest=_rounded(scale * 2 ** FINE[first]),
        highest=_rounded(scale * 2 ** FINE[last]),
        lost_half=at[0.0] - at[-1.0],
        lost_double=at[0.0] - at[1.0],
        nearest=nearest(curves, facts, recipe),
        n_curves=len(curves.curves),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def nearest(curves: Curves, facts: Mapping[str, float], recipe: Recipe) -> tuple[Near, ...]:
    """Return the harvested points nearest to a start, by steps, critical scales, optimizer and start of the head.

    The distance is that of Euclid, in octaves of steps and of both critical scales; a critical scale that either lacks
    is passed over, and another optimizer or start of the head counts as ``PER_KIND`` octaves each.
    """
    kind, log2_steps, critical = kind_of(recipe), facts["log2_steps"], critical_scales(facts, recipe)

    def distance(curve: Curve) -> float:
        parts = [curve.log2_steps - log2_steps]
        parts += [curve.critical_scales[head] - critical[head] for head in critical if head in curve.critical_scales]
        differs = [mine != other for mine, other in zip(kind.split(", "), curve.kind.split(", "), strict=True)]
        parts += [PER_KIND] * sum(differs)
        return math.hypot(*parts)

    return tuple(
        Near(
            source=curve.source,
            kind=curve.kind,
            n_steps=round(2**curve.log2_steps),
            best_scale=curve.best_scale,
            rule_scale=curve.rule_scale,
        )
        for curve in sorted(curves.curves, key=distance)[:N_NEAREST]
    )
