"""The linear probe: logistic regression on what a frozen network gives, its strength chosen by cross-validation."""

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FIRST_STRENGTHS = (0.1, 0.4, 1.6, 6.4, 25.6, 102.4)
STRENGTHS = (*FIRST_STRENGTHS, 409.6, 1638.4)
"""Inverse strengths of the penalty to choose from, for images whose scaled features have a mean square norm of 1."""

USUAL_STRENGTH = 1.6
"""Where nothing can be cross-validated."""

FOLDS = 5
MAX_ITERATIONS = 200
MIN_SPREAD = 1e-6
"""A feature whose standard deviation is a smaller share of the largest value counts as constant and gets no weight."""

LEAST_SPREAD = 1e-3
"""Of the mean standard deviation, which is added to each, so that what hardly varies is not blown up."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear classifier on what a source gives its head.

    Attributes:
        weight: (n_classes, d) float32, of features as the network gives them.
        bias: (n_classes,) float32.
        strength: the inverse strength of the penalty that was chosen.
        accuracy: cross-validated, a fraction; None where nothing could be cross-validated.
        log_loss: cross-validated mean cross-entropy; None likewise.
        n_scored: images that were held out once each.
        n_groups: groups that these are of, which tell how sure the accuracy is.
        seconds: wall time.
        note: what a user should know, such as that there was nothing to learn from; "" for nothing.
        held_out: (n, n_classes) float32, the logits of each image by the fold that has not learnt it, at the chosen
            strength; NaN for images of no fold, which are those of a class of one, and minus infinity for classes
            without an image. None where nothing was held out.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    accuracy: float | None
    log_loss: float | None
    n_scored: int
    n_groups: int
    seconds: float
    note: str = ""
    held_out: np.ndarray | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, n_classes) float64 for (n, d) features."""
        weight, bias = self.weight.double().numpy(), self.bias.double().numpy()
        return np.asarray(features.astype(np.float64) @ weight.T + bias)


def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    n_classes: int,
    groups: Sequence[int] = (),
    parts: Sequence[int] = (),
    is_standardised: bool = False,
) -> Probe:
    """Fit multinomial logistic regression with a quadratic penalty; its strength has the least held-out log loss.

    Features are centred, and divided by the square root of their standard deviation: half way between features as they
    are and standardised ones, on a logarithmic scale. Standardised ones lose 3.5 points with an ImageNet network, where
    features that hardly vary are mostly noise, and gain half a point at most with networks of a narrow domain (log of
    2026-11-30). A probe of features that are not finite, or all the same, knows how frequent classes are and nothing
    else.

    Args:
        features: (n, d) float32, of training images alone.
        labels: (n,) int64.
        n_classes: of the task; classes without an image get the bias of half an image.
        groups: a number of each image; those of one number are held out together, for near duplicates of what was
            learnt tell nothing of new images. By default each is held out by itself.
        parts: how many of the features are of one kind, in their order; kinds are scaled so that each varies as much
            in all as any other. By default all are of one.
        is_standardised: divide by the whole standard deviation, and choose from ``FIRST_STRENGTHS``: the probe that
            recipes with a fitted head start from, and whose facts were harvested.

    Source: Kornblith, Shlens and Le 2019 (Do better ImageNet models transfer better?), section 3, which fits it by
    L-BFGS and chooses its strength on held-out images.
    """
    started = time.perf_counter()
    spread = (
        features.std(axis=0, dtype=np.float64) if np.isfinite(features).all() else np.full(features.shape[1], np.nan)
    )
    varies = spread > MIN_SPREAD * float(np.abs(features).max(initial=0.0))
    if not varies.any() or len(np.unique(labels)) < 2:
        why = "its features are not finite" if np.isnan(spread).any() else "its features are all the same"
        note = "only one class has images" if varies.any() else why
        return _prior(
            labels, features.shape[1], n_classes, f"the linear probe knows class counts alone: {note}", started
        )
    mean = features.mean(axis=0, dtype=np.float64)
    strengths: tuple[float, ...] = FIRST_STRENGTHS
    unit = np.where(varies, 1 / np.where(varies, spread, 1), 0.0) / math.sqrt(varies.sum())
    if not is_standardised:
        strengths, alike = STRENGTHS, _alike(spread, parts)
        unit = np.where(varies, alike / np.sqrt(alike * spread + LEAST_SPREAD * (alike * spread).mean()), 0.0)
        unit /= math.sqrt(float(((unit * spread) ** 2).sum()))
    inputs, axes = _principal((features - mean) * unit)
    group = np.asarray(groups) if len(groups) else np.arange(len(labels))
    folds = _folds(labels, group)
    losses, hits, scored, held_out = _cross_validate(inputs, labels, strengths, parts=folds, n_classes=n_classes)
    best = int(np.argmin(losses)) if scored else strengths.index(USUAL_STRENGTH)
    weight, bias = _fit(inputs, labels, strengths[best], n_classes=n_classes)
    weight = (weight @ axes) * unit
    what = "groups of images" if np.bincount(labels).max() > 1 else "images"
    return Probe(
        weight=torch.from_numpy(weight).float(),
        bias=torch.from_numpy(bias - weight @ mean).float(),
        strength=strengths[best],
        accuracy=hits[best] / scored if scored else None,
        log_loss=losses[best] / scored if scored else None,
        n_scored=scored,
        n_groups=sum(len(np.unique(group[held])) for _, held in folds),
        seconds=time.perf_counter() - started,
        note="" if scored else f"no class has two {what}, so the linear probe could not be cross-validated",
        held_out=held_out[best] if scored else None,
    )


