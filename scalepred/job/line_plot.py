"""Draws the loss along a recipe's first update, with the chosen scale marked, as an SVG file."""

import io
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalepred.errors import UsageError
from scalepred.files import write_text
from scalepred.job.choose import Prediction
from scalepred.training.critical import CriticalRate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADS = {"noise": ("at a new head", "#0072B2", "o"), "half": ("at the fitted head, half way", "#E69F00", "s")}
"""Head -> what it is in words, colour and marker; the colours are those of Okabe and Ito (2008)."""

SHOWN_LOSS = 2.0
"""Losses are shown up to so many times the highest at the start; what lies above leaves the frame."""


def check_plot(path: Path, *, instead: str = "--verbose prints what it would show") -> None:
    """Raise UsageError, before anything is measured, if this is no SVG file, or its folder or matplotlib is missing.

    Args:
        path: of the plot.
        instead: where what it would show is told without it.
    """
    if path.suffix.lower() != ".svg":
        raise UsageError(f"A plot is an SVG file, not {path}: give a name that ends in .svg.")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {path.resolve().parent} to put the plot in: make it first.")
    if find_spec("matplotlib") is None:
        raise UsageError(f"A plot takes matplotlib: pip install 'scalepred[plot]'. Without it, {instead}.")


def save_line_plot(prediction: Prediction, path: Path) -> None:
    """Write the loss along the first update against the scale as an SVG, the same bytes for the same prediction.

    Args:
        prediction: whose start was measured.
        path: of the file, which is replaced.

    Raises:
        UsageError: if nothing could be measured, or the file can't be written.
    """
    if not prediction.lines:
        raise UsageError(
            "There is no line to plot: the loss or its gradient is not finite at the start. "
            "Check the images and the network's weights."
        )
    try:
        write_text(path, _draw(prediction))
    except OSError as error:
        raise UsageError(f"The plot can't be written to {path}: {error.strerror or error}.") from error


def _draw(prediction: Prediction) -> str:
    """Return the plot as the text of an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "scalepred", "font.size": 9, "font.family": "sans-serif"}
    with rc_context(settings):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for head, line in prediction.lines.items():
            _draw_line(axes, head, line)
        _mark_choice(axes, prediction)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, SHOWN_LOSS * max(line.loss for line in prediction.lines.values()))
        axes.set_xlabel("scale, the factor on all learning rates")
        axes.set_ylabel("training loss after one step")
        axes.set_title("The first update, followed", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw_line(axes: "Axes", head: str, line: CriticalRate) -> None:
    words, colour, marker = HEADS[head]
    seen = [(scale, loss) for scale, loss in line.curve if scale > 0 and math.isfinite(loss)]
    axes.plot(
        [scale for scale, _ in seen], [loss for _, loss in seen], color=colour, marker=marker, markersize=4, label=words
    )
    axes.axhline(line.loss, color=colour, linewidth=0.8, linestyle=":")
    if 0 < line.factor < math.inf:
        axes.plot([line.factor], [line.loss], color=colour, marker="x", markersize=9, markeredgewidth=2)


def _mark_choice(axes: "Axes", prediction: Prediction) -> None:
    choice = prediction.choice
    axes.axvline(choice.scale, color="black", linewidth=1.2, label=f"scale {choice.scale:g} ({choice.by})")
    if choice.by == "rule" and choice.rule is not None:
        factor = choice.rule.safe_factor
        axes.axvspan(choice.scale / factor, choice.scale * factor, color="black", alpha=0.08, linewidth=0)
