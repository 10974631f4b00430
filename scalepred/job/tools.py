"""Picks what a job works with: source, recipe, device, and the predictor to ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from scalepred.job.options import NetworkOptions
from scalepred.job.places import shipped_predictor, user_predictor
from scalepred.networks.architecture import check_takes
from scalepred.networks.names import default_recipe
from scalepred.networks.source import Source, load_source
from scalepred.predictor.artifact import load
from scalepred.predictor.curves import FILE as CURVES_FILE
from scalepred.predictor.curves import Curves, load_curves
from scalepred.predictor.rule import FILE as RULE_FILE
from scalepred.predictor.rule import Rule, load_rule
from scalepred.predictor.train import Predictor
from scalepred.recipe import RECIPES, Recipe, at_size, changed, load_recipe
from scalepred.training.devices import pick_device


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The predictor that is asked, its folder, and a note on why it is this one."""

    predictor: Predictor
    folder: Path
    note: str


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a job works with.

    ``asked`` is None where nothing is to be predicted, ``rule`` and ``curves`` where none ship.
    """

    source: Source
    recipe: Recipe
    recipe_name: str
    device: torch.device
    asked: Asked | None
    rule: Rule | None = None
    curves: Curves | None = None


def pick_tools(options: NetworkOptions, *, predicts: bool) -> Tools:
    """Pick source, recipe and device, and, where the scale is to be predicted, the predictor.

    The recipe is the given one, else what is usual with the source.

    Raises:
        UsageError: if there is no such recipe, source or device, or the source can't take images of the recipe's size.
        WeightsError: if the source's weights are missing, unreadable, or of another network.
        VersionError: if a predictor can't be read.
    """
    name, recipe = pick_recipe(options)
    predictors = load_predictors(options.predictor) if predicts else {}
    device = pick_device(options.device)
    weights = None if options.weights is None else Path(options.weights)
    source = load_source(str(options.source), weights=weights)
    asked = None
    if predictors:
        folder = pick_predictor(predictors, source)
        asked = Asked(predictor=predictors[folder], folder=folder, note=_note(folder, predictors))
        if options.recipe is None:
            name, recipe = _changed(*usual_recipe(asked.predictor, source, str(options.source)), options)
    check_takes(source.architecture, image_px=recipe.image_px)
    rule = shipped_rule()
    return Tools(
        source=source,
        recipe=recipe,
        recipe_name=name,
        device=device,
        asked=asked,
        rule=rule,
        curves=None if rule is None else shipped_curves(rule),
    )


def shipped_rule() -> Rule | None:
    """Return the rule that ships with scalepred, or None where none does.

    Raises:
        VersionError: if it is damaged.
    """
    folder = shipped_predictor()
    return load_rule(folder) if (folder / RULE_FILE).is_file() else None


def shipped_curves(rule: Rule) -> Curves | None:
    """Return the harvested curves that ship with a rule, or None where none do.

    Raises:
        VersionError: if they are damaged, or belong to another rule.
    """
    folder = shipped_predictor()
    return load_curves(folder, rule) if (folder / CURVES_FILE).is_file() else None


def pick_recipe(options: NetworkOptions) -> tuple[str, Recipe]:
    """Return the recipe that is given, or the default of the source, as the options change it, and its name."""
    given = options.recipe
    if isinstance(given, Recipe):
        name = next((name for name, recipe in RECIPES.items() if recipe == given), "custom")
        return _changed(name, given, options)
    text = default_recipe(str(options.source)) if given is None else str(given)
    return _changed(Path(text).stem, load_recipe(text), options)


def _changed(name: str, recipe: Recipe, options: NetworkOptions) -> tuple[str, Recipe]:
    """Return a recipe with the size, resize and class weights that are asked for, and its name."""
    sized = at_size(name, recipe, options.image_px)
    return changed(*sized, resize=options.resize, class_weights=options.class_weights)


def usual_recipe(predictor: Predictor, source: Source, source_name: str) -> tuple[str, Recipe]:
    """Return the recipe to use where none is given, and its name.

    It is the source's default; but where the predictor has met the source with other recipes alone, the one that it has
    met it with most, since of the default it knows nothing.
    """
    name = default_recipe(source_name)
    fields, names = predictor.facts.get("recipe_fields", {}), predictor.facts.get("recipes", {})
    n_tasks = {group.recipe_id: group.n_tasks for group in predictor.all_groups if group.source_id == source.source_id}
    described = [recipe_id for recipe_id in n_tasks if recipe_id in fields and recipe_id in names]
    if not described or RECIPES[name].recipe_id in n_tasks:
        return name, RECIPES[name]
    most = max(described, key=lambda recipe_id: n_tasks[recipe_id])
    return names[most], Recipe.from_json(fields[most])


def load_predictors(given: str | Path | None) -> dict[Path, Predictor]:
    """Return the predictors to ask, in this order, by folder: the given one, or the user's and the one that ships.

    Raises:
        VersionError: if one can't be read.
    """
    usual = [path for path in (user_predictor(), shipped_predictor()) if path.is_dir()] or [shipped_predictor()]
    return {path: load(path) for path in ([Path(given)] if given else usual)}


def pick_predictor(predictors: Mapping[Path, Predictor], source: Source) -> Path:
    """Return the folder of the first predictor that has met a source; the first of all where none has."""
    met = (
        path for path, each in predictors.items() if source.source_id in {group.source_id for group in each.all_groups}
    )
    return next(met, next(iter(predictors)))


def _note(asked: Path, predictors: Mapping[Path, Predictor]) -> str:
    """Return a note that names the predictor that is asked, and says why it is not the first of all."""
    first = next(iter(predictors))
    why = "" if asked == first else f", which ships, since your own at {first} has not met this source"
    return f"predictor: {asked}{why}"
