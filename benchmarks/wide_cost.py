"""What a design point costs: its octaves and the facts of its start, against a grid of eleven that knows as much.

A curve is known once it has come to its end on both sides of its best (``scalepred/harvest/octaves.py``). What a grid
of eleven would have seen of a point is read off the point's own curve, between its octaves by log2. Beyond them a scale
is as good as the nearest that was run, and shows nothing of the curve's course. A grid that does not know the curve
goes on until it does, or has left the octaves behind: by doubling and halving, as grids do beyond their edges, or at
its own spacing, close to two scales an octave. Every run is taken to last as long as the point's mean run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.wide_curves import Curve, Grid
from benchmarks.wide_halves import in_points, lost_within
from scalepred.harvest.guess import guess_of
from scalepred.harvest.octaves import Seen, best_octaves, open_sides
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.points import Point
from scalepred.recipe import GRID
from scalepred.records import DONE, RunRecord

CLOSE = 0.01
"""A point of accuracy: the best of a curve counts as found where a scale comes so near it."""

PER_OCTAVE = (len(GRID) - 1) / math.log2(GRID[-1] / GRID[0])
"""Scales of the grid in an octave."""

TARGET = 0.6
"""What a point may cost at most of its grid of eleven, as was asked for."""

AROUND = {"scale 1, as the paper's": False, "the same guess as the octaves": True}
"""Where the eleven scales lie -> whether they are moved to the point's guess."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one point took, and what a grid would have seen and taken.

    Attributes:
        n_runs: of its first seed.
        is_known: its octaves saw the curve end on both sides.
        seconds, facts_seconds: of these runs; of the facts of its start.
        mean_seconds: of a run.
        is_close: the eleven have a scale within a point of the best of the curve.
        is_known_to_eleven: they saw it end on both sides.
        n_equal: runs of a grid that goes on by octaves until it knows as much.
    """

    point: Point
    n_runs: int
    is_known: bool
    seconds: float
    facts_seconds: float
    mean_seconds: float
    is_close: bool
    is_known_to_eleven: bool
    n_equal: int

    @property
    def share_of_eleven(self) -> float:
        """Its runs and facts, over eleven runs."""
        return self._share_of(len(GRID))

    @property
    def share_at_equal_knowledge(self) -> float:
        """Its runs and facts, over the runs of a grid that goes on by octaves until it knows as much."""
        return self._share_of(self.n_equal)

    @property
    def share_at_own_spacing(self) -> float:
        """Its runs and facts, over the runs of a grid that goes on at its own spacing until it knows as much."""
        return self._share_of(len(GRID) + PER_OCTAVE * (self.n_equal - len(GRID)))

    def _share_of(self, n_runs: float) -> float:
        return (self.seconds + self.facts_seconds) / (n_runs * self.mean_seconds)


def costs(points: Sequence[Point], grids: Sequence[Grid], *, is_moved: bool) -> list[Cost]:
    """Return what each point cost, in their order; the grid of eleven is moved to the point's guess, or is not."""
    grid_of = {grid.key: grid for grid in grids}
    return [cost_of(point, grid_of[point.key], is_moved=is_moved) for point in points]


def cost_of(point: Point, grid: Grid, *, is_moved: bool) -> Cost:
    """Return what a point cost, and what a grid of eleven would have seen and taken."""
    runs = [run for of_scale in grid.runs.values() for run in of_scale if run.seed == 0]
    n_images = grid.task.n_val + grid.task.n_test
    curve = held_out_curve(runs, grid)
    eleven = np.log2(np.array(GRID)) + (guess_of(point.facts, point.recipe) if is_moved else 0)
    seconds = math.fsum(run.seconds for run in runs)
    return Cost(
        point=point,
        n_runs=len(runs),
        is_known=_is_known(curve, np.array(sorted(curve)), n_images),
        seconds=seconds,
        facts_seconds=point.facts_seconds,
        mean_seconds=seconds / len(runs),
        is_close=max(_accuracy(curve, at) for at in eleven) >= max(a or 0.0 for a in curve.values()) - CLOSE,
        is_known_to_eleven=_is_known(curve, eleven, n_images),
        n_equal=len(_until_known(curve, eleven, n_images)),
    )


