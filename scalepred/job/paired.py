"""Two classifiers on the same images: intervals of accuracies, and whether a difference is more than chance."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

LEVEL = 0.95
"""Of all intervals here."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A finetuned model beside the linear probe on the same held-out images.

    Attributes:
        split: "test" or "val", whose images they are.
        n: images.
        only_model: images that the model gets right and the probe does not.
        only_probe: images that the probe gets right and the model does not.
        difference: accuracy of the model less that of the probe, a fraction.
        interval: 95 %, of the difference.
    """

    split: str
    n: int
    only_model: int
    only_probe: int
    difference: float
    interval: tuple[float, float]

    @property
    def is_above(self) -> bool:
        """Whether the model is shown to be above the probe: the interval lies above zero."""
        return self.interval[0] > 0

    @property
    def is_below(self) -> bool:
        """Whether the model is shown to be below the probe: the interval lies below zero."""
        return self.interval[1] < 0


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy, from right images and images, n at least 1.

    Source: Wilson 1927 (Probable inference, the law of succession, and statistical inference).
    """
    interval = binomtest(n_right, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def compare(model: np.ndarray, probe: np.ndarray, *, split: str) -> Paired:
    """Set a model beside the probe, from which of the same images each gets right, (n,) bool, n at least 1.

    Only images that one of them alone gets right tell them apart. The model's share of these has an exact interval,
    which is brought to accuracies; it leaves out zero where the exact test of McNemar does at 5 %. Without such images,
    the interval is how many there may be all the same.

    Source: McNemar 1947 (Note on the sampling error of the difference between correlated proportions), with the
    interval of Clopper and Pearson 1934 (The use of confidence or fiducial limits).
    """
    n = len(model)
    only_model, only_probe = int((model & ~probe).sum()), int((probe & ~model).sum())
    apart = only_model + only_probe
    if apart:
        share = binomtest(only_model, apart).proportion_ci(confidence_level=LEVEL, method="exact")
        low, high = ((2 * float(bound) - 1) * apart / n for bound in (share.low, share.high))
    else:
        high = float(binomtest(0, n).proportion_ci(confidence_level=LEVEL, method="exact").high)
        low = -high
    return Paired(
        split=split,
        n=n,
        only_model=only_model,
        only_probe=only_probe,
        difference=(only_model - only_probe) / n,
        interval=(low, high),
    )


def verdict(paired: Paired) -> str:
    """Say plainly whether a finetuned model is above its linear probe, and what is cheaper where that is not shown."""
    low, high = (100 * bound for bound in paired.interval)
    images = f"{paired.n} {'test' if paired.split == 'test' else 'validation'} images"
    numbers = f"{100 * paired.difference:+.1f} points ({low:+.1f} to {high:+.1f}) on the same {images}"
    if paired.is_above:
        return f"The finetuned model is above its linear probe: {numbers}."
    if paired.is_below:
        known = "is below its linear probe"
    else:
        known = (
            "is not above its linear probe" if paired.difference <= 0 else "is not shown to be above its linear probe"
        )
    return f"The finetuned model {known}: {numbers}. --probe saves the probe, which is cheaper, with the same options."
