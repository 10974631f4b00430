"""Monotone or not: how many curves of accuracy by scale have more than one hump, beyond what noise alone makes.

A curve has one hump if it rises to its best scale and falls from there. A dip is a scale that is worse than one below
it and one above it. The depth of a dip is the lesser of the two differences, each divided by the noise of its two
scales, and a curve's statistic is its deepest dip.

The noise is that of seeds: what a task's runs of the same scale differ by on the same test images. For a curve of one
hump, whatever its form, a dip is never deeper than the greatest difference of the noise alone between a scale within
the grid and another one on the same side of the hump. So the 95 % quantile of that difference, drawn from the residuals
of tasks with several seeds, holds false alarms to 5 % for any curve of one hump (`critical_depth`).

Source: Dube et al. 2018, section 4.2 ("accuracy alternates between increase and decrease cycles") and section 2.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.paper.grids import Grids, Rows, read_grids
from benchmarks.paper.report import Report, percent, table
from scalepred.predictor.targets import accuracy_noise

NAME = "humps"
LEVEL = 0.05
N_DRAWS = 4000
LEAST_SPREAD = 1e-9
FEWEST = 10
"""Tasks with several seeds that a noise is told from."""
DIPS = (0.05, 0.10, 0.20)
"""Depths for which is told how often they would be found, fractions."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What seeds do to a group's curves.

    Attributes:
        residuals: m arrays (n_seeds, s): a task's runs minus their mean, in units of the task's own noise, and made
            larger for the mean that was taken from them.
        spreads: (s,) their root mean square at each scale.
    """

    residuals: tuple[np.ndarray, ...]
    spreads: np.ndarray

    def draw(self, n: int, *, n_seeds: int = 1, rng: np.random.Generator) -> np.ndarray:
        """Return (n, s) curves of noise alone, each the mean of ``n_seeds`` runs of one task, drawn by scale."""
        curves = []
        for at in rng.integers(len(self.residuals), size=n):
            some = self.residuals[at]
            picked = rng.integers(len(some), size=(n_seeds, some.shape[1]))
            curves.append(some[picked, np.arange(some.shape[1])].mean(axis=0))
        return np.array(curves)


def noise_of(repeats: list[np.ndarray], units: np.ndarray) -> Noise:
    """Return the noise of m tasks.

    Args:
        repeats: m arrays (n_seeds, s) of accuracies, n_seeds at least 2.
        units: (m,) standard errors that residuals are divided by.
    """
    residuals = tuple(
        (each - each.mean(axis=0)) * np.sqrt(len(each) / (len(each) - 1)) / unit
        for each, unit in zip(repeats, units, strict=True)
    )
    squares = np.mean([(each**2).mean(axis=0) for each in residuals], axis=0)
    return Noise(residuals=residuals, spreads=np.sqrt(np.maximum(squares, LEAST_SPREAD**2)))


def deepest_dips(curves: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return (n,) the depth of each curve's deepest dip, in units of noise; 0 or less where there is none.

    Args:
        curves: (n, s), s at least 3.
        spreads: (s,) noise of each scale.
    """
    before, after = _rises(curves, spreads)
    return np.asarray(np.minimum(before, after).max(axis=1))


