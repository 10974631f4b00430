"""Draws what ways of choosing the scale reach against what they cost, as an SVG file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalepred.errors import UsageError
from scalepred.files import write_text
from scalepred.predictor import wide_rivals as rivals
from scalepred.predictor.probes import PROBES
from scalepred.predictor.wide_evaluation import SELECTED, WideEvaluation
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


def save_accuracy_plot(evaluation: WideEvaluation, path: Path) -> None:
    """Write accuracy against jobs spent as an SVG, one panel for each optimizer, the same bytes for the same rows.

    Args:
        evaluation: whose studied hold-out is drawn, all lengths of jobs together.
        path: of the file, which is replaced.

    Raises:
        UsageError: if the file can't be written.
    """
    try:
        write_text(path, _draw(evaluation))
    except OSError as error:
        raise UsageError(f"The plot can't be written to {path}: {error.strerror or error}.") from error


def _draw(evaluation: WideEvaluation) -> str:
    """Return the plot as the text of an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "scalepred", "font.size": 9, "font.family": "sans-serif"}
    panels = {optimizer: _rows(evaluation, optimizer) for optimizer in OPTIMIZERS}
    panels = {optimizer: rows for optimizer, rows in panels.items() if rows}
    with rc_context(settings):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        for axes, (optimizer, rows) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            _draw_panel(axes, rows, f"{optimizer}, {rows[0].n} points")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside lower center", ncols=2)
        figure.suptitle(f"Held out: {evaluation.studied}", x=0.01, ha="left", fontsize=9)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _rows(evaluation: WideEvaluation, optimizer: str) -> list[Row]:
    domain = (evaluation.studied, f"{optimizer}, all")
    rows = [row for row in evaluation.rows if (row.hold_out, row.points) == domain and row.method in SHOWN]
    return sorted(rows, key=lambda row: list(SHOWN).index(row.method))


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
