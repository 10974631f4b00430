"""The report of an evaluation: a saved model on further labelled images."""

from pathlib import Path
from typing import Any

from scalepred.errors import UsageError
from scalepred.job import report_parts
from scalepred.job.evaluate import Evaluation
from scalepred.job.folder import is_model
from scalepred.job.paired import wilson
from scalepred.job.report import REPORT
from scalepred.job.report_html import check_page, interval, percent, render
from scalepred.job.scored import majority


def check_place(path: Path) -> None:
    """Raise UsageError unless a report can be written there, and not over the one that a job has left by its model."""
    check_page(path)
    place = path.resolve()
    if place.name == REPORT and is_model(place.parent):
        raise UsageError(f"{path} is the report of the model there: give another name, such as evaluation.html.")


def evaluation_report(evaluation: Evaluation, *, command: str | None = None) -> str:
    """Return the report of an evaluation as HTML; ``command`` is as it was typed."""
    scored, words = evaluation.scored, interval(evaluation.interval)
    suspects = [(scored, report_parts.suspects_beyond_mistakes(scored))]
    judge = "Judged by confident learning, by this model; mistakes above are not shown again."
    n_learnt = evaluation.n_trained_on
    honest = f", not honest: {n_learnt} of them learnt" if n_learnt else ""
    skipped = report_parts.skipped_lines(evaluation.skipped)
    n_classes = len(set(scored.labels.tolist()))
    page = {
        "kind": "scalepred: an evaluation",
        "title": f"{evaluation.model.name or evaluation.model} on {evaluation.data}",
        "subtitle": f"{evaluation.n} images of {n_classes} class{'' if n_classes == 1 else 'es'}",
        "tiles": [
            {
                "name": "accuracy",
                "value": percent(evaluation.accuracy),
                "note": f"{words} %, on {evaluation.n} images{honest}",
            },
            {"name": "log loss", "value": f"{evaluation.quality.log_loss:.3f}", "note": "nats"},
            {"name": "calibration error", "value": percent(evaluation.quality.ece), "note": "of 15 equal bins"},
            {"name": "set aside", "value": str(sum(evaluation.set_aside.values())), "note": "images of other classes"},
        ],
        "accuracies": _accuracies(evaluation),
        "confusion": report_parts.confusion_part(scored),
        "rows": report_parts.rows_part(scored),
        "groups": [*report_parts.gallery_of(scored), *report_parts.suspects_part(suspects, words=judge)],
        "reliability": report_parts.reliability_chart(("this model", evaluation.quality)),
        "temperature": evaluation.temperature,
        "facts": [("model", str(evaluation.model)), ("data", evaluation.data), ("layout", evaluation.layout)],
        "set_aside": [f"{name}: {n}" for name, n in evaluation.set_aside.items()],
        "warnings": evaluation.warnings,
        "skipped": skipped,
        "n_skipped": len(evaluation.skipped),
        "command": command,
    }
    return render("evaluation.html", page)


def _accuracies(evaluation: Evaluation) -> list[dict[str, Any]]:
    labels, new = evaluation.scored.labels, evaluation.new if evaluation.n_trained_on else None
    others = [] if new is None else [("on images that it has not learnt", new[0] / new[1], wilson(*new))]
    return [
        report_parts.accuracy_row("this model", evaluation.accuracy, evaluation.interval),
        *(report_parts.accuracy_row(*each) for each in others),
        report_parts.accuracy_row("always the largest class", majority(labels, labels)),
        report_parts.accuracy_row("guessing evenly", 1 / len(evaluation.scored.classes)),
    ]
