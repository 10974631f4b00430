"""How far fixed scales and the best of each curve lie apart, where what chooses is never what is read.

A maximum of noisy accuracies looks better than it is. So the scale is chosen on one half of the test images and read on
the other. Where a curve has several seeds, it is also chosen on one half of them and read on the others, and on both at
once. All of it is crossed both ways, over random halves. Half of the images, or of the seeds, chooses worse than all of
them would. That bias is left, and is against whoever chooses most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.wide_curves import Curve
from scalepred.predictor.honest import crossed_interval
from scalepred.predictor.targets import TIE

N_SPLITS = 20

NAIVE, IMAGES, SEEDS, BOTH = "all of it", "the other half of the images", "other seeds", "both"
"""What a choice is read on: that which chose, or the other half of the images, other seeds, or both other halves."""

BASE, OTHERS = "scale 1", "best fixed rate of other origins and networks"
OWN, GROUP, BEST = "own group's, of other origins", "own group's, the curve itself included", "best of each curve"
NEAR = 1e-6
WAYS = (BASE, OTHERS, OWN, GROUP, BEST)
"""Ways to choose; a group is a network with a kind of recipe. All but scale 1 choose by accuracies."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What every way reaches on each curve.

    Attributes:
        curves: n of them.
        of: way -> (n,) float64, accuracies.
    """

    curves: Sequence[Curve]
    of: dict[str, np.ndarray]

    def gain(self, way: str, over: str) -> tuple[float, float, float]:
        """Return the mean gain of a way over another, and its interval over origins and networks at once."""
        gains = self.of[way] - self.of[over]
        origins, networks = [curve.origin for curve in self.curves], [curve.network for curve in self.curves]
        low, high = crossed_interval(gains, origins, networks, seed=0)
        return float(gains.mean()), low, high


def read_on(curves: Sequence[Curve], what: str, *, n_splits: int = N_SPLITS, seed: int = 0) -> Reading:
    """Return what every way reaches, read on what did not choose.

    Args:
        curves: to read; of two seeds or more where seeds choose.
        what: one of ``NAIVE``, ``IMAGES``, ``SEEDS`` and ``BOTH``.
        n_splits: random halves to average over, each crossed.
        seed: of the halves.
    """
    rng = np.random.default_rng(seed)
    masks, rates = _masks(curves), _rates(curves)
    at_base = np.array([np.abs(rates - curve.base_log2_rate).argmin() for curve in curves])
    was_run = np.array([(rates > c.log2_rates[0] - NEAR) & (rates < c.log2_rates[-1] + NEAR) for c in curves])
    sums = {way: np.zeros(len(curves)) for way in WAYS}
    n_readings = 0
    for _ in range(1 if what == NAIVE else n_splits):
        parts = [halves(curve, what, rng) for curve in curves]
        for choosing, reading in ((0, 1), (1, 0)):
            chooses, reads = (
                np.array([_at(curve, rates, pair[side]) for curve, pair in zip(curves, parts, strict=True)])
                for side in (choosing, reading)
            )
            sums[BASE] += reads[np.arange(len(curves)), at_base]
            for way, mask in masks.items():
                sums[way] += _read_at_fixed(mask, chooses, reads)
            sums[BEST] += read_at_best(np.where(was_run, chooses, -1.0), reads)
            n_readings += 1
    return Reading(curves=curves, of={way: total / n_readings for way, total in sums.items()})


def halves(curve: Curve, what: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the accuracies (s,) on two parts of a curve's outcomes that have no outcome in common, but for NAIVE."""
    _, n_seeds, n_images = curve.right.shape
    seeds, images = rng.permutation(n_seeds), rng.permutation(n_images)
    whole_seeds, whole_images = (seeds, seeds), (images, images)
    half_seeds = seeds[: n_seeds // 2], seeds[n_seeds // 2 :]
    half_images = images[: n_images // 2], images[n_images // 2 :]
    of_seeds = half_seeds if what in (SEEDS, BOTH) else whole_seeds
    of_images = half_images if what in (IMAGES, BOTH) else whole_images
    first, second = (
        curve.right[:, each][:, :, some].mean(axis=(1, 2)) for each, some in zip(of_seeds, of_images, strict=True)
    )
    return first, second


def _rates(curves: Sequence[Curve]) -> np.ndarray:
    """Return (c,) the log2 rates that any curve was run at, and those of scale 1, ascending."""
    return np.unique(np.round(np.concatenate([[curve.base_log2_rate, *curve.log2_rates] for curve in curves]), 6))


def _at(curve: Curve, rates: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Return (c,) a curve's accuracies at rates: between those that were run by log2, and beyond as a point has it."""
    inside = np.interp(rates, curve.log2_rates, accuracies)
    return np.where((rates > curve.log2_rates[-1] + NEAR) & curve.diverges, curve.chance, inside)


def _masks(curves: Sequence[Curve]) -> dict[str, np.ndarray]:
    """Return way -> (n, n) which curves choose a fixed rate for each.

    Where there are none of other networks, it is those of other origins; where there are none of these, its own.
    """
    origin, network, kind, group = (
        np.array([getattr(curve, name) for curve in curves]) for name in ("origin", "network", "kind", "group")
    )
    alike, foreign = kind[:, None] == kind, origin[:, None] != origin
    others = _or_else(alike & foreign & (network[:, None] != network), alike & foreign)
    same = group[:, None] == group
    return {
        OTHERS: _or_else(others, same),
        OWN: _or_else(same & foreign, others, same),
        GROUP: same,
    }


def _or_else(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Return a mask whose empty rows are those of the next one."""
    for other in others:
        first = np.where(first.any(axis=1)[:, None], first, other)
    return first


def _read_at_fixed(mask: np.ndarray, chooses: np.ndarray, reads: np.ndarray) -> np.ndarray:
    """Return (n,) what is read at the fixed rates that are best for the curves of a mask's rows."""
    return read_at_best((mask @ chooses) / mask.sum(axis=1, keepdims=True), reads)


def read_at_best(scores: np.ndarray, reads: np.ndarray) -> np.ndarray:
    """Return (n,) what is read, of (n, c), where the scores of a row are highest; rates that tie share."""
    tied = scores >= scores.max(axis=1, keepdims=True) - TIE
    return np.asarray((reads * tied).sum(axis=1) / tied.sum(axis=1))


def lost_within(curve: Curve, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how much the best of some scales lies below the best of all, (2 ``N_SPLITS``,), over random halves.

    Both are chosen on one half of the images and read on the other, both ways.

    Args:
        curve: of s scales.
        allowed: (s,) bool, those scales.
        rng: draws the halves.
    """
    lost = []
    for _ in range(N_SPLITS):
        first, second = halves(curve, IMAGES, rng)
        for chooses, reads in ((first, second), (second, first)):
            scores = np.array([chooses, np.where(allowed, chooses, -1.0)])
            of_all, of_some = read_at_best(scores, np.array([reads, reads]))
            lost.append(of_all - of_some)
    return np.array(lost)


# --- words ------------------------------------------------------------------------------------------------------------

HALVES = (
    "| scale by | n | chosen and read on all | read on the other half | over scale 1 | over others' fixed rate "
    "| over own group's, of other origins |\n|---|---:|---:|---:|---:|---:|---:|"
)


def halves_rows(curves: Sequence[Curve]) -> Iterator[str]:
    """Yield what each way reaches, read naively and on the other half of the images; gains are of the latter."""
    if not curves:
        return
    naive, honest = (read_on(curves, what) for what in (NAIVE, IMAGES))
    for way in WAYS:
        gains = " | ".join(in_points(honest.gain(way, over)) for over in (BASE, OTHERS, OWN))
        means = " | ".join(f"{100 * reading.of[way].mean():.1f}" for reading in (naive, honest))
        yield f"| {way} | {len(curves)} | {means} | {gains} |"


REPEATS = (
    "| curves | n | read on | own group's fixed rate, of other origins | best of each curve | what that gains "
    "|\n|---|---:|---|---:|---:|---:|"
)


def repeat_rows(name: str, curves: Sequence[Curve]) -> Iterator[str]:
    """Yield what the best of each curve gains over its group's fixed rate, read on more and more that did not choose.

    Args:
        name: of the curves.
        curves: of two seeds or more.
    """
    for what in (NAIVE, IMAGES, SEEDS, BOTH) if curves else ():
        reading = read_on(curves, what)
        means = " | ".join(f"{100 * reading.of[way].mean():.1f}" for way in (OWN, BEST))
        yield f"| {name} | {len(curves)} | {what} | {means} | {in_points(reading.gain(BEST, OWN))} |"


def in_points(gain: Sequence[float]) -> str:
    """Return a mean and its interval, in points."""
    mean, low, high = (100 * value for value in gain)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
