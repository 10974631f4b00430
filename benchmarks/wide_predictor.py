"""What learning from design points gains over the rule's constant, where neither network nor origin was seen.

    python -m benchmarks.wide_predictor WAREHOUSE [--min-steps N] [--output FILE]

The metric is the mean test accuracy at the chosen scale. Cells of a network and a fold of origins are held out; a
point's models saw neither. What a formulation places is moved by the octaves that do best for points held out once more
inside, and "selected inside" takes the formulation that does best there. Prints the table for each optimizer, for all
points and for those of at least N steps; then the spread of the best place in each coordinate, the ablation of facts,
the learning curve, the paper's conjecture (images per label alone) and a control with permuted facts. Intervals are of
origins and networks drawn at once. Ends in one line of JSON.
"""

import argparse
import functools
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rule import BASE, MIN_STEPS, for_constants, is_long, read_points, select
from scalepred.predictor import nested
from scalepred.predictor.formulations import FORMULATIONS
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.placing import Fit, by_rule, placed_by
from scalepred.predictor.points import GOOD, Point
from scalepred.predictor.rule import DECLARED, fit_rule, kind_of
from scalepred.predictor.wide_table import WideTable, wide_table

FIXED = {"sgd": BASE, "adamw": BASE}
OPTIMIZERS = ("sgd", "adamw")

SCALE_1, RATE, DECLARED_RULE, SHIPPED = "scale 1", "best fixed rate", "the rule, declared", "the rule, as it ships"
SELECTED, OWN, NAIVE = "selected inside", "own network's best fixed rate (naive)", "best of each curve (biased)"
HONEST = "best of each curve, chosen on half of the images"

ABLATED = ("ridge on the place",)
"""Formulations of the ablation and of the control: 0.8 s of one core for each of six sets."""

CURVE = ("ridge on the place", "Gaussian process on the place")
"""Formulations of the learning curve."""

SHARES = (0.25, 0.5, 0.75)
DRAWS = 2

