"""A few jobs on one task: what harvested curves, validation images and training losses say of where to run next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalepred.predictor.curves import Curves
from scalepred.predictor.targets import accuracy_noise

PAIRED = 0.3
"""Jobs at two scales differ on so many of the same images, against jobs on images of their own: 0.22 an octave apart,
0.37 at four (log of 2026-11-30). What they share moves the level alone."""

LEVEL, LEVEL_SPREAD = 0.63, 0.22
"""Mean and standard deviation of the best accuracy of harvested points."""

MISFIT, LENGTH = 0.12, 1.0
"""Standard deviation of a new curve around a harvested one, a fraction, and the octaves over which it varies: what made
held-out curves most likely, of 0.02 to 0.12 and 1 to 3."""

LUCK = 0.03
"""Standard deviation of an accuracy between jobs that differ by chance alone, as ``wide_table.RUN_NOISE``. It is the
job's own, and stays with its model."""

PER_FIT, FIT_NOISE = 0.4, 0.06
"""Accuracy for each unit of exp(-training loss) between two scales, and what that is off by (log of 2026-11-30)."""

SURE = 0.98
"""Probability that a job diverges where the harvested curve did, and that it does not where it did not."""

PAYS = 0.005
"""Less than half a point, which is what a user is told to be as good, is not worth another job: of eleven, 1.5 are
saved and nothing is lost (log of 2026-11-30)."""

REACH = np.arange(-6.0, 7.0)
"""Octaves from the first job's scale at which others may run: as whole octaves were harvested."""

LOOKS = np.linspace(-3.2, 3.2, 25)
"""Standard deviations at which the outcome of a next job is looked at."""

NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Tried:
    """What a job at a scale came to.

    Attributes:
        at: which of the places it ran at.
        accuracy: on the validation images; None where it diverged.
        loss: mean training loss of its last epoch, in nats; None where it diverged.
    """

    at: int
    accuracy: float | None
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is expected of places before any job: curves, each of them as likely as it weighs.

    Attributes:
        octaves: (m,) places from the rule's scale, ascending.
        relative: (n, m) accuracies minus each curve's best.
        diverged: (n, m) float64 in [0, 1], how surely a curve diverged there.
        weights: (n,) of sum 1.
        chance: accuracy of guessing, which is what a diverged job has.
        n_images: validation images, 1 or more.
    """

    octaves: np.ndarray
    relative: np.ndarray
    diverged: np.ndarray
    weights: np.ndarray
    chance: float
    n_images: int


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What is expected of places after some jobs; one Gaussian for each curve, all with the same covariance.

    Attributes:
        octaves: (m,) places.
        weights: (n,) of sum 1.
        means: (n, m) expected accuracies of jobs that don't diverge.
        covariance: (m, m) of them, within a curve.
        diverged: (n, m) probability that a job diverges.
        chance: accuracy of a job that does.
        n_images: validation images.
    """

    octaves: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariance: np.ndarray
    diverged: np.ndarray
    chance: float
    n_images: int

    @property
    def by_curve(self) -> np.ndarray:
        """Expected accuracies if a curve is the right one, (n, m)."""
        by_curve: np.ndarray = (1 - self.diverged) * self.means + self.diverged * self.chance
        return by_curve

    @property
    def mean(self) -> np.ndarray:
        """Expected accuracies, (m,)."""
        mean: np.ndarray = self.weights @ self.by_curve
        return mean

    @property
    def spread(self) -> np.ndarray:
        """Standard deviations of the accuracies, (m,), that of the level included."""
        ran = 1 - self.diverged
        squares = ran * (self.means**2 + np.diag(self.covariance)) + self.diverged * self.chance**2
        spread: np.ndarray = np.sqrt(np.maximum(self.weights @ squares - self.mean**2, 0))
        return spread


def prior_of(curves: Curves, kind: str, *, octaves: np.ndarray, chance: float, n_images: int) -> Prior:
    """Return what curves say of places, (m,) octaves from the rule's scale, for a kind of recipe."""
    return Prior(
        octaves=octaves,
        relative=curves.relative_at(octaves),
        diverged=curves.diverged_at(octaves),
        weights=curves.weights(kind),
        chance=chance,
        n_images=n_images,
    )


def believe(prior: Prior, tried: Sequence[Tried]) -> Belief:
    """Return what is expected after some jobs: curves weigh by how likely they make what came out, and are moved by it.

    A curve gives the accuracies' shape. Their level is unknown, and a new curve differs from a harvested one smoothly,
    and by luck. Validation images tell a job's accuracy, and so does the last epoch's training loss, up to another
    level. Where a job diverged, so do all above.

    Source: Rasmussen and Williams 2006 (Gaussian processes for machine learning), sections 2.2 and 2.7, for one curve;
    Bayes' rule over curves.

    Args:
        prior: of m places.
        tried: jobs at different places.
    """
    weights, diverged = np.log(prior.weights), prior.diverged.copy()
    for each in tried:
        there = prior.diverged[:, each.at]
        weights = weights + np.log(_probability(there) if each.accuracy is None else 1 - _probability(there))
    ran = [each for each in tried if each.accuracy is not None]
    means, covariance = LEVEL + prior.relative, _covariance(prior.octaves)
    if ran:
        seen, expected, noise, shared = _observed(prior, ran)
        innovations = seen - expected
        solved = np.linalg.solve(noise, innovations.T).T
        weights = weights - 0.5 * (innovations * solved).sum(axis=1)
        means = means + solved @ shared
        covariance = covariance - shared.T @ np.linalg.solve(noise, shared)
    lowest = min((prior.octaves[each.at] for each in tried if each.accuracy is None), default=math.inf)
    diverged[:, prior.octaves >= lowest] = 1
    diverged[:, [each.at for each in ran]] = 0  # a job that finished did, whatever a lower one has come to
    likely = np.exp(weights - weights.max())
    return Belief(
        octaves=prior.octaves,
        weights=likely / likely.sum(),
        means=means,
        covariance=covariance,
        diverged=diverged,
        chance=prior.chance,
        n_images=prior.n_images,
    )


