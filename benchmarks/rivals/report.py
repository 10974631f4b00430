"""What a comparison of rivals tells: accuracy, paired differences to our default, and how much longer each takes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.rivals.methods import METHODS, OURS
from benchmarks.rivals.results import Outcome
from scalepred.predictor.honest import bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class Row:
    """A rival over the tasks that all rivals have done; accuracies are fractions.

    Attributes:
        method: one of ``METHODS``.
        n_tasks, n_origins: that it is of.
        n_failed: jobs that failed; their tasks are left out of the row.
        accuracy: mean over tasks of the mean over seeds, with its interval.
        ours_above: how far our default is above it on the same tasks, with its interval; None for ourselves.
        wall, work, cpu: geometric means of its seconds over ours on the same task and seed.
        wall_seconds: mean of a job.
    """

    method: str
    n_tasks: int
    n_origins: int
    n_failed: int
    accuracy: float
    interval: tuple[float, float]
    ours_above: float | None
    ours_above_interval: tuple[float, float] | None
    wall: float
    work: float
    cpu: float
    wall_seconds: float


def compare(outcomes: Iterable[Outcome], methods: Sequence[str]) -> list[Row]:
    """Return a row for each method, over the tasks and seeds that all of them have tried.

    A failed job has no accuracy: its task is left out of its row, and of no other.
    """
    jobs = {(each.method, each.task, each.seed): each for each in outcomes}
    tried = {(task, seed) for _, task, seed in jobs}
    shared = sorted(key for key in tried if all((method, *key) in jobs for method in methods))
    return [row for method in methods if (row := _row(method, shared, jobs)) is not None]


def _row(method: str, shared: Sequence[tuple[str, int]], jobs: Mapping[tuple[str, str, int], Outcome]) -> Row | None:
    reference = OURS if any((OURS, *key) in jobs for key in shared) else method
    pairs = [(jobs[method, *key], jobs[reference, *key]) for key in shared]
    fine = [(one, ours) for one, ours in pairs if one.accuracy is not None and ours.accuracy is not None]
    if not fine:
        return None
    tasks = sorted({one.task for one, _ in fine})
    origin_of = {one.task: one.origin for one, _ in fine}
    origins = [origin_of[task] for task in tasks]
    accuracy = np.array([_mean(one.accuracy or 0.0 for one, _ in fine if one.task == task) for task in tasks])
    above = np.array(
        [
            _mean((ours.accuracy or 0.0) - (one.accuracy or 0.0) for one, ours in fine if one.task == task)
            for task in tasks
        ]
    )
    is_ours = method == reference
    return Row(
        method=method,
        n_tasks=len(tasks),
        n_origins=len(set(origins)),
        n_failed=sum(one.accuracy is None for one, _ in pairs),
        accuracy=float(accuracy.mean()),
        interval=_interval(accuracy, origins),
        ours_above=None if is_ours else float(above.mean()),
        ours_above_interval=None if is_ours else _interval(above, origins),
        wall=_ratio((one.wall_seconds, ours.wall_seconds) for one, ours in fine),
        work=_ratio((one.work_seconds, ours.work_seconds) for one, ours in fine),
        cpu=_ratio((one.cpu_seconds, ours.cpu_seconds) for one, ours in fine),
        wall_seconds=_mean(one.wall_seconds for one, _ in fine),
    )


def _interval(values: np.ndarray, origins: Sequence[str]) -> tuple[float, float]:
    return bootstrap_interval(values, origins, lambda drawn: float(drawn.mean()), seed=0)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the geometric mean of ratios."""
    return math.exp(_mean(math.log(one / other) for one, other in pairs))


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = [
        "| method | tasks (origins) | test accuracy | ours is above by | wall | wall without imports | CPU | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        above = "" if row.ours_above is None else _points(row.ours_above, row.ours_above_interval)
        failed = f", {row.n_failed} failed" if row.n_failed else ""
        lines.append(
            f"| {METHODS[row.method].what} | {row.n_tasks} ({row.n_origins}){failed} | {_percent(row)} | {above} | "
            f"x {row.wall:.2f} | x {row.work:.2f} | x {row.cpu:.2f} | {row.wall_seconds:.0f} |"
        )
    return "\n".join(lines)


def _percent(row: Row) -> str:
    low, high = (100 * bound for bound in row.interval)
    return f"{100 * row.accuracy:.1f} ({low:.1f} to {high:.1f})"


def _points(mean: float, interval: tuple[float, float] | None) -> str:
    low, high = (100 * bound for bound in interval or (math.nan, math.nan))
    return f"{100 * mean:+.1f} ({low:+.1f} to {high:+.1f})"


def as_json(row: Row) -> dict[str, Any]:
    """Return JSON values; an interval that has no value, as of one origin, is null."""
    return {name: None if _is_nan(value) else value for name, value in asdict(row).items()}


def _is_nan(value: object) -> bool:
    return isinstance(value, tuple) and any(math.isnan(bound) for bound in value)