def deepest_of_noise(noise: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return (n,) the deepest dip that noise can make of any curve of one hump; noise is (n, s).

    Of a scale on the rising side only those before it are truly lower or equal, on the falling side those after it: so
    a dip there is at most the noise's own difference to one of them.
    """
    before, after = _rises(noise, spreads)
    return np.asarray(np.maximum(before, after).max(axis=1))


def _rises(curves: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, s - 2) how far each inner scale is below the highest before it, and after it, in units of noise."""
    inner = range(1, curves.shape[1] - 1)
    apart = (curves[:, :, None] - curves[:, None, :]) / np.hypot(spreads[:, None], spreads[None, :])
    before = np.stack([apart[:, :at, at].max(axis=1) for at in inner], axis=1)
    after = np.stack([apart[:, at + 1 :, at].max(axis=1) for at in inner], axis=1)
    return before, after


def critical_depth(noise: Noise, *, n_seeds: int = 1, level: float = LEVEL, seed: int = 0) -> float:
    """Return the depth that a curve of one hump passes in ``level`` of all cases at most."""
    drawn = noise.draw(N_DRAWS, n_seeds=n_seeds, rng=np.random.default_rng(seed))
    return float(np.quantile(deepest_of_noise(drawn, noise.spreads), 1 - level))


def found_share(noise: Noise, depth: float, *, n_seeds: int = 1, unit: float, seed: int = 1) -> float:
    """Return how often the test finds a dip of this depth in the middle of an otherwise flat curve."""
    limit = critical_depth(noise, n_seeds=n_seeds)
    curves = noise.draw(N_DRAWS, n_seeds=n_seeds, rng=np.random.default_rng(seed))
    curves[:, curves.shape[1] // 2] -= depth / unit
    return float((deepest_dips(curves, noise.spreads) > limit).mean())


# --- the study --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the test says of a group's tasks: (n,) bool of one run each, and (m,) of means over seeds."""

    any_dip: np.ndarray
    dips: np.ndarray
    dips_of_means: np.ndarray
    origins_of_means: tuple[str, ...]
    n_seeds: int
    power: tuple[float, ...]


def examine(grids: Grids) -> Found:
    """Test all curves of a source and recipe against the noise of those of their tasks that have several seeds."""
    units = accuracy_noise(grids.test.mean(axis=1), [task.n_test for task in grids.tasks])
    repeated = [at for at, task in enumerate(grids.tasks) if task.task_id in grids.repeats]
    repeats = [grids.repeats[grids.tasks[at].task_id] for at in repeated]
    noise = noise_of(repeats, units[repeated])
    n_seeds = min(len(each) for each in repeats)
    depths = deepest_dips(grids.test / units[:, None], noise.spreads)
    means = np.array([each[:n_seeds].mean(axis=0) for each in repeats]) / units[repeated][:, None]
    limit = critical_depth(noise, n_seeds=n_seeds)
    return Found(
        any_dip=depths > 1e-9,
        dips=depths > critical_depth(noise),
        dips_of_means=deepest_dips(means, noise.spreads) > limit,
        origins_of_means=tuple(grids.origins[at] for at in repeated),
        n_seeds=n_seeds,
        power=tuple(found_share(noise, depth, unit=float(np.median(units))) for depth in DIPS),
    )


def study(rows: Rows) -> Report:
    """Return the study of every source and recipe that tells its noise."""
    cells, numbers = [], {}
    for grids in read_grids(rows):
        if len(grids.repeats) < FEWEST or len({*grids.origins}) < FEWEST:
            continue
        found = examine(grids)
        cells.append(
            [
                grids.name,
                f"{len(grids.tasks)}",
                f"{100 * (1 - found.any_dip.mean()):.0f}",
                percent(1.0 - found.dips, grids.origins),
                f"{len(found.dips_of_means)} x {found.n_seeds}",
                percent(1.0 - found.dips_of_means, found.origins_of_means),
                " / ".join(f"{100 * share:.0f}" for share in found.power),
            ]
        )
        numbers[grids.name] = {"n": len(grids.tasks), "one_hump": round(float(1 - found.dips.mean()), 4)}
    depths = " / ".join(f"{100 * depth:.0f}" for depth in DIPS)
    heads = [
        "source, recipe",
        "curves",
        "without any dip, %",
        "one hump within noise, %",
        "tasks x seeds",
        "their means, %",
        f"dips of {depths} points that one run would show, %",
    ]
    words = __doc__.partition("\n\n")[2].strip() if __doc__ else ""
    told = table(heads, cells) if cells else [f"No source and recipe has {FEWEST} tasks with several seeds yet."]
    return Report(
        name=NAME,
        title="Monotone or not",
        lines=(words, "", f"At most {100 * LEVEL:.0f} % of curves of one hump are said to have another.", "", *told),
        numbers={"groups": numbers},
    )
