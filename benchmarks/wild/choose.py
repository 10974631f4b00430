"""Chooses tasks of a suite: one of each origin before any origin's second."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wild.origins import SHARED
from scalepred.recipe import content_id


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """A task of a suite: its folder, its origin as its task.json has it, and its images."""

    folder: Path
    origin: str
    n_train: int
    n_val: int
    n_test: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def suite_tasks(suite: Path) -> list[SuiteTask]:
    """Return the tasks that ``python -m benchmarks.wild build SUITE`` wrote.

    Raises:
        SystemExit: if it wrote none there.
    """
    file = suite / "manifest.json"
    if not file.is_file():
        raise SystemExit(
            f"{suite} has no manifest.json: build the suite with `python -m benchmarks.wild build {suite}`."
        )
    return [
        SuiteTask(
            folder=suite / "tasks" / task["name"],
            origin=SHARED.get(origin["origin"], origin["origin"]),
            n_train=task["n_train"],
            n_val=task["n_val"],
            n_test=task["n_test"],
        )
        for origin in json.loads(file.read_text(encoding="utf-8"))["origins"]
        for task in origin["tasks"]
    ]


def smallest(tasks: Iterable[SuiteTask], *, n: int, min_train: int = 0) -> list[SuiteTask]:
    """Return n tasks: the smallest of each origin, then every origin's second, each round smallest first."""
    large_enough = [task for task in tasks if task.n_train >= min_train]
    return _in_rounds(sorted(large_enough, key=lambda task: (task.n_train, task.name)))[:n]


def drawn(
    tasks: Iterable[SuiteTask],
    *,
    n: int,
    seed: int,
    exclude: Collection[str] = (),
    min_train: int = 0,
    max_train: int | None = None,
) -> list[SuiteTask]:
    """Return n tasks in an order that the seed decides, without those that are excluded.

    Tasks of an origin may share test images, so origins of which nothing is excluded come first; among these, and then
    among the others, one task of each origin comes before any second.

    Args:
        tasks: of a suite.
        n: how many.
        seed: of the order.
        exclude: names of tasks.
        min_train: fewest images to learn from.
        max_train: most images to learn from, if there is a limit.
    """
    known = list(tasks)
    touched = {task.origin for task in known if task.name in set(exclude)}
    left = [
        task
        for task in known
        if task.name not in set(exclude) and min_train <= task.n_train <= (max_train or task.n_train)
    ]
    ordered = sorted(left, key=lambda task: content_id("rival task", [seed, task.name]))
    fresh = [task for task in ordered if task.origin not in touched]
    return [*_in_rounds(fresh), *_in_rounds([task for task in ordered if task.origin in touched])][:n]


def _in_rounds(ordered: Sequence[SuiteTask]) -> list[SuiteTask]:
    """Return every origin's first task in the order given, then every origin's second, and so on."""
    taken: dict[str, int] = defaultdict(int)
    rounds: dict[int, list[SuiteTask]] = defaultdict(list)
    for task in ordered:
        rounds[taken[task.origin]].append(task)
        taken[task.origin] += 1
    return [task for number in sorted(rounds) for task in rounds[number]]
