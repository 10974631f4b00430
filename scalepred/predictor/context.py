"""Source and recipe as features of the predictor, and the name of a set of facts."""

import math
from collections.abc import Mapping

from scalepred.recipe import Recipe

HEADS = ("noise", "half")
"""Heads that a start's critical rate is measured at, whatever the job starts from: a new one, and the fitted one shrunk
half way. At the fitted head itself the loss is nearly nothing, and the place scatters."""


def feature_set(image_px: int, resize: str = "squash") -> str:
    """Return the name under which the warehouse keeps this set of features, taken of images of this size and kind."""
    return f"basic-1@{image_px}px" + ("" if resize == "squash" else f"-{resize}")


def probe_set(image_px: int, resize: str = "squash") -> str:
    """Return the name under which the warehouse keeps what the linear probe reaches; it is no feature of a task."""
    return f"probe-2/{image_px}px" + ("" if resize == "squash" else f"-{resize}")


def start_set(recipe: Recipe) -> str:
    """Return the name under which the warehouse keeps the facts of this recipe's start."""
    return f"start-1@{recipe.recipe_id}"


def context_features(source_facts: Mapping[str, object], recipe: Recipe) -> dict[str, float]:
    """Return source and recipe as features: all in which harvested recipes have differed."""
    stages = source_facts["stages"]
    assert isinstance(stages, Mapping)  # noqa: S101 - sources.source_of writes it so
    return {
        "source_log10_parameters": math.log10(sum(stages.values())),
        **recipe_features(recipe),
    }


def recipe_features(recipe: Recipe) -> dict[str, float]:
    """Return a recipe as features."""
    return {
        "recipe_image_px": float(recipe.image_px),
        "recipe_log2_rate": math.log2(recipe.base_lr * max(recipe.multipliers)),
        "recipe_frozen_batchnorm": float(recipe.batchnorm == "frozen"),
        "recipe_crops": float("crop" in recipe.augmentation),
        "recipe_flips": float("flip" in recipe.augmentation),
        "recipe_cosine": float(recipe.schedule == "cosine"),
        "recipe_warmup_epochs": float(recipe.warmup_epochs),
        "recipe_adamw": float(recipe.optimizer == "adamw"),
        "recipe_fitted_head": float(recipe.head_start == "fitted"),
        "recipe_label_smoothing": recipe.label_smoothing,
        "recipe_class_weights": float(recipe.class_weights == "balanced"),
        "recipe_trivial": float(recipe.augmentation == "trivial"),
        "recipe_resize_crop": float(recipe.resize == "crop"),
        "recipe_resize_pad": float(recipe.resize == "pad"),
        "recipe_steps": float(recipe.steps or 0),
    }
