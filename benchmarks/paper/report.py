"""What a study tells: a section of a README between two marks, its figures, and a line of JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from benchmarks.snapshot import mean_and_interval
from scalepred.files import write_text
from scalepred.predictor.honest import bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class Report:
    """A study's results.

    Attributes:
        name: of the study, as the command takes it.
        title: of its section.
        lines: Markdown.
        figures: file name -> figure, which ``lines`` show.
        numbers: what the line of JSON has.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown; all columns but the first are aligned to the right."""
    aligned = ["---", *("---:" for _ in heads[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (heads, aligned, *rows)]


def percent(values: Any, origins: Sequence[str], *, sign: str = "") -> str:
    """Return the mean of (n,) fractions in per cent, with its 95 % interval over origins where there are two."""
    mean, low, high = mean_and_interval(values, origins)
    interval = "" if math.isnan(low) else f" ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
    return f"{100 * mean:{sign}.1f}{interval}"


def median_told(values: Sequence[float], *, unit: str = " %", groups: Sequence[str] = ()) -> str:
    """Return a median in words, with its 95 % interval over what it is of, if that is two or more.

    Args:
        values: in per cent or, to a tenth, in points.
        unit: " %" or " points".
        groups: of each value; those of one are drawn together. By default each is its own.
    """
    numbers = np.array(values, dtype=np.float64)
    names = list(groups) or [str(at) for at in range(len(numbers))]
    low, high = bootstrap_interval(numbers, names, lambda drawn: float(np.median(drawn)), seed=0)
    digits = "+.0f" if unit == " %" else "+.1f"
    interval = "" if math.isnan(low) else f"{low:{digits}} to {high:{digits}}, "
    return f"{np.median(numbers):{digits}}{unit} ({interval}n = {len(numbers)})"


def share_told(values: Sequence[float]) -> str:
    """Return in how many of the values, in words, there is more than 0, with the exact 95 % interval of that share.

    Source: Clopper and Pearson 1934; scipy's ``binomtest``.
    """
    n_above = sum(value > 0 for value in values)
    interval = binomtest(n_above, len(values)).proportion_ci()
    return f"{n_above} of {len(values)} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def publish(report: Report, out: Path) -> None:
    """Write the figures to OUT, put the section into OUT/README.md, and print it and its line of JSON."""
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in report.figures.items():
        figure.savefig(out / name, dpi=110, metadata={"Software": None})
    readme = out / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    write_text(readme, with_section(text, report))
    print("\n".join([f"## {report.title}", "", *report.lines]))
    print(json.dumps({"study": report.name, **report.numbers}))


def with_section(text: str, report: Report) -> str:
    """Return a text with a study's section in the place of the one that it had, or at its end."""
    begin, end = f"<!-- {report.name} -->", f"<!-- end of {report.name} -->"
    section = "\n".join([begin, f"## {report.title}", "", *report.lines, end])
    if begin in text and end in text:
        return text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
    return f"{text.rstrip()}\n\n{section}\n".lstrip()
