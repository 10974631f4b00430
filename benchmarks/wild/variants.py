"""The variants of the pilot of defaults: each factor alone against the present default, pairs, and all that is chosen.

Leads are in the log; here they are made paired. Octaves are where the search for a variant's own best scale begins.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import RECIPES, Recipe

ROOT = Path(__file__).resolve().parent.parent.parent

DEFAULT = "default"
ALL_IMAGES = "all-images"
"""Validation images are learnt too: nothing is selected on them where the scale is predicted or given."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network at an image size, with its present default.

    Attributes:
        name: for the command line and the table.
        source: a name, or a folder.
        recipe: the present default.
        octave: log2 of the scale that is likely best with it.
        shifts: factor -> by how many octaves it moves that.
    """

    name: str
    source: str
    recipe: Recipe
    octave: int
    shifts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A setting's recipe with some factors changed.

    Attributes:
        name: of the factors, joined by " + ".
        recipe: the whole of it.
        octave: the guess that its scales are placed around.
        learns_all: validation images are learnt too.
        tier: cheap and promising ones, 0, are run on all tasks before dear ones, 1.
    """

    name: str
    recipe: Recipe
    octave: int
    learns_all: bool = False
    tier: int = 0


FACTORS: dict[str, dict[str, Any]] = {
    "fitted": {"head_start": "fitted"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01},
    "cosine": {"schedule": "cosine"},
    "smoothing": {"label_smoothing": 0.1},
    "balanced": {"class_weights": "balanced"},
    "batch-16": {"batch_size": 16},
    "flip": {"augmentation": "flip"},
    "crop": {"augmentation": "crop"},
    "crop-flip": {"augmentation": "crop-flip"},
    "trivial": {"augmentation": "trivial"},
    "batch-statistics": {"batchnorm": "batch"},
    "flat": {"multipliers": (1.0,) * 6},
    ALL_IMAGES: {},
    "40-epochs": {"epochs": 40},
}
"""Name -> the fields that differ; AdamW's decay is decoupled, so it has its usual size."""

DEAR = ("crop", "crop-flip", "trivial", "batch-statistics", "flat", ALL_IMAGES, "40-epochs")
"""They keep no frozen front, take more steps, or need images of their own. Of flips the front is kept both ways."""

PAIRS = (
    *(("fitted", "adamw"), ("fitted", "cosine"), ("fitted", "adamw", "cosine")),
    *(("flip", "cosine"), ("crop", "cosine"), ("crop-flip", "cosine"), ("trivial", "cosine")),
)

_IMAGENET = {"adamw": -2, "batch-statistics": 4, "flat": -1}
SETTINGS = {
    "lite0-64": Setting(
        name="lite0-64",
        source=DEFAULT_SOURCE,
        recipe=RECIPES["frozen-statistics"],
        octave=1,
        shifts=_IMAGENET,
    ),
    "lite0-128": Setting(
        name="lite0-128",
        source=DEFAULT_SOURCE,
        recipe=RECIPES["frozen-statistics-128"],
        octave=2,
        shifts=_IMAGENET,
    ),
    "sprites-64": Setting(
        name="sprites-64",
        source=str(ROOT / "models" / "sources" / "sprites"),
        recipe=RECIPES["cosine"],
        octave=3,
        shifts={"adamw": -5, "flat": 2},
    ),
}
"""Octaves of the present defaults are those of their best fixed scales in the harvest that ships: 2, 4, and 7 to 10."""


def variants_of(setting: Setting, *, together: Sequence[str] = ()) -> list[Variant]:
    """Return a setting's variants in the order in which they are run, the present default first.

    Without ``together``: every factor alone, and the declared pairs. With it the second stage: all of these factors at
    once, and all without each. A factor that the present default has already changes nothing and is left out.

    Args:
        setting: of the network and size.
        together: factors.

    Raises:
        SystemExit: if there is no such factor, or two set the same field.
    """
    if unknown := sorted(set(together) - set(FACTORS)):
        raise SystemExit(f"No factor {', '.join(unknown)}; there are {', '.join(FACTORS)}.")
    if together:
        without = [tuple(each for each in together if each != left) for left in together]
        combinations = [tuple(together), *without]
    else:
        combinations = [*((name,) for name in FACTORS), *PAIRS]
    made = {(): _variant(setting, ())}
    for parts in combinations:
        changing = tuple(part for part in parts if _changes(setting, part))
        made.setdefault(changing, _variant(setting, changing))
    return sorted(made.values(), key=lambda variant: variant.tier)


def _changes(setting: Setting, factor: str) -> bool:
    return factor == ALL_IMAGES or dataclasses.replace(setting.recipe, **FACTORS[factor]) != setting.recipe


def _variant(setting: Setting, parts: Sequence[str]) -> Variant:
    changes: dict[str, Any] = {}
    for part in parts:
        if both := sorted(changes.keys() & FACTORS[part].keys()):
            raise SystemExit(f"{' and '.join(parts)} both set {', '.join(both)}: name one of them.")
        changes |= FACTORS[part]
    return Variant(
        name=" + ".join(parts) or DEFAULT,
        recipe=dataclasses.replace(setting.recipe, **changes),
        octave=setting.octave + sum(setting.shifts.get(part, 0) for part in parts),
        learns_all=ALL_IMAGES in parts,
        tier=int(any(part in DEAR for part in parts)),
    )
