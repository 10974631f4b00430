"""The evaluation on design points: all ways of choosing a scale, under every hold-out, and what is learnt from what."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from scalepred.predictor import nested
from scalepred.predictor.conformal import NOMINAL
from scalepred.predictor.formulations import FORMULATIONS, LEANING
from scalepred.predictor.hold_outs import FAMILY, NETWORK, family, hold_outs
from scalepred.predictor.placing import Fit, Formulation, by_rule
from scalepred.predictor.points import Point, of_one_collection
from scalepred.predictor.rule import DECLARED
from scalepred.predictor.rule_choice import MIN_STEPS, is_long
from scalepred.predictor.wide_frame import Frame
from scalepred.predictor.wide_rivals import RANGE_TESTS, SHIPPED, Way, rivals_of, with_facts
from scalepred.predictor.wide_scores import Coverage, Row, as_json, coverage, judge
from scalepred.predictor.wide_studies import studies, told_studies
from scalepred.predictor.wide_table import wide_table
from scalepred.processes import side_by_side

CONSTANT, SELECTED = "a constant on the rule", "selected inside"

OnStep = Callable[[int, int], None]
"""Called with parts done and parts in all."""

FEWEST_FAMILIES = 3
"""So many families can be held out outside and inside, so that studies are of families rather than of networks."""


@dataclass(frozen=True, kw_only=True)
class WideEvaluation:
    """How ways of choosing do on design points.

    Attributes:
        n_points, n_origins, n_networks, n_families, n_long: counts.
        min_steps: of a long job.
        hold_outs: name -> cells and groups that are held out.
        studied: the hold-out of ``studies``.
        rows: of all hold-outs.
        coverages: of conformal intervals, likewise.
        studies: as ``wide_studies.studies`` returns them.
        seconds: that it took.
    """

    n_points: int
    n_origins: int
    n_networks: int
    n_families: int
    n_long: int
    min_steps: int
    hold_outs: Mapping[str, Mapping[str, int]]
    studied: str
    rows: tuple[Row, ...]
    coverages: tuple[Coverage, ...]
    studies: Mapping[str, Any]
    seconds: float

    def summary(self) -> str:
        """Return in a line how much of what there is."""
        cells = ", ".join(f"{each['cells']} cells of {name}" for name, each in self.hold_outs.items())
        return (
            f"{self.n_points} points of {self.n_origins} origins on {self.n_networks} networks of {self.n_families} "
            f"families, {self.n_long} of at least {self.min_steps} steps; held out: {cells}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        counts = ("n_points", "n_origins", "n_networks", "n_families", "n_long", "min_steps", "studied")
        return {
            **{name: getattr(self, name) for name in counts},
            "hold_outs": {name: dict(each) for name, each in self.hold_outs.items()},
            "rows": [as_json(row) for row in self.rows],
            "coverage": [as_json(row) for row in self.coverages],
            **self.studies,
            "seconds": self.seconds,
        }


def evaluate_points(
    points: Sequence[Point],
    *,
    min_steps: int = MIN_STEPS,
    tests: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    formulations: Mapping[str, Formulation] = MappingProxyType(FORMULATIONS),
    leaning: Mapping[str, tuple[str, Formulation]] = MappingProxyType(LEANING),
    n_processes: int = 1,
    on_step: OnStep | None = None,
) -> WideEvaluation:
    """Judge all ways of choosing on design points, with models that saw neither a point's origin nor its group.

    Args:
        points: of at least three networks and three origins; those of several collections are left out.
        min_steps: long jobs are judged once more alone.
        tests: point's key -> what range tests found; such points are judged once more alone.
        formulations: name -> what learns; ensembles of two are judged too.
        leaning: likewise, with the formulation that it leans from; without ensembles.
        n_processes: that compute side by side; formulations must be functions that these can import.
        on_step: hears of progress.

    Raises:
        DataError: if the points are of fewer networks or origins.
        UsageError: if a process was killed, for memory mostly.
    """
    started = time.perf_counter()
    points = of_one_collection(points)
    frames = frames_of(points, min_steps)
    rivals = {name: rivals_of(frame, tests) for name, frame in frames.items()}
    studied = studied_of(frames)
    ships = rivals[studied][SHIPPED].log2_scales
    assert ships is not None  # noqa: S101 - the rule gives scales
    fits = fits_of(formulations, leaning)
    calls: dict[Any, Callable[[], Any]] = {**studies(frames[studied], ships)}
    for name, frame in frames.items():
        for ways, fit in fits.items():
            calls[name, ways] = partial(nested.place_ways, fit, frame.table, frame.cells, n_ways=len(ways))
    said = on_step or (lambda done, total: None)
    answers = side_by_side(
        list(calls.values()), n_processes=n_processes, on_done=lambda done: said(done, len(calls) + len(frames))
    )
    found = dict(zip(calls, answers, strict=True))
    order = (CONSTANT, *formulations, *leaning)
    judged = side_by_side(
        [
            partial(judge_frame, frame, rivals[name], _placed(found, name, fits, order), list(formulations))
            for name, frame in frames.items()
        ],
        n_processes=n_processes,
        on_done=lambda done: said(len(calls) + done, len(calls) + len(frames)),
    )
    return WideEvaluation(
        n_points=len(points),
        n_origins=len({point.origin for point in points}),
        n_networks=len({point.source_id for point in points}),
        n_families=len({family(point) for point in points}),
        n_long=int(frames[studied].is_long.sum()),
        min_steps=min_steps,
        hold_outs={
            name: {"groups": frame.hold_out.n_groups, "cells": len(frame.cells.ids)} for name, frame in frames.items()
        },
        studied=studied,
        rows=tuple(row for each in judged for row in each.rows),
        coverages=tuple(row for each in judged for row in each.coverages),
        studies=told_studies(found),
        seconds=round(time.perf_counter() - started, 1),
    )


def fits_of(
    formulations: Mapping[str, Formulation], leaning: Mapping[str, tuple[str, Formulation]]
) -> dict[tuple[str, ...], Fit]:
    """Return the names of the ways in which a model places points -> what fits it, so that each is fitted once."""
    both: dict[tuple[str, ...], Fit] = {(plain, words): fit for words, (plain, fit) in leaning.items()}
    done = {plain for plain, _ in leaning.values()}
    one: dict[tuple[str, ...], Fit] = {(words,): fit for words, fit in formulations.items() if words not in done}
    return {(CONSTANT,): by_rule(DECLARED), **both, **one}


def _placed(
    found: Mapping[Any, Any], name: str, fits: Mapping[tuple[str, ...], Fit], order: Sequence[str]
) -> dict[str, nested.HeldOut]:
    """Return where ways place a frame's points, in an order that decides ties."""
    placed = {words: each for ways in fits for words, each in zip(ways, found[name, ways], strict=True)}
    return {words: placed[words] for words in order}


