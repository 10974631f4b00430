"""Measures of a task: sizes, colour, how far frozen features go, and source-target similarity."""

import warnings

import numpy as np

EMD_GAMMA = 0.01

NEIGHBOURS = 5

PROBE_FOLDS = 5


def size_features(labels: np.ndarray) -> dict[str, float]:
    """Return how many training images and classes there are and how even; labels are (n,) int64."""
    counts = np.unique(labels, return_counts=True)[1]
    return {
        "log2_n_train": float(np.log2(len(labels))),
        "n_classes": float(len(counts)),
        "images_per_label": float(counts.mean()),
        "least_images_per_label": float(counts.min()),
        "imbalance": float(counts.max() / counts.min()),
    }


def colourfulness(images: np.ndarray) -> float:
    """Return the mean distance of pixels from grey, in 0..1: 0 for grey images; images are (n, 3, h, w) uint8."""
    spread = images.max(axis=1).astype(np.float32) - images.min(axis=1)
    return float(spread.mean() / 255)


def knn_accuracy(embedded: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the leave-one-out accuracy of a vote of the five nearest by cosine, each weighted by its similarity.

    Args:
        embedded: (n, d) float32.
        labels: (n,) int64.

    Source: the k-NN protocol of Wu et al. 2018 (Unsupervised feature learning via non-parametric instance
    discrimination), section 3.4. Departs: five neighbours instead of 200, since tasks are small.
    """
    if len(labels) < 2:
        return None
    unit = embedded / np.maximum(np.linalg.norm(embedded, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(labels) - 1)]
    votes = np.zeros((len(labels), labels.max() + 1))
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.07)
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[nearest]), weights)
    return float((votes.argmax(axis=1) == labels).mean())


def probe_accuracy(embedded: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the cross-validated accuracy of logistic regression on standardised features.

    Classes with one image can't be cross-validated and are left out; None where fewer than two classes remain.

    Args:
        embedded: (n, d) float32.
        labels: (n,) int64.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    kept = counts[labels] >= 2
    if len(np.unique(labels[kept])) < 2:
        return None
    inputs, targets = _principal(embedded[kept]), labels[kept]
    folds = StratifiedKFold(int(min(PROBE_FOLDS, counts[np.unique(targets)].min())), shuffle=True, random_state=0)
    correct = 0
    for fit, held in folds.split(inputs, targets):
        probe = LogisticRegression(C=1.0, max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged probe serves as well
            warnings.filterwarnings("ignore", "The number of unique classes")  # few images of many classes are usual
            probe.fit(inputs[fit], targets[fit])
        correct += int((probe.predict(inputs[held]) == targets[held]).sum())
    return correct / len(targets)


def _principal(embedded: np.ndarray) -> np.ndarray:
    """Return standardised features in the at most n dimensions that n images span, so that probes stay cheap."""
    centred = (embedded - embedded.mean(axis=0)) / np.maximum(embedded.std(axis=0), 1e-6)
    u, s, _ = np.linalg.svd(centred.astype(np.float64) / np.sqrt(embedded.shape[1]), full_matrices=False)
    return np.asarray(u * s)


def emd_similarity(embedded: np.ndarray, labels: np.ndarray, prototypes: np.ndarray) -> float | None:
    """Return exp(-0.01 EMD) between the task's class means and the source's class prototypes.

    Target classes weigh by their images, source classes equally; the ground distance is Euclidean. None where all
    prototypes are zero, as those of a classifier that was never trained may be.

    Args:
        embedded: (n, d) float32.
        labels: (n,) int64.
        prototypes: (n_source_classes, d) float32.

    Source: Cui et al. 2018 (Large scale fine-grained categorization and domain-specific transfer learning),
    section 4.1. Departs: prototypes that are rows of a classifier have no length in feature space, so they are
    brought to the mean length of the task's class means.
    """
    import ot

    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([embedded[labels == label].mean(axis=0) for label in classes]).astype(np.float64)
    rows = prototypes.astype(np.float64)
    if not rows.any():
        return None
    rows *= np.linalg.norm(means, axis=1).mean() / np.linalg.norm(rows, axis=1).mean()
    cost = ot.dist(means, rows, metric="euclidean")
    emd = ot.emd2(counts / counts.sum(), np.full(len(rows), 1 / len(rows)), cost)
    return float(np.exp(-EMD_GAMMA * emd))
