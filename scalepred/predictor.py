"""The predictor: LightGBM over (features, log2 scale), the choice it leads to, and the folder it is kept in."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightgbm
import numpy as np

from scalepred.config import content_id
from scalepred.errors import UsageError, VersionError
from scalepred.files import filling
from scalepred.model_text import safe_model_text
from scalepred.targets import TIE, accuracy_noise, best_fixed_scale, noise_weights, relative_accuracy

SCHEMA = 1
MANIFEST = "predictor.json"
MODEL = "model.txt"
MAX_MODEL_BYTES = 5_000_000
MAX_MANIFEST_BYTES = 50_000_000
MIN_ORIGINS = 8
"""With fewer origins nothing is predicted: leave-one-origin-out could not tell a good predictor from a bad one."""

MIN_ERRORS = 10
"""An interval for the gain needs so many held-out errors."""

SAME_POINTS = 0.005
"""Scales whose predicted accuracies lie within half a point are called the same."""

RUN_NOISE = 0.02
"""Standard deviation between seeds that weights allow for.

Three seeds of 24 tasks had 1.7 to 2.7 points at scales up to 2.5 (3.7 at 0.25); 15 at 7, where some runs break down
(log of 2026-11-26).
"""

THRESHOLDS = (SAME_POINTS, 0.01, 0.02, 0.04, 0.08, math.inf)
"""Predicted gains to choose from, fractions: less is called the same, and the last one never leaves the fixed scale."""

INNER_FOLDS = 5
MIN_SPREAD = 1e-9
"""A feature that varies less is constant."""

BOOSTING_ROUNDS = 120
# Every tree sees every column: one without log2_scale, or without a task's features, can't say where its optimum lies
PARAMETERS: dict[str, object] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 6,
    "min_data_in_leaf": 15,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": 0,
    "verbosity": -1,
}


@dataclass(frozen=True, kw_only=True)
class TrainingTable:
    """What a warehouse knows, as arrays: a row per bundle (task, source, recipe), a column per scale.

    Attributes:
        names, origins, source_ids, recipe_ids: of the bundles, n strings each.
        feature_names: f names, in the order of the columns.
        features: (n, f) float64, NaN where a feature is not known.
        scales: (s,) the grid.
        accuracies: (n, s) float64, mean over seeds of the accuracy on all held-out pictures, validation and test, which
            no run has seen; a diverged run counts as chance, and none is missing.
        n_held_out: (n,) int64, held-out pictures behind each accuracy.
        n_seeds: (n,) int64, runs behind each accuracy.
    """

    names: tuple[str, ...]
    origins: tuple[str, ...]
    source_ids: tuple[str, ...]
    recipe_ids: tuple[str, ...]
    feature_names: tuple[str, ...]
    features: np.ndarray
    scales: np.ndarray
    accuracies: np.ndarray
    n_held_out: np.ndarray
    n_seeds: np.ndarray

    def rows(self, index: np.ndarray) -> "TrainingTable":
        """Return the bundles of these row numbers."""
        picked: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in index)
            for name in ("names", "origins", "source_ids", "recipe_ids")
        }
        return TrainingTable(
            **picked,
            feature_names=self.feature_names,
            features=self.features[index],
            scales=self.scales,
            accuracies=self.accuracies[index],
            n_held_out=self.n_held_out[index],
            n_seeds=self.n_seeds[index],
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """A source and recipe that the predictor has seen, with the best fixed scale of their tasks."""

    source_id: str
    recipe_id: str
    fixed_scale: float
    n_tasks: int
    n_origins: int


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A harvested task that a new one can be compared with; ``features`` are standardised, 0 where not known."""

    name: str
    source_id: str
    recipe_id: str
    best_scale: float
    features: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained predictor; ``booster`` is None where there were too few tasks to learn from.

    Attributes:
        feature_names: the features it reads, in order; the model's last column is ``log2_scale``.
        scales: the grid.
        groups: the sources and recipes it has seen.
        threshold: predicted gain, a fraction, that the choice must pass to leave the fixed scale; infinite where none
            paid, or nothing is predicted.
        centre, spread: f numbers each, to standardise the features.
        reach: the standardised distance to the nearest harvested task beyond which a task is unlike all of them.
        neighbours: the harvested tasks.
        gain_errors: held-out errors (real less predicted gain over the fixed scale) where the choice left it.
        evaluation: the leave-one-origin-out table that is kept with it.
        facts: versions, counts and whatever else describes it.
    """

    feature_names: tuple[str, ...]
    scales: tuple[float, ...]
    groups: tuple[Group, ...]
    threshold: float
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    reach: float
    neighbours: tuple[Neighbour, ...]
    gain_errors: tuple[float, ...]
    evaluation: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    booster: lightgbm.Booster | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A scale, who chose it ("predicted", "given" or "fallback") and why.

    Attributes:
        fixed_scale: the best fixed scale, which is the default to beat.
        curve: (scale, predicted accuracy relative to the task's own mean), empty where nothing is predicted.
        predicted_gain: of the chosen over the fixed scale, a fraction.
        gain_interval: 80 % of held-out tasks gained within it; None where too few were held out.
        same_scales: the scales around the predicted best whose predicted accuracies lie within half a point of it.
        contributions: feature -> what it adds to the predicted gain of the predicted best over the fixed scale, largest
            first, from LightGBM's ``pred_contrib``; empty where they are the same.
        neighbours: names and best scales of the nearest harvested tasks of the same source and recipe.
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


# --- training ---------------------------------------------------------------------------------------------------------


def train(table: TrainingTable, *, seed: int = 0) -> Predictor:
    """Learn from every bundle of the table; with fewer than ``MIN_ORIGINS`` origins only the fixed scale is learnt."""
    centre, spread = _standardisation(table.features)
    standard = _standardise(table.features, centre, spread)
    enough = len(set(table.origins)) >= MIN_ORIGINS
    return Predictor(
        feature_names=table.feature_names,
        scales=tuple(table.scales.tolist()),
        groups=_groups(table),
        threshold=inner_threshold(table, seed=seed) if enough else math.inf,
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        reach=_reach(table, standard),
        neighbours=_neighbours(table, standard),
        gain_errors=(),
        booster=fit(table, seed=seed) if enough else None,
    )


def fit(table: TrainingTable, *, seed: int = 0) -> lightgbm.Booster:
    """Fit the trees to accuracies relative to each bundle's own mean, weighted by how well they are known."""
    relative = relative_accuracy(table.accuracies)
    run_noise = RUN_NOISE / np.sqrt(table.n_seeds[:, None])
    weights = noise_weights(accuracy_noise(table.accuracies, table.n_held_out[:, None]), run_noise=run_noise)
    data = lightgbm.Dataset(
        joint_inputs(table.features, table.scales),
        label=relative.ravel(),
        weight=weights.ravel(),
        feature_name=_columns(table.feature_names),
        free_raw_data=True,
    )
    return lightgbm.train({**PARAMETERS, "seed": seed}, data, num_boost_round=BOOSTING_ROUNDS)


