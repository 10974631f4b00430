"""Counts a suite: tasks, origins, and the distributions that the paper gives of its own."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.wild.origins import SHARED

RUNGS_OF_A_LADDER = 5


def print_counts(manifest: dict[str, Any]) -> None:
    """Print how many tasks and origins a manifest has, and quantiles of what they are like."""
    origins = [origin for origin in manifest["origins"] if origin["tasks"]]
    tasks = [task for origin in origins for task in origin["tasks"]]
    ladders = [sum(task["rung"] is not None for task in origin["tasks"]) for origin in origins]
    console = Console()
    n_together = len({SHARED.get(origin["origin"], origin["origin"]) for origin in origins})
    console.print(
        f"{len(tasks)} tasks of {len(origins)} collections, held out as {n_together} origins; "
        f"{sum(n > 0 for n in ladders)} ladders, {sum(n == RUNGS_OF_A_LADDER for n in ladders)} of them whole"
    )
    if without := [origin["origin"] for origin in manifest["origins"] if not (origin["tasks"] or origin["is_domain"])]:
        console.print(f"without a task: {', '.join(without)}")
    table = Table("", "least", "quarter", "median", "three quarters", "most", "mean")
    for name, values in facts(tasks).items():
        quarters = statistics.quantiles(values, n=4, method="inclusive")
        row = [min(values), *quarters, max(values), statistics.fmean(values)]
        table.add_row(name, *(f"{value:,.1f}".removesuffix(".0") for value in row))
    console.print(table)


def facts(tasks: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return name -> values of every task."""
    return {
        "classes": [len(task["classes"]) for task in tasks],
        "images per class, train and validation": [n_learn(task) / len(task["classes"]) for task in tasks],
        "images, train and validation": [n_learn(task) for task in tasks],
        "images, test": [task["n_test"] for task in tasks],
    }


def n_learn(task: dict[str, Any]) -> int:
    """Return a task's images for training and validation."""
    return int(task["n_train"] + task["n_val"])