def held_out_curve(runs: Sequence[RunRecord], grid: Grid) -> dict[float, float | None]:
    """Return log2 of scale -> accuracy on all held-out images, by which octaves are placed; None where it diverged."""
    return {math.log2(run.scale or 1.0): _held_out(run, grid) if run.status == DONE else None for run in runs}


def _held_out(run: RunRecord, grid: Grid) -> float:
    n_val, n_test = grid.task.n_val, grid.task.n_test
    return ((run.val_accuracy or 0.0) * n_val + (run.test_accuracy or 0.0) * n_test) / (n_val + n_test)


def _at(curve: dict[float, float | None], log2_scale: float) -> float | None:
    """Return what a run at a scale would have come to, by the curve's own; None where it would have diverged.

    It diverges where the nearest that was run did.
    """
    scales = sorted(curve)
    if curve[min(scales, key=lambda each: abs(each - log2_scale))] is None:
        return None
    done = [scale for scale in scales if curve[scale] is not None]
    return float(np.interp(log2_scale, done, [curve[scale] or 0.0 for scale in done]))


def _accuracy(curve: dict[float, float | None], log2_scale: float) -> float:
    return _at(curve, log2_scale) or 0.0


def _is_known(curve: dict[float, float | None], log2_scales: np.ndarray, n_images: int) -> bool:
    """Say whether runs at these scales, ascending, see the curve end on both sides."""
    return not _open(curve, log2_scales, n_images)


def _open(curve: dict[float, float | None], log2_scales: np.ndarray, n_images: int) -> list[int]:
    """Return the sides on which runs at these scales leave the curve open; below, where all diverge.

    Scales beyond those that were run show nothing; where all are, the curve lies on one side of them.
    """
    inside = [scale for scale in log2_scales if min(curve) <= scale <= max(curve)]
    if not inside:
        return [1 if log2_scales[-1] < min(curve) else -1]
    seen = {float(scale): Seen(accuracy=_at(curve, scale)) for scale in inside}
    return open_sides(seen, n_images=n_images) if best_octaves(seen) else [-1]


def _until_known(curve: dict[float, float | None], log2_scales: np.ndarray, n_images: int) -> np.ndarray:
    """Return the scales of a grid that goes on by octaves until it knows the curve, or has left it behind."""
    scales = log2_scales
    while sides := [side for side in _open(curve, scales, n_images) if _is_inside(curve, scales, side)]:
        below = [scales[0] - 1] if -1 in sides else []
        above = [scales[-1] + 1] if 1 in sides else []
        scales = np.concatenate([below, scales, above])
    return scales


def _is_inside(curve: dict[float, float | None], scales: np.ndarray, side: int) -> bool:
    """Say whether the curve was run beyond an end of these scales."""
    return bool(scales[-1] < max(curve)) if side > 0 else bool(scales[0] > min(curve))


def lost_outside(points: Sequence[Point], curves: Sequence[Curve], *, is_moved: bool) -> np.ndarray:
    """Return (n,) how much accuracy the octaves beyond the span of eleven scales are worth.

    The best octave of all, and the best of those in the span, are chosen on one half of the test images and read on the
    other, both ways. Where no octave lies in the span, it has the nearest.

    Args:
        points: n of them.
        curves: theirs, in the same order.
        is_moved: the eleven lie around the point's guess, not around scale 1.
    """
    rng = np.random.default_rng(0)
    return np.array([_lost(point, curve, is_moved, rng) for point, curve in zip(points, curves, strict=True)])


