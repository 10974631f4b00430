"""Tasks of a network and recipe of one's own, beside the rule: what 1, 3 and 10 of them are worth to further tasks.

    python -m benchmarks.own WAREHOUSE [--starts FILE.jsonl] [--json FILE]

A group is a network and a recipe whose grids were harvested, its tasks those with facts of the start in FILE.jsonl
(`benchmarks.grid_starts`), one of each origin; a recipe of another schedule has the same start. Origins are in four
folds. For the tasks of a fold scales are chosen from n tasks of other folds, drawn at random ten times: by the rule as
these n move it, which is what `--auto` does after `train-predictor`, by their best fixed scale, and by the rule alone.
Of no task that fixed scale is 1. The last way is the best fixed scale of all tasks of the group in other folds. The
rule is of design points and grids, harvested curves are of design points, all of other networks and folds. How much
these curves weigh against own tasks is learnt on groups of other networks, other recipes and other folds, each with a
rule and curves that saw neither network: the weight of the highest accuracy over 1, 3 and 10 tasks. What each weight
comes to is told too.
Besides, for a network of which nothing was harvested: the geometric mean of the best fixed scales of the same recipe on
other networks, and on networks of other families, in other folds.
Test accuracies are read off each task's grid and what was run beyond it, interpolated by log2. Intervals are of origins
and networks drawn at once. Ends in one line of JSON.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grid_points import STARTS, read_grid_points
from benchmarks.rule import MIN_STEPS, read_points, rule_of
from scalepred.networks.names import family_of
from scalepred.predictor.curves import Curves, curves_of
from scalepred.predictor.harvested import build
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.own_runs import expected_shape, moved_by, own_curve
from scalepred.predictor.points import Point, of_one_collection
from scalepred.predictor.rule import Rule, kind_of
from scalepred.predictor.table import TrainingTable
from scalepred.predictor.targets import best_fixed_scale
from scalepred.store.warehouse import open_warehouse

SIZES = (0, 1, 3, 10)
HELD = {"network": False, "family": True}
N_FOLDS, DRAWS = 4, 10
NO_FOLD = N_FOLDS
POINT = 0.01
FEWEST = 12
"""Tasks of a group: with fewer there are no ten in the other folds."""

OWN, FIXED, RULE = "rule, moved by the n", "best fixed scale of the n", "rule"
ALL = "best fixed scale of all others"
WAYS = (OWN, FIXED, RULE, ALL)

WEIGHTS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Own tasks that harvested curves may weigh as much as."""

LEARN_DRAWS = 20

Learnt = Callable[[frozenset[str], int], tuple[Rule, Curves]]
"""Networks and a fold -> the rule and the curves of what is neither."""

