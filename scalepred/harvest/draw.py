"""Draws design points: task, source and recipe, quasi-randomly, so that any first part of them is balanced."""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scipy.stats import qmc

from scalepred.data.task import Survey, survey
from scalepred.errors import DataError
from scalepred.harvest.space import Space
from scalepred.recipe import Recipe, content_id

SECOND_SEED = 0.1
"""Share of the points that are run with two seeds."""

T = TypeVar("T")

_OWN = ("origin", "task", "family", "source", "second seed")
"""What is drawn before the space's dimensions, each from one number."""


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """A task, a source and a recipe, to be run over as many scales as it takes.

    Attributes:
        index: its place in the sequence.
        data: the task, as it was given.
        source: the source's name, as it was given.
        recipe: drawn.
        n_images: training and validation images at most; the task is cut down to them.
        n_seeds: 1, or 2 for one point in ten.
        name: what the warehouse calls the recipe; None describes it by its fields.
    """

    index: int
    data: str
    source: str
    recipe: Recipe
    n_images: int | None
    n_seeds: int
    name: str | None = None


def every_point(
    data: Sequence[str], sources: Sequence[str], recipes: Mapping[str, Recipe], *, n_seeds: int
) -> list[DesignPoint]:
    """Return each task with each source and each recipe, which is given by name; nothing is drawn."""
    return [
        DesignPoint(index=index, data=task, source=source, recipe=recipe, n_images=None, n_seeds=n_seeds, name=name)
        for index, (task, source, (name, recipe)) in enumerate(itertools.product(data, sources, recipes.items()))
    ]


def survey_tasks(data: Sequence[str]) -> dict[str, Survey]:
    """Look at the files of tasks, none of which is read; returns what they say, of those that can be drawn from."""
    surveys = {}
    for each in data:
        with contextlib.suppress(DataError):  # the harvest refuses it with its reason
            surveys[each] = survey(each)
    return surveys


def draw_points(
    n: int,
    *,
    tasks: Mapping[str, str],
    sources: Mapping[str, str],
    space: Space,
    sizes: Mapping[str, Collection[int]] | None = None,
    seed: int = 0,
) -> list[DesignPoint]:
    """Return the first n points of the sequence that seed, tasks, sources and space decide.

    Origins come before tasks and families before sources, so that a large collection, or a family of many networks, is
    drawn no more often than another.

    Args:
        n: how many; more continue the sequence. None are drawn where there is no task.
        tasks: data -> origin.
        sources: name -> family.
        space: of recipes.
        sizes: name -> image sizes that the source's network takes; sources that take all are left out.
        seed: of the scrambling.

    Source: Sobol 1967, scrambled by Owen 1998; scipy's ``qmc.Sobol``.
    """
    engine = qmc.Sobol(len(_OWN) + len(space.dimensions), scramble=True, rng=seed)
    rows = engine.random_base2(max(0, n - 1).bit_length())[:n] if n and tasks else []
    by_origin, by_family = _grouped(tasks), _grouped(sources)
    points = []
    for index, row in enumerate(rows):
        at_origin, at_task, at_family, at_source, at_seed = row[: len(_OWN)]
        source = _pick(_pick(by_family, at_family), at_source)
        recipe, extra = space.draw([float(u) for u in row[len(_OWN) :]], sizes=(sizes or {}).get(source))
        points.append(
            DesignPoint(
                index=index,
                data=_pick(_pick(by_origin, at_origin), at_task),
                source=source,
                recipe=recipe,
                n_images=extra.get("n_images"),
                n_seeds=2 if at_seed < SECOND_SEED else 1,
            )
        )
    return points


def _grouped(members: Mapping[str, str]) -> list[list[str]]:
    """Return members by group, both in the order of a hash of their names, wherever the files lie."""
    groups: dict[str, list[str]] = defaultdict(list)
    for member, group in members.items():
        groups[group].append(member)
    names = sorted(groups, key=lambda name: content_id("group", name))
    return [sorted(groups[name], key=lambda member: content_id("member", Path(member).name)) for name in names]


def _pick(members: Sequence[T], u: float) -> T:
    return members[min(int(u * len(members)), len(members) - 1)]