RECIPE = ("recipe_", "log2_steps", "log2_area", "log2_train", "log2_classes", "log2_images", "log2_scale", "z_rate")
CRITICAL = ("z_",)
MOVEMENT = ("movement_", "head_curvature")
SETS: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "recipe and counts alone, from the fixed rate": ((*RECIPE, "z_damped_rate"), FIXED),
    "+ critical rates, from the rule": ((*RECIPE, *CRITICAL), DECLARED),
    "+ movement": ((*RECIPE, *CRITICAL, *MOVEMENT), DECLARED),
    "images per label alone, from the fixed rate": (("log2_images_per_label",), FIXED),
}
"""Set of columns -> how their names begin, and the coordinates of the constants that are learnt on top of."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does on held-out points; accuracies are fractions."""

    points: str
    method: str
    n: int
    accuracy: float
    over_rate: float
    over_rate_interval: tuple[float, float]
    over_rule: float
    over_rule_interval: tuple[float, float]
    gap_closed: float
    worse_than_scale_1: float
    diverged: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Points, their table and cells, and which of them are long."""

    table: WideTable
    cells: nested.Cells
    is_long: np.ndarray
    min_steps: int

    @property
    def points(self) -> tuple[Point, ...]:
        """The points."""
        return self.table.points

    def lengths(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (words, points of that length), for all and for long ones."""
        yield "all", np.ones(len(self.points), bool)
        yield f"{self.min_steps} steps or more", self.is_long

    def domains(self, words: str, counts: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (words, points that are judged), for each optimizer that has points of a length."""
        optimizers = np.array([point.recipe.optimizer for point in self.points])
        for optimizer in OPTIMIZERS:
            if (judged := (optimizers == optimizer) & counts).any():
                yield f"{optimizer}, {words}", judged

    def all_domains(self) -> dict[str, np.ndarray]:
        """Return words -> points that are judged, (n,) bool."""
        return {words: judged for length in self.lengths() for words, judged in self.domains(*length)}

    def points_in(self, judged: np.ndarray) -> list[Point]:
        """Return the points that are judged."""
        return [point for point, is_in in zip(self.points, judged, strict=True) if is_in]


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--min-steps", type=int, default=MIN_STEPS)
    parser.add_argument("--output", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    line = json.dumps(run(read_points(arguments.warehouse), arguments.min_steps))
    if arguments.output:
        arguments.output.write_text(line + "\n", encoding="utf-8")
    print(line)


def run(points: Sequence[Point], min_steps: int) -> dict[str, Any]:
    """Print all tables and return what they hold."""
    started = time.perf_counter()
    bench = Bench(
        table=wide_table(points),
        cells=nested.cells_of(points),
        is_long=np.array([is_long(point, min_steps) for point in points]),
        min_steps=min_steps,
    )
    print(
        f"{len(points)} points of {len({p.origin for p in points})} origins on {len({p.source_id for p in points})} "
        f"networks, {int(bench.is_long.sum())} of at least {min_steps} steps; {len(bench.cells.ids)} cells\n"
    )
    rivals = rival_places(bench)
    held_out = {name: nested.place_held_out(fit, bench.table, bench.cells) for name, fit in FORMULATIONS.items()}
    held_out |= {f"{a} + {b}": nested.average(held_out[a], held_out[b]) for a, b in itertools.combinations(held_out, 2)}
    held_out = {"a constant on the rule": nested.place_held_out(by_rule(DECLARED), bench.table, bench.cells)} | held_out
    rows = show_rows(bench, rivals, held_out)
    found: dict[str, Any] = {"benchmark": "wide_predictor", "n_points": len(points), "min_steps": min_steps}
    found |= {"rows": [as_json(row) for row in rows], "spread": show_spread(bench)}
    found |= {"conjecture": show_conjecture(bench), "permuted": show_permuted(bench, rivals)}
    found |= {"sets": show_sets(bench, rivals, held_out), "curve": show_curve(bench, rivals, held_out)}
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


# --- the table --------------------------------------------------------------------------------------------------------


def rival_places(bench: Bench) -> dict[str, np.ndarray]:
    """Return the rivals' log2 scales: name -> (n,)."""

    def ships(table: WideTable) -> Any:
        longer = for_constants(table.points, bench.min_steps)
        return placed_by(fit_rule(longer, select(table.points, bench.min_steps)))

    def outside(fit: Fit) -> np.ndarray:
        return nested.place_outside(fit, bench.table, bench.cells)

    return {
        SCALE_1: np.zeros(len(bench.points)),
        RATE: outside(by_rule(FIXED)),
        DECLARED_RULE: outside(by_rule(DECLARED)),
        SHIPPED: outside(ships),
        OWN: own_rate(bench.table),
        NAIVE: np.array([point.best_log2_scale for point in bench.points]),
    }


def own_rate(table: WideTable) -> np.ndarray:
    """Return the best fixed rate of each point's own network and kind of recipe, itself included, as log2 scales."""
    groups = np.array([f"{point.source_id} {kind_of(point.recipe)}" for point in table.points])
    places = np.zeros(len(groups))
    for group in set(groups):
        rows = np.flatnonzero(groups == group)
        places[rows] = by_rule(FIXED)(table.rows(rows))(table.rows(rows))
    return places


def show_rows(bench: Bench, rivals: Mapping[str, np.ndarray], held_out: Mapping[str, nested.HeldOut]) -> list[Row]:
    """Print the table of all ways of choosing, and return its rows."""
    print(
        "| points | scale by | n | accuracy | over the best fixed rate | over the rule | gap closed "
        "| worse than scale 1 | diverged |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    rows = []
    for length, counts in bench.lengths():
        chosen = {name: nested.choose(each, bench.table, bench.cells, counts=counts) for name, each in held_out.items()}
        places = dict(rivals) | {name: each.log2_scales for name, each in chosen.items()}
        places[SELECTED] = nested.select(list(chosen.values()))
        for words, judged in bench.domains(length, counts):
            rows += judge(bench, words, judged, places)
    for row in rows:
        print(
            f"| {row.points} | {row.method} | {row.n} | {100 * row.accuracy:.1f} | "
            f"{_gain(row.over_rate, row.over_rate_interval)} | {_gain(row.over_rule, row.over_rule_interval)} | "
            f"{row.gap_closed:.0%} | {row.worse_than_scale_1:.0%} | {row.diverged:.0%} |"
        )
    return rows


def judge(bench: Bench, words: str, judged: np.ndarray, places: Mapping[str, np.ndarray]) -> list[Row]:
    """Return a row for each way of choosing, on the points that are judged."""
    points = bench.points_in(judged)
    accuracies = {name: nested.accuracies_at(points, each[judged]) for name, each in places.items()}
    diverged = {
        name: np.mean([point.diverges_at(scale) for point, scale in zip(points, each[judged], strict=True)])
        for name, each in places.items()
    }
    accuracies[HONEST] = np.array([point.honest_best for point in points])
    gap = float((accuracies[HONEST] - accuracies[RATE]).mean())
    rows = []
    for method, of_points in accuracies.items():
        over_rate, over_rule = of_points - accuracies[RATE], of_points - accuracies[SHIPPED]
        rows.append(
            Row(
                points=words,
                method=method,
                n=len(points),
                accuracy=float(of_points.mean()),
                over_rate=float(over_rate.mean()),
                over_rate_interval=interval(over_rate, points),
                over_rule=float(over_rule.mean()),
                over_rule_interval=interval(over_rule, points),
                gap_closed=float(over_rate.mean()) / gap,
                worse_than_scale_1=float((of_points < accuracies[SCALE_1] - GOOD).mean()),
                diverged=float(diverged.get(method, 0.0)),
            )
        )
    return rows


def interval(values: np.ndarray, points: Sequence[Point]) -> tuple[float, float]:
    """Return the interval of a mean over points, origins and networks drawn at once."""
    return crossed_interval(values, [p.origin for p in points], [p.source_id for p in points], seed=0)


# --- what the points say ----------------------------------------------------------------------------------------------


def show_spread(bench: Bench) -> dict[str, dict[str, float | None]]:
    """Print the standard deviation of the best place in each coordinate that is known, in octaves, and return it."""
    spread: dict[str, dict[str, float | None]] = {}
    for words, judged in bench.all_domains().items():
        at_best = bench.table.coordinates[judged] + bench.table.places[judged, None]
        told = [column[~np.isnan(column)] for column in at_best.T]
        deviations = [round(float(np.std(each)), 2) if len(each) else None for each in told]
        spread[words] = dict(zip(bench.table.coordinate_names, deviations, strict=True))
    print("\n| best place by | " + " | ".join(spread) + " |\n|---|" + "---:|" * len(spread))
    for name in bench.table.coordinate_names:
        print(f"| {name} | " + " | ".join(str(of_domain[name] or "") for of_domain in spread.values()) + " |")
    return spread


def show_conjecture(bench: Bench) -> dict[str, list[float]]:
    """Print the rank correlation of images per label with the best rate, with its interval, and return both."""
    found: dict[str, list[float]] = {}
    for words, judged in bench.all_domains().items():
        points = bench.points_in(judged)
        rates = _ranks(bench.table.places[judged] + np.log2([point.recipe.base_lr for point in points]))
        products = _ranks(np.array([point.n_train * point.chance for point in points])) * rates
        low, high = interval(products, points)
        found[words] = [round(float(each), 3) for each in (products.mean(), low, high)]
        print(f"\nimages per label and best rate, {words}: {products.mean():+.2f} ({low:+.2f} to {high:+.2f})", end="")
    print()
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks with mean 0 and variance 1, so that the mean of products is Spearman's correlation."""
    ranks = np.array([(values < value).mean() + (values <= value).mean() for value in values])
    deviations: np.ndarray = ranks - ranks.mean()
    return deviations / max(float(deviations.std()), 1e-12)


# --- learning on less -------------------------------------------------------------------------------------------------


def gains(bench: Bench, rivals: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Return domain -> the gain over the rule that ships and its interval, in points."""
    found: dict[str, list[float]] = {}
    for words, judged in bench.all_domains().items():
        points = bench.points_in(judged)
        over = nested.accuracies_at(points, places[words][judged])
        over -= nested.accuracies_at(points, rivals[SHIPPED][judged])
        found[words] = [round(100 * float(each), 2) for each in (over.mean(), *interval(over, points))]
    return found


def chosen_by(fit: Fit, bench: Bench, *, usable: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return domain -> (n,) log2 scales that a formulation chooses."""
    held_out = nested.place_held_out(fit, bench.table, bench.cells, usable=usable)
    return chosen_in(held_out, bench)


def chosen_in(held_out: nested.HeldOut, bench: Bench) -> dict[str, np.ndarray]:
    """Return domain -> (n,) log2 scales, by places that are held out."""
    found = {}
    for length, counts in bench.lengths():
        chosen = nested.choose(held_out, bench.table, bench.cells, counts=counts).log2_scales
        found |= dict.fromkeys((words for words, _ in bench.domains(length, counts)), chosen)
    return found


def show_sets(
    bench: Bench, rivals: Mapping[str, np.ndarray], held_out: Mapping[str, nested.HeldOut]
) -> dict[str, dict[str, list[float]]]:
    """Print what sets of columns gain over the rule that ships, by formulation, and return it."""
    found: dict[str, dict[str, list[float]]] = {}
    for (words, (begins, start)), name in itertools.product(SETS.items(), ABLATED):
        names = [c for c in (*bench.table.fact_names, *bench.table.coordinate_names) if c.startswith(begins)]
        part = replace(bench, table=bench.table.columns(names))
        fit = functools.partial(FORMULATIONS[name], start=start)
        found[f"{words}; {name}"] = gains(bench, rivals, chosen_by(fit, part))
    found |= {f"all of the start; {name}": gains(bench, rivals, chosen_in(held_out[name], bench)) for name in ABLATED}
    _print_gains("learnt from", found)
    return found


def show_permuted(bench: Bench, rivals: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Print what is gained with the facts of other points, and return it."""
    order = np.random.default_rng(0).permutation(len(bench.points))
    table = replace(bench.table, facts=bench.table.facts[order], coordinates=bench.table.coordinates[order])
    mixed = replace(bench, table=table)
    found = {name: gains(bench, rivals, chosen_by(FORMULATIONS[name], mixed)) for name in ABLATED}
    _print_gains("with permuted facts", found)
    return found


def show_curve(
    bench: Bench, rivals: Mapping[str, np.ndarray], held_out: Mapping[str, nested.HeldOut]
) -> dict[str, dict[str, list[float]]]:
    """Print what is gained by shares of the points, and by twice as many if it goes on so, and return it."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in CURVE:
        whole = gains(bench, rivals, chosen_in(held_out[name], bench))
        by_share: list[dict[str, list[float]]] = []
        for share in SHARES:
            draws = [gains(bench, rivals, _chosen_of(name, bench, share, seed)) for seed in range(DRAWS)]
            mean = {words: np.mean([draw[words] for draw in draws], axis=0).round(2).tolist() for words in whole}
            found[f"{name}, {share:.0%} of the points"] = mean
            by_share.append(mean)
        found[f"{name}, all points"] = whole
        octaves = np.log2([*SHARES, 1.0])
        for words in whole:
            slope = np.polyfit(octaves, [each[words][0] for each in (*by_share, whole)], 1)[0]
            print(f"\n{name}, {words}: {slope:+.2f} points for twice as many", end="")
            found.setdefault(f"{name}, for twice as many", {})[words] = [round(float(slope), 2)]
    print()
    _print_gains("learnt from", {words: each for words, each in found.items() if "twice" not in words})
    return found


def _chosen_of(name: str, bench: Bench, share: float, seed: int) -> dict[str, np.ndarray]:
    usable = np.random.default_rng(seed).random(len(bench.points)) < share
    return chosen_by(FORMULATIONS[name], bench, usable=usable)


def _print_gains(title: str, found: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    domains = list(next(iter(found.values())))
    print(f"\n| {title} | " + " | ".join(domains) + " |\n|---|" + "---:|" * len(domains))
    for words, of_domain in found.items():
        cells = [f"{gain:+.1f} ({low:+.1f} to {high:+.1f})" for gain, low, high in of_domain.values()]
        print(f"| {words} | " + " | ".join(cells) + " |")


def _gain(gain: float, bounds: tuple[float, float]) -> str:
    low, high = (100 * bound for bound in bounds)
    return f"{100 * gain:+.1f} ({low:+.1f} to {high:+.1f})"


def as_json(row: Row) -> dict[str, Any]:
    """Return a row's JSON values, rounded."""

    def rounded(value: Any) -> Any:
        if isinstance(value, tuple):
            return [rounded(each) for each in value]
        return round(value, 4) if isinstance(value, float) else value

    return {name: rounded(value) for name, value in asdict(row).items()}


if __name__ == "__main__":
    main()
