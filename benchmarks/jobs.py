"""A few jobs on one task, on design points: where the next one runs and which is kept, by harvested curves and plainly.

    python -m benchmarks.jobs WAREHOUSE [--output FOLDER] [--json FILE]

Replays jobs that were harvested. Cells of a network and a fold of origins are held out: the rule and the curves are
those of other networks and origins. The first job runs at the harvested scale nearest to the rule's, others at whole
octaves from it; beyond what was run it is the last scale again. A job's validation accuracy and training loss are
seen, and the mean test accuracy after 1, 2, 3, 5 and 11 jobs is told: by harvested curves, by the plain search
(octaves 0, -1, +1, -2, +2 … and the highest validation accuracy), and by that in random order. Once with the validation
images that the points have, which are few, and once with a half of the test images in their place, where the other half
is scored. The last table has what it costs and saves to stop early. Intervals are of origins and networks drawn at
once. Writes FOLDER/curves.json, the curves of all points from where FOLDER/rule.json puts them. Ends in one line of
JSON.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rule import MIN_STEPS, is_long, read_points, rule_of
from scalepred.predictor import nested
from scalepred.predictor.curves import Curves, curves_of, save_curves
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.points import Point, of_one_collection
from scalepred.predictor.rule import Rule, kind_of, load_rule
from scalepred.predictor.search import PAYS, REACH, Tried, believe, best_of, expected_gains, prior_of

JOBS = (1, 2, 3, 5, 11)
FIRST = int(np.flatnonzero(REACH == 0)[0])
PLAIN = (0, *(sign * octave for octave in range(1, 6) for sign in (-1, 1)))
"""Octaves of the plain search, in this order."""

DRAWS = 5
"""Random orders of each point that are averaged over."""

CURVES, SEARCH, RANDOM = "harvested curves", "plain search", "random order"
THRESHOLDS = (0.0, 0.001, 0.002, 0.005, 0.01)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A point whose jobs are replayed; places are octaves from its first job.

    Attributes:
        point: itself.
        octaves: (m,) places from the rule's scale.
        val_accuracies, losses, test_accuracies: (m,) of the job at each place; the first two NaN where it diverged.
        n_val: images that are seen.
    """

    point: Point
    octaves: np.ndarray
    val_accuracies: np.ndarray
    losses: np.ndarray
    test_accuracies: np.ndarray
    n_val: int

    def tried(self, at: int) -> Tried:
        """Return what the job at a place showed."""
        accuracy, loss = float(self.val_accuracies[at]), float(self.losses[at])
        return Tried(at, None, None) if math.isnan(accuracy) else Tried(at, accuracy, loss)


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The test accuracy that is reached after 1 to 11 jobs, and what the next job was expected to gain after each."""

    accuracies: np.ndarray
    gains: np.ndarray

    def stopped(self, threshold: float) -> tuple[np.ndarray, int]:
        """Return the accuracies, (11,), and the jobs, where it stops once less than this is expected to be gained."""
        few = np.flatnonzero(self.gains < threshold)
        n = int(few[0]) + 1 if len(few) else len(self.accuracies)
        return np.where(np.arange(len(self.accuracies)) < n, self.accuracies, self.accuracies[n - 1]), n


def main() -> None:
    """Replay, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--output", type=Path, help="folder that has rule.json, to write curves.json to")
    parser.add_argument("--json", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    points = read_points(arguments.warehouse)
    line = json.dumps(run(points))
    if arguments.output:
        save_curves(curves_of(points, load_rule(arguments.output)), arguments.output)
    if arguments.json:
        arguments.json.write_text(line + "\n", encoding="utf-8")
    print(line)


def run(points: Sequence[Point]) -> dict[str, Any]:
    """Print both tables and return what they hold."""
    started = time.perf_counter()
    judged = [point for point in of_one_collection(points) if point.jobs is not None and point.jobs.n_val]
    found: dict[str, Any] = {"benchmark": "jobs", "n_points": len(judged), "rows": [], "stops": []}
    learnt = learn(judged)
    for words, half in (("their own validation images", False), ("half of the test images", True)):
        rng = np.random.default_rng(0)
        trials = [trial(point, *of_point, rng=rng, half=half) for point, of_point in zip(judged, learnt, strict=True)]
        n_val = [each.n_val for each in trials]
        print(f"\nchosen by {words}: {np.median(n_val):.0f} in the median ({min(n_val)} to {max(n_val)})\n")
        replayed = [by_curves(each, curves) for each, (_, curves) in zip(trials, learnt, strict=True)]
        plain = np.array([by_order(each, PLAIN) for each in trials])
        random = np.array([in_random_order(each, rng) for each in trials])
        found["rows"] += show_rows(words, judged, replayed, {SEARCH: plain, RANDOM: random})
        found["stops"] += show_stops(words, judged, replayed)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def learn(points: Sequence[Point]) -> list[tuple[Rule, Curves]]:
    """Return for each point the rule and the curves of all points of other networks and other folds of origins."""
    cells = nested.cells_of(points)
    by_cell = {}
    for cell in cells.ids:
        is_seen = cells.seen(cell)
        seen = [point for point, counts in zip(points, is_seen, strict=True) if counts]
        rule = rule_of(seen, MIN_STEPS)
        by_cell[cell] = (rule, curves_of(seen, rule))
    return [by_cell[int(a), int(b)] for a, b in zip(cells.outer, cells.folds, strict=True)]


def trial(point: Point, rule: Rule, curves: Curves, *, rng: np.random.Generator, half: bool) -> Trial:
    """Return a point's jobs at whole octaves from the harvested scale that is nearest to the rule's.

    Args:
        point: with its jobs.
        rule: of other networks and origins; where it can't tell, the first job runs at scale 1.
        curves: of the same.
        rng: draws the half of the test images.
        half: half of the test images take the place of the validation images, and the other half is scored.
    """
    assert point.jobs is not None
    jobs, place = point.jobs, rule.bounded_log2_scale(point.facts, point.recipe) or 0.0
    n = jobs.right.shape[1]
    order = rng.permutation(n)
    scored = order[n // 2 :] if half else order
    ran = ~np.isnan(jobs.losses)
    seen = np.where(ran, jobs.right[:, order[: n // 2]].mean(axis=1), np.nan) if half else jobs.val_accuracies
    nearest = int(np.abs(point.log2_scales - place).argmin())
    at = np.clip(nearest + REACH.astype(int), 0, len(point.log2_scales) - 1)
    return Trial(
        point=point,
        octaves=point.log2_scales[nearest] - place + REACH,
        val_accuracies=seen[at],
        losses=jobs.losses[at],
        test_accuracies=jobs.right[:, scored].mean(axis=1)[at],
        n_val=n // 2 if half else jobs.n_val,
    )


def by_curves(of: Trial, curves: Curves) -> Replayed:
    """Replay 11 jobs: the next runs where it is expected to gain most, the one of the best expected accuracy counts."""
    prior = prior_of(curves, kind_of(of.point.recipe), octaves=of.octaves, chance=of.point.chance, n_images=of.n_val)
    tried, accuracies, gains = [of.tried(FIRST)], [], []
    while len(accuracies) < JOBS[-1]:
        belief = believe(prior, tried)
        accuracies.append(of.test_accuracies[best_of(belief, tried)])
        expected = expected_gains(belief, tried)
        gains.append(expected.max())
        tried.append(of.tried(int(expected.argmax())))
    return Replayed(accuracies=np.array(accuracies), gains=np.array(gains))


def by_order(of: Trial, octaves: Sequence[int]) -> np.ndarray:
    """Return the test accuracy after 1 to 11 jobs in this order, (11,), by the highest validation accuracy so far."""
    at = FIRST + np.array(octaves[: JOBS[-1]])
    seen = np.nan_to_num(of.val_accuracies[at], nan=-1)
    return np.array([of.test_accuracies[at[int(seen[: k + 1].argmax())]] for k in range(len(at))])


def in_random_order(of: Trial, rng: np.random.Generator) -> np.ndarray:
    """Return the same, the rule's scale first and the others in random order, averaged over orders."""
    others = np.delete(REACH.astype(int), FIRST)
    return np.mean([by_order(of, [0, *rng.permutation(others)]) for _ in range(DRAWS)], axis=0)


def domains(points: Sequence[Point]) -> dict[str, np.ndarray]:
    """Return words -> points that are judged, (n,) bool."""
    adamw = np.array([point.recipe.optimizer == "adamw" for point in points])
    longer = np.array([is_long(point, MIN_STEPS) for point in points])
    return {"sgd": ~adamw, "adamw": adamw, f"{MIN_STEPS} steps or more": longer, "all": adamw | True}


def show_rows(
    words: str, points: Sequence[Point], replayed: Sequence[Replayed], others: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Print accuracies after some jobs, what curves gain over the plain search and over one job; return the rows."""
    stopped = [each.stopped(PAYS) for each in replayed]
    ways = {CURVES: np.array([accuracies for accuracies, _ in stopped])} | dict(others)
    done = np.array([n for _, n in stopped])
    print("| points | n | jobs | " + " | ".join(ways) + " | curves over plain | curves over one job | jobs run |")
    print("|---|---:|---:|" + "---:|" * (len(ways) + 3))
    rows = []
    for domain, counts in domains(points).items():
        some = [point for point, is_in in zip(points, counts, strict=True) if is_in]
        for k in JOBS:
            reached = {way: each[counts, k - 1] for way, each in ways.items()}
            row: dict[str, Any] = {"seen": words, "points": domain, "n": len(some), "jobs": k}
            row |= {way: _percent(each.mean()) for way, each in reached.items()}
            row["over_plain"] = told(reached[CURVES] - reached[SEARCH], some)
            row["over_one"] = told(reached[CURVES] - ways[CURVES][counts, 0], some)
            row["run"] = round(float(np.minimum(done[counts], k).mean()), 1)
            rows.append(row)
            cells = [f"{row[way]:.1f}" for way in ways] + [_gain(row["over_plain"]), _gain(row["over_one"])]
            print(f"| {domain} | {len(some)} | {k} | " + " | ".join(cells) + f" | {row['run']:.1f} |")
    return rows


def show_stops(words: str, points: Sequence[Point], replayed: Sequence[Replayed]) -> list[dict[str, Any]]:
    """Print what of 11 jobs is run and reached with several thresholds, and return it."""
    print("\n| stops below, points | jobs run | accuracy | against all 11 |\n|---:|---:|---:|---:|")
    rows = []
    whole = np.array([each.accuracies[-1] for each in replayed])
    for threshold in THRESHOLDS:
        stopped = [each.stopped(threshold) for each in replayed]
        reached = np.array([accuracies[-1] for accuracies, _ in stopped])
        row = {"seen": words, "threshold": threshold, "run": round(float(np.mean([n for _, n in stopped])), 1)}
        row |= {"accuracy": _percent(reached.mean()), "against_all": told(reached - whole, points)}
        rows.append(row)
        print(f"| {100 * threshold:.1f} | {row['run']} | {row['accuracy']} | {_gain(row['against_all'])} |")
    return rows


def told(gains: np.ndarray, points: Sequence[Point]) -> list[float]:
    """Return a mean gain and its interval over points, origins and networks drawn at once, in points of accuracy."""
    low, high = crossed_interval(gains, [p.origin for p in points], [p.source_id for p in points], seed=0)
    return [round(100 * float(each), 2) for each in (gains.mean(), low, high)]


def _percent(fraction: float) -> float:
    return round(100 * float(fraction), 2)


def _gain(values: Sequence[float]) -> str:
    gain, low, high = values
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
