"""The report of a warehouse: how far its grids are, the curves by group and by task, and the best scales."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from scalepred.job.report_chart import Chart, Series, chart, linear, logarithmic
from scalepred.job.report_html import render
from scalepred.recipe import GRID
from scalepred.store.query import query
from scalepred.store.warehouse import Status, open_warehouse

GROUPS, TASKS = 12, 12
"""Plots of groups and of tasks that are drawn at most, those with most behind them first."""

LINES = 40
"""Tasks that are drawn in a group's plot at most."""

GROUPS_OF_TASK = 6
"""Groups that are drawn in a task's plot at most."""

ROWS = 40
"""Groups in the table of progress."""

Group: TypeAlias = tuple[str, str]
"""Names of a source and a recipe."""

Curve: TypeAlias = list[tuple[float, float]]
"""Scales, ascending, and accuracies, per cent."""

_CURVES = """
    SELECT source, recipe, task, task_id, scale, coalesce(test_accuracy, val_accuracy) AS accuracy
    FROM curves WHERE scale IS NOT NULL AND coalesce(test_accuracy, val_accuracy) IS NOT NULL
    ORDER BY ALL"""

_BEST = """
    SELECT source, recipe, scale, count(*) FROM best_scales WHERE scale IS NOT NULL GROUP BY ALL ORDER BY ALL"""


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """What a report is made from.

    Attributes:
        status: the counts of the warehouse.
        curves: group -> (name, id) of a task -> its curve, test accuracy by scale, mean over seeds; validation accuracy
            for tasks without test images.
        best: group -> scale -> tasks that have their best validation accuracy there.
    """

    status: Status
    curves: Mapping[Group, Mapping[tuple[str, str], Curve]]
    best: Mapping[Group, Mapping[float, int]]


def warehouse_report(path: Path, *, lock_timeout_seconds: float = 10.0, command: str | None = None) -> str:
    """Return the report of a warehouse as HTML; ``command`` is as it was typed.

    Raises:
        DataError: if there is no warehouse.
        WarehouseBusyError: if another process holds it for longer than the timeout.
        VersionError: if it is damaged, or of another version.
    """
    harvest = read_harvest(path, lock_timeout_seconds=lock_timeout_seconds)
    groups = sorted(harvest.curves, key=lambda group: (-len(harvest.curves[group]), group))
    tasks = _by_task(harvest.curves, groups)
    status = harvest.status
    grids = sorted(status.grids, key=lambda grid: (-grid[3], grid[:2]))
    page = {
        "kind": "scalepred: a warehouse",
        "title": f"Warehouse {path.name}",
        "subtitle": f"{status.n_bytes / 1e6:.1f} MB, schema {status.migration}",
        "tiles": _tiles(status),
        "grids": grids[:ROWS],
        "n_grids": len(grids),
        "group_charts": [_group_chart(group, harvest.curves[group]) for group in groups[:GROUPS]],
        "n_groups": len(groups),
        "best": _best_part(harvest.best, groups[:GROUPS]),
        "task_charts": [_task_chart(name, curves) for (name, _), curves in tasks[:TASKS]],
        "n_tasks": len(tasks),
        "facts": [("file", str(path)), ("rows", ", ".join(f"{n} {table}" for table, n in status.tables.items()))],
        "command": command,
    }
    return render("warehouse.html", page)


def read_harvest(path: Path, *, lock_timeout_seconds: float = 10.0) -> Harvest:
    """Read what a report is made from.

    Raises:
        ScalepredError: as ``warehouse_report``.
    """
    with open_warehouse(path, read_only=True, lock_timeout_seconds=lock_timeout_seconds) as store:
        status = store.status()
    curves: dict[Group, dict[tuple[str, str], Curve]] = defaultdict(lambda: defaultdict(list))
    _, rows = query(path, _CURVES, lock_timeout_seconds=lock_timeout_seconds)
    for source, recipe, task, task_id, scale, accuracy in rows:
        curves[source, recipe][task, task_id].append((scale, 100 * accuracy))
    best: dict[Group, dict[float, int]] = defaultdict(dict)
    _, rows = query(path, _BEST, lock_timeout_seconds=lock_timeout_seconds)
    for source, recipe, scale, n in rows:
        best[source, recipe][scale] = n
    return Harvest(status=status, curves=curves, best=best)


