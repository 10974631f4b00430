"""From accuracies to targets: relative accuracy and its noise, the best scale, regret, and their intervals."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from scalepred.errors import DataError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TIE = 1e-12
"""Accuracies are ratios of counts, and means of them: nearer than this is the same."""

_MAX_REPEATS_FOR_ALL_HALVES = 10  # 252 halves


def unpack_correct(bits: bytes, n: int) -> Bools:
    """Return which of ``n`` images were right, shape (n,), from one bit for each, first image in the highest bit.

    Raises:
        DataError: if ``bits`` does not have the length that ``n`` images take.
    """
    if n < 1 or len(bits) != math.ceil(n / 8):
        raise DataError(f"The correctness of {n} images takes {math.ceil(n / 8)} bytes, and {len(bits)} are stored.")
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=n).astype(np.bool_)


def accuracy_from_bits(bits: bytes, n: int) -> float:
    """Return the fraction of ``n`` images that were right; see :func:`unpack_correct`."""
    return float(unpack_correct(bits, n).mean())


def with_divergence(accuracies: Floats, diverged: Bools, chance: Floats | float) -> Floats:
    """Return the accuracies with every diverged run at chance: its network classifies no better than guessing.

    A run that is missing, and did not diverge, stays NaN.

    Args:
        accuracies: (n_tasks, n_scales), NaN where there is none.
        diverged: (n_tasks, n_scales), True where a run diverged.
        chance: 1 / n_classes, for all tasks or as (n_tasks,).

    Raises:
        ValueError: if the shapes differ.
    """
    chances = np.asarray(chance, dtype=np.float64)
    if accuracies.ndim != 2 or diverged.shape != accuracies.shape or chances.shape not in {(), accuracies.shape[:1]}:
        raise ValueError(
            f"Shapes must be (n_tasks, n_scales) twice and (n_tasks,) or a number for chance, not {accuracies.shape}, "
            f"{diverged.shape} and {chances.shape}."
        )
    return np.where(diverged, chances.reshape(-1, 1), accuracies)


def relative_accuracy(accuracies: Floats) -> Floats:
    """Return the accuracies minus each task's mean over the scales that it has; NaN stays NaN.

    Args:
        accuracies: (n_tasks, n_scales), NaN where a run is missing.
    """
    return accuracies - _mean_of_present(accuracies, axis=1)[:, None]


def accuracy_noise(accuracy: Floats, n_images: npt.ArrayLike) -> Floats:
    """Return the standard error that the choice of test images gives an accuracy; never 0, even at 0 and 1.

    Source: Agresti and Coull 1998, "Approximate is better than exact": two successes and two failures are added.

    Args:
        accuracy: fractions in [0, 1] of any shape; NaN gives NaN.
        n_images: images behind each, of a shape that broadcasts.
    """
    n = np.asarray(n_images, dtype=np.float64)
    p = (accuracy * n + 2) / (n + 4)
    return np.sqrt(p * (1 - p) / (n + 4))


def noise_weights(noise: Floats, *, run_noise: Floats | float = 0.0) -> Floats:
    """Return inverse-variance weights with mean 1 over what is there, and 0 where ``noise`` is NaN.

    Args:
        noise: standard errors above 0, of any shape, as of :func:`accuracy_noise`.
        run_noise: standard error by the choice of seeds, a fraction or an array that broadcasts; it keeps large test
            sets from outweighing the rest.
    """
    there = ~np.isnan(noise)
    weights = np.where(there, 1 / np.where(there, noise**2 + run_noise**2, 1), 0.0)
    return weights / weights[there].mean() if there.any() else weights


def best_fixed_scale(
    accuracies: Floats, scales: Sequence[float], *, octaves: float = 1.0, min_share: float = 0.9
) -> int:
    """Return the index of the one scale to use for every task: the best mean accuracy over the tasks.

    The means are smoothed over log2 scale first, because neighbouring scales train alike and their means differ by
    chance. Unsmoothed, the winner of near ties is the scale that the tasks left out were worst at, which made a poor
    default and a weak baseline (log of 2026-11-23). With a full grid and no smoothing it has the least mean regret.

    Only scales that at least ``min_share`` of the tasks have can win: a scale beyond the grid was run only where the
    edge was best, so its mean flatters it. Missing runs are bridged by comparing relative accuracies over those scales.
    A tie goes to the smaller scale.

    Args:
        accuracies: (n_tasks, n_scales), NaN where a run is missing. Of training folds only.
        scales: the scale of each column.
        octaves: standard deviation of the Gaussian weights, in octaves of scale; 0 for none.
        min_share: fraction of the tasks, lowered to that of the most common scale if none reaches it.

    Raises:
        ValueError: if no run is there, or the columns are not as many as the scales.
    """
    if accuracies.ndim != 2 or accuracies.shape[1] != len(scales) or np.isnan(accuracies).all():
        raise ValueError(f"No scale is best among {len(scales)} scales and accuracies of shape {accuracies.shape}.")
    there = ~np.isnan(accuracies)
    share = there[there.any(axis=1)].mean(axis=0)
    allowed = np.flatnonzero(share >= min(min_share, share.max()))
    means = _mean_of_present(relative_accuracy(accuracies[:, allowed]), axis=0)
    if octaves > 0:
        means = _smoothed(means, np.log2(np.asarray(scales, dtype=np.float64)[allowed]), octaves)
    tied = allowed[means >= np.nanmax(means) - TIE]
    return int(min(tied, key=lambda index: scales[index]))


def _smoothed(values: Floats, places: Floats, width: float) -> Floats:
    """Return a parabola's value at each place, fitted to the values around it with Gaussian weights.

    A parabola, not a mean, because a mean leans towards the ends of the grid.

    Source: Cleveland and Devlin 1988 (Locally weighted regression), here with Gaussian weights.
    """
    degree = min(2, len(places) - 1)
    fitted = []
    for place in places:
        # polyfit weighs residuals, so it takes the root of the Gaussian
        fit = np.polyfit(places - place, values, degree, w=np.exp(-0.25 * ((places - place) / width) ** 2))
        fitted.append(fit[-1])
    return np.array(fitted)


def most_frequent_best(accuracies: Floats) -> int:
    """Return the index of the scale that is best for the most tasks; the first of several.

    A tie within a task is split equally between its best scales; tasks without a run don't vote.

    Source: Dube et al. 2018, section 4.3.

    Args:
        accuracies: (n_tasks, n_scales), NaN where a run is missing, scales ascending.
    """
    best = accuracies >= naive_best(accuracies)[:, None] - TIE
    votes = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    return int(np.argmax(votes.sum(axis=0).round(12)))


def naive_best(accuracies: Floats) -> Floats:
    """Return each task's highest accuracy over the scales, shape (n_tasks,): BIASED upwards.

    The maximum of several noisy numbers is above all of their true values: with eleven identical scales and 50 images,
    by 4 to 8 points. It is printed beside the honest one and never compared with.

    Args:
        accuracies: (n_tasks, n_scales), NaN where a run is missing; a task without a run gives NaN.
    """
    highest = np.where(np.isnan(accuracies), -np.inf, accuracies).max(axis=1)
    return np.where(np.isneginf(highest), np.nan, highest)


def honest_best_from_repeats(accuracies: Floats) -> float:
    """Return one task's best accuracy: the scale chosen on one half of the repeats, scored on the other half.

    Averaged over all halves, both ways (beyond ten repeats: the even against the odd), a half weighing as many repeats
    as it scores, and over scales that tie. So with no run missing it is never above the naive best.

    What bias remains: half of the repeats choose worse than all of them would, which makes it too low; and repeats that
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
    that tie. So with no run missing it is never above the naive best.

    What bias remains: half of the images choose worse than all of them would, which makes it too low; and a seed's luck
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

    What bias remains: a quarter of the outcomes chooses worse than all of them would, which makes it too low; nothing
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
    seen: Floats = (repeats @ there.T) * images.sum(axis=1)[:, None]
    return _ratio(right, seen)


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
    found = np.array([statistic(values_by_task[row]) for row in rows])
    if np.isnan(found).mean() > 1 - level:
        return math.nan, math.nan
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def smooth_optimum(
    relative_accuracies: Floats, scales: Sequence[float], *, weights: Floats | None = None, temperature: float = 0.01
) -> Floats:
    """Return each task's log2 best scale, softly averaged, shape (n_tasks,): steadier than the argmax of a noisy curve.

    A scale weighs ``exp(accuracy / temperature)`` times the stretch of the log2 axis that it stands for (the grid is
    denser in its middle, and must not pull there) times ``weights``. So a flat curve gives the middle of the axis, and
    a scale one ``temperature`` below the best counts for a third.

    Args:
        relative_accuracies: (n_tasks, n_scales), NaN where a run is missing; a task without a run gives NaN.
        scales: the scale of each column, ascending.
        weights: (n_tasks, n_scales), as of :func:`noise_weights`; all 1 if left out.
        temperature: a fraction of accuracy; one point is about the noise between two scales on 1,000 images.
    """
    there = ~np.isnan(relative_accuracies)
    excess = relative_accuracies - naive_best(relative_accuracies)[:, None]
    logs: Floats = np.log2(np.asarray(scales, dtype=np.float64))
    soft = np.exp(np.where(there, excess / temperature, -np.inf))
    for row, present in zip(soft, there, strict=True):
        row[present] *= _stretches(logs[present])
    soft = soft if weights is None else soft * weights
    return _ratio(soft @ logs, soft.sum(axis=1))


def _stretches(logs: Floats) -> Floats:
    """Return how much of the axis, first to last of ascending values, is nearest to each; 1 for a lone one."""
    bounds = np.concatenate([logs[:1], (logs[1:] + logs[:-1]) / 2, logs[-1:]])
    return np.diff(bounds) if len(logs) > 1 else np.ones(len(logs))


def _mean_of_present(values: Floats, *, axis: int) -> Floats:
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(axis=axis), there.sum(axis=axis).astype(np.float64))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, and NaN where ``below`` is 0."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result
