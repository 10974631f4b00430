"""Counts how balanced a draw of design points is."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from scalepred.harvest.draw import DesignPoint

Value = str | int | None

FIELDS: dict[str, Callable[[DesignPoint], Value]] = {
    "optimizer": lambda point: point.recipe.optimizer,
    "head start": lambda point: point.recipe.head_start,
    "statistics": lambda point: point.recipe.batchnorm,
    "multipliers": lambda point: ",".join(f"{multiplier:g}" for multiplier in point.recipe.multipliers),
    "image size": lambda point: point.recipe.image_px,
    "images": lambda point: point.n_images,
    "seeds": lambda point: point.n_seeds,
}
"""What is counted of recipes and subsets -> a point's value."""


def balance_of(
    points: Sequence[DesignPoint], *, origins: Mapping[str, str], families: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Return what is counted -> value -> points, the most frequent first; what was never drawn counts 0.

    Args:
        points: drawn.
        origins: task -> its origin, of all that are drawn from.
        families: source -> its family, likewise.
    """
    counts = {
        "sources": _counted((point.source for point in points), families),
        "families": _counted((families[point.source] for point in points), families.values()),
        "origins": _counted((origins[point.data] for point in points), origins.values()),
        "tasks": _counted((point.data for point in points), origins),
    }
    return counts | {name: _counted(map(value, points), ()) for name, value in FIELDS.items()}


def _counted(values: Iterable[Value], possible: Iterable[Value]) -> dict[str, int]:
    counted = Counter("all" if value is None else str(value) for value in values)
    for value in possible:
        counted[str(value)] += 0
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