def _lost(point: Point, curve: Curve, is_moved: bool, rng: np.random.Generator) -> float:
    scales = curve.log2_rates - curve.base_log2_rate
    middle = guess_of(point.facts, point.recipe) if is_moved else 0
    beyond = np.maximum(middle + math.log2(GRID[0]) - scales, scales - middle - math.log2(GRID[-1]))
    is_in = beyond <= max(beyond.min(), 0.0)
    return float(np.mean(lost_within(curve, is_in, rng)))


# --- words ------------------------------------------------------------------------------------------------------------


def summary(some: Sequence[Cost]) -> dict[str, Any]:
    """Return the figures of some points, as JSON values; costs at equal knowledge are of those whose curve is known."""
    known = [cost for cost in some if cost.is_known]
    return {
        "n": len(some),
        "n_runs": float(np.mean([cost.n_runs for cost in some])),
        "known": mean_and_interval([float(cost.is_known) for cost in some], some),
        "facts_of_runs": float(np.mean([cost.facts_seconds / cost.seconds for cost in some])),
        "share_of_eleven": mean_and_interval([cost.share_of_eleven for cost in some], some),
        "eleven_close": mean_and_interval([float(cost.is_close) for cost in some], some),
        "eleven_known": mean_and_interval([float(cost.is_known_to_eleven) for cost in some], some),
        "n_known": len(known),
        "n_equal": float(np.mean([cost.n_equal for cost in known])),
        "share_at_equal_knowledge": mean_and_interval([cost.share_at_equal_knowledge for cost in known], known),
        "share_at_own_spacing": mean_and_interval([cost.share_at_own_spacing for cost in known], known),
        "within_target": float(np.mean([cost.share_at_equal_knowledge <= TARGET for cost in known])),
        "of_all_seconds": total_share(known),
    }


def mean_and_interval(values: Sequence[float] | np.ndarray, some: Sequence[Cost]) -> list[float]:
    """Return a mean, and its interval over origins and networks at once."""
    origins, networks = [cost.point.origin for cost in some], [cost.point.source_id for cost in some]
    return [float(np.mean(values)), *crossed_interval(np.asarray(values), origins, networks, seed=0)]


def total_share(some: Sequence[Cost]) -> float:
    """Return all seconds of runs and facts over those of the grids that know as much: long jobs count more."""
    spent = math.fsum(cost.seconds + cost.facts_seconds for cost in some)
    return spent / math.fsum(cost.n_equal * cost.mean_seconds for cost in some)


COSTS = (
    "| eleven scales around | n | with one within a point of the best | that see both sides fall "
    "| points lost beyond them | runs until they do | cost of the octaves | at their own spacing |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def cost_row(name: str, figures: Mapping[str, Any]) -> str:
    """Return a row of what the eleven know, and what the octaves cost beside a grid that knows as much."""
    return (
        f"| {name} | {figures['n']} | {_share(figures['eleven_close'], '.0%')} | "
        f"{_share(figures['eleven_known'], '.0%')} | {in_points(figures['lost_outside'])} | {figures['n_equal']:.1f} | "
        f"{_share(figures['share_at_equal_knowledge'], '.2f')} | {_share(figures['share_at_own_spacing'], '.2f')} |"
    )


def cost_words(figures: Mapping[str, Any]) -> str:
    """Return what a point took, in words."""
    return (
        f"A point took {figures['n_runs']:.1f} runs in the mean, and facts for {figures['facts_of_runs']:.0%} of their "
        f"seconds: {_share(figures['share_of_eleven'], '.2f')} of eleven runs of its own. "
        f"{_share(figures['known'], '.0%')} of the points saw their curve end on both sides; the cost beside a grid "
        f"that knows as much is of these {figures['n_known']}. At most {TARGET:g} was asked for.\n"
    )


def _share(value: Sequence[float], form: str) -> str:
    mean, low, high = (format(each, form) for each in value)
    return f"{mean} ({low} to {high})"
