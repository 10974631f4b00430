"""The coordinates: what a scale means at a start, as rate, over the critical rate, as movement, by the head."""

import math
from collections.abc import Callable, Mapping

from scalepred.recipe import STAGES, Recipe

FARTHEST = 5.0
"""Octaves that a critical rate counts above its line's minimum at most. All harvested ones lie within 4.7; where
the first step leaves next to no loss, as on random weights, the loss comes back only at rates that mean nothing."""


def _critical(facts: Mapping[str, float], head: str) -> float | None:
    """Return log2 of the critical rate at a head, ``FARTHEST`` octaves above the line's minimum at most."""
    critical, minimum = (facts.get(f"{head}_log2_{each}") for each in ("critical", "minimum"))
    return critical if critical is None or minimum is None else min(critical, minimum + FARTHEST)


def _mean(*values: float | None) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def log2_damping(recipe: Recipe) -> float:
    """Return log2(1 - momentum): heavy-ball steps add up to 1 / (1 - momentum) of their rate. AdamW's don't.

    Source: Polyak 1964 (Some methods of speeding up the convergence of iteration methods), the heavy ball.
    """
    return math.log2(1 - recipe.momentum) if recipe.optimizer == "sgd" else 0.0


COORDINATES: dict[str, Callable[[Mapping[str, float], Recipe], float | None]] = {
    "rate": lambda facts, recipe: 0.0,
    "damped rate": lambda facts, recipe: log2_damping(recipe),
    "noise": lambda facts, recipe: _critical(facts, "noise"),
    "half": lambda facts, recipe: _critical(facts, "half"),
    "both": lambda facts, recipe: _mean(_critical(facts, "noise"), _critical(facts, "half")),
    "noise minimum": lambda facts, recipe: facts.get("noise_log2_minimum"),
    "half minimum": lambda facts, recipe: facts.get("half_log2_minimum"),
}
"""Name -> log2 of the base rate that a start gives, to be multiplied by a constant; None where it can't be told.

"noise" is the critical rate at a new head, "half" that at the fitted head shrunk half way, "both" their geometric mean.
All but the first are also tried with (1 - momentum), under the name with ", damped".

Source: Kalra et al. 2026 (arXiv 2601.16979) for the critical rate; Polyak 1964 for (1 - momentum).
"""


def plain_name(name: str) -> str:
    """Return a coordinate's name without ", damped"."""
    return name.removesuffix(", damped")


def coordinate(name: str, facts: Mapping[str, float], recipe: Recipe) -> float | None:
    """Return log2 of a start's base rate by one of ``COORDINATES``, perhaps ", damped"; None where it can't be told."""
    plain = plain_name(name)
    value = COORDINATES[plain](facts, recipe)
    return value if value is None or plain == name else value + log2_damping(recipe)


def coordinates_at(facts: Mapping[str, float], recipe: Recipe, log2_scale: float) -> dict[str, float]:
    """Return all coordinates of a scale: name -> log2 of a ratio; NaN where a fact that it takes is missing.

    Every one is log2 of the scale plus what start and recipe say, so they differ by constants on one curve.

    Args:
        facts: name -> value, as ``start_facts`` has them.
        recipe: whose rates the scale multiplies.
        log2_scale: log2 of the scale.
    """
    log2_rate = math.log2(recipe.base_lr) + log2_scale
    return {
        "log2_scale": log2_scale,
        **over_places(facts, recipe, log2_rate),
        **movement(facts, recipe, log2_rate),
        "head_curvature": head_curvature(facts, recipe, log2_rate),
    }


def over_places(facts: Mapping[str, float], recipe: Recipe, log2_rate: float) -> dict[str, float]:
    """Return log2 of the base rate over each of ``COORDINATES``, plain and damped; over "rate" it is the rate itself.

    Source: Kalra et al. 2026 (arXiv 2601.16979), whose critical sharpness is 2 over the critical rate.
    """
    places = {
        **{f"z_{name}": coordinate(name, facts, recipe) for name in COORDINATES},
        **{
            f"z_{name}_damped": coordinate(f"{name}, damped", facts, recipe)
            for name in COORDINATES
            if "rate" not in name
        },
    }
    return {name.replace(" ", "_"): _less(log2_rate, place) for name, place in places.items()}


def movement(facts: Mapping[str, float], recipe: Recipe, log2_rate: float) -> dict[str, float]:
    """Return for each stage log2 of how far it would go in all, over the norm of its weights, were no step to turn.

    It is rate times area under the schedule times the first update's share of the weights, and with SGD over
    (1 - momentum). The share is that at the head that the job starts nearest to: a new one, or the fitted one half way.
    It holds the stage's multiplier; with AdamW it is about that times the root of the number of weights over
    their norm.

    Source: You et al. 2017 (Large batch training of convolutional networks), section 4, for update over weights;
    Polyak 1964 for (1 - momentum).
    """
    head = "noise" if recipe.head_start == "noise" else "half"
    per_rate = facts.get("log2_area", math.nan) - log2_damping(recipe)
    return {
        f"movement_{stage}": log2_rate + per_rate + facts.get(f"{head}_log2_update_{stage}", math.nan)
        for stage in STAGES
    }


def head_curvature(facts: Mapping[str, float], recipe: Recipe, log2_rate: float) -> float:
    """Return log2 of the head's rate times a bound of its curvature: half the top eigenvalue of the mean of phi phi'.

    Gradient descent on a quadratic grows above 1, which is log2 of 2.

    Source: Boehning 1992 (Multinomial logistic regression algorithm), section 2, for the bound.
    """
    if recipe.multipliers[-1] == 0:
        return math.nan
    log2_head_rate = log2_rate + math.log2(recipe.multipliers[-1])
    return log2_head_rate + facts.get("features_log2_eigenvalue", math.nan) - 1


def _less(log2_rate: float, place: float | None) -> float:
    return math.nan if place is None else log2_rate - place
