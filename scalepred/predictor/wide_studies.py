"""Studies of what is learnt: by which facts, from how many points and networks, and whether anything at all."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from scalepred.predictor import nested
from scalepred.predictor.formulations import FORMULATIONS
from scalepred.predictor.placing import Formulation
from scalepred.predictor.points import Point
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.wide_frame import Frame
from scalepred.predictor.wide_rivals import FIXED

STUDIED = "ridge on the place"
"""Formulation of the ablation, of the control and of the curve over groups: it is the quickest."""

ALSO_CURVED = "Gaussian process on the place"
"""Formulation of the curve over points besides."""

SHARES = (0.25, 0.5, 0.75)
DRAWS = 2

FEWEST_GROUPS = 3
"""Groups of which one is held out outside and one inside."""

MOST_SUBSETS = 20
"""Of groups, that a curve over them averages for each number of them."""

CURVE = "curve, "
"""How the name of a curve over points begins; what learns comes after it."""

Gains = dict[str, list[float]]
"""Domain -> gain over the rule that ships, and the bounds of its interval, in points."""


@dataclass(frozen=True, kw_only=True)
class FactSet:
    """A set of columns, and what it starts from.

    Attributes:
        begins: how the names of its columns begin.
        start: the coordinates of the constants that are learnt on top of.
        measured: how the names of the facts begin that it takes to measure.
    """

    begins: tuple[str, ...]
    start: Mapping[str, str]
    measured: tuple[str, ...] = ()


RECIPE = ("recipe_", "log2_steps", "log2_area", "log2_train", "log2_classes", "log2_images", "log2_scale", "z_rate")
LINES = ("noise_", "half_", "fitted_")
"""Both heads' critical rates; half way is a share of the fitted head."""

ALL = "all of the start"
SETS: dict[str, FactSet] = {
    "images per label alone, from the fixed rate": FactSet(begins=("log2_images_per_label",), start=FIXED),
    "recipe and counts alone, from the fixed rate": FactSet(begins=(*RECIPE, "z_damped_rate"), start=FIXED),
    "+ critical rates, from the rule": FactSet(begins=(*RECIPE, "z_"), start=DECLARED, measured=LINES),
    "+ movement": FactSet(
        begins=(*RECIPE, "z_", "movement_", "head_curvature"), start=DECLARED, measured=(*LINES, "features_")
    ),
    ALL: FactSet(begins=("",), start=DECLARED, measured=("",)),
}
"""Words -> set of facts."""


def fact_seconds(points: Sequence[Point], facts: FactSet) -> np.ndarray:
    """Return what the facts of a set took to measure for each point, (n,) seconds."""
    return np.array(
        [
            sum(seconds for name, seconds in point.fact_seconds.items() if name.startswith(facts.measured))
            if facts.measured
            else 0.0
            for point in points
        ]
    )


def ablation(frame: Frame, ships: np.ndarray, formulation: Formulation) -> dict[str, dict[str, object]]:
    """Return for each set of facts its gains over the rule that ships, and its median seconds and share of a job."""
    found: dict[str, dict[str, object]] = {}
    for words, facts in SETS.items():
        names = [
            name for name in (*frame.table.fact_names, *frame.table.coordinate_names) if name.startswith(facts.begins)
        ]
        part = replace(frame, table=frame.table.columns(names))
        seconds = fact_seconds(frame.points, facts)
        share = seconds / np.array([point.job_seconds for point in frame.points])
        found[words] = {
            "gains": frame.gains(ships, part.chosen_by(partial(formulation, start=facts.start))),
            "seconds": round(float(np.median(seconds)), 3),
            "share_of_a_job": round(float(np.median(share)), 3),
        }
    return found


def permuted(frame: Frame, ships: np.ndarray, formulation: Formulation) -> Gains:
    """Return what is gained over the rule that ships with the facts of other points: it should be nothing."""
    order = np.random.default_rng(0).permutation(len(frame.points))
    table = replace(frame.table, facts=frame.table.facts[order], coordinates=frame.table.coordinates[order])
    return frame.gains(ships, replace(frame, table=table).chosen_by(formulation))


def curve_over_points(frame: Frame, ships: np.ndarray, formulation: Formulation) -> dict[str, Gains]:
    """Return what shares of the points gain over the rule that ships, each the mean of two draws, and all of them.

    "for twice as many" is the slope of a line through them over log2 of the share.
    """
    found: dict[str, Gains] = {}
    for share in SHARES:
        draws = []
        for seed in range(DRAWS):
            usable = np.random.default_rng(seed).random(len(frame.points)) < share
            draws.append(frame.gains(ships, frame.chosen_by(formulation, usable=usable)))
        found[f"{share:.0%} of the points"] = {
            words: np.mean([draw[words] for draw in draws], axis=0).round(2).tolist() for words in draws[0]
        }
    found["all points"] = frame.gains(ships, frame.chosen_by(formulation))
    octaves = np.log2([*SHARES, 1.0])
    slopes = {
        words: np.polyfit(octaves, [gains[words][0] for gains in found.values()], 1)[0] for words in found["all points"]
    }
    return found | {"for twice as many": {words: [round(float(slope), 2)] for words, slope in slopes.items()}}


