"""The tables of an evaluation on design points, as text cells that a terminal or a document can show."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalepred.predictor.wide_evaluation import WideEvaluation
from scalepred.predictor.wide_scores import Coverage, Row
from scalepred.predictor.wide_studies import Gains

HEADINGS = (
    "points",
    "scale by",
    "n",
    "accuracy",
    "over the best fixed rate",
    "over the rule",
    "gap closed",
    "own gap closed",
    "worse than scale 1",
    "diverged",
    "jobs",
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A title, headings, and rows of cells."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of(evaluation: WideEvaluation, *, ensembles: bool = False) -> Iterator[Table]:
    """Yield all tables, those of accuracy first; ensembles of two are left out unless asked for."""
    for name in evaluation.hold_outs:
        rows = [row for row in evaluation.rows if row.hold_out == name and (ensembles or " + " not in row.method)]
        yield Table(title=f"held out: {name}", headings=HEADINGS, rows=tuple(_cells(row) for row in rows))
    yield Table(
        title="does the interval of the place hold the best place?",
        headings=("held out", "points", "places by", "n", "meant", "held", "octaves either way"),
        rows=tuple(_coverage_cells(row) for row in evaluation.coverages),
    )
    studies = evaluation.studies
    yield _gains("learnt from", {words: each["gains"] for words, each in studies["sets"].items()}, studies["sets"])
    yield _gains("with the facts of other points", {studies["learnt_by"]: studies["permuted"]})
    for name, curve in studies["curve"].items():
        yield _gains(f"{name}, from", {words: gains for words, gains in curve.items() if "twice" not in words})
        yield _gains(f"{name}, points more", {"for twice as many": curve["for twice as many"]})
    if studies["group_curve"]:
        yield _gains("groups held out in turn, as many points", studies["group_curve"])
    yield _gains("images per label and best rate, rank correlation", {"all": studies["conjecture"]}, digits=2)
    yield _spread(studies["spread"])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.points,
        row.method,
        str(row.n),
        f"{100 * row.accuracy:.1f}",
        gain([100 * each for each in (row.over_rate, *row.over_rate_interval)]),
        gain([100 * each for each in (row.over_rule, *row.over_rule_interval)]),
        _percent(row.gap_closed),
        _percent(row.own_gap_closed),
        _percent(row.worse_than_scale_1),
        _percent(row.diverged),
        f"{row.jobs:.2g}",
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def gain(values: Sequence[float], *, digits: int = 1) -> str:
    """Return a gain with its interval, where it has one, in words; nothing for a way's gain over itself."""
    mean, *bounds = values
    told = f"{mean:+.{digits}f}"
    if not bounds or not all(math.isfinite(bound) for bound in bounds):
        return told
    low, high = bounds
    return "" if mean == low == high == 0 else f"{told} ({low:+.{digits}f} to {high:+.{digits}f})"


def _coverage_cells(row: Coverage) -> tuple[str, ...]:
    low, high = row.interval
    held = f"{row.covered:.0%} ({low:.0%} to {high:.0%})" if math.isfinite(low) else f"{row.covered:.0%}"
    width = "" if row.half_width_octaves is None else f"{row.half_width_octaves:.1f}"
    return (row.hold_out, row.points, row.method, str(row.n), f"{row.nominal:.0%}", held, width)


def _gains(
    title: str,
    found: Mapping[str, Gains],
    costs: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    digits: int = 1,
) -> Table:
    """Return a table of gains by domain, with what facts cost where that is told."""
    domains = list(dict.fromkeys(words for gains in found.values() for words in gains))
    rows = []
    for words, gains in found.items():
        cost = (f"{costs[words]['seconds']:.2g} s", f"{costs[words]['share_of_a_job']:.0%}") if costs else ()
        rows.append((words, *cost, *(gain(gains[d], digits=digits) if d in gains else "" for d in domains)))
    more = ("facts take", "of a job") if costs else ()
    return Table(title=title, headings=("", *more, *domains), rows=tuple(rows))


def _spread(spread: Mapping[str, Mapping[str, float | None]]) -> Table:
    names = list(next(iter(spread.values()), {}))
    rows = [(name, *("" if each[name] is None else str(each[name]) for each in spread.values())) for name in names]
    title = "standard deviation of the best place, octaves"
    return Table(title=title, headings=("in", *spread), rows=tuple(rows))
