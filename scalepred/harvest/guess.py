"""Guesses where a design point's scales lie, from the facts of its start, and keeps each guess."""

import math
from collections.abc import Mapping

from scalepred.predictor.context import HEADS, start_set
from scalepred.predictor.coordinates import coordinate
from scalepred.predictor.rule import DECLARED
from scalepred.recipe import Recipe, content_id
from scalepred.records import FeatureRecord
from scalepred.store.journal import Journal, key_of

ADAMW_OCTAVES = -2.0
"""Mean of log2 of the best rate over the critical one at a head of noise, over a pilot's 31 points with AdamW; over its
65 with SGD it is about 0, for the geometric mean of both heads' critical rates with (1 - momentum)."""


def guess_of(facts: Mapping[str, float], recipe: Recipe) -> int:
    """Return the octave, log2 of the scale, that is likeliest to be best by the facts of a recipe's start.

    AdamW: log2 of the critical rate at a head of noise, two octaves less. SGD: the mean of that and of the one half
    way, plus log2 of (1 - momentum). Both less log2 of the base rate; 0 where there is no critical rate.

    Source: Kalra et al. 2026, arXiv 2601.16979, for the critical rate, as 2 over what they call critical sharpness.

    Args:
        facts: name -> value, as ``start_facts`` has them.
        recipe: of the point.
    """
    place = coordinate(DECLARED[recipe.optimizer], facts, recipe)
    octaves = ADAMW_OCTAVES if recipe.optimizer == "adamw" else 0.0
    return 0 if place is None else round(place + octaves - math.log2(recipe.base_lr))


class Guesses:
    """The guesses of a journal's points: a point that was placed once is placed the same ever after."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._keys: set[str] | None = None

    def find(self, task_id: str, source_id: str, recipe: Recipe, *, is_measured: bool) -> int | None:
        """Return the guess that is noted or that follows from the journal's facts; None where nothing is known.

        Args:
            task_id: of the point's task.
            source_id: of its source.
            recipe: its recipe.
            is_measured: the facts of its start are stored.
        """
        noted = self.journal.noted("guesses", _key(task_id, source_id, recipe))
        if noted is not None:
            return int(noted["octave"])
        facts = self._facts(task_id, source_id, recipe) if is_measured else {}
        return self.take(task_id, source_id, recipe, facts) if _are_whole(facts) else None

    def take(self, task_id: str, source_id: str, recipe: Recipe, facts: Mapping[str, float]) -> int:
        """Guess from the facts of a point's start, and note it."""
        octave = guess_of(facts, recipe)
        self.journal.note("guesses", _key(task_id, source_id, recipe), {"octave": octave})
        return octave

    def _facts(self, task_id: str, source_id: str, recipe: Recipe) -> dict[str, float]:
        """Return what a guess needs of the journal's facts."""
        if self._keys is None:
            self._keys = self.journal.keys("features")
        names = [f"{head}_{what}" for head in HEADS for what in ("is_placed", "log2_critical", "log2_minimum")]
        wanted = {key_of(_fact(task_id, source_id, recipe, name)) for name in names} & self._keys
        records = [each for each in self.journal.records("features", wanted) if isinstance(each, FeatureRecord)]
        return {each.name: each.value for each in records}


def _are_whole(facts: Mapping[str, float]) -> bool:
    """Say whether both heads were measured, and each has a critical rate if it is said to."""
    placed = {head: facts.get(f"{head}_is_placed") for head in HEADS}
    return all(is_placed == 0 or (is_placed and f"{head}_log2_critical" in facts) for head, is_placed in placed.items())


def _fact(task_id: str, source_id: str, recipe: Recipe, name: str) -> FeatureRecord:
    return FeatureRecord(
        task_id=task_id, source_id=source_id, feature_set=start_set(recipe), name=name, value=0.0, seconds=0.0
    )


def _key(task_id: str, source_id: str, recipe: Recipe) -> str:
    return content_id("guess", [task_id, source_id, recipe.recipe_id])