def curve_over_groups(frame: Frame, ships: np.ndarray, formulation: Formulation) -> dict[str, Gains]:
    """Return what is gained by learning from few groups, and from more, with as many points in all.

    Groups are what is held out, such as networks. Of g of them one is held out at a time, so g - 1 are learnt from. All
    sets of g are averaged, or 20 drawn ones. Of g - 1 groups the share 2 / (g - 1) of points is learnt from.
    """
    groups = sorted(set(frame.cells.outer.tolist()))
    found: dict[str, Gains] = {}
    for n in range(FEWEST_GROUPS, len(groups) + 1):
        subsets = list(itertools.combinations(groups, n))
        if len(subsets) > MOST_SUBSETS:
            drawn = np.random.default_rng(n).choice(len(subsets), MOST_SUBSETS, replace=False)
            subsets = [subsets[i] for i in sorted(drawn)]
        found[f"{n - 1} learnt from"] = _of_subsets(frame, ships, formulation, subsets)
    return found


def _of_subsets(frame: Frame, ships: np.ndarray, formulation: Formulation, subsets: Sequence[tuple[int, ...]]) -> Gains:
    """Return the gains of each point averaged over the sets of groups that it is in."""
    sums = {words: np.zeros(len(frame.points)) for words in frame.all_domains()}
    times = {words: np.zeros(len(frame.points)) for words in sums}
    for seed, subset in enumerate(subsets):
        rows = np.flatnonzero(np.isin(frame.cells.outer, subset))
        part = frame.rows(rows)
        usable = np.random.default_rng(seed).random(len(rows)) < (FEWEST_GROUPS - 1) / (len(subset) - 1)
        for words, places in part.chosen_by(formulation, usable=usable).items():
            judged = part.all_domains()[words]
            points = part.points_in(judged)
            gained = nested.accuracies_at(points, places[judged]) - nested.accuracies_at(points, ships[rows][judged])
            sums[words][rows[judged]] += gained
            times[words][rows[judged]] += 1
    found: Gains = {}
    for words, of_points in sums.items():
        judged = times[words] > 0
        if judged.any():
            gained = of_points[judged] / times[words][judged]
            found[words] = [round(100 * float(each), 2) for each in (gained.mean(), *frame.interval(gained, judged))]
    return found


def spread(frame: Frame) -> dict[str, dict[str, float | None]]:
    """Return, for each domain, the standard deviation of the best place in each coordinate that is known, in octaves.

    A good coordinate is one in which it is small.
    """
    found: dict[str, dict[str, float | None]] = {}
    for words, judged in frame.all_domains().items():
        at_best = frame.table.coordinates[judged] + frame.table.places[judged, None]
        told = [column[~np.isnan(column)] for column in at_best.T]
        deviations = [round(float(np.std(each)), 2) if len(each) else None for each in told]
        found[words] = dict(zip(frame.table.coordinate_names, deviations, strict=True))
    return found


def conjecture(frame: Frame) -> dict[str, list[float]]:
    """Return the rank correlation of images per label with the best rate in each domain, and its interval.

    The paper supposes that the number of images per label tells the scale.

    Source: Dube et al. 2018, section 5; Spearman 1904 for the correlation.
    """
    found: dict[str, list[float]] = {}
    for words, judged in frame.all_domains().items():
        points = frame.points_in(judged)
        rates = ranks(frame.table.places[judged] + np.log2([point.recipe.base_lr for point in points]))
        products = ranks(np.array([point.n_train * point.chance for point in points])) * rates
        bounds = frame.interval(products, judged)
        found[words] = [round(float(each), 3) for each in (products.mean(), *bounds)]
    return found


def ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks with mean 0 and variance 1, so that the mean of products is Spearman's correlation."""
    places = np.array([(values < value).mean() + (values <= value).mean() for value in values])
    deviations: np.ndarray = places - places.mean()
    return deviations / max(float(deviations.std()), 1e-12)


def studies(frame: Frame, ships: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return name -> what computes each study of a frame; the dearest first.

    Args:
        frame: the points.
        ships: (n,) log2 scales of the rule that ships.
    """
    learn = FORMULATIONS[STUDIED]
    return {
        f"{CURVE}{ALSO_CURVED}": partial(curve_over_points, frame, ships, FORMULATIONS[ALSO_CURVED]),
        "group_curve": partial(curve_over_groups, frame, ships, learn),
        f"{CURVE}{STUDIED}": partial(curve_over_points, frame, ships, learn),
        "sets": partial(ablation, frame, ships, learn),
        "permuted": partial(permuted, frame, ships, learn),
        "spread": partial(spread, frame),
        "conjecture": partial(conjecture, frame),
    }


def told_studies(found: Mapping[Any, object]) -> dict[str, object]:
    """Return the JSON values of all studies by what each of ``studies`` gave, among other things perhaps."""
    curves = {name: found[f"{CURVE}{name}"] for name in dict.fromkeys((STUDIED, ALSO_CURVED))}
    first = {name: found[name] for name in ("spread", "conjecture", "permuted", "sets")}
    return {"learnt_by": STUDIED, **first, "curve": curves, "group_curve": found["group_curve"]}
