"""The honest best accuracy, regret, the gap closed, and bootstrap intervals over origins."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from scalepred.predictor.targets import TIE, Bools, Floats, naive_best, ratio

_MAX_REPEATS_FOR_ALL_HALVES = 10  # 252 halves


def honest_best_from_repeats(accuracies: Floats) -> float:
    """Return one task's best accuracy: the scale chosen on one half of the repeats, scored on the other half.

    Averaged over all halves, both ways (beyond ten repeats: the even against the odd), a half weighing as many repeats
    as it scores, and over scales that tie. With no run missing it is never above the naive best.

    Bias remains: half of the repeats choose worse than all of them would, which makes it too low; and repeats that
    are scored on the same test images share those images' luck, which makes it too high. :func:`honest_best` splits
    the images too.

    Args:
        accuracies: (n_scales, n_repeats), NaN where a run is missing. NaN is returned if no half can score another,
            as with one repeat.
    """
    halves = _all_halves(accuracies.shape[1])
    every_image = np.ones((len(halves), 1))
    return _chosen_and_scored(accuracies[:, :, None], (halves, every_image), (1 - halves, every_image))


def honest_best_from_images(correct: npt.ArrayLike, *, n_splits: int = 50, seed: int) -> float:
    """Return one task's best accuracy: the scale chosen on one half of the test images, scored on the other half.

    Averaged over ``n_splits`` random halves, both ways, a half weighing as many images as it scores, and over scales
    that tie. With no run missing it is never above the naive best.

    Bias remains: half of the images choose worse than all of them would, which makes it too low; and a seed's luck
    with one scale is on both halves, which makes it too high: as the accuracy of these very runs it is fair.

    Args:
        correct: (n_scales, n_images), 1 where the one run of a scale was right; all NaN where it is missing.
        n_splits: random halves to average over.
        seed: of the halves.
    """
    return honest_best(np.asarray(correct, dtype=np.float64)[:, None, :], n_splits=n_splits, seed=seed)


def honest_best(correct: npt.ArrayLike, *, n_splits: int = 50, seed: int) -> float:
    """Return one task's best accuracy: chosen on half of the repeats and of the images, scored on both other halves.

    Averaged over ``n_splits`` random halves, both ways, and over scales that tie. With one repeat only the images are
    split, as in :func:`honest_best_from_images`.

    Bias remains: a quarter of the outcomes chooses worse than all of them would, which makes it too low; nothing
    that chooses is scored on, so on average it is never above the accuracy of the truly best scale.

    Args:
        correct: (n_scales, n_repeats, n_images), 1 where a run was right; all NaN where a run is missing.
        n_splits: random halves to average over.
        seed: of the halves.

    Returns:
        A fraction, or NaN if no half can score another.
    """
    outcomes = np.asarray(correct, dtype=np.float64)
    rng = np.random.default_rng(seed)
    images = _random_halves(outcomes.shape[2], n_splits=n_splits, rng=rng)
    if outcomes.shape[1] == 1:
        every_repeat = np.ones((len(images), 1))
        return _chosen_and_scored(outcomes, (every_repeat, images), (every_repeat, 1 - images))
    repeats = _random_halves(outcomes.shape[1], n_splits=n_splits, rng=rng)
    return _chosen_and_scored(outcomes, (repeats, images), (1 - repeats, 1 - images))


def _all_halves(n: int) -> Floats:
    """Return (n_halves, n) of 0 and 1: every choice of n // 2 among n, and what each leaves."""
    if n > _MAX_REPEATS_FOR_ALL_HALVES:
        first = [tuple(range(0, n, 2))]
    else:
        first = list(itertools.combinations(range(n), n // 2))
    halves = np.zeros((len(first), n))
    for row, members in zip(halves, first, strict=True):
        row[list(members)] = 1
    return np.concatenate([halves, 1 - halves])


def _random_halves(n: int, *, n_splits: int, rng: np.random.Generator) -> Floats:
    """Return (2 * n_splits, n) of 0 and 1: random choices of n // 2 among n, and then what each leaves."""
    ranks = rng.permuted(np.tile(np.arange(n), (n_splits, 1)), axis=1)
    halves = (ranks < n // 2).astype(np.float64)
    return np.concatenate([halves, 1 - halves])


def _chosen_and_scored(correct: Floats, choose: tuple[Floats, Floats], score: tuple[Floats, Floats]) -> float:
    """Return the mean, over halves, of the scoring half's accuracy at the scales that are best on the choosing half.

    Args:
        correct: (n_scales, n_repeats, n_images).
        choose: which repeats (n_halves, n_repeats) and images (n_halves, n_images) choose, as 0 and 1.
        score: which score, likewise.
    """
    choosing = _half_means(correct, *choose)
    scoring = _half_means(correct, *score)
    choosing = np.where(np.isnan(scoring), np.nan, choosing)
    highest = naive_best(choosing)
    usable = ~np.isnan(highest)
    if not usable.any():
        return math.nan
    tied = choosing[usable] >= highest[usable, None] - TIE
    scores = np.where(tied, scoring[usable], 0).sum(axis=1) / tied.sum(axis=1)
    sizes = (score[0].sum(axis=1) * score[1].sum(axis=1))[usable]
    return float(scores @ sizes / sizes.sum())


def _half_means(correct: Floats, repeats: Floats, images: Floats) -> Floats:
    """Return each scale's accuracy over the runs that it has in each half, shape (n_halves, n_scales)."""
    there: Bools = ~np.any(np.isnan(correct), axis=2)
    sums = np.where(there[:, :, None], correct, 0) @ images.T
    right: Floats = np.einsum("srh,hr->hs", sums, repeats)
    counts: Floats = (repeats @ there.T) * images.sum(axis=1)[:, None]
    return ratio(right, counts)


def regret(best: Floats, chosen: Floats) -> Floats:
    """Return what choosing cost each task: the honest best accuracy minus the chosen scale's, a fraction.

    Below 0 where the choice was luckier than the honest best.
    """
    return best - chosen


def gap_closed(chosen: Floats, fixed: Floats, best: Floats) -> float:
    """Return which part of the way from the fixed scale to the honest best the choice went, over all tasks.

    A ratio of sums, so that tasks without a gap don't decide it: 0 is as good as the fixed scale, 1 as the best.

    Args:
        chosen: (n_tasks,) accuracies at the chosen scales; tasks with a NaN in any of the three are left out.
        fixed: (n_tasks,) accuracies at the best fixed scale.
        best: (n_tasks,) honest best accuracies.

    Returns:
        A fraction, of any sign, or NaN if there is no gap to close.
    """
    there = ~np.isnan(chosen + fixed + best)
    gap = float((best - fixed)[there].sum())
    return float((chosen - fixed)[there].sum()) / gap if gap > TIE else math.nan


def bootstrap_interval(
    values_by_task: Floats,
    origins: Sequence[str],
    statistic: Callable[[Floats], float],
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic when origins, with all their tasks, are drawn with replacement.

    Tasks of one origin are alike, so drawing tasks would give too narrow an interval.

    Source: Davison and Hinkley 1997, section 3.8 (clusters drawn whole).

    Args:
        values_by_task: (n_tasks,) or (n_tasks, k): what the statistic needs to know of each task.
        origins: the origin of each task.
        statistic: a number from rows of ``values_by_task``; NaN where it has none.
        n_resamples: draws.
        level: of the interval.
        seed: of the draws.

    Returns:
        Low and high; both NaN if there are fewer than two origins, or the statistic has no value in more than
        ``1 - level`` of the draws, for then the interval would hide that.

    Raises:
        ValueError: if there isn't one origin for each task.
    """
    if len(origins) != len(values_by_task):
        raise ValueError(f"There are {len(values_by_task)} tasks and {len(origins)} origins.")
    _, codes = np.unique(np.asarray(origins), return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(int(codes.max(initial=-1)) + 1)]
    if len(members) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(seed).integers(len(members), size=(n_resamples, len(members)))
    rows = (np.concatenate([members[code] for code in draw]) for draw in draws)
    statistics = np.array([statistic(values_by_task[row]) for row in rows])
    if np.isnan(statistics).mean() > 1 - level:
        return math.nan, math.nan
    low, high = np.nanquantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def crossed_interval(
    values: Floats,
    origins: Sequence[str],
    networks: Sequence[str],
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int,
) -> tuple[float, float]:
    """Return the percentile interval of a mean when origins and networks are both drawn with replacement.

    A point counts as often as its origin times as often as its network. It is mildly conservative.

    Source: Owen 2007 (The pigeonhole bootstrap), section 3.

    Args:
        values: (n_points,) float64.
        origins: the origin of each point.
        networks: the network of each point.
        n_resamples: draws.
        level: of the interval.
        seed: of the draws.

    Returns:
        Low and high; both NaN if there are fewer than two origins or two networks.
    """
    rng = np.random.default_rng(seed)
    counts = np.ones((n_resamples, len(values)))
    for groups in (origins, networks):
        names, codes = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) < 2:
            return math.nan, math.nan
        counts *= rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)[:, codes]
    means = ratio(counts @ values, counts.sum(axis=1))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
