"""Turns accuracies into targets: relative accuracy and its noise, and the best scale."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scalepred.errors import DataError

Floats = npt.NDArray[np.float64]

Bools = npt.NDArray[np.bool_]

TIE = 1e-12
"""Accuracies are ratios of counts, and means of them: nearer than this is the same."""


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


def smooth_optimum(
    relative_accuracies: Floats, scales: Sequence[float], *, weights: Floats | None = None, temperature: float = 0.01
) -> Floats:
    """Return each task's log2 best scale, softly averaged, shape (n_tasks,): steadier than the argmax of a noisy curve.

    A scale weighs ``exp(accuracy / temperature)`` times the stretch of the log2 axis that it stands for (the grid is
    denser in its middle, and must not pull there) times ``weights``. A flat curve gives the middle of the axis, and
    a scale one ``temperature`` below the best counts for a third.

    Args:
        relative_accuracies: (n_tasks, n_scales), NaN where a run is missing; a task without a run gives NaN.
        scales: the scale of each column, ascending.
        weights: (n_tasks, n_scales), as of :func:`noise_weights`; all 1 if left out.
        temperature: a fraction of accuracy; one point is about the noise between two scales on 1,000 images.
    """
    soft, logs = _soft(relative_accuracies, scales, temperature)
    soft = soft if weights is None else soft * weights
    return ratio(soft @ logs, soft.sum(axis=1))


def smooth_optimum_error(relative_accuracies: Floats, scales: Sequence[float], *, temperature: float = 0.01) -> Floats:
    """Return the standard deviation in octaves of what :func:`smooth_optimum` averages, shape (n_tasks,).

    Args:
        relative_accuracies: (n_tasks, n_scales), NaN where a run is missing; a task without a run gives NaN.
        scales: the scale of each column, ascending.
        temperature: a fraction of accuracy.
    """
    soft, logs = _soft(relative_accuracies, scales, temperature)
    means = ratio(soft @ logs, soft.sum(axis=1))
    squares = (logs[None, :] - means[:, None]) ** 2
    return np.sqrt(ratio((soft * squares).sum(axis=1), soft.sum(axis=1)))


def _soft(relative_accuracies: Floats, scales: Sequence[float], temperature: float) -> tuple[Floats, Floats]:
    """Return what each scale weighs in the best place, (n_tasks, n_scales), and the scales' logs."""
    there = ~np.isnan(relative_accuracies)
    excess = relative_accuracies - naive_best(relative_accuracies)[:, None]
    logs: Floats = np.log2(np.asarray(scales, dtype=np.float64))
    soft = np.exp(np.where(there, excess / temperature, -np.inf))
    for row, present in zip(soft, there, strict=True):
        row[present] *= _stretches(logs[present])
    return soft, logs


def _stretches(logs: Floats) -> Floats:
    """Return how much of the axis, first to last of ascending values, is nearest to each; 1 for a lone one."""
    bounds = np.concatenate([logs[:1], (logs[1:] + logs[:-1]) / 2, logs[-1:]])
    return np.diff(bounds) if len(logs) > 1 else np.ones(len(logs))


def _mean_of_present(values: Floats, *, axis: int) -> Floats:
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0).sum(axis=axis), there.sum(axis=axis).astype(np.float64))


def ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, and NaN where ``below`` is 0."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result
