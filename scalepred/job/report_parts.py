"""The parts that reports share: confusions, galleries, and how far probabilities can be trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax as scipy_softmax

from scalepred.data.thumbnails import data_uri
from scalepred.job.report_chart import Chart, Series, chart, linear
from scalepred.job.scored import (
    ClassRow,
    Scored,
    class_rows,
    confident_mistakes,
    confusion,
    least_certain,
    most_confused,
)
from scalepred.job.suspects import Suspect, label_suspects
from scalepred.training.calibration import Quality

MATRIX_CLASSES = 15
"""A confusion matrix of more classes is not read, so the pairs that are confused most stand alone."""

PAIRS = 20
"""Pairs that are listed where they stand alone; beside a matrix it is half of that."""

SHOWN = 8
"""Thumbnails in each group."""

SKIPPED = 40
"""Skipped files that are listed."""


def accuracy_row(name: str, share: float, bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    """Return a row of accuracies: its name, a fraction, and perhaps its interval."""
    return {"name": name, "share": share, "bounds": bounds}


def confusion_part(scored: Scored) -> dict[str, Any]:
    """Return the confusion matrix where it can be read, and the pairs that are confused most."""
    k = len(scored.classes)
    matrix = confusion(scored.labels, scored.predicted, n_classes=k)
    pairs = most_confused(matrix, scored.classes, most=k * k)
    return {
        "matrix": matrix.tolist() if k <= MATRIX_CLASSES else None,
        "largest": [max(1, int(n)) for n in matrix.sum(axis=1)],
        "names": scored.classes,
        "pairs": pairs[: PAIRS // 2 if k <= MATRIX_CLASSES else PAIRS],
        "n_pairs": len(pairs),
    }


def rows_part(scored: Scored) -> list[ClassRow]:
    """Return the rows of classes, those of the lowest recall first and those without images last."""
    matrix = confusion(scored.labels, scored.predicted, n_classes=len(scored.classes))
    rows = class_rows(matrix, scored.classes)
    return sorted(rows, key=lambda row: (row.recall is None, row.recall or 0.0, row.name))


def gallery_of(scored: Scored) -> list[dict[str, Any]]:
    """Return the images that a model is wrong about and surest, and those that it is least certain of."""
    mistakes = _group(
        "Most confident mistakes",
        f"Of the {int((~scored.right).sum())} {scored.split} images that are wrong, those that the model is surest of. "
        "Some may have wrong labels.",
        scored,
        confident_mistakes(scored, most=SHOWN),
    )
    uncertain = _group(
        "Least certain",
        f"The {scored.split} images whose two most probable classes are nearest to each other.",
        scored,
        least_certain(scored, most=SHOWN),
    )
    return [group for group in (mistakes, uncertain) if group["images"]]


def _group(title: str, words: str, scored: Scored, rows: Sequence[int]) -> dict[str, Any]:
    return {"title": title, "words": words, "images": [_shot(scored, row) for row in rows]}


def _shot(scored: Scored, row: int) -> dict[str, Any]:
    label, predicted = scored.classes[scored.labels[row]], scored.classes[scored.predicted[row]]
    top = f"taken for {predicted}, {100 * scored.probabilities[row].max():.0f} %"
    return {"uri": data_uri(scored.images[row]), "path": scored.paths[row], "lines": [f"labelled {label}", top]}


def suspects_beyond_mistakes(scored: Scored) -> list[Suspect]:
    """Return the likely label errors among images, but for those that are shown as mistakes anyway."""
    shown = set(confident_mistakes(scored, most=SHOWN))
    return [each for each in label_suspects(scored.probabilities, scored.labels) if each.row not in shown]


def suspects_part(
    judged: Sequence[tuple[Scored, Sequence[Suspect]]], *, words: str, title: str = "Labels that are likely wrong"
) -> list[dict[str, Any]]:
    """Return a group of the likeliest label errors of several sets of images, or none where nothing is suspected.

    The group says how often the judges are right, for the less they are, the more is suspected in vain.

    Args:
        judged: the images of each set, and the suspects among them.
        words: who has judged.
        title: of the group.
    """
    every = [(scored, suspect) for scored, suspects in judged for suspect in suspects]
    n_judged, n_right = sum(len(each.labels) for each, _ in judged), sum(int(each.right.sum()) for each, _ in judged)
    if not every:
        return []
    every.sort(key=lambda each: each[1].p_given - each[1].p_suggested)
    images = [_suspect_shot(scored, suspect) for scored, suspect in every[:SHOWN]]
    n = f"{len(every)} image is" if len(every) == 1 else f"{len(every)} images are"
    told = (
        f"Of {n_judged} images that were judged, {n} more likely of another class than the label says. {words} "
        f"The judges agree with {100 * n_right / n_judged:.0f} % of the labels. If few, much is suspected in vain."
    )
    return [{"title": title, "words": told, "images": images}]


def _suspect_shot(scored: Scored, suspect: Suspect) -> dict[str, Any]:
    classes = scored.classes
    return {
        "uri": data_uri(scored.images[suspect.row]),
        "path": scored.paths[suspect.row],
        "lines": [
            f"labelled {classes[suspect.given]}, {100 * suspect.p_given:.0f} %",
            f"likely {classes[suspect.suggested]}, {100 * suspect.p_suggested:.0f} %",
            f"{scored.split} image",
        ],
    }


def reliability_chart(*named: tuple[str, Quality]) -> Chart:
    """Return the reliability diagram of probabilities under several names; on the diagonal they mean what they say."""
    series = [Series(name="as it should be", points=[(0.0, 0.0), (1.0, 1.0)], style=5)]
    for at, (name, quality) in enumerate(named):
        points = [(each.confidence, each.accuracy) for each in quality.bins]
        series.append(Series(name=name, points=points, style=(1, 0)[at % 2], has_marks=True, has_line=len(points) > 1))
    return chart(
        "Reliability",
        series,
        x=linear("highest probability", [0.0, 1.0]),
        y=linear("share of images that are right, in bins of that probability", [0.0, 1.0]),
    )


def skipped_lines(skipped: Sequence[Any]) -> list[str]:
    """Return the first skipped paths with their reasons."""
    return [f"{each.path}: {each.reason}" for each in skipped[:SKIPPED]]


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n, k) float64 probabilities of (n, k) logits at a temperature."""
    return np.asarray(scipy_softmax(logits.astype(np.float64) / temperature, axis=1))
