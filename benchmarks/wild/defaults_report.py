"""What the pilot of defaults tells: each variant's gain over the present default, on origins that chose nothing of it.

Declared beforehand: the origins are split into two halves, with a fixed seed. Each variant's fixed scale is the octave
of the highest mean test accuracy over the tasks of one half; its accuracy is read on the tasks of the other half; and
both directions are averaged, so that every task counts once, at a scale that its own half did not choose. The present
default is read in the same way, and gains are paired by task. A run that diverged counts as chance. Seeds are averaged;
only those count that all variants have on a task. Intervals are 95 %, from a bootstrap that draws whole origins. How
origins fall into halves moves a gain by a point and more, so each is told once more with scales that all other origins
chose; this was added after the halves had been read (log of 2026-11-30).

A variant is adopted likewise: the one that is best on one half is named with its gain on the other half, in both
directions. Only tasks that all variants of the table have finished count; a variant that has met fewer than half of the
default's tasks is told apart.
"""

import json
import math
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timed import hardware
from benchmarks.wild.variants import DEFAULT, SETTINGS, Setting, Variant
from scalepred.predictor.honest import bootstrap_interval
from scalepred.records import DIVERGED
from scalepred.store.warehouse import open_warehouse

HALVES_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run as the pilot sees it: accuracies are fractions, at chance where it diverged."""

    task: str
    origin: str
    source: str
    recipe_id: str
    learns_all: bool
    octave: int
    seed: int
    held_out: float
    test: float
    seconds: float

    def is_of(self, setting: Setting, variant: Variant) -> bool:
        """Say whether this is a run of a variant in a setting."""
        mine = (Path(setting.source).name, variant.recipe.recipe_id, variant.learns_all)
        return (self.source, self.recipe_id, self.learns_all) == mine


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant over the tasks of the table; accuracies and gains are fractions.

    Attributes:
        setting, variant: names.
        n_tasks, n_origins, n_seeds: that it is of; the last is a mean over tasks.
        log2_scales: chosen on the first half, and on the second.
        accuracy: mean test accuracy over tasks.
        gain: over the present default, paired, with its interval; None for the default itself.
        alone: the same where each origin's scale is chosen by all others.
        alone_interval: of that.
        alone_log2_scales: that these chose, each once.
        seconds_ratio: geometric mean over tasks of a run's seconds over the default's (medians over scales and seeds,
            for the first run of a task pays for what all share).
    """

    setting: str
    variant: str
    n_tasks: int
    n_origins: int
    n_seeds: float
    log2_scales: tuple[int, int]
    accuracy: float
    gain: float | None
    interval: tuple[float, float] | None
    alone: float | None
    alone_interval: tuple[float, float] | None
    alone_log2_scales: tuple[int, ...]
    seconds_ratio: float


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The variant that is best on one half of the origins, and its paired gain on the other."""

    setting: str
    variant: str
    gain_where_chosen: float
    gain: float
    interval: tuple[float, float]
    n_tasks: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A variant on the tasks of the table: test accuracies (n_octaves, n_tasks), and a run's median seconds."""

    octaves: tuple[int, ...]
    accuracies: np.ndarray
    seconds: np.ndarray

    def best(self, members: np.ndarray) -> int:
        """Return the position of the octave that is best on some tasks, given as booleans."""
        return int(self.accuracies[:, members].mean(axis=1).argmax())


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All that is told."""

    rows: tuple[Row, ...]
    adopted: tuple[Adopted, ...]
    behind: tuple[str, ...]


def read_seen(warehouse: Path) -> list[Seen]:
    """Return the runs of a warehouse at whole octaves; none where there is no warehouse yet."""
    if not warehouse.exists():
        return []
    with open_warehouse(warehouse, read_only=True, lock_timeout_seconds=60.0) as store:
        tasks = {task.task_id: task for task in store.tasks()}
        sources = {source.source_id: source.name for source in store.sources()}
        runs = [run for run in store.runs() if run.scale is not None and math.log2(run.scale).is_integer()]
    seen = []
    for run in runs:
        task = tasks[run.task_id]
        diverged, chance = run.status == DIVERGED, 1 / task.n_classes
        test = chance if diverged else run.test_accuracy or 0.0
        right = test * task.n_test + (chance if diverged else run.val_accuracy or 0.0) * task.n_val
        seen.append(
            Seen(
                task=task.name,
                origin=task.origin,
                source=sources[run.source_id],
                recipe_id=run.recipe_id,
                learns_all=not task.n_val,
                octave=int(math.log2(run.scale or 1.0)),
                seed=run.seed,
                held_out=right / (task.n_test + task.n_val),
                test=test,
                seconds=run.seconds,
            )
        )
    return seen


def tables(setting: Setting, variants: Sequence[Variant], seen: Sequence[Seen]) -> Tables:
    """Return a setting's rows, the present default first, and what would be adopted.

    Args:
        setting: of the network and size.
        variants: the present default first.
        seen: runs of any settings.
    """
    runs = {variant.name: _by_task(setting, variant, seen) for variant in variants}
    enough = [name for name, of in runs.items() if of and 2 * len(of) >= len(runs[DEFAULT])]
    behind = tuple(f"{name} ({len(runs[name])} tasks)" for name in runs if name not in enough)
    tasks = sorted(set.intersection(*(set(runs[name]) for name in enough))) if DEFAULT in enough else []
    origin_of = {each.task: each.origin for each in seen}
    origins = [origin_of[task] for task in tasks]
    if len(set(origins)) < 2:  # there are no halves
        return Tables(rows=(), adopted=(), behind=behind)
    first = first_half(origins)
    seeds = {task: _shared_seeds([runs[name][task] for name in enough]) for task in tasks}
    curves = {name: _curve(runs[name], tasks, seeds) for name in enough}
    rows = [_row(setting.name, name, curves, origins, first, seeds=seeds) for name in enough]
    adopted = [_adopt(setting.name, curves, origins, half) for half in (first, ~first)] if len(enough) > 1 else []
    return Tables(rows=tuple(rows), adopted=tuple(adopted), behind=behind)


def first_half(origins: Sequence[str]) -> np.ndarray:
    """Return which tasks belong to the first half of the origins, as booleans."""
    names = sorted(set(origins))
    drawn = np.random.default_rng(HALVES_SEED).permutation(len(names))[: len(names) // 2]
    members = {names[number] for number in drawn}
    return np.array([origin in members for origin in origins], dtype=np.bool_)


Runs = dict[int, dict[int, Seen]]
"""Octave -> seed -> run."""


def _by_task(setting: Setting, variant: Variant, seen: Sequence[Seen]) -> dict[str, Runs]:
    """Return task -> its runs, of tasks that have the first seed at the three octaves around the guess."""
    runs: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
    for each in seen:
        if each.is_of(setting, variant):
            runs[each.task][each.octave][each.seed] = each
    around = range(variant.octave - 1, variant.octave + 2)
    return {task: of for task, of in runs.items() if all(0 in of.get(octave, {}) for octave in around)}


def _shared_seeds(of_variants: Sequence[Runs]) -> list[int]:
    """Return the seeds that a task has at all octaves of all variants; at least the first."""
    every = [set(seeds) for runs in of_variants for seeds in runs.values() if 0 in seeds]
    return sorted(set.intersection(*every))


def _curve(runs: Mapping[str, Runs], tasks: Sequence[str], seeds: Mapping[str, Sequence[int]]) -> Curve:
    octaves = sorted(set.intersection(*({o for o, of in runs[task].items() if 0 in of} for task in tasks)))
    cells = [[[runs[task][o][seed] for seed in seeds[task]] for task in tasks] for o in octaves]
    accuracies = [[np.mean([each.test for each in cell]) for cell in line] for line in cells]
    seconds = [np.median([each.seconds for line in cells for each in line[at]]) for at in range(len(tasks))]
    return Curve(octaves=tuple(octaves), accuracies=np.array(accuracies), seconds=np.array(seconds))


def _crossed(curve: Curve, first: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return each task's accuracy at the octave that the other half chose, and what the halves chose."""
    by_first, by_second = curve.best(first), curve.best(~first)
    crossed = np.where(first, curve.accuracies[by_second], curve.accuracies[by_first])
    return crossed, (curve.octaves[by_first], curve.octaves[by_second])


