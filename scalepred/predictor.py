"""The predictor: LightGBM over (features, log2 scale), the choice it leads to, and the folder it is kept in."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from scalepred.errors import VersionError
from scalepred.model_text import safe_model_text
from scalepred.targets import accuracy_noise, best_fixed_scale, noise_weights, relative_accuracy

SCHEMA = 1
MANIFEST = "predictor.json"
MODEL = "model.txt"
MAX_MODEL_BYTES = 5_000_000
MIN_ORIGINS = 8
"""With fewer origins nothing is predicted: leave-one-origin-out could not tell a good predictor from a bad one."""

SAME_POINTS = 0.005
"""Scales whose predicted accuracies lie within half a point are called the same."""

RUN_NOISE = 0.02
"""Standard deviation between seeds that weights allow for; a round guess until there are enough repeats to measure."""

THRESHOLDS = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
INNER_FOLDS = 5
BOOSTING_ROUNDS = 120
PARAMETERS: dict[str, object] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 6,
    "min_data_in_leaf": 15,
    "feature_fraction": 0.7,
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
            no run has seen; a diverged run counts as chance; NaN where a run is missing.
        n_held_out: (n,) int64, held-out pictures behind each accuracy.
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
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """A source and recipe that the predictor has seen, with the best fixed scale of their tasks."""

    source_id: str
    recipe_id: str
    fixed_scale: float
    relative_curve: list[float]
    n_tasks: int


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A harvested task that a new one can be compared with; ``features`` are standardised, 0 where not known."""

    name: str
    source_id: str
    recipe_id: str
    best_scale: float
    features: list[float]


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained predictor; ``booster`` is None where there were too few tasks to learn from.

    Attributes:
        feature_names: the features it reads, in order; the model's last column is ``log2_scale``.
        scales: the grid.
        groups: the sources and recipes it has seen.
        threshold: predicted gain, a fraction, that the choice must pass to leave the fixed scale.
        centre, spread: (f,) of the features, to standardise them.
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
    centre: list[float]
    spread: list[float]
    reach: float
    neighbours: tuple[Neighbour, ...]
    gain_errors: list[float]
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
        same_scales: the scales within half a point of the best predicted accuracy.
        contributions: feature -> what it moves the predicted gain by, largest first, from LightGBM's ``pred_contrib``.
        neighbours: names of the nearest harvested tasks and their best scales.
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
    enough = len(set(table.origins)) >= MIN_ORIGINS
    standard = _standardise(table.features, centre, spread)
    return Predictor(
        feature_names=table.feature_names,
        scales=tuple(float(scale) for scale in table.scales),
        groups=_groups(table),
        threshold=inner_threshold(table, seed=seed) if enough else float("inf"),
        centre=[float(value) for value in centre],
        spread=[float(value) for value in spread],
        reach=_reach(standard, table.origins),
        neighbours=_neighbours(table, standard),
        gain_errors=[],
        booster=fit(table, seed=seed) if enough else None,
    )


