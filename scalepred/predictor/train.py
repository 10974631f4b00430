"""Trains the predictor on the table of a harvest: trees, best fixed scales, threshold and neighbours."""

import math
from dataclasses import dataclass, field
from typing import Any

import lightgbm

from scalepred.predictor.model import fit
from scalepred.predictor.nearness import Neighbour, neighbours_of, reach_of, standardisation, standardise
from scalepred.predictor.own_runs import OwnCurve
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.table import TrainingTable, rows_by_group
from scalepred.predictor.threshold import fixed_column, inner_threshold

MIN_ORIGINS = 8
"""With fewer origins nothing is predicted: leave-one-origin-out could not tell a good predictor from a bad one."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A harvested source and recipe, with the best fixed scale of their tasks."""

    source_id: str
    recipe_id: str
    fixed_scale: float
    n_tasks: int
    n_origins: int


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained predictor; ``booster`` is None where there were too few tasks to learn from.

    Attributes:
        feature_names: the features it reads, in order; the model's last column is ``log2_scale``.
        scales: the grid.
        groups: the harvested sources and recipes.
        octave_groups: those that were run over octaves alone; nothing is predicted for them, and their fixed scales may
            lie beside or beyond the grid.
        own_curves: mean curves of those with few tasks, which move the rule's scale.
        besides: the linear probe beside the finetunes of those where it was measured.
        threshold: predicted gain, a fraction, that the choice must pass to leave the fixed scale; infinite where none
            paid, or nothing is predicted.
        centre, spread: f numbers each, to standardise the features.
        reach: the standardised distance to the nearest harvested task beyond which a task is unlike all of them.
        neighbours: the harvested tasks.
        gain_errors: held-out errors (real less predicted gain over the fixed scale) where the choice left it.
        evaluation: the leave-one-origin-out table that is kept with it.
        facts: versions, counts and whatever else describes it.
    """

    feature_names: tuple[str, ...]
    scales: tuple[float, ...]
    groups: tuple[Group, ...]
    threshold: float
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    reach: float
    neighbours: tuple[Neighbour, ...]
    gain_errors: tuple[float, ...]
    evaluation: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    booster: lightgbm.Booster | None = None
    octave_groups: tuple[Group, ...] = ()
    own_curves: tuple[OwnCurve, ...] = ()
    besides: tuple[Beside, ...] = ()

    def beside_of(self, source_id: str, recipe_id: str) -> Beside | None:
        """Return the linear probe beside the finetunes of a source and recipe; None where it was not measured."""
        key = (source_id, recipe_id)
        return next((each for each in self.besides if (each.source_id, each.recipe_id) == key), None)

    def own_curve_of(self, source_id: str, recipe_id: str) -> OwnCurve | None:
        """Return the mean curve of a source and recipe; None where that is not kept."""
        key = (source_id, recipe_id)
        return next((curve for curve in self.own_curves if (curve.source_id, curve.recipe_id) == key), None)

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """All sources and recipes with a fixed scale."""
        return (*self.groups, *self.octave_groups)


def train(table: TrainingTable, *, seed: int = 0) -> Predictor:
    """Learn from every bundle of the table; with fewer than ``MIN_ORIGINS`` origins only the fixed scale is learnt."""
    centre, spread = standardisation(table.features)
    standard = standardise(table.features, centre, spread)
    enough = len(set(table.origins)) >= MIN_ORIGINS
    return Predictor(
        feature_names=table.feature_names,
        scales=tuple(table.scales.tolist()),
        groups=_groups(table),
        threshold=inner_threshold(table, seed=seed) if enough else math.inf,
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        reach=reach_of(table, standard),
        neighbours=neighbours_of(table, standard),
        gain_errors=(),
        booster=fit(table, seed=seed) if enough else None,
    )


def _groups(table: TrainingTable) -> tuple[Group, ...]:
    return tuple(
        Group(
            source_id=key[0],
            recipe_id=key[1],
            fixed_scale=float(table.scales[fixed_column(table.rows(rows))]),
            n_tasks=len(rows),
            n_origins=len({table.origins[row] for row in rows}),
        )
        for key, rows in rows_by_group(table).items()
    )