def _alone(curve: Curve, origins: Sequence[str]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return each task's accuracy at the octave that all other origins chose, and the octaves that were."""
    names = np.array(origins)
    best = [curve.best(names != name) for name in names]
    return curve.accuracies[best, np.arange(len(best))], tuple(sorted({curve.octaves[at] for at in best}))


def _row(
    setting: str,
    name: str,
    curves: Mapping[str, Curve],
    origins: Sequence[str],
    first: np.ndarray,
    *,
    seeds: Mapping[str, Sequence[int]],
) -> Row:
    accuracies, scales = _crossed(curves[name], first)
    gains = accuracies - _crossed(curves[DEFAULT], first)[0]
    at_others, octaves = _alone(curves[name], origins)
    alone = at_others - _alone(curves[DEFAULT], origins)[0]
    ratios = curves[name].seconds / curves[DEFAULT].seconds
    return Row(
        setting=setting,
        variant=name,
        n_tasks=len(origins),
        n_origins=len(set(origins)),
        n_seeds=float(np.mean([len(each) for each in seeds.values()])),
        log2_scales=scales,
        accuracy=float(accuracies.mean()),
        gain=None if name == DEFAULT else float(gains.mean()),
        interval=None if name == DEFAULT else _interval(gains, origins),
        alone=None if name == DEFAULT else float(alone.mean()),
        alone_interval=None if name == DEFAULT else _interval(alone, origins),
        alone_log2_scales=octaves,
        seconds_ratio=float(np.exp(np.log(ratios).mean())),
    )


def _adopt(setting: str, curves: Mapping[str, Curve], origins: Sequence[str], half: np.ndarray) -> Adopted:
    """Choose a variant and its scale on one half of the origins, and read its gain on the other."""

    def gains(name: str, members: np.ndarray) -> np.ndarray:
        both = [curves[each].accuracies[curves[each].best(half)] for each in (name, DEFAULT)]
        return np.asarray((both[0] - both[1])[members])

    name = max((each for each in curves if each != DEFAULT), key=lambda each: float(gains(each, half).mean()))
    told = gains(name, ~half)
    others = [origin for origin, is_in in zip(origins, half, strict=True) if not is_in]
    return Adopted(
        setting=setting,
        variant=name,
        gain_where_chosen=float(gains(name, half).mean()),
        gain=float(told.mean()),
        interval=_interval(told, others),
        n_tasks=len(told),
    )


def _interval(values: np.ndarray, origins: Sequence[str]) -> tuple[float, float]:
    return bootstrap_interval(values, origins, lambda drawn: float(drawn.mean()), seed=0)


# --- printing ---------------------------------------------------------------------------------------------------------


def print_report(plans: Mapping[str, Sequence[Variant]], seen: Sequence[Seen], *, command: Sequence[str]) -> None:
    """Print a table for each setting, and all of it as a line of JSON."""
    told = {name: tables(SETTINGS[name], variants, seen) for name, variants in plans.items()}
    for name, each in told.items():
        print(f"\n{name}\n{as_markdown(each)}")
    report = {
        "benchmark": "defaults",
        "command": list(command),
        "rows": [_json(row) for each in told.values() for row in each.rows],
        "adopted": [_json(row) for each in told.values() for row in each.adopted],
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("scalepred", "torch")}},
    }
    print(json.dumps(report))


