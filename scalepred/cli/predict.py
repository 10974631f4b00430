"""`scalepred predict`: the choice without training."""

from pathlib import Path
from typing import Annotated

import typer

from scalepred.cli import options
from scalepred.cli.groups import grouped

Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Also show the loss along the recipe's first update, from which a rule chooses."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", help="Draw that loss as this SVG file (extra `plot`).", metavar="FILE.svg", show_default=False
    ),
]


@grouped
def predict(
    data: options.Data,
    *,
    network: options.Network,
    images: options.Images,
    layout: options.Layout,
    verbose: Verbose = False,
    plot: Plot = None,
    json: options.Json = False,
) -> None:
    """Predict the scale for DATA, and say why, without training."""
    wanted, asked = images.chosen(layout), network.chosen()
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import progress
    from scalepred.job.choose import choose_scale
    from scalepred.job.line_plot import check_plot, save_line_plot
    from scalepred.job.setup import set_up
    from scalepred.job.tools import pick_tools

    if plot:
        check_plot(plot)
    tools = pick_tools(asked, predicts=True)
    with progress("reading images") as bar:
        setup = set_up(data, tools, wanted, on_progress=bar.update)
    prediction = choose_scale(setup, measures_start=verbose or plot is not None)
    if plot:
        save_line_plot(prediction, plot)
    if tools.asked is not None:
        out.note(tools.asked.note)
    if json:
        out.print_json(prediction.to_json())
        return
    render.show_inspection(out.notes(), setup.task.inspection)
    render.show_choice(out.console(), prediction.choice)
    render.show_rates(out.console(), tools.recipe, prediction.scale, tools.recipe_name)
    if verbose:
        render.show_lines(out.console(), prediction)
    render.show_probe(out.console(), prediction)
    render.show_curve(out.console(), prediction)