def fit(table: TrainingTable, *, seed: int = 0) -> lightgbm.Booster:
    """Fit the trees to accuracies relative to each bundle's own mean, weighted by how well they are known."""
    relative = relative_accuracy(table.accuracies)
    weights = noise_weights(accuracy_noise(table.accuracies, table.n_held_out[:, None]), run_noise=RUN_NOISE)
    known = np.isfinite(relative).ravel()
    data = lightgbm.Dataset(
        joint_inputs(table.features, table.scales)[known],
        label=relative.ravel()[known],
        weight=weights.ravel()[known],
        feature_name=[*table.feature_names, "log2_scale"],
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


def fixed_columns(train_table: TrainingTable, table: TrainingTable) -> np.ndarray:
    """Return the column of the best fixed scale for each bundle of ``table``.

    It is the best on average over the training bundles of the same source and recipe, or over all of them where there
    are none of that source and recipe.
    """
    columns = {}
    for key in set(zip(table.source_ids, table.recipe_ids, strict=True)):
        same = [
            i for i, pair in enumerate(zip(train_table.source_ids, train_table.recipe_ids, strict=True)) if pair == key
        ]
        columns[key] = best_fixed_scale(train_table.accuracies[same or slice(None)], train_table.scales)
    return np.array([columns[key] for key in zip(table.source_ids, table.recipe_ids, strict=True)], dtype=np.int64)


def inner_threshold(table: TrainingTable, *, seed: int = 0) -> float:
    """Return the threshold whose choices score best in a cross-validation over origins; of equals, the highest."""
    curves = np.full(table.accuracies.shape, np.nan)
    fixed = np.zeros(len(table.names), dtype=np.int64)
    for held, rest in origin_folds(table.origins, n_folds=INNER_FOLDS, seed=seed):
        booster = fit(table.rows(rest), seed=seed)
        curves[held] = predict_curves(booster, table.features[held], table.scales)
        fixed[held] = fixed_columns(table.rows(rest), table.rows(held))
    rows = np.arange(len(fixed))
    means = [np.nanmean(table.accuracies[rows, choose_columns(curves, fixed, threshold)]) for threshold in THRESHOLDS]
    return max(zip(means, THRESHOLDS, strict=True))[1]


def origin_folds(
    origins: Sequence[str], *, n_folds: int | None = None, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (held out, rest) row numbers; an origin is never on both sides. By default, a fold for every origin."""
    names = sorted(set(origins))
    order = np.random.default_rng(seed).permutation(len(names))
    of_origin = {names[at]: place % (n_folds or len(names)) for place, at in enumerate(order)}
    fold = np.array([of_origin[origin] for origin in origins])
    return [(np.flatnonzero(fold == k), np.flatnonzero(fold != k)) for k in sorted(set(fold))]


def _groups(table: TrainingTable) -> tuple[Group, ...]:
    keys = sorted(set(zip(table.source_ids, table.recipe_ids, strict=True)))
    groups = []
    for key in keys:
        rows = [i for i, pair in enumerate(zip(table.source_ids, table.recipe_ids, strict=True)) if pair == key]
        own = table.rows(np.array(rows))
        groups.append(
            Group(
                source_id=key[0],
                recipe_id=key[1],
                fixed_scale=float(table.scales[best_fixed_scale(own.accuracies, own.scales)]),
                relative_curve=[float(v) for v in np.nanmean(relative_accuracy(own.accuracies), axis=0)],
                n_tasks=len(rows),
            )
        )
    return tuple(groups)


def _standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, features, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (features - centre) ** 2, 0.0).sum(axis=0) / count)
    return centre, np.where(spread > 1e-9, spread, 1.0)


def _standardise(features: np.ndarray, centre: Any, spread: Any) -> np.ndarray:
    standard = (features - np.asarray(centre)) / np.asarray(spread)
    return np.where(np.isfinite(standard), standard, 0.0)


def _reach(standard: np.ndarray, origins: Sequence[str]) -> float:
    """Return 1.5 times the largest distance of a harvested task to its nearest of another origin."""
    other = np.array(origins)[:, None] != np.array(origins)[None, :]
    if not other.any():
        return 0.0
    distance = np.linalg.norm(standard[:, None] - standard[None], axis=2)
    return 1.5 * float(np.where(other, distance, np.inf).min(axis=1).max())


def _neighbours(table: TrainingTable, standard: np.ndarray) -> tuple[Neighbour, ...]:
    best = np.nanargmax(table.accuracies, axis=1)
    return tuple(
        Neighbour(
            name=name,
            source_id=table.source_ids[i],
            recipe_id=table.recipe_ids[i],
            best_scale=float(table.scales[best[i]]),
            features=[float(value) for value in standard[i]],
        )
        for i, name in enumerate(table.names)
    )


# --- the choice -------------------------------------------------------------------------------------------------------


def choose(predictor: Predictor, features: dict[str, float], *, source_id: str, recipe_id: str) -> Choice:
    """Choose the scale of a new task from its features.

    The best of the predicted curve is chosen where it promises more than the threshold over the best fixed scale.
    Falls back to the best fixed scale, and says so, where the predictor knows nothing of the source and recipe, has
    seen too few tasks, or has seen none like this one.
    """
    group = next((g for g in predictor.groups if (g.source_id, g.recipe_id) == (source_id, recipe_id)), None)
    if group is None:
        return _fallback(
            predictor.groups[0].fixed_scale,
            "this source and recipe were not harvested; the best fixed scale of another is a guess",
        )
    if predictor.booster is None:
        return _fallback(
            group.fixed_scale,
            f"only {group.n_tasks} tasks were harvested, too few to predict from; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
        )
    row = np.array([[features.get(name, np.nan) for name in predictor.feature_names]])
    distances = _distances(predictor, row)
    nearest = np.argsort(distances, kind="stable")[:3]
    names = {predictor.neighbours[i].name: predictor.neighbours[i].best_scale for i in nearest}
    if distances[nearest[0]] > predictor.reach:
        return _fallback(
            group.fixed_scale,
            f"this task is unlike all {len(predictor.neighbours)} that were harvested; "
            f"{group.fixed_scale:g} is the best fixed scale of those",
            neighbours=names,
        )
    return _predicted(predictor, group, row, names)


def _predicted(predictor: Predictor, group: Group, row: np.ndarray, neighbours: dict[str, float]) -> Choice:
    assert predictor.booster is not None  # noqa: S101 - the caller has looked
    scales = np.array(predictor.scales)
    curve = predict_curves(predictor.booster, row, scales)[0]
    fixed = int(np.flatnonzero(scales == group.fixed_scale)[0])
    column = int(choose_columns(curve[None], np.array([fixed]), predictor.threshold)[0])
    best = int(curve.argmax())
    same = tuple(float(s) for s in scales[curve >= curve[best] - SAME_POINTS])
    gain = float(curve[column] - curve[fixed])
    interval = None
    if column != fixed and len(predictor.gain_errors) >= 10:
        low, high = np.quantile(predictor.gain_errors, [0.1, 0.9])
        interval = (gain + float(low), gain + float(high))
    moved = contributions(predictor, row[0], best, fixed)
    return Choice(
        scale=float(scales[column]),
        by="predicted",
        reason=_reason(curve, scales, chosen=column, fixed=fixed, threshold=predictor.threshold, drivers=list(moved)),
        fixed_scale=group.fixed_scale,
        curve=tuple((float(s), float(v)) for s, v in zip(scales, curve, strict=True)),
        predicted_gain=gain,
        gain_interval=interval,
        same_scales=same,
        contributions=moved,
        neighbours=neighbours,
    )


def contributions(predictor: Predictor, row: np.ndarray, column: int, against: int) -> dict[str, float]:
    """Return what each feature adds to the predicted gain of one column over another, largest first.

    Source: Lundberg et al. 2018 (Consistent individualized feature attribution for tree ensembles), as LightGBM's
    ``pred_contrib`` computes it; the difference of two explanations explains the difference.
    """
    assert predictor.booster is not None  # noqa: S101
    inputs = joint_inputs(row[None], np.array(predictor.scales)[[column, against]])
    explained = np.asarray(predictor.booster.predict(inputs, pred_contrib=True, num_threads=1))
    moved = (explained[0] - explained[1])[:-1]
    names = [*predictor.feature_names, "log2_scale"]
    order = np.argsort(-np.abs(moved), kind="stable")
    return {names[i]: float(moved[i]) for i in order if abs(moved[i]) > 1e-6}


def _reason(
    curve: np.ndarray, scales: np.ndarray, *, chosen: int, fixed: int, threshold: float, drivers: list[str]
) -> str:
    best = int(curve.argmax())
    gain = 100 * (curve[best] - curve[fixed])
    same = scales[curve >= curve[best] - SAME_POINTS]
    span = f"any scale from {same.min():g} to {same.max():g} is predicted within half a point of the best"
    if best == fixed:
        return f"{scales[fixed]:g}, the best fixed scale, is also predicted best for this task; {span}"
    if chosen == fixed:
        return (
            f"{scales[best]:g} is predicted {gain:.1f} points above {scales[fixed]:g}, no more than the "
            f"{100 * threshold:.2f} points that pay on held-out tasks, so the best fixed scale stays; {span}"
        )
    named = [name for name in drivers if name != "log2_scale"][:2]
    because = f", because of {' and '.join(named)}" if named else ""
    return f"predicted {gain:.1f} points above the best fixed scale of {scales[fixed]:g}{because}; {span}"


def _fallback(scale: float, reason: str, *, neighbours: dict[str, float] | None = None) -> Choice:
    return Choice(scale=scale, by="fallback", reason=reason, fixed_scale=scale, neighbours=neighbours or {})


def _distances(predictor: Predictor, row: np.ndarray) -> np.ndarray:
    standard = _standardise(row, predictor.centre, predictor.spread)
    return np.linalg.norm(np.array([n.features for n in predictor.neighbours]) - standard, axis=1)


# --- the artifact -----------------------------------------------------------------------------------------------------


def save(predictor: Predictor, folder: Path) -> None:
    """Write a predictor as ``predictor.json`` and, where it has trees, ``model.txt``, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(predictor) | {"schema": SCHEMA, "model_sha256": None}
    if predictor.booster is not None:
        text = safe_model_text(
            predictor.booster.model_to_string(), feature_names=[*predictor.feature_names, "log2_scale"]
        )
        write_text(folder / MODEL, text)
        manifest["model_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    else:
        (folder / MODEL).unlink(missing_ok=True)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load(folder: Path) -> Predictor:
    """Read a predictor; LightGBM sees its trees only after their hash and structure were checked.

    Raises:
        VersionError: if it is missing, damaged, or of another schema.
    """
    manifest = _read_manifest(folder / MANIFEST)
    booster = None
    if manifest["model_sha256"] is not None:
        booster = _read_booster(folder / MODEL, manifest)
    try:
        return Predictor(
            **{name: manifest[name] for name in ("centre", "spread", "reach", "gain_errors", "evaluation", "facts")},
            threshold=float("inf") if manifest["threshold"] is None else float(manifest["threshold"]),
            feature_names=tuple(manifest["feature_names"]),
            scales=tuple(float(scale) for scale in manifest["scales"]),
            groups=tuple(Group(**group) for group in manifest["groups"]),
            neighbours=tuple(Neighbour(**neighbour) for neighbour in manifest["neighbours"]),
            booster=booster,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise VersionError(f"No predictor at {path.parent}: train one with `scalepred train-predictor`.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        manifest["model_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path.parent, f"{path.name} is no manifest ({error})") from error
    if schema != SCHEMA:
        raise VersionError(
            f"The predictor at {path.parent} has schema {schema}, and this scalepred reads {SCHEMA}: "
            "train it again with `scalepred train-predictor`."
        )
    return dict(manifest)


def _read_booster(path: Path, manifest: dict[str, Any]) -> lightgbm.Booster:
    try:
        raw = path.read_bytes()
        text = raw.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path.parent, f"{path.name} can't be read ({error})") from error
    if hashlib.sha256(raw).hexdigest() != manifest["model_sha256"]:
        raise _damaged(path.parent, f"{path.name} is not the file that the manifest describes")
    text = safe_model_text(text, feature_names=[*manifest["feature_names"], "log2_scale"], max_bytes=MAX_MODEL_BYTES)
    return lightgbm.Booster(model_str=text, params={"num_threads": 1, "verbosity": -1})


def _damaged(folder: Path, reason: str) -> VersionError:
    return VersionError(
        f"The predictor at {folder} is damaged: {reason}. Copy it again as a whole, or train one with "
        "`scalepred train-predictor`."
    )


def _manifest(predictor: Predictor) -> dict[str, Any]:
    """Return everything but the trees as JSON values; an infinite threshold, where nothing is predicted, as None."""
    values = {field.name: getattr(predictor, field.name) for field in fields(predictor) if field.name != "booster"}
    values["groups"] = [asdict(group) for group in predictor.groups]
    values["neighbours"] = [asdict(neighbour) for neighbour in predictor.neighbours]
    values["threshold"] = predictor.threshold if np.isfinite(predictor.threshold) else None
    return values


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name in its folder, flush it to the disk and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
