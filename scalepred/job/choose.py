"""Chooses the scale of a job: predicted from the features of its task, or the user's."""

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scalepred.data.task import Task
from scalepred.job.probe import ProbeSummary, summarise
from scalepred.job.setup import Setup
from scalepred.networks.source import Source
from scalepred.predictor.choice import Choice, choose
from scalepred.predictor.context import context_features
from scalepred.predictor.curves import Curves
from scalepred.predictor.facts import compute_features
from scalepred.predictor.outlook import outlook
from scalepred.predictor.own_runs import expected_shape
from scalepred.predictor.rule import RuleAnswer, answer, kind_of
from scalepred.predictor.start_facts import MeasuredStart, measure_start
from scalepred.predictor.train import Predictor
from scalepred.recipe import Recipe, check_scale
from scalepred.training.critical import CriticalRate


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A choice for a task, and what it was made from.

    Attributes:
        choice: the scale, by whom and why it was chosen, and how sure that is.
        features: name -> value, of the task, the source and the recipe.
        seconds: what features and choice took.
        predictor: folder of the predictor that was asked; None where the scale was given.
        lines: head -> the training loss along the recipe's first update, where that was measured; factors are scales.
        probe: what the linear probe reaches, which is cheaper; None where it was not fitted.
    """

    choice: Choice
    features: dict[str, float]
    seconds: float
    predictor: Path | None = None
    lines: Mapping[str, CriticalRate] = field(default_factory=dict)
    probe: ProbeSummary | None = None

    @property
    def scale(self) -> float:
        """The chosen scale."""
        return self.choice.scale

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred predict --json``."""
        choice = self.choice
        return {
            "schema": 2,
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
            "rule": None if choice.rule is None else dataclasses.asdict(choice.rule),
            "outlook": None if choice.outlook is None else dataclasses.asdict(choice.outlook),
            "lines": {
                head: {"critical_scale": _finite(line.factor), "minimum_scale": _finite(line.minimum)}
                | {"curve": [{"scale": scale, "loss": _finite(loss)} for scale, loss in line.curve]}
                for head, line in self.lines.items()
            },
            "probe": None if self.probe is None else self.probe.to_json(),
            "features": self.features,
            "seconds": self.seconds,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def choose_scale(setup: Setup, scale: float | Literal["auto"] = "auto", *, measures_start: bool = False) -> Prediction:
    """Choose the scale of a job, and fit the linear probe: "auto" asks the predictor, a number is taken as it is.

    Args:
        setup: the images and the tools.
        scale: "auto" or a number above 0.
        measures_start: look along the recipe's first update even where no rule ships.

    Raises:
        UsageError: if the number is not finite or not above 0, or there is no memory even for one image at a time.
        ValueError: if the tools were picked without a predictor, and it is to be asked.
    """
    tools, started = setup.tools, time.perf_counter()
    if scale == "auto" and tools.asked is None:
        raise ValueError("nothing can be predicted: the tools were picked without a predictor")
    chosen = None if scale == "auto" else given(scale)  # what can't be used is refused before anything is measured
    probe = summarise(setup)
    start = _start_of(setup, measures_start=measures_start)
    rule = ask_rule(setup, start)
    if chosen is None:
        prediction = _with_outlook(_ask_predictor(setup, rule), setup, start)
    else:
        prediction = Prediction(choice=dataclasses.replace(chosen, rule=rule), features={}, seconds=0.0)
    seconds = time.perf_counter() - started  # what probe and rule took is part of it
    return dataclasses.replace(prediction, seconds=seconds, lines=start.lines if start else {}, probe=probe)


def _ask_predictor(setup: Setup, rule: RuleAnswer | None) -> Prediction:
    tools = setup.tools
    assert tools.asked is not None  # noqa: S101 - choose_scale sees to it
    prediction = predict(
        setup.task,
        tools.source,
        tools.asked.predictor,
        recipe=tools.recipe,
        device=tools.device,
        rule=rule,
        curves=tools.curves,
        embedded=setup.bundle.embedded(),
    )
    return dataclasses.replace(prediction, predictor=tools.asked.folder)


def _with_outlook(prediction: Prediction, setup: Setup, start: MeasuredStart | None) -> Prediction:
    """Add what is expected around the scale, where rule or own runs decided and harvested curves ship."""
    rule, curves, choice = setup.tools.rule, setup.tools.curves, prediction.choice
    if choice.by not in ("rule", "own runs") or rule is None or curves is None or start is None:
        return prediction
    expected = outlook(
        curves,
        start.values,
        setup.tools.recipe,
        scale=choice.scale,
        chance=1 / len(setup.task.classes),
        is_damped=rule.is_damped(setup.tools.recipe),
        is_fixed=choice.rule is not None and choice.rule.is_fixed,
    )
    if choice.outlook is not None:  # own runs know more of the width
        own = {name: getattr(choice.outlook, name) for name in ("lowest", "highest", "lost_half", "lost_double")}
        expected = dataclasses.replace(expected, **own)
    return dataclasses.replace(prediction, choice=dataclasses.replace(choice, outlook=expected))


def _start_of(setup: Setup, *, measures_start: bool) -> MeasuredStart | None:
    """Measure the start of a job, where a rule ships that can be asked of it, or it is wanted anyway."""
    wanted = measures_start or setup.tools.rule is not None
    return measure_start(setup.bundle.in_float32(), setup.tools.recipe) if wanted else None


def ask_rule(setup: Setup, start: MeasuredStart | None) -> RuleAnswer | None:
    """Ask the rule that ships; None where there is none, or the start has no critical rate."""
    rule = setup.tools.rule
    return None if rule is None or start is None else answer(rule, start.values, setup.tools.recipe)


def warnings_of(choice: Choice) -> list[str]:
    """Return what a user should know of a chosen scale before training: that it lies above the critical rate."""
    rule = choice.rule
    if choice.by != "given" or rule is None or choice.scale <= rule.critical_scale:
        return []
    return [
        f"scale {choice.scale:g} is {choice.scale / rule.critical_scale:.1f} times the critical rate of this start "
        f"({rule.critical_scale:g}), where the first update leaves the loss higher than it was: expect training to "
        f"be unstable, or to diverge. The rule gives {rule.scale:g}"
    ]


def given(scale: float) -> Choice:
    """Return the user's choice.

    Raises:
        UsageError: if it is no finite number above 0.
    """
    checked = check_scale(scale)
    return Choice(scale=checked, by="given", reason="chosen by the user", fixed_scale=checked)


def predict(
    task: Task,
    source: Source,
    predictor: Predictor,
    *,
    recipe: Recipe,
    device: torch.device,
    rule: RuleAnswer | None = None,
    curves: Curves | None = None,
    embedded: np.ndarray | None = None,
) -> Prediction:
    """Choose a task's scale from its features and, where nothing was harvested, by the rule; without training.

    All of it is float32, so that the same task has the same choice whatever dtype a job then takes.

    ``curves`` are what own runs are weighed against; ``embedded`` is (n, d) float32, the source's penultimate features
    of the training images, if they are there already.
    """
    started = time.perf_counter()
    computed = compute_features(source, task.train, n_classes=len(task.classes), device=device, embedded=embedded)
    features = {name: feature.value for name, feature in sorted(computed.items())}
    features |= context_features(source.record.facts, recipe)
    plain, without = _as_harvested(predictor, source, recipe)
    has_own = predictor.own_curve_of(source.source_id, plain.recipe_id) is not None
    choice = choose(
        predictor,
        features,
        source_id=source.source_id,
        recipe_id=plain.recipe_id,
        other_sizes=other_sizes(predictor, plain),
        rule=rule,
        shape=expected_shape(curves, kind_of(recipe), chance=1 / len(task.classes)) if has_own and curves else None,
    )
    if without and choice.by == "predicted":
        choice = _guessed(choice, without)
    elif without and choice.by == "fallback":
        told = choice.reason.replace("suited this recipe", f"suited all of this recipe but its {without}")
        choice = dataclasses.replace(choice, reason=told)
    elif without and choice.by == "own runs":
        told = choice.reason.replace("source and recipe", f"source and all of this recipe but its {without}")
        choice = dataclasses.replace(choice, reason=told)
    return Prediction(choice=choice, features=features, seconds=time.perf_counter() - started)


def _as_harvested(predictor: Predictor, source: Source, recipe: Recipe) -> tuple[Recipe, str]:
    """Return the recipe as it may have been harvested, where it was not as it is, and in words what that lacks.

    The best scale is likely to be near: balanced class weights are 1 in the mean, and squares of another kind show the
    same images.
    """
    met = {group.recipe_id for group in predictor.all_groups if group.source_id == source.source_id}
    unweighed = dataclasses.replace(recipe, class_weights="none")
    squashed = dataclasses.replace(recipe, resize="squash")
    plain = dataclasses.replace(unweighed, resize="squash")
    tried = next((each for each in (recipe, unweighed, squashed) if each.recipe_id in met), plain)
    lacks = {"resize": tried.resize != recipe.resize, "class weights": tried.class_weights != recipe.class_weights}
    return tried, " and ".join(name for name, lacking in lacks.items() if lacking)


def _guessed(choice: Choice, without: str) -> Choice:
    """Return the best fixed scale of the recipe that was harvested, for the one that was not."""
    fixed = choice.fixed_scale
    reason = (
        f"this source was harvested with all of this recipe but its {without}; "
        f"{fixed:g}, the best fixed scale there, is a guess"
    )
    return Choice(scale=fixed, by="fallback", reason=reason, fixed_scale=fixed, rule=choice.rule)


def other_sizes(predictor: Predictor, recipe: Recipe) -> dict[str, int]:
    """Return the recipes of a predictor that differ from this one in image size alone: ids -> size, nearest first."""
    harvested = {
        recipe_id: Recipe.from_json(text) for recipe_id, text in predictor.facts.get("recipe_fields", {}).items()
    }
    sizes = {
        recipe_id: other.image_px
        for recipe_id, other in harvested.items()
        if other != recipe and dataclasses.replace(other, image_px=recipe.image_px) == recipe
    }
    return dict(sorted(sizes.items(), key=lambda each: abs(math.log(each[1] / recipe.image_px))))