def _alike(spread: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Return (d,) factors that give the features of each part the same variance in sum, 0 where none varies."""
    if not parts:
        return np.ones_like(spread)
    ends = np.cumsum(parts)
    sums = [np.linalg.norm(spread[end - n : end]) for n, end in zip(parts, ends, strict=True)]
    return np.repeat([1 / total if total > 0 else 0.0 for total in sums], parts)


def _prior(labels: np.ndarray, d: int, n_classes: int, note: str, started: float) -> Probe:
    shares = np.log(_counts(labels, n_classes) / max(1, len(labels)))
    return Probe(
        weight=torch.zeros(n_classes, d),
        bias=torch.from_numpy(shares).float(),
        strength=0.0,
        accuracy=None,
        log_loss=None,
        n_scored=0,
        n_groups=0,
        seconds=time.perf_counter() - started,
        note=note,
    )


def _counts(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (n_classes,) images of each class, half an image where there is none."""
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    return np.asarray(np.maximum(counts, 0.5))


def _principal(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (n, r) and axes (r, d): n rows span at most n dimensions, so that fitting stays cheap.

    The penalty does not change, for it is the same in any orthonormal axes.
    """
    u, s, axes = np.linalg.svd(centred, full_matrices=False)
    r = max(1, int((s > s[0] * 1e-7).sum()))
    return u[:, :r] * s[:r], axes[:r]


def _folds(labels: np.ndarray, group: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to fit to and those to hold out of each fold, which keeps groups together.

    Classes of one group are learnt in every fold and held out in none.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    pairs = np.unique(np.stack([labels, group]), axis=1)
    counts = np.bincount(pairs[0])  # groups of each class
    several = np.flatnonzero(counts[labels] >= 2)
    if not len(several):
        return []
    kind = StratifiedKFold if len(np.unique(group)) == len(group) else StratifiedGroupKFold
    folds = kind(min(FOLDS, int(counts.max())), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds
        drawn = [several[held] for _, held in folds.split(several, labels[several], group[several])]
    parts = []
    for rows in drawn:
        fit = np.flatnonzero(~np.isin(group, group[rows]))
        if len(held := rows[np.isin(labels[rows], labels[fit])]):
            parts.append((fit, held))
    return parts


def _cross_validate(
    inputs: np.ndarray,
    labels: np.ndarray,
    strengths: Sequence[float],
    *,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    n_classes: int,
) -> tuple[list[float], list[int], int, np.ndarray]:
    """Return, for each strength, summed log loss and hits on held-out images; how many these are; and their logits."""
    if not parts:
        return [], [], 0, np.empty(0)
    n_known = int(labels.max()) + 1
    scored = np.concatenate([held for _, held in parts])
    held_out = np.full((len(strengths), len(labels), n_classes), np.nan, np.float32)
    held_out[:, scored] = -np.inf  # of the last classes, where these have no image
    losses, hits = [0.0] * len(strengths), [0] * len(strengths)
    for fit, held in parts:
        for at, strength in enumerate(strengths):
            weight, bias = _fit(inputs[fit], labels[fit], strength, n_classes=n_known)
            logits = inputs[held] @ weight.T + bias
            held_out[at, held, :n_known] = logits
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[np.arange(len(held)), labels[held]]
            losses[at] += float((np.log(np.exp(logits).sum(axis=1)) - chosen).sum())
            hits[at] += int((logits.argmax(axis=1) == labels[held]).sum())
    return losses, hits, len(scored), held_out


def _fit(inputs: np.ndarray, labels: np.ndarray, strength: float, *, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (n_classes, r) and biases (n_classes,) of logits; classes without an image get a low bias."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(labels)
    weight, bias = np.zeros((n_classes, inputs.shape[1])), np.zeros(n_classes)
    if len(classes) > 1:
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged probe serves as well
            warnings.filterwarnings("ignore", "The number of unique classes")  # few images of many classes are usual
            model.fit(inputs, labels)
        rows, offsets = model.coef_, model.intercept_
        if len(classes) == 2:  # scikit-learn keeps the difference of the two
            rows, offsets = np.concatenate([-rows / 2, rows / 2]), np.concatenate([-offsets / 2, offsets / 2])
        weight[classes], bias[classes] = rows, offsets
    absent = np.setdiff1d(np.arange(n_classes), classes)
    bias[absent] = bias[classes].mean() + math.log(0.5 * len(classes) / len(labels))
    return weight, bias
