"""The loss along a line: where it comes back to where it started, and where it is lowest, in about seven looks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STRIDE = 4.0
"""Factor between looks until the crossing lies between two of them: two octaves."""

MAX_LOOKS = 12
"""Until the crossing lies between two looks; from the first that is 22 octaves one way."""

FLAT = 1e-6
"""Share of the loss at the start that float32 can't tell from nothing."""

NEAR = 0.75
"""Octaves within which a look stands for another."""

FILLINGS = 3
"""Looks that then halve what the crossing, and after that what the minimum, lies in; each by its logarithm."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The loss along a line of rates, from where it starts at rate 0.

    Attributes:
        start: the loss at rate 0.
        critical: the least rate above 0 at which the loss is back where it started; 0 where it never falls, infinite
            where it never comes back, NaN where it is not finite at the start.
        minimum: the rate at which it is lowest; 0, infinite or NaN likewise.
        depth: how far it falls, as a share of the loss at the start, in [0, 1]; NaN where that is not finite or 0.
        curve: (rate, loss) at every look, rates ascending from 0; losses that are not finite are infinite.
    """

    start: float
    critical: float
    minimum: float
    depth: float
    curve: tuple[tuple[float, float], ...]


def search_line(loss_at: Callable[[float], float], *, start: float, first: float) -> Line:
    """Look along a line: by two octaves until the loss is back where it started, then in between.

    Args:
        loss_at: the loss at a rate above 0; what is not finite counts as above the start.
        start: the loss at rate 0.
        first: where to look first, above 0; a few octaves off costs a few looks.

    Source: Kalra et al. 2026 (arXiv 2601.16979), which finds the crossing likewise and calls 2 / critical rate the
    critical sharpness. Departs: the crossing is interpolated in the logarithm of the rate, and the minimum is kept too.
    """
    if not math.isfinite(start):
        return Line(start=start, critical=math.nan, minimum=math.nan, depth=math.nan, curve=((0.0, start),))
    flat = FLAT * abs(start)
    rises: dict[float, float] = {}

    def rise(rate: float) -> float:
        """Return how far the loss is above the start at a rate."""
        if rate not in rises:
            loss = loss_at(rate)
            rises[rate] = loss - start if math.isfinite(loss) else math.inf
        return rises[rate]

    low, high = _bracket(rise, first, flat)
    if low > 0 and high < math.inf:
        for _ in range(FILLINGS - 1):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if rise(middle) <= flat else (low, middle)
        _fill_minimum(rise, rises)
    if high < math.inf and min(rises.values()) >= -flat:
        low = 0.0  # level at first, and never below the start
    return Line(
        start=start,
        critical=0.0 if low == 0 else math.inf if high == math.inf else _crossing(low, high, rises),
        minimum=0.0 if low == 0 else math.inf if high == math.inf else _lowest(rises),
        depth=max(0.0, -min(rises.values()) / start) if start > 0 else math.nan,
        curve=((0.0, start), *((rate, start + rises[rate]) for rate in sorted(rises))),
    )


def _bracket(rise: Callable[[float], float], first: float, flat: float) -> tuple[float, float]:
    """Return the last rate at which the loss is not above the start, and the next at which it is; 0 or infinite.

    Where nothing can be told from the start, the line is followed upwards, and downwards counts as no fall.
    """
    if rise(first) <= flat:
        low = first
        for _ in range(MAX_LOOKS - 1):
            if rise(low * STRIDE) > flat:
                return low, low * STRIDE
            low *= STRIDE
        return low, math.inf
    high = first
    for _ in range(MAX_LOOKS - 1):
        if rise(high / STRIDE) < -flat:
            return high / STRIDE, high
        high /= STRIDE
    return 0.0, high


def _fill_minimum(rise: Callable[[float], float], rises: dict[float, float]) -> None:
    """Look an octave beside the lowest look, where nothing was looked at there, and again if that moved it."""
    for _ in range(FILLINGS):
        lowest = min(rises, key=lambda rate: rises[rate])
        beside = [lowest * 2, lowest / 2]
        lacking = [rate for rate in beside if not any(abs(math.log2(rate / other)) < NEAR for other in rises)]
        if not lacking:
            return
        rise(lacking[0])


def _crossing(low: float, high: float, rises: dict[float, float]) -> float:
    """Return where the loss comes back, interpolated in log rate; an infinite loss tells no more than its side."""
    below, above = min(rises[low], 0.0), rises[high]
    share = 0.5 if math.isinf(above) else -below / (above - below)
    return float(low * (high / low) ** share)


def _lowest(rises: dict[float, float]) -> float:
    """Return where a parabola through the lowest look and those beside it, in log rate, is lowest."""
    rates: Sequence[float] = sorted(rises)
    at = min(range(len(rates)), key=lambda i: rises[rates[i]])
    if at in (0, len(rates) - 1) or math.isinf(rises[rates[at + 1]]):
        return rates[at]
    (x0, y0), (x1, y1), (x2, y2) = ((math.log(rates[i]), rises[rates[i]]) for i in (at - 1, at, at + 1))
    upper = (x1 - x0) ** 2 * (y1 - y2) - (x1 - x2) ** 2 * (y1 - y0)
    lower = (x1 - x0) * (y1 - y2) - (x1 - x2) * (y1 - y0)
    return math.exp(min(max(x1 - 0.5 * upper / lower, x0), x2)) if lower else rates[at]
