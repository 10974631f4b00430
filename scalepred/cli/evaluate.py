"""`scalepred evaluate`: how a saved model does on labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options
from scalepred.cli.groups import grouped

if TYPE_CHECKING:
    from rich.console import Console

    from scalepred.job.evaluate import Evaluation

SHOWN_CLASSES = 30
"""Classes that are shown at most, those of the lowest recall; JSON and the report have all."""

ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Also write a report to this HTML file.", show_default=False)
]


@grouped
def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder that `scalepred finetune` has written.", show_default=False)],
    data: options.Data,
    labels: options.Labels,
    report: ReportFile = None,
    max_megapixels: options.MaxMegapixels = 64.0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Score the model in MODEL on all labelled images of DATA; classes are matched by name."""
    from scalepred.cli import output as out
    from scalepred.cli.progress import progress
    from scalepred.job.evaluate import evaluate as score
    from scalepred.job.report_evaluation import check_place, evaluation_report
    from scalepred.job.report_html import write_page

    if report is not None:
        check_place(report)
    with progress("reading images") as bar:
        result = score(
            model,
            data,
            device=device,
            max_megapixels=max_megapixels,
            layout=labels.chosen(),
            on_progress=bar.update,
        )
    for words in result.warnings:
        out.note(f"note: {words}")
    for each in result.skipped:
        out.note(f"skipped: {each.path}: {each.reason}")
    if report is not None:
        write_page(report, evaluation_report(result, command=out.typed()))
        out.note(f"report: {report}")
    if json:
        out.print_json(result.to_json() | {"report": None if report is None else str(report)})
    else:
        _show(out.console(), result)


def _show(console: "Console", result: "Evaluation") -> None:
    """Show the accuracy, what probabilities are worth, and the classes with the lowest recall."""
    from scalepred.cli import output as out
    from scalepred.job.paired import wilson
    from scalepred.job.report_html import interval, percent
    from scalepred.job.report_parts import rows_part

    n, new = result.n_trained_on, result.new
    caveat = f", not honest: the model was trained on {n} of them" if n else ""
    console.print(f"accuracy:  {percent(result.accuracy)} ({interval(result.interval)}) of {result.n} images{caveat}")
    if n and new:
        console.print(f"on others: {percent(new[0] / new[1])} ({interval(wilson(*new))}) of {new[1]} images")
    console.print(f"log loss:  {result.quality.log_loss:.3f} nats, calibration error {percent(result.quality.ece)}")
    rows = rows_part(result.scored)
    headings = ("class", "images", "recall", "95 %", "precision", "95 %")
    cells = []
    for row in rows[:SHOWN_CLASSES]:
        recall = (percent(row.recall), interval(row.recall_interval))
        cells.append((row.name, row.n, *recall, percent(row.precision), interval(row.precision_interval)))
    console.print(out.table(headings, cells))
    if len(rows) > SHOWN_CLASSES:
        console.print(f"… and {len(rows) - SHOWN_CLASSES} more classes; --json and --report have all")
