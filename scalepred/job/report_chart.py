"""Lays out the plots of a report: from numbers to the coordinates that the template draws as SVG."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 230
"""Of a plot, in the units of its SVG; about the pixels of a phone, so that its text can be read there."""

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 38
"""Margins around what is plotted."""

LEAST = 1e-300
"""A logarithmic axis goes no lower, and no higher than its inverse."""

STYLES = 7
"""Lines that can be told apart by colour, dashes and marks."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: its words, its ends, where its ticks are, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1; beyond them is outside of that."""
        if self.is_log:
            low = math.log(self.low)
            return (math.log(value) - low) / (math.log(self.high) - low)  # a quotient of values may overflow
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind: its name, (x, y) in order, its style, and whether a line, a thin one, or marks are drawn.

    One without a name is not in the legend.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    has_line: bool = True
    has_marks: bool = False
    is_thin: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A series in the units of the plot: the points of its line as text, and its marks."""

    name: str
    style: int
    is_thin: bool
    line: str
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Where a tick is, and its words."""

    at: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A plot that is ready to be drawn; ``upright`` and ``level`` are lines across it, each with its words."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[Drawn, ...]
    upright: tuple[Tick, ...] = ()
    level: tuple[Tick, ...] = ()
    note: str = ""


def linear(label: str, values: Iterable[float], *, from_zero: bool = False, n_ticks: int = 5) -> Axis:
    """Return a linear axis around finite values, its ends and ticks at round numbers."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    low = min(low, 0.0) if from_zero else low
    if high - low <= 1e-12 * max(1.0, abs(high)):
        low, high = low - (0.0 if from_zero else 0.5), high + 0.5
    step = _round_step((high - low) / n_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(step * at, 10) for at in range(first, last + 1))
    return Axis(label=label, low=ticks[0], high=ticks[-1], ticks=ticks)


def logarithmic(label: str, values: Iterable[float], *, base: int, n_ticks: int = 7) -> Axis:
    """Return a logarithmic axis around finite values above 0, its ends at powers of the base.

    Values that are next to nothing or to infinity have no place on it, since there is no such power beyond them.
    """
    known = [value for value in values if LEAST <= value <= 1 / LEAST] or [1.0]
    first = math.floor(math.log(min(known), base) + 1e-9)
    last = max(math.ceil(math.log(max(known), base) - 1e-9), first + 1)
    each = max(1, math.ceil((last - first) / n_ticks))
    ticks = tuple(float(base) ** at for at in range(first, last + 1, each))
    return Axis(label=label, low=float(base) ** first, high=float(base) ** last, ticks=ticks, is_log=True)


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 2.5 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def chart(
    title: str,
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    upright: Sequence[tuple[float, str]] = (),
    level: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Chart:
    """Lay out a plot; points that have no place between the ends of the axes are left out."""
    return Chart(
        title=title,
        x_label=x.label,
        y_label=y.label,
        x_ticks=tuple(Tick(at=_across(x, at), words=_scale(at)) for at in x.ticks),
        y_ticks=tuple(Tick(at=_down(y, at), words=_short(at)) for at in y.ticks),
        series=tuple(_drawn(each, x, y) for each in series),
        upright=tuple(Tick(at=_across(x, at), words=words) for at, words in upright if _fits(x, at)),
        level=tuple(Tick(at=_down(y, at), words=words) for at, words in level if _fits(y, at)),
        note=note,
    )


def _drawn(series: Series, x: Axis, y: Axis) -> Drawn:
    seen = [(_across(x, a), _down(y, b)) for a, b in series.points if _fits(x, a) and _fits(y, b)]
    points = " ".join(f"{a:g},{b:g}" for a, b in seen)
    return Drawn(
        name=series.name,
        style=series.style % STYLES,
        is_thin=series.is_thin,
        line=points if series.has_line and len(seen) > 1 else "",
        marks=tuple(seen) if series.has_marks or len(seen) == 1 else (),
    )


def _fits(axis: Axis, value: float) -> bool:
    if not math.isfinite(value) or (axis.is_log and value <= 0):
        return False
    return -1e-9 <= axis.share(value) <= 1 + 1e-9


def _across(axis: Axis, value: float) -> float:
    return round(LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT), 2)


def _down(axis: Axis, value: float) -> float:
    return round(TOP + (1 - axis.share(value)) * (HEIGHT - TOP - BOTTOM), 2)


def _short(value: float) -> str:
    """Return a number for a tick, with few characters."""
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:g}"


def _scale(value: float) -> str:
    """Return a number for a tick of scales: small powers of two as fractions, which are shorter."""
    return f"1/{round(1 / value)}" if 0 < value < 0.2 and (1 / value).is_integer() else f"{value:g}"


def steps_of(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return values as points at 1, 2, 3 and so on."""
    return list(zip(itertools.count(1.0), values, strict=False))
