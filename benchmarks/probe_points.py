"""The linear probe beside design points: whether any recipe of the wide harvest is above it, by size and network.

    python -m benchmarks.probe_points WAREHOUSE [--suite SUITE] [--probes FILE.jsonl] [--seconds N] [--part I/N]

Each design point is a task, a network and a random recipe at octaves of scale. The finetune is read at the scale that
is best on one half of its test images, on the other half: what a job would reach if its scale were known. The probe,
of all stages and of penultimate features alone, is fitted to the same training images at the same size. With
``--suite`` it is measured for each task, network and size that FILE lacks, one line for each; after so many seconds no
further one is begun, and ``--part 1/2`` takes every second one. Without it the lines that are there are told.

Gains are paired by point, in points, with 95 % intervals for which origins and networks are drawn at once. Ends in one
line of JSON.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.probes import CLEARLY, Key, argument_parser, measure, read_probes, told, words_of
from benchmarks.range_test import bundle_of
from benchmarks.rule import read_points
from scalepred.networks.source import Source
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.points import Point, of_one_collection

PROBES = Path(__file__).resolve().parent / "results" / "probe_points.jsonl"
SIZES = ((0, 40), (41, 120), (121, 300), (301, 10**9))
"""Fewest and most training images of the points that are told together."""

IMAGENET = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
KINDS: dict[str, Callable[[Point], bool]] = {
    "ImageNet's": lambda point: point.source in IMAGENET,
    "trained on our domains": lambda point: point.source not in IMAGENET,
}
"""Networks that are told together."""


def main() -> None:
    """Measure what is lacking, if asked to, and tell."""
    arguments = argument_parser(__doc__, PROBES).parse_args()
    points = [point for point in of_one_collection(read_points(arguments.warehouse)) if point.has_test]
    if arguments.suite is not None:
        sources: dict[str, Source] = {}
        first = list({key_of(point): point for point in points}.values())
        mixed = [first[at] for at in np.random.default_rng(0).permutation(len(first))]  # so that any prefix is balanced
        measure(mixed, key_of, lambda point: bundle_of(point, arguments.suite, sources), arguments)
    print(json.dumps({"benchmark": "probe_points", "rows": tell(points, read_probes(arguments.probes))}))


def key_of(point: Point) -> Key:
    """Return what a point's probe depends on."""
    return point.task_id, point.source_id, point.recipe.image_px


# --- what is told -----------------------------------------------------------------------------------------------------


def tell(points: Sequence[Point], probes: Mapping[Key, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print a table, and return its rows.

    Args:
        points: with test images.
        probes: key of a point -> its line.
    """
    print(
        "| networks | training images | points (origins, networks) | linear probe | finetune at its own best scale "
        "| over the probe | two points above, below | the probe, over that of penultimate features |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    rows = []
    for kind, is_of in KINDS.items():
        some = [point for point in points if is_of(point) and key_of(point) in probes]
        for low, high in ((0, 10**9), *SIZES):
            members = [point for point in some if low <= point.n_train <= high]
            if len({point.origin for point in members}) > 1:
                row = row_of(members, probes)
                rows.append({"networks": kind, "n_train": [low, high] if (low, high) in SIZES else None} | row)
                print(f"| {kind} | {words_of(low, high)} | {_cells(row)} |")
    return rows


def row_of(points: Sequence[Point], probes: Mapping[Key, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a row's values, in per cent and points."""
    probe, last = (np.array([probes[key_of(point)][what] for point in points]) for what in ("test", "penultimate"))
    finetune = np.array([point.honest_best for point in points])
    gains = finetune - probe
    return {
        "n": len(points),
        "n_origins": len({point.origin for point in points}),
        "n_networks": len({point.source for point in points}),
        "probe": round(100 * float(probe.mean()), 2),
        "finetune": round(100 * float(finetune.mean()), 2),
        "gain": _gain(gains, points),
        "above": round(float((gains > CLEARLY).mean()), 3),
        "below": round(float((gains < -CLEARLY).mean()), 3),
        "over_penultimate": _gain(probe - last, points),
    }


def _gain(gains: np.ndarray, points: Sequence[Point]) -> list[float]:
    """Return a mean and the ends of its interval, in points."""
    origins, networks = [point.origin for point in points], [point.source for point in points]
    return [
        round(100 * value, 2) for value in (float(gains.mean()), *crossed_interval(gains, origins, networks, seed=0))
    ]


def _cells(row: Mapping[str, Any]) -> str:
    counts = f"{row['n']} ({row['n_origins']}, {row['n_networks']})"
    shares = f"{row['above']:.0%}, {row['below']:.0%}"
    gain, over = (told(row[name]) for name in ("gain", "over_penultimate"))
    return " | ".join([counts, f"{row['probe']:.1f}", f"{row['finetune']:.1f}", gain, shares, over])


if __name__ == "__main__":
    main()