def _tiles(status: Status) -> list[dict[str, str]]:
    last = (status.last_finished_at or "never").replace("T", " ").removesuffix("+00:00")
    return [
        {"name": "runs", "value": str(status.n_done), "note": f"done; {status.n_diverged} diverged"},
        {"name": "tasks", "value": str(status.tables["tasks"]), "note": f"of {status.n_origins} origins"},
        {"name": "whole grids", "value": str(sum(grid[2] for grid in status.grids)), "note": _begun(status)},
        {"name": "sources", "value": str(status.tables["sources"]), "note": f"last run: {last}"},
    ]


def _begun(status: Status) -> str:
    return f"of {sum(grid[3] for grid in status.grids)} begun, eleven scales each"


def _group_chart(group: Group, curves: Mapping[tuple[str, str], Curve]) -> Chart:
    """Return the plot of a group: a thin line for each task, and the mean of those with the whole grid."""
    shown = list(curves.values())[:LINES]
    mean = mean_curve(list(curves.values()))
    series = [Series(name="", points=curve, style=5, is_thin=True) for curve in shown]
    n_whole = sum(set(GRID) <= {scale for scale, _ in curve} for curve in curves.values())
    if mean:
        series.append(Series(name="mean", points=mean, style=0, has_marks=True))
    n = f"{len(curves)} task" if len(curves) == 1 else f"{len(curves)} tasks"
    drawn = f", {len(shown)} drawn" if len(shown) < len(curves) else ""
    note = f"{n}{drawn}" + (f"; bold: mean of {n_whole} with all eleven scales" if mean else "")
    return _plot(f"{group[0]}, {group[1]}", series, note=note)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean of the curves that have the whole grid, at its scales; empty where none has."""
    whole = [dict(curve) for curve in curves if set(GRID) <= {scale for scale, _ in curve}]
    return [(scale, statistics.fmean(curve[scale] for curve in whole)) for scale in GRID] if whole else []


def _by_task(
    curves: Mapping[Group, Mapping[tuple[str, str], Curve]], groups: Sequence[Group]
) -> list[tuple[tuple[str, str], dict[Group, Curve]]]:
    """Return the tasks with their curves by group, those of most groups first, and groups in the given order."""
    tasks: dict[tuple[str, str], dict[Group, Curve]] = defaultdict(dict)
    for group in groups:
        for task, curve in curves[group].items():
            tasks[task][group] = curve
    return sorted(tasks.items(), key=lambda each: (-len(each[1]), each[0]))


def _task_chart(name: str, curves: Mapping[Group, Curve]) -> Chart:
    shown = list(curves.items())[:GROUPS_OF_TASK]
    series = [
        Series(name=", ".join(group), points=curve, style=at, has_marks=len(curve) < 3)
        for at, (group, curve) in enumerate(shown)
    ]
    left = len(curves) - len(shown)
    return _plot(name, series, note=f"{left} more sources and recipes are not drawn" if left else "")


def _plot(title: str, series: Sequence[Series], *, note: str) -> Chart:
    points = [point for each in series for point in each.points]
    return chart(
        title,
        series,
        x=logarithmic("scale", [scale for scale, _ in points], base=2),
        y=linear("test accuracy, per cent", [accuracy for _, accuracy in points]),
        note=note,
    )


def _best_part(best: Mapping[Group, Mapping[float, int]], groups: Sequence[Group]) -> dict[str, Any]:
    """Return for each group how many tasks are best at each scale of the grid, below it, above it, and between."""
    beyond = {_column(scale) for group in groups for scale in best.get(group, {})}
    ends = [[name for name in names if name in beyond] for names in (("below",), ("above", "between"))]
    columns = [*ends[0], *(f"{scale:g}" for scale in GRID), *ends[1]]
    rows = []
    for group in groups:
        counts: Counter[str] = Counter()
        for scale, n in best.get(group, {}).items():
            counts[_column(scale)] += n
        if counts:
            cells = [counts[name] for name in columns]
            rows.append({"name": ", ".join(group), "cells": cells, "largest": max(cells)})
    return {"columns": columns, "rows": rows}


def _column(scale: float) -> str:
    if scale in GRID:
        return f"{scale:g}"
    return "below" if scale < min(GRID) else "above" if scale > max(GRID) else "between"