BASE, OTHERS = "scale 1", "same recipe, other networks"


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a warehouse holds, and the facts beside it.

    Attributes:
        points: design points.
        grid_points: tasks of grids with facts.
        groups: (name of the network, id of the recipe) -> its tasks with facts.
        recipes: id -> name.
        grids: all whole grids.
        folds: origin -> fold.
        networks: source id -> name.
        families: name -> family.
    """

    points: list[Point]
    grid_points: list[Point]
    groups: dict[tuple[str, str], list[Point]]
    recipes: dict[str, str]
    grids: TrainingTable
    folds: dict[str, int]
    networks: dict[str, str]
    families: dict[str, str]


def main() -> None:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--starts", type=Path, default=STARTS)
    parser.add_argument("--json", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    line = json.dumps(run(read(arguments.warehouse, arguments.starts)))
    if arguments.json:
        arguments.json.write_text(line + "\n", encoding="utf-8")
    print(line)


def read(warehouse: Path, starts: Path) -> Data:
    """Read a warehouse, its grids as points where their starts were measured."""
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes, runs = store.tasks(), store.sources(), store.recipes(), store.runs()
    grids = read_grid_points(warehouse, starts)
    groups: dict[tuple[str, str], list[Point]] = {}
    for task in grids:
        groups.setdefault((task.source, task.recipe.recipe_id), []).append(task)
    groups = {key: of_group for key, of_group in groups.items() if len(of_group) >= FEWEST}
    judged = sorted({task.origin for of_group in groups.values() for task in of_group})
    origins = [*np.random.default_rng(0).permutation(judged).tolist(), *sorted({t.origin for t in tasks} - {*judged})]
    return Data(
        points=of_one_collection(read_points(warehouse)),
        grid_points=grids,
        groups=groups,
        recipes={recipe.recipe_id: recipe.name for recipe in recipes},
        grids=build(tasks=tasks, sources=sources, recipes=recipes, features=[], runs=runs).table,
        folds={origin: at % N_FOLDS for at, origin in enumerate(origins)},
        networks={source.source_id: source.name for source in sources},
        families={source.name: family_of(str(source.facts["architecture"])) for source in sources},
    )


def run(data: Data) -> dict[str, Any]:
    """Print the tables and return what they hold."""
    started = time.perf_counter()

    @functools.cache
    def learnt(networks: frozenset[str], fold: int) -> tuple[Rule, Curves]:
        """Return the rule and the curves of points of other networks and other folds."""
        seen, grids = (
            [p for p in points if p.source not in networks and data.folds[p.origin] != fold]
            for points in (data.points, data.grid_points)
        )
        rule = rule_of([*seen, *grids], MIN_STEPS)
        return rule, curves_of(seen, rule)

    rows, weights = [], []
    for key in data.groups:
        for fold in range(N_FOLDS):
            weight = learn_weight(data, key, fold, learnt)
            weights.append({"network": key[0], "recipe": data.recipes[key[1]], "fold": fold, "weight": weight})
            rows += judge(data, key, fold, learnt(frozenset({key[0]}), fold), weight)
    show_groups(data)
    told = {"benchmark": "own", "rows": show(rows), "of_groups": show_by_group(rows), "weights": weights}
    told["of_weights"] = show_weights(rows)
    told["weight_of_all"] = learn_weight(data, None, NO_FOLD, learnt)
    print(f"\nlearnt on all groups and folds, which is what ships: {told['weight_of_all']:g}")
    told["same_recipe"] = {words: show_same_recipe(data, learnt, family=family) for words, family in HELD.items()}
    return told | {"seconds": round(time.perf_counter() - started, 1)}


def learn_weight(data: Data, key: tuple[str, str] | None, fold: int, learnt: Learnt) -> float:
    """Return the weight of the highest accuracy on groups, without a fold, and without a network and a recipe if given.

    Of each of those groups tasks are drawn as own ones, and the choice is judged on the group's others.
    """
    found: dict[float, dict[int, list[float]]] = {weight: {size: [] for size in SIZES[1:]} for weight in WEIGHTS}
    for other in data.groups:
        if key and (other[0] == key[0] or other[1] == key[1]):
            continue
        rule, curves = learnt(frozenset({key[0], other[0]} if key else {other[0]}), fold)
        tasks = [Placed(task, rule, curves) for task in data.groups[other] if data.folds[task.origin] != fold]
        rng = np.random.default_rng(fold)
        for size in SIZES[1:]:
            for _ in range(LEARN_DRAWS):
                order = rng.permutation(len(tasks))
                drawn, new = ([tasks[at] for at in part] for part in (order[:size], order[size:]))
                for weight in WEIGHTS:
                    found[weight][size] += [task.accuracy(task.moved(drawn, weight)) for task in new]
    return max(WEIGHTS, key=lambda weight: math.fsum(float(np.mean(each)) for each in found[weight].values()))


class Placed:
    """A task of a group, where a rule places it, and what harvested curves expect around that."""

    def __init__(self, task: Point, rule: Rule, curves: Curves) -> None:
        self.task = task
        self.place = rule.bounded_log2_scale(task.facts, task.recipe) or 0.0
        self.shape = expected_shape(curves, kind_of(task.recipe), chance=task.chance)

    def moved(self, own: Sequence["Placed"], weight: float) -> float:
        """Return log2 of the scale that own tasks move the rule's to; the rule's where there are none."""
        if not own:
            return self.place
        curve = own_curve([each.task for each in own])
        return moved_by(curve, self.shape, log2_scale=self.place, prior_tasks=weight).log2_scale

    def accuracy(self, log2_scale: float) -> float:
        """Return the task's accuracy at a scale."""
        return self.task.accuracy_at(log2_scale)