def as_markdown(told: Tables) -> str:
    """Return a setting's table, and what would be adopted."""
    lines = [
        "| variant | tasks (origins), seeds | log2 scale, by half | test accuracy | over the default "
        "| log2 scale, by all other origins | over the default there | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in told.rows:
        gain = "" if row.gain is None or row.interval is None else _points(row.gain, row.interval)
        alone = "" if row.alone is None or row.alone_interval is None else _points(row.alone, row.alone_interval)
        lines.append(
            f"| {row.variant} | {row.n_tasks} ({row.n_origins}), {row.n_seeds:.1f} | {row.log2_scales[0]}, "
            f"{row.log2_scales[1]} | {100 * row.accuracy:.1f} | {gain} "
            f"| {', '.join(map(str, row.alone_log2_scales))} | {alone} | x {row.seconds_ratio:.2f} |"
        )
    lines += [
        f"\nbest on one half: {each.variant}, {100 * each.gain_where_chosen:+.1f} there; on the other half "
        f"{_points(each.gain, each.interval)} on {each.n_tasks} tasks"
        for each in told.adopted
    ]
    lines += [f"\nnot yet: {', '.join(told.behind)}"] if told.behind else []
    return "\n".join(lines)


def _points(mean: float, interval: tuple[float, float]) -> str:
    low, high = (100 * bound for bound in interval)
    return f"{100 * mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _json(row: Row | Adopted) -> dict[str, Any]:
    """Return JSON values; an interval that has no value, as of one origin, is null."""
    values = asdict(row)
    intervals = {name: values[name] for name in values if name.endswith("interval")}
    return values | {name: each if each and not np.isnan(each).any() else None for name, each in intervals.items()}
