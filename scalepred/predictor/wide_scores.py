"""Scores of ways of choosing on held-out points: accuracy, gains with intervals, gaps closed, and jobs spent."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalepred.predictor.conformal import half_widths, is_covered
from scalepred.predictor.nested import HeldOut
from scalepred.predictor.points import GOOD
from scalepred.predictor.wide_frame import Frame
from scalepred.predictor.wide_rivals import HONEST, OWN, RATE, SCALE_1, SHIPPED, Way

MOST = 0.9
"""A way that says something of fewer of the points than this share has no row; else it is judged on those alone."""

LEAST_GAP = 0.005
"""A gap of less than half a point has no part that is closed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does on held-out points; accuracies are fractions.

    Attributes:
        hold_out, points, method: what was held out, which points, and the way of choosing.
        n: points.
        accuracy: mean over them, on test images.
        over_rate, over_rule: mean gain over the best fixed rate and over the rule that ships, with 95 % intervals.
        gap_closed: part of the way from the best fixed rate to the best of each curve.
        own_gap_closed: part of the way to the own network's best fixed rate; None where there is hardly any.
        worse_than_scale_1: share of points that are more than two points of accuracy below scale 1.
        diverged: share of points whose run diverges.
        jobs: spent for a point, in the median, facts included.
    """

    hold_out: str
    points: str
    method: str
    n: int
    accuracy: float
    over_rate: float
    over_rate_interval: tuple[float, float]
    over_rule: float
    over_rule_interval: tuple[float, float]
    gap_closed: float | None
    own_gap_closed: float | None
    worse_than_scale_1: float
    diverged: float
    jobs: float


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often intervals of the place hold the best place, beside what they are meant to.

    Attributes:
        hold_out, points, method: as of ``Row``.
        n: points.
        nominal, covered: shares.
        interval: of ``covered``, 95 %, origins and groups drawn.
        half_width_octaves: of the intervals, in the median; None where they are infinite.
    """

    hold_out: str
    points: str
    method: str
    n: int
    nominal: float
    covered: float
    interval: tuple[float, float]
    half_width_octaves: float | None


def judge(frame: Frame, words: str, judged: np.ndarray, ways: Mapping[str, Way]) -> list[Row]:
    """Return a row for each way of choosing, on the points that it says something of if they are most.

    Args:
        frame: the points.
        words: what to call those that are judged.
        judged: (n,) bool.
        ways: name -> way; ``SCALE_1``, ``RATE``, ``SHIPPED``, ``OWN`` and ``HONEST`` among them.
    """
    reached = {name: way.reached(frame.points) for name, way in ways.items()}
    told = {name: judged & ~np.isnan(each) for name, each in reached.items()}
    return [
        _row(frame, words, name, told[name], way=ways[name], reached=reached)
        for name in ways
        if told[name].sum() >= MOST * judged.sum()
    ]


def _row(
    frame: Frame, words: str, name: str, judged: np.ndarray, *, way: Way, reached: Mapping[str, np.ndarray]
) -> Row:
    """Return the row of one way on the points that are judged, all gains and gaps on the same."""
    over = {than: (reached[name] - reached[than])[judged] for than in (RATE, SHIPPED, SCALE_1)}
    gap, own_gap = (float((reached[best] - reached[RATE])[judged].mean()) for best in (HONEST, OWN))
    gained = float(over[RATE].mean())
    return Row(
        hold_out=frame.hold_out.name,
        points=words,
        method=name,
        n=int(judged.sum()),
        accuracy=float(reached[name][judged].mean()),
        over_rate=gained,
        over_rate_interval=frame.interval(over[RATE], judged),
        over_rule=float(over[SHIPPED].mean()),
        over_rule_interval=frame.interval(over[SHIPPED], judged),
        gap_closed=_part(gained, gap),
        own_gap_closed=_part(gained, own_gap),
        worse_than_scale_1=float((over[SCALE_1] < -GOOD).mean()),
        diverged=float(way.diverged(frame.points)[judged].mean()),
        jobs=float(np.median(way.jobs[judged])),
    )


def _part(gain: float, gap: float) -> float | None:
    return gain / gap if gap >= LEAST_GAP else None


def coverage(frame: Frame, method: str, held_out: HeldOut, *, level: float) -> list[Coverage]:
    """Return the coverage of a formulation's conformal intervals in each domain."""
    rows = []
    for length, counts in frame.lengths():
        widths = half_widths(held_out, frame.table, frame.cells, counts=counts, level=level)
        covered = is_covered(held_out, frame.table, widths)
        for words, judged in frame.domains(length, counts):
            hit = covered[judged].astype(np.float64)
            middle = float(np.median(widths[judged]))
            rows.append(
                Coverage(
                    hold_out=frame.hold_out.name,
                    points=words,
                    method=method,
                    n=len(hit),
                    nominal=level,
                    covered=float(hit.mean()),
                    interval=frame.interval(hit, judged),
                    half_width_octaves=middle if math.isfinite(middle) else None,
                )
            )
    return rows


def as_json(row: Row | Coverage) -> dict[str, Any]:
    """Return a row's JSON values, rounded; what is not finite is None."""
    return {name: _rounded(value) for name, value in asdict(row).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