def judge(
    data: Data, key: tuple[str, str], fold: int, learnt: tuple[Rule, Curves], weight: float
) -> list[dict[str, Any]]:
    """Return the accuracies of every way on a group's tasks of a fold, one row for each task, size and draw."""
    tasks = [Placed(task, *learnt) for task in data.groups[key]]
    new = [task for task in tasks if data.folds[task.task.origin] == fold]
    others = [task for task in tasks if data.folds[task.task.origin] != fold]
    rng, source_id = np.random.default_rng(fold), tasks[0].task.source_id
    whole = [i for i, row in enumerate(zip(data.grids.source_ids, data.grids.recipe_ids, strict=True))
             if row == (source_id, key[1])]  # fmt: skip
    row_of = {data.grids.names[i]: i for i in whole}
    upper = _fixed(data.grids, [i for i in whole if data.folds[data.grids.origins[i]] != fold])
    rows = []
    for size in (*SIZES, len(others)):
        for _ in range(DRAWS if 0 < size < len(others) else 1):
            drawn = [others[i] for i in rng.permutation(len(others))[:size]]
            fixed = _fixed(data.grids, [row_of[each.task.task] for each in drawn]) if drawn else 0.0
            for task in new:
                scales = {OWN: task.moved(drawn, weight), FIXED: fixed, RULE: task.place, ALL: upper}
                accuracies: dict[Any, float] = {way: task.accuracy(scale) for way, scale in scales.items()}
                accuracies |= {each: task.accuracy(task.moved(drawn, each)) for each in WEIGHTS}
                about = {"size": min(size, SIZES[-1] + 1), "network": key[0], "recipe": data.recipes[key[1]]}
                rows.append(about | {"origin": task.task.origin, "scales": scales} | accuracies)
    return rows


def _fixed(grids: TrainingTable, rows: Sequence[int]) -> float:
    """Return log2 of the best fixed scale of some grids."""
    column = best_fixed_scale(grids.accuracies[rows], grids.scales.tolist())
    return float(np.log2(grids.scales[column]))


def show_same_recipe(data: Data, learnt: Learnt, *, family: bool) -> dict[str, Any]:
    """Print and return what the same recipe on other networks tells of one that was not harvested, beside the rule.

    Args:
        data: all of it.
        learnt: rule and curves without some networks and a fold.
        family: networks of the judged one's family are left out too.
    """
    rows = []
    for (network, recipe), tasks in data.groups.items():
        for fold in range(N_FOLDS):
            scales = _of_others(data, network, recipe, fold, family=family)
            if not scales:
                continue
            rule, curves = learnt(frozenset({network}), fold)
            for task in tasks:
                if data.folds[task.origin] == fold:
                    places = {BASE: 0.0, RULE: Placed(task, rule, curves).place, OTHERS: float(np.mean(scales))}
                    about = {"network": network, "origin": task.origin}
                    rows.append(about | {way: task.accuracy_at(place) for way, place in places.items()})
    told: dict[str, Any] = {"n": len(rows)}
    told |= {way: _percent(np.mean([row[way] for row in rows])) for way in (BASE, RULE, OTHERS)}
    told |= {f"over {way}": _gain(rows, OTHERS, way) for way in (BASE, RULE)}
    print(f"\nsame recipe, {'other families' if family else 'other networks'}: {told}")
    return told


def _of_others(data: Data, network: str, recipe: str, fold: int, *, family: bool) -> list[float]:
    """Return log2 of the best fixed scale of each other network with a recipe, on origins of other folds."""
    grids, by_network = data.grids, {}
    for row, (source_id, recipe_id) in enumerate(zip(grids.source_ids, grids.recipe_ids, strict=True)):
        other = data.networks[source_id]
        is_kin = data.families[other] == data.families[network] if family else other == network
        if recipe_id == recipe and not is_kin and data.folds[grids.origins[row]] != fold:
            by_network.setdefault(other, []).append(row)
    return [_fixed(grids, members) for members in by_network.values()]


def show_groups(data: Data) -> None:
    """Print what was judged."""
    print("| network | recipe | tasks with facts | tasks in all |\n|---|---|---:|---:|")
    for (network, recipe), tasks in data.groups.items():
        pairs = zip(data.grids.source_ids, data.grids.recipe_ids, strict=True)
        n_all = sum(pair == (tasks[0].source_id, recipe) for pair in pairs)
        print(f"| {network} | {data.recipes[recipe]} | {len(tasks)} | {n_all} |")


