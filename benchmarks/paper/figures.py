"""The paper's figures: bars and lines of accuracies."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

WIDTH_IN = 9.0
LEAST = 1e-4


def bars(labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, what: str) -> Figure:
    """Draw a bar for each label and series; None is left out."""
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    axis = figure.subplots()
    places, thick = np.arange(len(labels)), 0.8 / max(1, len(series))
    for at, (name, values) in enumerate(series.items()):
        heights = [np.nan if value is None else value for value in values]
        axis.bar(places + (at - (len(series) - 1) / 2) * thick, heights, thick, label=name)
    axis.set_xticks(places, labels, rotation=30, ha="right")
    axis.set(ylabel=what)
    axis.axhline(0, color="black", linewidth=0.5)
    if len(series) > 1:
        figure.legend(loc="outside upper center", ncols=len(series), fontsize=8)
    return figure


def lines(panels: Mapping[str, Mapping[str, Sequence[float | None]]], ticks: Mapping[str, Sequence[str]]) -> Figure:
    """Draw a panel of lines for each name, over its own ticks; accuracies are in per cent."""
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    for (title, named), axis in zip(panels.items(), figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for name, values in named.items():
            heights = [np.nan if value is None else value for value in values]
            axis.plot(range(len(heights)), heights, marker="o", label=name)
        axis.set_xticks(range(len(ticks[title])), ticks[title])
        axis.set(title=title, xlabel="IL", ylabel="accuracy, %")
        if named:
            axis.legend(fontsize=7)
    return figure


def scatter(groups: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Figure:
    """Draw points of several groups, logarithmic in x and, from ``LEAST`` on, in y, which is not negative."""
    figure = Figure(figsize=(WIDTH_IN / 2, 3.6), layout="constrained")
    axis = figure.subplots()
    for at, (name, points) in enumerate(groups.items()):
        axis.scatter([a * (1 + 0.03 * at) for a, _ in points], [b for _, b in points], label=name, alpha=0.7)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(ScalarFormatter())
    axis.set_yscale("symlog", linthresh=LEAST)
    axis.set(xlabel=x, ylabel=y, ylim=(-LEAST / 4, None))
    axis.legend()
    return figure
