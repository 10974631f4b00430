"""Draws what ways of choosing the scale reach against what they cost, as an SVG file."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalepred.errors import UsageError
from scalepred.files import write_text
from scalepred.predictor import wide_rivals as rivals
from scalepred.predictor.probes import PROBES
from scalepred.predictor.wide_evaluation import SELECTED
from scalepred.predictor.wide_frame import OPTIMIZERS
from scalepred.predictor.wide_scores import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ONE_JOB, TRIED, HARVESTED, NO_JOB = "#0072B2", "#E69F00", "#595959", "#009E73"
"""Colours by what a way spends; they are of Okabe and Ito (2008), but for the grey of what takes a harvest."""

SHOWN: dict[str, tuple[str, str]] = {
    rivals.SCALE_1: (ONE_JOB, "v"),
    rivals.RATE: (ONE_JOB, "s"),
    rivals.NEAREST: (ONE_JOB, "<"),
    rivals.SHIPPED: (ONE_JOB, "o"),
    SELECTED: (ONE_JOB, "*"),
    rivals.AROUND: (TRIED, "D"),
    **dict(zip(PROBES, [(TRIED, "^"), (TRIED, "s"), (TRIED, "o")], strict=True)),
    rivals.SEARCH: (HARVESTED, "P"),
    rivals.HONEST: (HARVESTED, "x"),
    rivals.PROBE: (NO_JOB, "p"),
}
"""Way of choosing -> colour and marker."""


def save_accuracy_plot(rows: Sequence[Row], path: Path, *, held_out: str) -> None:
    """Write accuracy against jobs spent as an SVG, one panel for each optimizer, the same bytes for the same rows.

    Its description has the numbers in words.

    Args:
        rows: of an evaluation.
        path: of the file, which is replaced.
        held_out: the hold-out that is drawn, all lengths of jobs together.

    Raises:
        UsageError: if the file can't be written.
    """
    try:
        write_text(path, _draw(rows, held_out))
    except OSError as error:
        raise UsageError(f"The plot can't be written to {path}: {error.strerror or error}.") from error


def _draw(rows: Sequence[Row], held_out: str) -> str:
    """Return the plot as the text of an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "scalepred", "font.size": 9, "font.family": "sans-serif"}
    panels = {optimizer: _shown(rows, held_out, optimizer) for optimizer in OPTIMIZERS}
    panels = {optimizer: shown for optimizer, shown in panels.items() if shown}
    with rc_context(settings):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        for axes, (optimizer, shown) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            _draw_panel(axes, shown, f"{optimizer}, {shown[0].n} points")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside lower center", ncols=2)
        figure.suptitle(f"Held out: {held_out}", x=0.01, ha="left", fontsize=9)
        text = io.StringIO()
        told = "; ".join(_in_words(row) for shown in panels.values() for row in shown)
        figure.savefig(text, format="svg", metadata={"Date": None, "Description": told})
    return text.getvalue()


def _shown(rows: Sequence[Row], held_out: str, optimizer: str) -> list[Row]:
    domain = (held_out, f"{optimizer}, all")
    shown = [row for row in rows if (row.hold_out, row.points) == domain and row.method in SHOWN]
    return sorted(shown, key=lambda row: list(SHOWN).index(row.method))


def _in_words(row: Row) -> str:
    return f"{row.points}, {row.method}: {100 * row.accuracy:.1f} % for {row.jobs:.2g} jobs"


def _draw_panel(axes: "Axes", rows: list[Row], title: str) -> None:
    for row in rows:
        colour, marker = SHOWN[row.method]
        axes.plot(
            [row.jobs], [100 * row.accuracy], color=colour, marker=marker, markersize=7, linestyle="", label=row.method
        )
    axes.set_xscale("log")
    axes.set_xlabel("jobs spent for a point, median")
    axes.set_ylabel("mean test accuracy, per cent")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
