"""The best fixed scale of sources and recipes that were run over octaves, with no whole grid of them."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from scalepred.predictor.points import Point
from scalepred.predictor.rule import best_octaves
from scalepred.predictor.train import Group

MIN_TASKS = 3
"""One task was not shown to be worth the rule, three were level (log of 2026-11-30). A drawn recipe has one."""


def octave_groups(points: Sequence[Point], *, known: Collection[tuple[str, str]]) -> tuple[Group, ...]:
    """Return each source and recipe of at least three tasks, with the scale of their highest smoothed mean accuracy.

    Curves are interpolated, so the scale lies on quarters of an octave.

    Args:
        points: design points; facts of their starts are not needed.
        known: ids of the sources and recipes that whole grids have; these are left out.
    """
    members: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        key = (point.source_id, point.recipe.recipe_id)
        if key not in known:
            members[key].append(point)
    return tuple(
        _group(key, some) for key, some in sorted(members.items()) if len({p.task_id for p in some}) >= MIN_TASKS
    )


def _group(key: tuple[str, str], points: Sequence[Point]) -> Group:
    log2_scale = best_octaves(points, np.zeros(len(points)))
    return Group(
        source_id=key[0],
        recipe_id=key[1],
        fixed_scale=float(f"{2**log2_scale:.3g}"),
        n_tasks=len({point.task_id for point in points}),
        n_origins=len({point.origin for point in points}),
    )