def frames_of(points: Sequence[Point], min_steps: int) -> dict[str, Frame]:
    """Return the frame of each hold-out that the points allow.

    Raises:
        DataError: if the points are of fewer than three networks or origins.
    """
    held = hold_outs(points)
    table = wide_table(points)
    long = np.array([is_long(point, min_steps) for point in points])
    return {each.name: Frame(table=table, hold_out=each, is_long=long, min_steps=min_steps) for each in held}


def studied_of(frames: Mapping[str, Frame]) -> str:
    """Return the hold-out that is studied: families where there are enough of them, else networks."""
    frame = frames.get(FAMILY)
    return FAMILY if frame is not None and frame.hold_out.n_groups >= FEWEST_FAMILIES else NETWORK


@dataclass(frozen=True, kw_only=True)
class JudgedFrame:
    """What came out under one hold-out."""

    rows: tuple[Row, ...]
    coverages: tuple[Coverage, ...]


def judge_frame(
    frame: Frame, rivals: Mapping[str, Way], placed: Mapping[str, nested.HeldOut], paired: Sequence[str]
) -> JudgedFrame:
    """Judge all ways of choosing under one hold-out.

    Args:
        frame: the points.
        rivals: name -> way.
        placed: formulation -> where it places the points.
        paired: the formulations of which ensembles of two are judged too.
    """
    two = {f"{a} + {b}": nested.average(placed[a], placed[b]) for a, b in itertools.combinations(paired, 2)}
    covered = [row for name, each in placed.items() for row in coverage(frame, name, each, level=NOMINAL)]
    return JudgedFrame(rows=tuple(_rows(frame, rivals, {**placed, **two})), coverages=tuple(covered))


def _rows(frame: Frame, rivals: Mapping[str, Way], placed: Mapping[str, nested.HeldOut]) -> Iterator[Row]:
    """Yield the rows of all domains; what formulations place is moved by what does best inside for that length."""
    told = with_facts(frame.points)
    for length, counts in frame.lengths():
        chosen = {name: nested.choose(each, frame.table, frame.cells, counts=counts) for name, each in placed.items()}
        ways = dict(rivals) | {name: Way(log2_scales=each.log2_scales, jobs=told) for name, each in chosen.items()}
        ways[SELECTED] = Way(log2_scales=nested.select(list(chosen.values())), jobs=told)
        domains = dict(frame.domains(length, counts))
        if counts.all():
            domains |= _range_tested(frame, rivals)
        for words, judged in domains.items():
            yield from judge(frame, words, judged, ways)


def _range_tested(frame: Frame, rivals: Mapping[str, Way]) -> dict[str, np.ndarray]:
    """Return the domains of the points that range tests were run on."""
    scales = [way.log2_scales for name, way in rivals.items() if name in RANGE_TESTS.values()]
    return dict(frame.domains("range tests", ~np.isnan(scales[0]))) if scales and scales[0] is not None else {}