def joint_inputs(features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (n * s, f + 1): every row of (n, f) features beside every log2 scale, scales running fastest."""
    repeated = np.repeat(features, len(scales), axis=0)
    return np.column_stack([repeated, np.tile(np.log2(scales), len(features))])


def predict_curves(booster: lightgbm.Booster, features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return predicted relative accuracies (n, s) for (n, f) features."""
    flat = np.asarray(booster.predict(joint_inputs(features, scales), num_threads=1))
    return flat.reshape(len(features), len(scales))


def choose_columns(curves: np.ndarray, fixed: np.ndarray, threshold: float) -> np.ndarray:
    """Return each row's column: the best of its curve if that gains more than the threshold over ``fixed``, else that.

    Args:
        curves: (n, s) predicted relative accuracies.
        fixed: (n,) column of each row's best fixed scale.
        threshold: predicted gain to pass, a fraction.
    """
    rows = np.arange(len(curves))
    best = curves.argmax(axis=1)
    return np.where(curves[rows, best] - curves[rows, fixed] > threshold, best, fixed)


def columns_by_group(
    train_table: TrainingTable, table: TrainingTable, rule: Callable[[TrainingTable], int]
) -> np.ndarray:
    """Return the column that a rule finds for each bundle of ``table``, (n,) int64.

    The rule sees the training bundles of the same source and recipe, or all of them where there are none.
    """
    trained = rows_by_group(train_table)
    columns = np.zeros(len(table.names), dtype=np.int64)
    for key, rows in rows_by_group(table).items():
        columns[rows] = rule(train_table.rows(trained[key]) if key in trained else train_table)
    return columns


def fixed_columns(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for each bundle of ``table``; see :func:`columns_by_group`."""
    return columns_by_group(train_table, table, _fixed_column)


def rows_by_group(table: TrainingTable) -> dict[tuple[str, str], np.ndarray]:
    """Return (source_id, recipe_id) -> row numbers, keys in order."""
    keys = list(zip(table.source_ids, table.recipe_ids, strict=True))
    return {key: np.flatnonzero([each == key for each in keys]) for key in sorted(set(keys))}


def abstains(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return for which bundles of ``table`` nothing may be predicted, (n,) bool: they are unlike all training bundles.

    That is, the nearest one of the same source and recipe is beyond ``reach``, or there is none.
    """
    centre, spread = _standardisation(train_table.features)
    known = _standardise(train_table.features, centre, spread)
    new = _standardise(table.features, centre, spread)
    reach = _reach(train_table, known)
    trained = rows_by_group(train_table)
    unlike = np.ones(len(table.names), dtype=np.bool_)
    for key, rows in rows_by_group(table).items():
        if key in trained:
            unlike[rows] = _distances(new[rows], known[trained[key]]).min(axis=1) > reach
    return unlike


def inner_threshold(table: TrainingTable, *, seed: int = 0) -> float:
    """Return the predicted gain to pass: that whose choices score best in a cross-validation; of equals, the highest.

    Origins are held out whole. Where nothing gains, nothing is lost either: the highest never leaves the fixed scale.
    """
    curves = np.full(table.accuracies.shape, np.nan)
    fixed = np.zeros(len(table.names), dtype=np.int64)
    for held, rest in origin_folds(table.origins, n_folds=INNER_FOLDS, seed=seed):
        own, others = table.rows(held), table.rows(rest)
        curves[held] = predict_curves(fit(others, seed=seed), own.features, table.scales)
        fixed[held] = fixed_columns(others, own)
    rows = np.arange(len(fixed))
    means = [table.accuracies[rows, choose_columns(curves, fixed, threshold)].mean() for threshold in THRESHOLDS]
    return max(threshold for threshold, mean in zip(THRESHOLDS, means, strict=True) if mean >= max(means) - TIE)


def origin_folds(
    origins: Sequence[str], *, n_folds: int | None = None, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (held out, rest) row numbers; an origin is never on both sides. By default, a fold for every origin."""
    names = sorted(set(origins))
    order = np.random.default_rng(seed).permutation(len(names))
    of_origin = {names[at]: place % (n_folds or len(names)) for place, at in enumerate(order)}
    fold = np.array([of_origin[origin] for origin in origins])
    return [(np.flatnonzero(fold == k), np.flatnonzero(fold != k)) for k in sorted(set(fold))]


def _columns(feature_names: Sequence[str]) -> list[str]:
    """Return the names of the model's columns."""
    return [*feature_names, "log2_scale"]


def _groups(table: TrainingTable) -> tuple[Group, ...]:
    return tuple(
        Group(
            source_id=key[0],
            recipe_id=key[1],
            fixed_scale=float(table.scales[_fixed_column(table.rows(rows))]),
            n_tasks=len(rows),
            n_origins=len({table.origins[row] for row in rows}),
        )
        for key, rows in rows_by_group(table).items()
    )


def _fixed_column(table: TrainingTable) -> int:
    return best_fixed_scale(table.accuracies, table.scales.tolist())


def _standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, features, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (features - centre) ** 2, 0.0).sum(axis=0) / count)
    return centre, np.where(spread >= MIN_SPREAD, spread, 1.0)


def _standardise(features: np.ndarray, centre: Any, spread: Any) -> np.ndarray:
    standard = (features - np.asarray(centre)) / np.asarray(spread)
    return np.where(np.isfinite(standard), standard, 0.0)


def _reach(table: TrainingTable, standard: np.ndarray) -> float:
    """Return 1.5 times the largest distance of a bundle to its nearest of the same group and another origin."""
    nearest = [0.0]
    for rows in rows_by_group(table).values():
        origins = np.array([table.origins[row] for row in rows])
        distances = _distances(standard[rows], standard[rows])
        distances[origins[:, None] == origins[None, :]] = np.inf
        nearest += [distance for distance in distances.min(axis=1).tolist() if math.isfinite(distance)]
    return 1.5 * max(nearest)


def _distances(standard: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (n, m) Euclidean distances between (n, f) and (m, f) standardised features."""
    found: np.ndarray = np.linalg.norm(standard[:, None] - others[None], axis=2)
    return found


def _neighbours(table: TrainingTable, standard: np.ndarray) -> tuple[Neighbour, ...]:
    best = np.argmax(table.accuracies, axis=1)
    return tuple(
        Neighbour(
            name=name,
            source_id=table.source_ids[i],
            recipe_id=table.recipe_ids[i],
            best_scale=float(table.scales[best[i]]),
            features=tuple(standard[i].tolist()),
        )
        for i, name in enumerate(table.names)
    )


# --- the choice -------------------------------------------------------------------------------------------------------


def choose(
    predictor: Predictor,
    features: dict[str, float],
    *,
    source_id: str,
    recipe_id: str,
    other_sizes: Mapping[str, int] = MappingProxyType({}),
) -> Choice:
    """Choose the scale of a new task from its features; those that are missing or NaN are taken as not known.

    The best of the predicted curve is chosen where it promises more than the threshold over the best fixed scale.
    Falls back to the best fixed scale, and says so, where the predictor knows nothing of the source and recipe, has
    seen too few collections with them, or has seen no task like this one.

    Args:
        predictor: what was learnt.
        features: name -> value.
        source_id: of the network to finetune.
        recipe_id: of the recipe to finetune with.
        other_sizes: ids of the recipes that differ from it in picture size alone -> that size, the nearest first; where
            the recipe itself was not harvested, their fixed scale is taken before any other's.
    """
    group = next((g for g in predictor.groups if (g.source_id, g.recipe_id) == (source_id, recipe_id)), None)
    if group is None:
        return _guess(predictor.groups, source_id=source_id, recipe_id=recipe_id, other_sizes=other_sizes)
    if predictor.booster is None or group.n_origins < MIN_ORIGINS:
        return _fallback(
            group.fixed_scale,
            f"only {_count(group.n_tasks, 'task')} of {_count(group.n_origins, 'collection')} harvested with this "
            f"source and recipe, and predicting takes {MIN_ORIGINS} collections; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
        )
    row = np.array([[features.get(name, math.nan) for name in predictor.feature_names]])
    known = [n for n in predictor.neighbours if (n.source_id, n.recipe_id) == (source_id, recipe_id)]
    standard = _standardise(row, predictor.centre, predictor.spread)
    distances = _distances(standard, np.array([neighbour.features for neighbour in known]))[0]
    nearest = np.argsort(distances, kind="stable")[:3]
    names = {known[i].name: known[i].best_scale for i in nearest}
    if distances[nearest[0]] > predictor.reach:
        return _fallback(
            group.fixed_scale,
            f"this task is unlike all {len(known)} that were harvested; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
            neighbours=names,
        )
    return _predicted(predictor, predictor.booster, group=group, row=row, neighbours=names)


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
    gaps between the known ones, so a tenth of these gaps is left on each side.
    """
    if len(errors) < MIN_ERRORS:
        return None
    ordered = sorted(errors)
    n_outside = (len(ordered) + 1) // 10
    return ordered[n_outside - 1], ordered[-n_outside]


def _same_scales(curve: np.ndarray, scales: np.ndarray) -> tuple[float, ...]:
    """Return the unbroken run of scales around the best of the curve that are predicted as good as the same."""
    first = last = int(curve.argmax())
    alike = curve >= curve[first] - SAME_POINTS
    while first > 0 and alike[first - 1]:
        first -= 1
    while last + 1 < len(scales) and alike[last + 1]:
        last += 1
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
    names = _columns(predictor.feature_names)
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


def _guess(groups: Sequence[Group], *, source_id: str, recipe_id: str, other_sizes: Mapping[str, int]) -> Choice:
    """Fall back to what shares the source, and of these the recipe but for its size; else the recipe; else to scale 1.

    A scale only means something for a source and a recipe, so what shares neither has nothing to say.
    """
    order = {of_size: -at for at, of_size in enumerate(other_sizes)}
    near = max(
        groups,
        key=lambda g: (
            g.source_id == source_id,
            g.recipe_id == recipe_id,
            order.get(g.recipe_id, -len(order)),
            g.n_tasks,
        ),
    )
    if near.source_id != source_id and near.recipe_id != recipe_id:
        return _fallback(
            1.0,
            "neither this source nor this recipe was harvested, and the scales of others mean nothing for them; "
            "1 leaves the recipe's rates as they are",
        )
    if near.source_id == source_id and near.recipe_id in other_sizes:
        return _fallback(
            near.fixed_scale,
            "this source with this recipe was not harvested with pictures of this size; "
            f"{near.fixed_scale:g}, the best fixed scale of {_count(near.n_tasks, 'task')} at "
            f"{other_sizes[near.recipe_id]} px, is a guess",
        )
    whose = "this source with another recipe" if near.source_id == source_id else "another source with this recipe"
    return _fallback(
        near.fixed_scale,
        "this source with this recipe was not harvested; "
        f"{near.fixed_scale:g}, the best fixed scale of {whose}, is a guess",
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _fallback(scale: float, reason: str, *, neighbours: dict[str, float] | None = None) -> Choice:
    return Choice(scale=scale, by="fallback", reason=reason, fixed_scale=scale, neighbours=neighbours or {})


# --- the artifact -----------------------------------------------------------------------------------------------------


def save(predictor: Predictor, folder: Path) -> None:
    """Write a predictor as ``predictor.json`` and, where it has trees, ``model.txt``.

    Both are whole before either takes its place, so a save that fails leaves the folder as it was. Stopped between the
    two, the folder is refused as damaged: the manifest names the hash of its trees.

    Raises:
        UsageError: if the folder has files that would be replaced, and no predictor.
    """
    check_free(folder)
    manifest = {"schema": SCHEMA, "model_sha256": None} | _manifest(predictor)
    texts = {}
    if predictor.booster is not None:
        names = _columns(predictor.feature_names)
        texts[MODEL] = safe_model_text(predictor.booster.model_to_string(), feature_names=names)
        manifest["model_sha256"] = hashlib.sha256(texts[MODEL].encode()).hexdigest()
    manifest["predictor_id"] = content_id("predictor", manifest)
    texts[MANIFEST] = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
    with filling(folder, tuple(texts)) as scratch:
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8", newline="\n")
    if predictor.booster is None:
        (folder / MODEL).unlink(missing_ok=True)


def check_free(folder: Path) -> None:
    """Raise UsageError unless a predictor and its card can replace all of their names that the folder has."""
    taken = [name for name in (MANIFEST, MODEL, "README.md") if os.path.lexists(folder / name)]
    if taken and not _is_predictor(folder):
        raise UsageError(
            f"{folder} holds no predictor of scalepred, but has {' and '.join(taken)} already, which a predictor "
            "would replace: give another --output."
        )


def _is_predictor(folder: Path) -> bool:
    """Say whether a folder's manifest is a predictor's, be it damaged or not."""
    try:
        manifest = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else b""
    except OSError:
        return False
    return b'"model_sha256"' in manifest and b'"feature_names"' in manifest


def load(folder: Path) -> Predictor:
    """Read a predictor; LightGBM sees its trees only after their hash and structure were checked.

    Raises:
        VersionError: if it is missing, damaged, changed by hand, or of another schema.
    """
    manifest = _read_manifest(folder)
    values: dict[str, Any] = {each.name: manifest[each.name] for each in fields(Predictor) if each.name != "booster"}
    values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    values["groups"] = tuple(Group(**group) for group in values["groups"])
    values["neighbours"] = tuple(Neighbour(**n | {"features": tuple(n["features"])}) for n in values["neighbours"])
    values["threshold"] = math.inf if values["threshold"] is None else values["threshold"]
    booster = None if manifest["model_sha256"] is None else _read_booster(folder, manifest)
    return Predictor(**values, booster=booster)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest once every value is known to be of its kind, and none to have been changed since."""
    if not (folder / MANIFEST).is_file():
        raise VersionError(f"No predictor at {folder}: train one with `scalepred train-predictor`.")
    try:
        manifest = json.loads(_read_text(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES))
        schema = manifest["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, f"{MANIFEST} is no manifest") from error
    if schema != SCHEMA:
        raise VersionError(
            f"The predictor at {folder} has schema {schema!r:.40}, and this scalepred reads {SCHEMA}: "
            "train it again with `scalepred train-predictor`."
        )
    wrong = _wrong_values(manifest)
    if wrong:
        raise _damaged(folder, f"{MANIFEST} has no sound {', '.join(wrong)}")
    if manifest["predictor_id"] != _seal(manifest):
        raise _damaged(folder, f"{MANIFEST} was changed after it was written")
    return dict(manifest)


def _seal(manifest: dict[str, Any]) -> str | None:
    try:
        return content_id("predictor", {name: value for name, value in manifest.items() if name != "predictor_id"})
    except (ValueError, RecursionError):
        return None


def _read_booster(folder: Path, manifest: dict[str, Any]) -> lightgbm.Booster:
    if not (folder / MODEL).is_file():
        raise _damaged(folder, f"{MODEL} is missing")
    try:
        text = _read_text(folder / MODEL, max_bytes=MAX_MODEL_BYTES)
    except ValueError as error:
        raise _damaged(folder, f"{MODEL} is no text") from error
    if hashlib.sha256(text.encode()).hexdigest() != manifest["model_sha256"]:
        raise _damaged(folder, f"{MODEL} is not the file that {MANIFEST} describes")
    text = safe_model_text(text, feature_names=_columns(manifest["feature_names"]), max_bytes=MAX_MODEL_BYTES)
    return lightgbm.Booster(model_str=text)


def _read_text(path: Path, *, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} can't be read ({error.strerror or error})") from error
    if len(raw) > max_bytes:
        raise _damaged(path.parent, f"{path.name} is larger than {max_bytes} bytes")
    return raw.decode("utf-8")


def _damaged(folder: Path, reason: str) -> VersionError:
    return VersionError(
        f"The predictor at {folder} is damaged: {reason}. Copy it again as a whole, or train one with "
        "`scalepred train-predictor`."
    )


def _manifest(predictor: Predictor) -> dict[str, Any]:
    """Return everything but the trees as JSON values; an infinite threshold as None."""
    values = {each.name: getattr(predictor, each.name) for each in fields(predictor) if each.name != "booster"}
    values["groups"] = [asdict(group) for group in predictor.groups]
    values["neighbours"] = [asdict(neighbour) for neighbour in predictor.neighbours]
    values["threshold"] = predictor.threshold if math.isfinite(predictor.threshold) else None
    return values


def _wrong_values(manifest: dict[str, Any]) -> list[str]:
    """Return the names of a manifest's values that are missing or not of their kind."""
    names = [*(each.name for each in fields(Predictor)), "model_sha256", "predictor_id"]
    m = dict.fromkeys(names, False) | manifest  # False is of no kind that is wanted
    n_features = len(m["feature_names"]) if isinstance(m["feature_names"], list) else 0
    scales = m["scales"] if _are_numbers(m["scales"]) else []
    groups = m["groups"] if _are(lambda group: _is_group(group, scales), m["groups"]) else []
    near = m["neighbours"] if _are(lambda n: _is_neighbour(n, scales, n_features), m["neighbours"]) else []
    harvested = {(n["source_id"], n["recipe_id"]) for n in near}
    fine = {
        "feature_names": _are(lambda name: isinstance(name, str), m["feature_names"]),
        "scales": bool(scales) and scales[0] > 0 and all(low < high for low, high in pairwise(scales)),
        "groups": bool(groups) and all((g["source_id"], g["recipe_id"]) in harvested for g in groups),
        "threshold": m["threshold"] is None or (_is_number(m["threshold"]) and m["threshold"] >= 0),
        "centre": _are_numbers(m["centre"], n_features),
        "spread": _are_numbers(m["spread"], n_features) and min(m["spread"], default=1) >= MIN_SPREAD,
        "reach": _is_number(m["reach"]) and m["reach"] >= 0,
        "neighbours": bool(near),
        "gain_errors": _are_numbers(m["gain_errors"]),
        "evaluation": isinstance(m["evaluation"], dict),
        "facts": isinstance(m["facts"], dict)
        and all(_are_names(m["facts"].get(name, {})) for name in ("recipes", "recipe_fields")),
        "model_sha256": m["model_sha256"] is None or isinstance(m["model_sha256"], str),
        "predictor_id": isinstance(m["predictor_id"], str),
    }
    return [name for name, is_fine in fine.items() if not is_fine]


def _is_group(value: Any, scales: list[float]) -> bool:
    return (
        _has_fields(value, Group)
        and _is_number(value["fixed_scale"])
        and value["fixed_scale"] in scales
        and all(_is_number(value[name]) and value[name] >= 1 for name in ("n_tasks", "n_origins"))
    )


def _is_neighbour(value: Any, scales: list[float], n_features: int) -> bool:
    return (
        _has_fields(value, Neighbour)
        and isinstance(value["name"], str)
        and _is_number(value["best_scale"])
        and value["best_scale"] in scales
        and _are_numbers(value["features"], n_features)
    )


def _has_fields(value: Any, kind: type) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {each.name for each in fields(kind)}
        and all(isinstance(value[name], str) for name in ("source_id", "recipe_id"))
    )


def _are(is_one: Callable[[Any], bool], values: Any) -> bool:
    return isinstance(values, list) and all(is_one(value) for value in values)


def _are_names(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def _are_numbers(values: Any, n: int | None = None) -> bool:
    return _are(_is_number, values) and (n is None or len(values) == n)


def _is_number(value: Any) -> bool:
    """Say whether a JSON value is a number, and not so large that sums of squares overflow."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100
