"""Chooses the recipe, the predictor and the scale of a job."""

import dataclasses
import importlib.resources
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scalepred.data.task import Task
from scalepred.networks.names import default_recipe
from scalepred.networks.source import Source
from scalepred.predictor.choice import Choice, choose
from scalepred.predictor.context import context_features
from scalepred.predictor.facts import compute_features
from scalepred.predictor.train import Predictor
from scalepred.recipe import RECIPES, Recipe, check_scale


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A choice for a task, and the features that it was made from."""

    choice: Choice
    features: dict[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred predict --json``."""
        choice = self.choice
        return {
            "schema": 1,
            "scale": choice.scale,
            "by": choice.by,
            "reason": choice.reason,
            "fixed_scale": choice.fixed_scale,
            "curve": [{"scale": scale, "relative_accuracy": value} for scale, value in choice.curve],
            "predicted_gain": choice.predicted_gain,
            "gain_interval": choice.gain_interval,
            "same_scales": list(choice.same_scales),
            "contributions": choice.contributions,
            "neighbours": [{"task": name, "best_scale": scale} for name, scale in choice.neighbours.items()],
            "features": self.features,
            "seconds": self.seconds,
        }


def shipped_predictor() -> Path:
    """Return the folder of the predictor that ships with scalepred, from the wheel or from the checkout."""
    inside = Path(str(importlib.resources.files("scalepred"))) / "models" / "default"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "models" / "default"


def pick_predictor(predictors: Mapping[Path, Predictor], source: Source) -> Path:
    """Return the folder of the first predictor that has met a source; the first of all where none has."""
    met = (path for path, each in predictors.items() if source.source_id in {group.source_id for group in each.groups})
    return next(met, next(iter(predictors)))


def given(scale: float) -> Choice:
    """Return the user's own choice."""
    checked = check_scale(scale)
    return Choice(scale=checked, by="given", reason="given with --scale", fixed_scale=checked)


def usual_recipe(predictor: Predictor, source: Source, source_name: str) -> tuple[str, Recipe]:
    """Return the recipe to use where none is given, and its name.

    It is the source's default; but where the predictor has met the source with other recipes alone, the one that it has
    met it with most, since of the default it knows nothing.
    """
    name = default_recipe(source_name)
    fields, names = predictor.facts.get("recipe_fields", {}), predictor.facts.get("recipes", {})
    met = {group.recipe_id: group.n_tasks for group in predictor.groups if group.source_id == source.source_id}
    known = [recipe_id for recipe_id in met if recipe_id in fields and recipe_id in names]
    if not known or RECIPES[name].recipe_id in met:
        return name, RECIPES[name]
    most = max(known, key=lambda recipe_id: met[recipe_id])
    return names[most], Recipe.from_json(fields[most])


def other_sizes(predictor: Predictor, recipe: Recipe) -> dict[str, int]:
    """Return the recipes of a predictor that differ from this one in image size alone: ids -> size, nearest first."""
    met = {recipe_id: Recipe.from_json(text) for recipe_id, text in predictor.facts.get("recipe_fields", {}).items()}
    sizes = {
        recipe_id: other.image_px
        for recipe_id, other in met.items()
        if other != recipe and dataclasses.replace(other, image_px=recipe.image_px) == recipe
    }
    return dict(sorted(sizes.items(), key=lambda each: abs(math.log(each[1] / recipe.image_px))))


def predict(
    task: Task, source: Source, predictor: Predictor, *, recipe: Recipe, device: torch.device, dtype: torch.dtype
) -> Prediction:
    """Choose a task's scale from its features, without training."""
    started = time.perf_counter()
    found = compute_features(source, task.train, n_classes=len(task.classes), device=device, dtype=dtype)
    features = {name: feature.value for name, feature in sorted(found.items())}
    features |= context_features(source.record.facts, recipe)
    choice = choose(
        predictor,
        features,
        source_id=source.source_id,
        recipe_id=recipe.recipe_id,
        other_sizes=other_sizes(predictor, recipe),
    )
    return Prediction(choice=choice, features=features, seconds=time.perf_counter() - started)
