"""The part of a report that tells of the scale: who chose it, why, and what was known of others."""

import math
from collections.abc import Mapping
from typing import Any

from scalepred.job.report_chart import Chart, Series, chart, linear, logarithmic
from scalepred.job.result import Search
from scalepred.predictor.choice import Choice
from scalepred.training.critical import CriticalRate

BY = {
    "predicted": "predicted",
    "own runs": "chosen by the rule and your own runs",
    "rule": "chosen by the rule",
    "given": "given by the user",
    "fallback": "a fixed scale",
    "jobs": "kept of several jobs",
}
"""Who chose a scale -> how a sentence says so."""

HEADS = {"noise": "at a new head", "half": "at the fitted head, half way"}

SHOWN_LOSS = 2.0
"""Losses are shown up to so many times the highest at the start."""


def choice_part(
    choice: Choice | None, lines: Mapping[str, CriticalRate], search: Search | None = None
) -> dict[str, Any] | None:
    """Return what a report shows of a choice, and of the jobs behind it; None where there is no scale."""
    if choice is None:
        return None
    charts = [each for each in (_predicted(choice), _line(choice, lines)) if each is not None]
    reason = "" if choice.by == "given" else choice.reason
    return {
        "scale": choice.scale,
        "by": BY.get(choice.by, choice.by),
        "reason": reason,
        "notes": _notes(choice),
        "charts": charts,
        "search": None if search is None else {"words": search.in_words(), **search.to_json()},
    }


def _notes(choice: Choice) -> list[str]:
    notes = []
    if choice.gain_interval is not None:
        low, high = (100 * bound for bound in choice.gain_interval)
        notes.append(
            f"Expected against the fixed scale {choice.fixed_scale:g}: {low:+.1f} to {high:+.1f} points, for 8 of 10 "
            "held-out tasks."
        )
    if choice.rule is not None:
        notes.append(
            f"The critical rate of this start is at scale {choice.rule.critical_scale:g}; "
            f"{'a fixed rate below it' if choice.rule.is_fixed else 'a constant times it'} gives {choice.rule.scale:g}."
        )
    if choice.outlook is not None:
        notes += [f"{line[0].upper()}{line[1:]}." for line in choice.outlook.in_words()]
    if choice.neighbours:
        near = ", ".join(f"{name} (best at {scale:g})" for name, scale in choice.neighbours.items())
        notes.append(f"Nearest harvested tasks: {near}.")
    return notes


def _predicted(choice: Choice) -> Chart | None:
    """Return the predicted accuracy of every scale against the task's own mean; None where nothing is predicted."""
    if not choice.curve:
        return None
    curve = [(scale, 100 * value) for scale, value in choice.curve]
    return chart(
        "Predicted accuracy",
        [Series(name="predicted", points=curve, has_marks=True)],
        x=logarithmic("scale", [*(scale for scale, _ in curve), choice.scale], base=2),
        y=linear("points against the mean of all scales", [value for _, value in curve]),
        upright=[(choice.scale, f"chosen: {choice.scale:g}")],
    )


def _line(choice: Choice, lines: Mapping[str, CriticalRate]) -> Chart | None:
    """Return the loss along the recipe's first update; None where it was not measured."""
    seen = {
        head: [(x, loss) for x, loss in line.curve if x > 0 and math.isfinite(loss)] for head, line in lines.items()
    }
    scales = [x for points in seen.values() for x, _ in points]
    if not scales:
        return None
    top = SHOWN_LOSS * max(line.loss for line in lines.values())
    upright = [(choice.scale, f"chosen: {choice.scale:g}")]
    for head, line in lines.items():
        if 0 < line.factor < math.inf:
            where = "fitted head" if head == "half" else "new head"
            upright.append((line.factor, f"critical, {where}: {line.factor:.3g}"))
    return chart(
        "Loss after one step",
        [
            Series(name=HEADS.get(head, head), points=points, style=at, has_marks=True)
            for at, (head, points) in enumerate(seen.items())
        ],
        x=logarithmic("scale", [*scales, choice.scale], base=2),
        y=linear("loss along the first update", [0.0, top]),
        upright=upright,
        note="Above the critical rate the loss ends higher than it began",
    )
