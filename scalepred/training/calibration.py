"""Calibration: one temperature that makes a network's probabilities agree with how often it is right."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

N_BINS = 15
"""Bins of equal width, as in Guo et al. 2017."""

FEWEST = 10
"""Held-out images that it takes to fit a temperature."""

LOWEST, HIGHEST = 0.1, 10.0
"""Temperatures that can be fitted lie between these."""

SPREAD = 1.0
"""Before any image is seen, the logarithm of a temperature is taken to spread so far around 0; see the log of
2026-11-29."""

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images whose highest probability lies in one bin: how many, its mean, and the share that is right."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good probabilities are: mean cross-entropy, expected calibration error in [0, 1], and the bins behind it."""

    log_loss: float
    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A temperature, what it was fitted on, and what it changes.

    Attributes:
        temperature: what logits are divided by; 1 changes nothing.
        fitted_on: "val" or "test"; None where no temperature could be fitted.
        n_fitted: images that it was fitted on.
        scored_on: "val" or "test"; None where nothing is held out.
        n_scored: images that ``before`` and ``after`` tell of.
        is_cross_fitted: it is fitted on the images that it is scored on. Then each fifth of them is scored with a
            temperature that was fitted on the others, and ``temperature`` is fitted on all.
        before, after: the quality at temperature 1, and with fitted ones; None where nothing is held out.
        note: why no temperature was fitted; "" where one was.
    """

    temperature: float = 1.0
    fitted_on: str | None = None
    n_fitted: int = 0
    scored_on: str | None = None
    n_scored: int = 0
    is_cross_fitted: bool = False
    before: Quality | None = None
    after: Quality | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the bins."""
        return {
            "temperature": self.temperature,
            "fitted_on": self.fitted_on,
            "n_fitted": self.n_fitted,
            "scored_on": self.scored_on,
            "n_scored": self.n_scored,
            "cross_fitted": self.is_cross_fitted,
            "bins": N_BINS,
            "before": _as_json(self.before),
            "after": _as_json(self.after),
            "note": self.note,
        }


def _as_json(quality: Quality | None) -> dict[str, float] | None:
    return None if quality is None else {"log_loss": quality.log_loss, "ece": quality.ece}


def calibrate(held_out: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Calibration:
    """Fit a temperature on held-out images, and score it on images that it was not fitted on.

    It is fitted on validation images where there are enough, and scored on test images where there are any. Elsewhere
    there are images of one split alone, mostly of the test set, since a job trains on validation images too. Then the
    score is cross-fitted, so it is honest; the temperature that is returned is fitted on all of these images. A
    temperature moves no image to another class, so no accuracy changes by it.

    Args:
        held_out: "val" or "test" -> logits (n, n_classes) and labels (n,) int64, of images that were not trained on.

    Source: Guo et al. 2017 (On calibration of modern neural networks), section 4.2; cross-fitting is that of
    Chernozhukov et al. 2018 (Double/debiased machine learning), section 3.
    """
    there = {name: held_out[name] for name in ("val", "test") if name in held_out and len(held_out[name][1])}
    if not there:
        return Calibration(note="no image is held out to fit a temperature on")
    if not all(np.isfinite(logits).all() for logits, _ in there.values()):
        return Calibration(note="some outputs of the network are not finite")
    scored_on = "test" if "test" in there else "val"
    fitted_on = "val" if "val" in there and len(there["val"][1]) >= FEWEST else scored_on
    temperature, note = fit_temperature(*there[fitted_on])
    logits, labels = there[scored_on]
    is_cross_fitted = fitted_on == scored_on and not note
    temperatures = _cross_fitted(logits, labels) if is_cross_fitted else np.full(len(labels), temperature)
    return Calibration(
        temperature=temperature,
        fitted_on=None if note else fitted_on,
        n_fitted=0 if note else len(there[fitted_on][1]),
        scored_on=scored_on,
        n_scored=len(labels),
        is_cross_fitted=is_cross_fitted,
        before=quality_of(logits, labels),
        after=quality_of(logits / temperatures[:, None], labels),
        note=note,
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, spread: float = SPREAD) -> tuple[float, str]:
    """Return the temperature of the least log loss, and "" or why it is 1 without a fit.

    The loss is convex in 1 / temperature, so a bounded search finds its minimum. Where every image is right, the loss
    falls for ever as probabilities go to 1, which says nothing of how often the network errs: no fit then.

    Args:
        logits: (n, n_classes), finite.
        labels: (n,) int64.
        spread: standard deviation of the logarithm of temperatures; infinite for the plain fit.

    Source: Guo et al. 2017, section 4.2. Departs: a normal prior on the logarithm, which costs a temperature of 4 as
    much as one image that is given a probability of 0.4, so that ten images give no extreme.
    """
    if len(labels) < FEWEST:
        return 1.0, f"a temperature takes {FEWEST} held-out images, and there are {len(labels)}"
    if len(np.unique(labels)) < 2:
        return 1.0, "the held-out images are of one class"
    if (logits.argmax(axis=1) == labels).all():
        return 1.0, f"all {len(labels)} held-out images are right, so nothing tells how sure is too sure"
    found = minimize_scalar(
        lambda log_t: log_loss(logits / math.exp(log_t), labels) + (log_t / spread) ** 2 / (2 * len(labels)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(math.exp(found.x)), ""


def _cross_fitted(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (n,) the temperature of each image, fitted on the folds that it is not in."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    temperatures = np.ones(len(labels))
    for each in range(FOLDS):
        temperatures[fold == each] = fit_temperature(logits[fold != each], labels[fold != each])[0]
    return temperatures


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy, in nats, of (n, n_classes) logits."""
    logs = log_softmax(logits.astype(np.float64), axis=1)
    return float(-logs[np.arange(len(labels)), labels].mean())


def quality_of(logits: np.ndarray, labels: np.ndarray) -> Quality:
    """Return the log loss and the expected calibration error of (n, n_classes) logits, n at least 1."""
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    bins = reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    ece = sum(each.n * abs(each.accuracy - each.confidence) for each in bins) / len(labels)
    return Quality(log_loss=log_loss(logits, labels), ece=ece, bins=bins)


def reliability(confidences: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """Return the bins that have images, by probability; a bin holds its upper edge and not its lower one.

    Args:
        confidences: (n,) the highest probability of each image, in (0, 1].
        right: (n,) bool.

    Source: Guo et al. 2017, equations 2 and 3.
    """
    column = np.clip(np.ceil(confidences * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    return tuple(
        Bin(n=int(inside.sum()), confidence=float(confidences[inside].mean()), accuracy=float(right[inside].mean()))
        for inside in (column == each for each in range(N_BINS))
        if inside.any()
    )