def show(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print and return what each way reaches by the number of tasks, and what own runs gain."""
    gains = {"own_over_rule": (OWN, RULE), "own_over_fixed": (OWN, FIXED)}
    gains |= {"fixed_over_rule": (FIXED, RULE), "own_below_all": (ALL, OWN)}
    print(f"\n| tasks | n | {' | '.join(WAYS)} | {' | '.join(gains)} | origins a point below fixed |")
    print("|---:|---:|" + "---:|" * (len(WAYS) + len(gains) + 1))
    told = []
    for size in sorted({row["size"] for row in rows}):
        some = _means([row for row in rows if row["size"] == size])
        row = {"tasks": "all" if size > SIZES[-1] else size, "n": len(some)}
        row |= {way: _percent(np.mean([each[way] for each in some])) for way in WAYS}
        row |= {name: _gain(some, *ways) for name, ways in gains.items()}
        row["origins_a_point_below_fixed"] = _n_below(some)
        told.append(row)
        cells = [f"{row[way]:.1f}" for way in WAYS] + [_cell(row[name]) for name in gains]
        print(f"| {row['tasks']} | {row['n']} | " + " | ".join(cells) + f" | {row['origins_a_point_below_fixed']} |")
    return told


def _n_below(rows: Sequence[Mapping[Any, Any]]) -> int:
    """Return on how many origins own runs are more than a point below their best fixed scale, in the mean."""
    gains: dict[str, list[float]] = {}
    for row in rows:
        gains.setdefault(row["origin"], []).append(row[OWN] - row[FIXED])
    return sum(float(np.mean(of_origin)) < -POINT for of_origin in gains.values())


def show_by_group(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print and return the accuracies of each group by the number of tasks."""
    print(f"\n| network | recipe | tasks | n | {' | '.join(WAYS)} | octaves from the rule |")
    print("|---|---|---:|---:|" + "---:|" * (len(WAYS) + 1))
    told = []
    for network, recipe, size in dict.fromkeys((r["network"], r["recipe"], r["size"]) for r in rows):
        of_group = [r for r in rows if (r["network"], r["recipe"], r["size"]) == (network, recipe, size)]
        row = {"network": network, "recipe": recipe, "tasks": "all" if size > SIZES[-1] else size}
        row |= {"n": len({r["origin"] for r in of_group})}
        row |= {way: _percent(np.mean([r[way] for r in of_group])) for way in WAYS}
        row["octaves"] = round(float(np.mean([r["scales"][OWN] - r["scales"][RULE] for r in of_group])), 2)
        told.append(row)
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    return told


def show_weights(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print and return what the rule, moved by own runs, gains over it where harvested curves weigh so much."""
    sizes = sorted({row["size"] for row in rows} - {0})
    names = ["all" if size > SIZES[-1] else str(size) for size in sizes]
    print(f"\n| weight of harvested curves | {' | '.join(names)} tasks |\n|---:|" + "---:|" * len(sizes))
    told = []
    for weight in WEIGHTS:
        gains = [_gain(_means([row for row in rows if row["size"] == size], weight), weight, RULE) for size in sizes]
        told.append({"weight": weight} | dict(zip(names, gains, strict=True)))
        print(f"| {weight:g} | " + " | ".join(_cell(gain) for gain in gains) + " |")
    return told


def _means(rows: Sequence[Mapping[Any, Any]], *more: float) -> list[dict[Any, Any]]:
    """Return one row for each task of a group: the means over draws of all ways, and of some weights."""
    by_task: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_task.setdefault((row["network"], row["recipe"], row["origin"]), []).append(row)
    ways = (*WAYS, *more)
    return [
        {"network": key[0], "origin": key[2]} | {way: float(np.mean([row[way] for row in of_task])) for way in ways}
        for key, of_task in by_task.items()
    ]


def _gain(rows: Sequence[Mapping[Any, Any]], way: str | float, over: str) -> list[float]:
    gains = np.array([row[way] - row[over] for row in rows])
    interval = crossed_interval(gains, [r["origin"] for r in rows], [r["network"] for r in rows], seed=0)
    return [_percent(each) for each in (gains.mean(), *interval)]


def _percent(fraction: Any) -> float:
    return round(100 * float(fraction), 2)


def _cell(values: Sequence[float]) -> str:
    return f"{values[0]:+.1f} ({values[1]:+.1f} to {values[2]:+.1f})"


if __name__ == "__main__":
    main()
