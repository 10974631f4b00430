"""Chooses the scale of a new task: the predicted one, the rule's as own runs move it, or a fixed scale and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import lightgbm
import numpy as np

from scalepred.predictor.model import joint_inputs, model_columns, predict_curves
from scalepred.predictor.nearness import distances_between, standardise
from scalepred.predictor.outlook import Outlook
from scalepred.predictor.own_runs import PRIOR_TASKS, OwnCurve, moved_by
from scalepred.predictor.rule import RuleAnswer
from scalepred.predictor.threshold import choose_columns, same_around
from scalepred.predictor.train import MIN_ORIGINS, Group, Predictor

MIN_ERRORS = 10
"""An interval for the gain needs so many held-out errors."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A scale, who chose it ("predicted", "own runs", "rule", "given" or "fallback") and why.

    Attributes:
        fixed_scale: the best fixed scale, which is the default to beat.
        curve: (scale, predicted accuracy relative to the task's own mean), empty where nothing is predicted.
        predicted_gain: of the chosen over the fixed scale, a fraction.
        gain_interval: 80 % of held-out tasks gained within it; None where too few were held out.
        same_scales: the scales around the predicted best whose predicted accuracies lie within half a point of it.
        contributions: feature -> what it adds to the predicted gain of the predicted best over the fixed scale, largest
            first, from LightGBM's ``pred_contrib``; empty where they are the same.
        neighbours: names and best scales of the nearest harvested tasks of the same source and recipe.
        rule: what a constant times the critical rate of the start gives; it decides where nothing was harvested with
            the source and recipe, and is told beside the choice elsewhere. None where it was not measured.
        outlook: what is expected around the scale where the rule decides, moved by own runs or not; None elsewhere, and
            without harvested curves.
    """

    scale: float
    by: str
    reason: str
    fixed_scale: float
    curve: tuple[tuple[float, float], ...] = ()
    predicted_gain: float = 0.0
    gain_interval: tuple[float, float] | None = None
    same_scales: tuple[float, ...] = ()
    contributions: dict[str, float] = field(default_factory=dict)
    neighbours: dict[str, float] = field(default_factory=dict)
    rule: RuleAnswer | None = None
    outlook: Outlook | None = None


def choose(
    predictor: Predictor,
    features: dict[str, float],
    *,
    source_id: str,
    recipe_id: str,
    other_sizes: Mapping[str, int] = MappingProxyType({}),
    rule: RuleAnswer | None = None,
    shape: np.ndarray | None = None,
) -> Choice:
    """Choose the scale of a new task from its features; those that are missing or NaN count as missing.

    The best of the predicted curve is chosen where it promises more than the threshold over the best fixed scale. Where
    few tasks were harvested with the source and recipe, they move the rule's scale instead of having a fixed one.
    Where the source and recipe were not harvested at any image size, other sources with the recipe choose, else the
    rule. Falls back to the best fixed scale, and says so, where there is no rule either, too few collections were
    harvested with source and recipe, or no harvested task is like this one.

    Args:
        predictor: what was learnt.
        features: name -> value.
        source_id: of the network to finetune.
        recipe_id: of the recipe to finetune with.
        other_sizes: ids of the recipes that differ from it in image size alone -> that size, the nearest first; where
            the recipe itself was not harvested, their fixed scale is taken before any other's.
        rule: what the rule says of the start, where it was measured.
        shape: what harvested curves expect around the rule's scale, as ``own_runs.expected_shape`` gives it.
    """
    choice = _choose(predictor, features, source_id=source_id, recipe_id=recipe_id, other_sizes=other_sizes, rule=rule)
    own = predictor.own_curve_of(source_id, recipe_id)
    if own is not None and rule is not None and shape is not None and choice.scale == choice.fixed_scale:
        choice = by_own_runs(own, choice, rule=rule, shape=shape)
    return replace(choice, rule=rule)


def by_own_runs(own: OwnCurve, fixed: Choice, *, rule: RuleAnswer, shape: np.ndarray) -> Choice:
    """Return the rule's scale as a few tasks of the same source and recipe move it, instead of their best fixed one."""
    moved = moved_by(own, shape, log2_scale=math.log2(rule.scale))
    scale, low, high = (float(f"{2**each:.3g}") for each in (moved.log2_scale, moved.low, moved.high))
    tasks = _count(own.n_tasks, "task")
    reason = (
        f"{tasks} of this source and recipe did best at {fixed.fixed_scale:g}, and the rule gives {rule.scale:g} for "
        f"this one; with harvested curves around that counted as {PRIOR_TASKS:g} tasks more, {scale:g} is expected to "
        "do best"
    )
    around = Outlook(
        lowest=low,
        highest=high,
        lost_half=moved.lost_half,
        lost_double=moved.lost_double,
        nearest=(),
        n_curves=0,
    )
    return Choice(
        scale=scale,
        by="own runs",
        reason=reason,
        fixed_scale=fixed.fixed_scale,
        neighbours=fixed.neighbours,
        outlook=around,
    )


def _choose(
    predictor: Predictor,
    features: dict[str, float],
    *,
    source_id: str,
    recipe_id: str,
    other_sizes: Mapping[str, int],
    rule: RuleAnswer | None,
) -> Choice:
    group = next((g for g in predictor.all_groups if (g.source_id, g.recipe_id) == (source_id, recipe_id)), None)
    if group is None:
        return _not_harvested(
            predictor.all_groups, source_id=source_id, recipe_id=recipe_id, other_sizes=other_sizes, rule=rule
        )
    if group in predictor.octave_groups:
        return _fallback(
            group.fixed_scale,
            f"{group.fixed_scale:g} is the best fixed scale of {_count(group.n_tasks, 'task')} that this source and "
            "recipe were run on over octaves; predicting takes whole grids",
        )
    if predictor.booster is None or group.n_origins < MIN_ORIGINS:
        return _fallback(
            group.fixed_scale,
            f"only {_count(group.n_tasks, 'task')} of {_count(group.n_origins, 'collection')} harvested with this "
            f"source and recipe, and predicting takes {MIN_ORIGINS} collections; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
        )
    row = np.array([[features.get(name, math.nan) for name in predictor.feature_names]])
    harvested = [n for n in predictor.neighbours if (n.source_id, n.recipe_id) == (source_id, recipe_id)]
    standard = standardise(row, predictor.centre, predictor.spread)
    distances = distances_between(standard, np.array([neighbour.features for neighbour in harvested]))[0]
    nearest = np.argsort(distances, kind="stable")[:3]
    names = {harvested[i].name: harvested[i].best_scale for i in nearest}
    if distances[nearest[0]] > predictor.reach:
        return _fallback(
            group.fixed_scale,
            f"this task is unlike all {len(harvested)} that were harvested; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
            neighbours=names,
        )
    return _predicted(predictor, predictor.booster, group=group, row=row, neighbours=names)


def _not_harvested(
    groups: Sequence[Group],
    *,
    source_id: str,
    recipe_id: str,
    other_sizes: Mapping[str, int],
    rule: RuleAnswer | None,
) -> Choice:
    """Return the choice for a source and recipe that were not harvested together."""
    is_of_other_size = any(g.source_id == source_id and g.recipe_id in other_sizes for g in groups)
    others = [g for g in groups if g.recipe_id == recipe_id]
    if others and not is_of_other_size:
        return _by_other_sources(others, rule)
    if rule is not None and not is_of_other_size:
        return by_rule(rule)
    return _guess(groups, source_id=source_id, other_sizes=other_sizes)


def _by_other_sources(groups: Sequence[Group], rule: RuleAnswer | None) -> Choice:
    """Return the scale that suits a recipe on other sources, unless the start's loss would not bear it.

    It is the geometric mean of their best fixed scales. On networks and families held out it does what the rule does,
    which has met the recipe as well, and it is of this recipe alone (log of 2026-11-30).
    """
    scale = float(f"{math.exp(np.mean(np.log([group.fixed_scale for group in groups]))):.3g}")
    if rule is not None and scale > rule.critical_scale:
        return by_rule(rule)
    n_tasks = sum(group.n_tasks for group in groups)
    return _fallback(
        scale,
        f"this source was not harvested; {scale:g} suited this recipe best on {_count(len(groups), 'other network')} "
        f"({_count(n_tasks, 'task')})",
    )


def by_rule(rule: RuleAnswer) -> Choice:
    """Return the rule's choice, for a source and recipe of which nothing was harvested."""
    share = f"{rule.scale / rule.critical_scale:.2g} of the critical rate of this start ({rule.critical_scale:g})"
    what = f"the rate, {share}, that" if rule.is_fixed else f"{share}, as"
    reason = (
        f"nothing was harvested with this source and recipe, so it is {what} suited {rule.n_points} harvested points "
        f"of {rule.n_sources} networks best; within a factor of {rule.safe_factor:g} of that lay a scale within two "
        "points of the best for 8 in 10"
    )
    return Choice(scale=rule.scale, by="rule", reason=reason, fixed_scale=rule.scale, rule=rule)


def _predicted(
    predictor: Predictor, booster: lightgbm.Booster, *, group: Group, row: np.ndarray, neighbours: dict[str, float]
) -> Choice:
    scales = np.array(predictor.scales)
    curve = predict_curves(booster, row, scales)[0]
    fixed = predictor.scales.index(group.fixed_scale)
    chosen = int(choose_columns(curve[None], np.array([fixed]), predictor.threshold)[0])
    best = int(curve.argmax())
    gain = float(curve[chosen] - curve[fixed])
    errors = error_interval(predictor.gain_errors) if chosen != fixed else None
    same = _same_scales(curve, scales)
    moved = contributions(predictor, row[0], best, fixed)
    return Choice(
        scale=float(scales[chosen]),
        by="predicted",
        reason=_reason(curve, scales, chosen=chosen, fixed=fixed, threshold=predictor.threshold, drivers=list(moved)),
        fixed_scale=group.fixed_scale,
        curve=tuple(zip(predictor.scales, curve.tolist(), strict=True)),
        predicted_gain=gain,
        gain_interval=None if errors is None else (gain + errors[0], gain + errors[1]),
        same_scales=same,
        contributions=moved,
        neighbours=neighbours,
    )


def error_interval(errors: Sequence[float]) -> tuple[float, float] | None:
    """Return between which values 80 % of further errors lie; None where there are fewer than ``MIN_ERRORS``.

    Source: Vovk, Gammerman and Shafer 2005 (conformal prediction): a further error is as likely to fall into any of the
    gaps between the given ones, so a tenth of these gaps is left on each side.
    """
    if len(errors) < MIN_ERRORS:
        return None
    ordered = sorted(errors)
    n_outside = (len(ordered) + 1) // 10
    return ordered[n_outside - 1], ordered[-n_outside]


def _same_scales(curve: np.ndarray, scales: np.ndarray) -> tuple[float, ...]:
    """Return the unbroken run of scales around the best of the curve that are predicted as good as the same."""
    first, last = same_around(curve, int(curve.argmax()))
    return tuple(scales[first : last + 1].tolist())


def contributions(predictor: Predictor, row: np.ndarray, column: int, against: int) -> dict[str, float]:
    """Return what each feature adds to the predicted gain of one column over another, largest first.

    Source: Lundberg et al. 2018 (Consistent individualized feature attribution for tree ensembles), as LightGBM's
    ``pred_contrib`` computes it; the difference of two explanations explains the difference.
    """
    assert predictor.booster is not None  # noqa: S101 - nothing is explained where nothing is predicted
    inputs = joint_inputs(row[None], np.array(predictor.scales)[[column, against]])
    explained = np.asarray(predictor.booster.predict(inputs, pred_contrib=True, num_threads=1))
    moved = (explained[0] - explained[1])[:-1]
    names = model_columns(predictor.feature_names)
    order = np.argsort(-np.abs(moved), kind="stable")
    return {names[i]: float(moved[i]) for i in order if abs(moved[i]) > 1e-6}


def _reason(
    curve: np.ndarray, scales: np.ndarray, *, chosen: int, fixed: int, threshold: float, drivers: list[str]
) -> str:
    best = int(curve.argmax())
    gain = f"{100 * (curve[best] - curve[fixed]):.1f} points"
    span = _span(_same_scales(curve, scales))
    if best == fixed:
        return f"{scales[fixed]:g}, the best fixed scale, is also predicted best for this task; {span}"
    if chosen == fixed:
        bar = (
            f"no more than the {100 * threshold:.2f} points that pay on held-out tasks"
            if math.isfinite(threshold)
            else "but leaving the best fixed scale did not pay on held-out tasks"
        )
        return f"{scales[best]:g} is predicted {gain} above {scales[fixed]:g}, {bar}, so that stays; {span}"
    named = [name for name in drivers if name != "log2_scale"][:2]
    because = f", because of {' and '.join(named)}" if named else ""
    return f"predicted {gain} above the best fixed scale of {scales[fixed]:g}{because}; {span}"


def _span(same: Sequence[float]) -> str:
    if len(same) == 1:
        return "no scale beside it is predicted within half a point of the best"
    return f"any scale from {same[0]:g} to {same[-1]:g} is predicted within half a point of the best"


def _guess(groups: Sequence[Group], *, source_id: str, other_sizes: Mapping[str, int]) -> Choice:
    """Fall back to what shares the source, and of these to the recipe but for its size; else to scale 1.

    A scale only means something for a source and a recipe, so what shares neither has nothing to say.
    """
    order = {of_size: -at for at, of_size in enumerate(other_sizes)}
    near = max(groups, key=lambda g: (g.source_id == source_id, order.get(g.recipe_id, -len(order)), g.n_tasks))
    if near.source_id != source_id:
        return _fallback(
            1.0,
            "neither this source nor this recipe was harvested, and the scales of others mean nothing for them; "
            "1 leaves the recipe's rates as they are",
        )
    if near.recipe_id in other_sizes:
        return _fallback(
            near.fixed_scale,
            "this source with this recipe was not harvested with images of this size; "
            f"{near.fixed_scale:g}, the best fixed scale of {_count(near.n_tasks, 'task')} at "
            f"{other_sizes[near.recipe_id]} px, is a guess",
        )
    return _fallback(
        near.fixed_scale,
        "this source with this recipe was not harvested; "
        f"{near.fixed_scale:g}, the best fixed scale of this source with another recipe, is a guess",
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _fallback(scale: float, reason: str, *, neighbours: dict[str, float] | None = None) -> Choice:
    return Choice(scale=scale, by="fallback", reason=reason, fixed_scale=scale, neighbours=neighbours or {})
