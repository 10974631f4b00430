"""Whether a job should finetune at all: the linear probe beside finetunes on harvested tasks of the same kind."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalepred.predictor.honest import bootstrap_interval

FEWEST, MOST = 12, 30
"""So many harvested tasks, those nearest in their number of training images, say which model is the better one; beyond
``FEWEST`` those alone that have at most twice as many images, or half as many."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The probe beside finetunes at the best fixed scale of their source and recipe, on its harvested tasks.

    Attributes:
        source_id, recipe_id: of the finetunes.
        n_train: training images of each task, in rising order.
        origins: numbers that tell tasks' origins apart.
        gains: test accuracy of the probe minus that of the finetune, fractions. The fixed scale is that of all other
            origins.
    """

    source_id: str
    recipe_id: str
    n_train: tuple[int, ...]
    origins: tuple[int, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeAnswer:
    """What harvested tasks say of the linear probe of a job.

    Attributes:
        is_better: it is expected to be above the finetune.
        n_tasks, n_origins: that say so.
        fewest, most: training images of these.
        gain: the probe over the finetune at the best fixed scale, their mean, points.
        interval: 95 %, over origins, points.
    """

    is_better: bool
    n_tasks: int
    n_origins: int
    fewest: int
    most: int
    gain: float
    interval: tuple[float, float]

    def in_words(self) -> str:
        """Say which is expected to be better, by how much, and on which tasks."""
        low, high = self.interval
        return (
            f"on the {self.n_tasks} harvested tasks with this source and recipe that are nearest in size "
            f"({self.fewest} to {self.most} training images, {self.n_origins} origins) the linear probe is "
            f"{abs(self.gain):.1f} points {'above' if self.gain > 0 else 'below'} the finetune "
            f"({low:+.1f} to {high:+.1f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, and all of it in words as ``reason``."""
        return asdict(self) | {"interval": list(self.interval), "reason": self.in_words()}


def ask_probe(beside: Beside | None, *, n_train: int) -> ProbeAnswer | None:
    """Say whether the probe is expected to be above a finetune, by the tasks nearest in size.

    None where nothing is known: there are no such tasks, or all have fewer images.

    Args:
        beside: of the job's source and recipe.
        n_train: its training images.
    """
    if beside is None or n_train > beside.n_train[-1]:
        return None
    rows = nearest(np.array(beside.n_train), n_train)
    gains, origins = np.array(beside.gains)[rows], [beside.origins[row] for row in rows]
    mean, low, high = mean_with_interval(gains, origins)
    return ProbeAnswer(
        is_better=mean > 0,
        n_tasks=len(rows),
        n_origins=len(set(origins)),
        fewest=min(beside.n_train[row] for row in rows),
        most=max(beside.n_train[row] for row in rows),
        gain=round(100 * mean, 2),
        interval=(round(100 * low, 2), round(100 * high, 2)),
    )


def nearest(sizes: np.ndarray, n_train: int) -> np.ndarray:
    """Return the rows of the sizes that are nearest by ratio, ``FEWEST`` to ``MOST`` if there are so many, (k,) int."""
    octaves = np.abs(np.log2(sizes / n_train))
    n_alike = int((octaves <= 1).sum())
    return np.argsort(octaves, kind="stable")[: min(max(n_alike, FEWEST), MOST)]


def mean_with_interval(gains: np.ndarray, origins: Sequence[int]) -> tuple[float, float, float]:
    """Return a mean and its 95 % interval over origins."""
    low, high = bootstrap_interval(gains, list(map(str, origins)), lambda drawn: float(drawn.mean()), seed=0)
    return float(gains.mean()), low, high