def _probability(diverged: np.ndarray) -> np.ndarray:
    """Return the probability that a job diverges where curves did so surely."""
    probability: np.ndarray = 1 - SURE + (2 * SURE - 1) * diverged
    return probability


def _shape(octaves: np.ndarray) -> np.ndarray:
    """Return the covariance of what a new curve differs by from a harvested one, luck included, (m, m)."""
    apart = octaves[:, None] - octaves[None, :]
    shape: np.ndarray = MISFIT**2 * np.exp(-0.5 * (apart / LENGTH) ** 2) + LUCK**2 * np.eye(len(octaves))
    return shape


def _covariance(octaves: np.ndarray) -> np.ndarray:
    return _shape(octaves) + LEVEL_SPREAD**2


def _observed(prior: Prior, ran: Sequence[Tried]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what j jobs showed (2 j), what curves expect (n, 2 j), its covariance, and that with all places (2 j, m).

    Accuracies come first, then what losses say of them.
    """
    at = np.array([each.at for each in ran])
    accuracies = np.array([each.accuracy for each in ran], dtype=np.float64)
    fits = PER_FIT * np.exp(-np.array([each.loss for each in ran], dtype=np.float64))
    noise = np.full(len(ran), image_noise(float(accuracies.mean()), prior.n_images) ** 2)
    shape, level = _shape(prior.octaves), LEVEL_SPREAD**2
    expected = prior.relative[:, at]
    covariance = np.tile(shape[np.ix_(at, at)], (2, 2))
    for part in (slice(len(ran)), slice(len(ran), None)):  # each of the two has a level of its own
        covariance[part, part] += level
    covariance += np.diag(np.concatenate([noise, np.full(len(ran), FIT_NOISE**2)]))
    return (
        np.concatenate([accuracies - LEVEL, fits]),
        np.concatenate([expected, expected + fits.mean() - expected.mean()], axis=1),
        covariance,
        np.concatenate([shape[at] + level, shape[at]]),
    )


def image_noise(accuracy: float, n_images: int) -> float:
    """Return the standard error by the choice of images between jobs on the same images, a fraction."""
    return float(math.sqrt(PAIRED) * accuracy_noise(np.array(accuracy), n_images))


def best_of(belief: Belief, tried: Sequence[Tried]) -> int:
    """Return the place of the job with the highest expected accuracy; of the first where all diverged."""
    mean = belief.mean
    return max(tried, key=lambda each: (each.accuracy is not None, float(mean[each.at]))).at


def expected_gains(belief: Belief, tried: Sequence[Tried]) -> np.ndarray:
    """Return what one more job is expected to gain, (m,): the expected accuracy of the best job then, over that now.

    The next job's outcome is looked at over its distribution, and what is believed then decides, so what few images
    can't tell gains nothing. Minus infinity where a job ran.

    Source: Frazier et al. 2009 (The knowledge-gradient policy for correlated normal beliefs), for the jobs that ran and
    the next one; expected improvement (Mockus 1978; Jones et al. 1998) is the same where outcomes have no noise.

    Args:
        belief: after the jobs.
        tried: one or more.
    """
    gains = np.full(len(belief.octaves), -np.inf)
    ran = np.array([each.at for each in tried])
    by_curve = belief.by_curve
    now = float((belief.weights @ by_curve[:, ran]).max())
    for at in set(range(len(gains))) - set(ran.tolist()):
        failing = belief.weights * belief.diverged[:, at]
        fails = float(failing.sum())
        gains[at] = -now
        if fails < 1 - NEGLIGIBLE:
            gains[at] += (1 - fails) * _best_after(belief, ran, at)
        if fails > NEGLIGIBLE:
            gains[at] += float((failing @ by_curve[:, ran]).max())
    return gains


def _best_after(belief: Belief, ran: np.ndarray, at: int) -> float:
    """Return the expected accuracy of the best job after one that does not diverge, over what that may show."""
    places = np.append(ran, at)
    diverged = belief.diverged[:, places].copy()
    diverged[:, -1] = 0
    weights = belief.weights * (1 - belief.diverged[:, at])
    means = belief.means[:, at]
    middle = float(weights @ means / weights.sum())
    noise = 1 / (1 / image_noise(min(max(middle, 0), 1), belief.n_images) ** 2 + 1 / FIT_NOISE**2)
    variance = belief.covariance[at, at] + noise
    width = math.sqrt(variance + float(weights @ (means - middle) ** 2 / weights.sum()))
    outcomes = (middle + width * LOOKS)[:, None] - means[None, :]
    likely = np.exp(-0.5 * outcomes**2 / variance) * weights
    ran_means = (1 - diverged) * belief.means[:, places] + diverged * belief.chance
    moved = belief.covariance[at, places] / variance * ((likely * outcomes) @ (1 - diverged))
    best = (likely @ ran_means + moved).max(axis=1)
    return float(best.sum() / likely.sum())
