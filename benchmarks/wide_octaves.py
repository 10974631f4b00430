"""What steps of an octave miss: the grid's scales between octaves, judged where both were run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.wide_curves import Curve, Grid, grid_curves
from benchmarks.wide_halves import in_points, lost_within
from scalepred.predictor.honest import bootstrap_interval, crossed_interval
from scalepred.records import DONE, RunRecord

OCTAVES = (0.25, 0.5, 1.0, 2.0, 4.0)
BETWEEN = (1.5, 2.5, 3.0)
"""The grid's scales that lie between octaves, in the same range."""

MISS = 0.01


def octaves_miss(grids: Sequence[Grid]) -> dict[str, Any]:
    """Return what is lost where only octaves are run: chosen on validation, scored on test, by means of seeds."""
    lost, naive, origins = [], [], []
    for grid in grids:
        if not all(scale in grid.runs for scale in OCTAVES + BETWEEN) or not (grid.task.n_val and grid.task.n_test):
            continue
        val = {scale: _mean(grid.runs[scale], "val_accuracy", grid) for scale in OCTAVES + BETWEEN}
        test = {scale: _mean(grid.runs[scale], "test_accuracy", grid) for scale in OCTAVES + BETWEEN}
        lost.append(_chosen(val, test, OCTAVES + BETWEEN) - _chosen(val, test, OCTAVES))
        naive.append(max(test.values()) - max(test[scale] for scale in OCTAVES))
        origins.append(grid.task.origin)
    if not lost:
        return {"n": 0}
    interval = bootstrap_interval(np.array(lost), origins, lambda drawn: float(drawn.mean()), seed=0)
    return {
        "n": len(lost),
        "lost": float(np.mean(lost)),
        "interval": list(interval),
        "naive_misses": float(np.mean(np.array(naive) > MISS)),
    }


def octaves_on_halves(grids: Sequence[Grid]) -> dict[str, Any]:
    """Return how often octaves miss more than a point, read on the half of the images that did not choose.

    Noise alone makes a scale between octaves look better by more than a point, and worse as often. So the share of
    halves where octaves lose more than a point is told beside that where they win more: what is beyond it is no noise.
    """
    curves = grid_curves(grids, sorted(OCTAVES + BETWEEN))
    if not curves:
        return {"n": 0}
    rng = np.random.default_rng(0)
    found = np.array([_on_halves(curve, rng) for curve in curves])
    origins, networks = [curve.origin for curve in curves], [curve.network for curve in curves]
    figures = {
        name: [float(values.mean()), *crossed_interval(values, origins, networks, seed=0)]
        for name, values in zip(("lost", "misses", "wins"), found.T, strict=True)
    }
    beyond = found[:, 1] - found[:, 2]
    return {
        "n": len(curves),
        **figures,
        "beyond_noise": [float(beyond.mean()), *crossed_interval(beyond, origins, networks, seed=0)],
    }


def _on_halves(curve: Curve, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return what octaves lose in the mean of all halves, and the shares of halves where they lose or win a point."""
    is_octave = np.array([scale in OCTAVES for scale in sorted(OCTAVES + BETWEEN)])
    values = lost_within(curve, is_octave, rng)
    return float(values.mean()), float((values > MISS).mean()), float((values < -MISS).mean())


def octave_words(octaves: Mapping[str, Any], on_halves: Mapping[str, Any]) -> str:
    """Return what octaves miss, in words."""
    if not octaves["n"]:
        return "No grid has scales between octaves.\n"
    lost, low, high = (100 * value for value in (octaves["lost"], *octaves["interval"]))
    (more, *_), (less, *_), beyond = (on_halves[name] for name in ("misses", "wins", "beyond_noise"))
    return (
        f"Octaves alone against the scales between them too, {OCTAVES[0]:g} to {OCTAVES[-1]:g}, chosen on validation "
        f"and scored on test: {lost:.2f} points are lost ({low:+.2f} to {high:+.2f}, n = {octaves['n']} grids). On "
        f"{octaves['naive_misses']:.0%} of grids the best test accuracy lies between octaves by more than a point: "
        "what chance alone gives a maximum of eight over one of five is in it. Chosen on one half of the test images "
        f"and read on the other, scales between octaves gain {in_points(on_halves['lost'])} points (n = "
        f"{on_halves['n']} grids), more than one on {more:.0%} of halves, and lose more than one on {less:.0%}. Noise "
        f"does both alike; what is beyond it is {in_points(beyond)} in a hundred.\n"
    )


def _chosen(val: Mapping[float, float], test: Mapping[float, float], scales: Sequence[float]) -> float:
    """Return the mean test accuracy of the scales that tie for the best on validation."""
    best = max(val[scale] for scale in scales)
    return float(np.mean([test[scale] for scale in scales if val[scale] == best]))


def _mean(runs: Sequence[RunRecord], field: str, grid: Grid) -> float:
    """Return the mean accuracy of seeds; one that diverged counts as chance."""
    values = [getattr(run, field) if run.status == DONE else 1 / grid.task.n_classes for run in runs]
    return float(np.mean(values))
