"""How large sources and targets are trained, in full and as a trial, and the recipes of the studies."""

from collections.abc import Mapping
from dataclasses import dataclass

from scalepred.recipe import Recipe

BASE_LR = 0.001
INNER = {0.01: (0.0, 0.0001, 0.001, 0.01), 0.1: (0.0, 0.0001, 0.001, 0.01, 0.1)}
"""LL -> the values of IL. Source: Dube et al. 2018, section 4.2."""
FLAT = (1.0, 2.0, 5.0)
GRADUATED = ((0.0, 0.0, 1.0, 2.0, 5.0), (0.0, 1.0, 2.0, 4.0, 8.0))
HEADS = (10.0, 20.0)
"""Multipliers of figure 10: flat inner ones, graduated ones, and LL, which is 10 in the text and 20 in the caption.
Source: Dube et al. 2018, section 4.3; the second graduated set is that of the real-world tasks."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How large sources and targets are trained.

    Attributes:
        width: of the ResNet-27; the paper does not tell its own.
        source_epochs: passes over a source's images; the rate falls tenfold after each third.
        epochs: passes over a target's; as many, since the paper gives a tenth of the data a tenth of the iterations.
        image_px: side of the images.
        batch_size: of both.
    """

    width: int = 16
    source_epochs: int = 30
    epochs: int = 30
    image_px: int = 64
    batch_size: int = 32


FULL = Settings()
SMOKE = Settings(width=8, source_epochs=1, epochs=1, image_px=16, batch_size=16)


def rates(inner: float, outer: float, settings: Settings) -> tuple[str, Recipe]:
    """Return the name and recipe of IL-n/LL-m: one rate for all inner layers, one for the last.

    IL-0/LL-0.01 is the baseline of all these recipes, and keeps that name and run.
    """
    head = round(outer / BASE_LR, 6)
    return f"il-{inner:g}-ll-{outer:g}", _recipe((round(inner / BASE_LR, 6),) * 5 + (head,), settings)


def multiplied(inner: tuple[float, ...], head: float, settings: Settings) -> tuple[str, Recipe]:
    """Return the name and recipe of these multipliers of the five stages and the head, at the base rate of 0.001."""
    words = f"flat-{inner[0]:g}" if len(set(inner)) == 1 else f"graduated-{'-'.join(f'{each:g}' for each in inner)}"
    return f"{words}-head-{head:g}", _recipe((*inner, head), settings)


def _recipe(multipliers: tuple[float, ...], settings: Settings) -> Recipe:
    return Recipe(
        base_lr=BASE_LR,
        multipliers=multipliers,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        image_px=settings.image_px,
    )


def rate_recipes(settings: Settings) -> dict[str, Recipe]:
    """Return the recipes of tables 1 and 2 and figures 6 to 9, but for their baseline, IL-0/LL-0.01."""
    pairs = [(inner, outer) for outer, some in INNER.items() for inner in some if (inner, outer) != (0.0, 0.01)]
    return dict(rates(inner, outer, settings) for inner, outer in pairs)


def graduated_recipes(settings: Settings) -> dict[str, Recipe]:
    """Return the recipes of figure 10."""
    inner = [*((each,) * 5 for each in FLAT), *GRADUATED]
    return dict(multiplied(each, head, settings) for head in HEADS for each in inner)


def whole_recipe(settings: Settings) -> dict[str, Recipe]:
    """Return the recipe of figures 1 and 2, by which a network can start from noise: 0.01 for all layers."""
    return dict([rates(0.01, 0.01, settings)])


def recipes_of(study: str, settings: Settings) -> Mapping[str, Recipe]:
    """Return a study's recipes by name."""
    kinds = {"size": whole_recipe, "source": whole_recipe, "rates": rate_recipes, "graduated": graduated_recipes}
    return kinds.get(study, rate_recipes)(settings)
