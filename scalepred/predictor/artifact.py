"""Saves a predictor to a folder under a seal, and checks everything before loading it."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightgbm

from scalepred.errors import UsageError, VersionError
from scalepred.files import filling
from scalepred.predictor.model import model_columns
from scalepred.predictor.model_text import safe_model_text
from scalepred.predictor.nearness import MIN_SPREAD, Neighbour
from scalepred.predictor.own_runs import LOG2_SCALES, MOST_TASKS, OwnCurve
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.sealed import are_numbers, is_finite, is_number, is_sealed, sealed_text
from scalepred.predictor.train import Group, Predictor

SCHEMA = 1

MANIFEST = "predictor.json"

MODEL = "model.txt"

OPTIONAL: dict[str, Any] = {"octave_groups": [], "own_curves": [], "besides": []}
"""What a manifest of this schema may lack, with what that means."""

MAX_MODEL_BYTES = 5_000_000

MAX_MANIFEST_BYTES = 50_000_000


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
        names = model_columns(predictor.feature_names)
        texts[MODEL] = safe_model_text(predictor.booster.model_to_string(), feature_names=names)
        manifest["model_sha256"] = hashlib.sha256(texts[MODEL].encode()).hexdigest()
    texts[MANIFEST] = sealed_text("predictor", manifest)
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
    manifest = OPTIONAL | manifest
    values: dict[str, Any] = {each.name: manifest[each.name] for each in fields(Predictor) if each.name != "booster"}
    values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    values |= {name: tuple(Group(**group) for group in values[name]) for name in ("groups", "octave_groups")}
    values["neighbours"] = tuple(Neighbour(**n | {"features": tuple(n["features"])}) for n in values["neighbours"])
    values["threshold"] = math.inf if values["threshold"] is None else values["threshold"]
    values["own_curves"] = tuple(OwnCurve(**c | {"relative": tuple(c["relative"])}) for c in values["own_curves"])
    values["besides"] = tuple(_as_beside(each) for each in values["besides"])
    booster = None if manifest["model_sha256"] is None else _read_booster(folder, manifest)
    return Predictor(**values, booster=booster)


def _as_beside(values: dict[str, Any]) -> Beside:
    return Beside(**values | {name: tuple(values[name]) for name in ("n_train", "origins", "gains")})


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking that every value is of its kind, and that none was changed since."""
    if not (folder / MANIFEST).is_file():
        raise VersionError(f"No predictor at {folder}: train one with `scalepred train-predictor`.")
    try:
        text = _read_text(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        manifest = json.loads(text)
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
    if not _is_sealed(text, manifest):
        raise _damaged(folder, f"{MANIFEST} was changed after it was written")
    return dict(manifest)


def _is_sealed(text: str, manifest: dict[str, Any]) -> bool:
    try:
        return is_sealed(text, "predictor", manifest)
    except (ValueError, RecursionError):
        return False


def _read_booster(folder: Path, manifest: dict[str, Any]) -> lightgbm.Booster:
    if not (folder / MODEL).is_file():
        raise _damaged(folder, f"{MODEL} is missing")
    try:
        text = _read_text(folder / MODEL, max_bytes=MAX_MODEL_BYTES)
    except ValueError as error:
        raise _damaged(folder, f"{MODEL} is no text") from error
    if hashlib.sha256(text.encode()).hexdigest() != manifest["model_sha256"]:
        raise _damaged(folder, f"{MODEL} is not the file that {MANIFEST} describes")
    text = safe_model_text(text, feature_names=model_columns(manifest["feature_names"]), max_bytes=MAX_MODEL_BYTES)
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
    values |= {name: [asdict(group) for group in getattr(predictor, name)] for name in ("groups", "octave_groups")}
    values |= {name: [asdict(each) for each in getattr(predictor, name)] for name in ("own_curves", "besides")}
    values["neighbours"] = [asdict(neighbour) for neighbour in predictor.neighbours]
    values["threshold"] = predictor.threshold if math.isfinite(predictor.threshold) else None
    return {name: value for name, value in values.items() if name not in OPTIONAL or value}


def _wrong_values(manifest: dict[str, Any]) -> list[str]:
    """Return the names of a manifest's values that are missing or not of their kind."""
    names = [*(each.name for each in fields(Predictor)), "model_sha256", "predictor_id"]
    m = dict.fromkeys(names, False) | OPTIONAL | manifest  # False is of no kind that is wanted
    n_features = len(m["feature_names"]) if isinstance(m["feature_names"], list) else 0
    scales = m["scales"] if are_numbers(m["scales"]) else []
    groups = m["groups"] if _are(lambda group: _is_group(group, scales), m["groups"]) else []
    octave_groups = m["octave_groups"] if _are(_is_octave_group, m["octave_groups"]) else []
    near = m["neighbours"] if _are_neighbours(m["neighbours"], scales, n_features) else None
    harvested = {(n["source_id"], n["recipe_id"]) for n in near or []}
    known = {(g["source_id"], g["recipe_id"]) for g in [*groups, *octave_groups]}
    fine = {
        "feature_names": _are(lambda name: isinstance(name, str), m["feature_names"]),
        "scales": bool(scales) and scales[0] > 0 and all(low < high for low, high in pairwise(scales)),
        "groups": _are(lambda group: _is_group(group, scales), m["groups"])
        and all((g["source_id"], g["recipe_id"]) in harvested for g in groups)
        and (bool(groups) or bool(m["octave_groups"])),
        "octave_groups": _are(_is_octave_group, m["octave_groups"]),
        "own_curves": _are(_is_own_curve, m["own_curves"])
        and all((c["source_id"], c["recipe_id"]) in known for c in m["own_curves"]),
        "besides": _are(_is_beside, m["besides"])
        and all((each["source_id"], each["recipe_id"]) in known for each in m["besides"]),
        "threshold": m["threshold"] is None or (is_number(m["threshold"]) and m["threshold"] >= 0),
        "centre": are_numbers(m["centre"], n_features),
        "spread": are_numbers(m["spread"], n_features) and min(m["spread"], default=1) >= MIN_SPREAD,
        "reach": is_number(m["reach"]) and m["reach"] >= 0,
        "neighbours": near is not None and bool(near) >= bool(groups),
        "gain_errors": are_numbers(m["gain_errors"]),
        "evaluation": isinstance(m["evaluation"], dict) and is_finite(m["evaluation"]),
        "facts": isinstance(m["facts"], dict)
        and is_finite(m["facts"])
        and all(_are_names(m["facts"].get(name, {})) for name in ("recipes", "recipe_fields")),
        "model_sha256": m["model_sha256"] is None or isinstance(m["model_sha256"], str),
        "predictor_id": isinstance(m["predictor_id"], str),
    }
    return [name for name, is_fine in fine.items() if not is_fine]


def _is_group(value: Any, scales: list[float]) -> bool:
    return _is_octave_group(value) and value["fixed_scale"] in scales


def _is_octave_group(value: Any) -> bool:
    return (
        _has_fields(value, Group)
        and is_number(value["fixed_scale"])
        and value["fixed_scale"] > 0
        and all(is_number(value[name]) and value[name] >= 1 for name in ("n_tasks", "n_origins"))
    )


def _is_own_curve(value: Any) -> bool:
    return (
        _has_fields(value, OwnCurve)
        and type(value["n_tasks"]) is int
        and 1 <= value["n_tasks"] <= MOST_TASKS
        and are_numbers(value["relative"], len(LOG2_SCALES))
        and min(value["relative"]) >= -1
        and max(value["relative"]) <= 0
    )


def _are_neighbours(values: Any, scales: list[float], n_features: int) -> bool:
    """Say so of all at once, for there are as many as harvested tasks."""
    return (
        _are(lambda n: _has_fields(n, Neighbour) and isinstance(n["name"], str), values)
        and all(isinstance(n["features"], list) and len(n["features"]) == n_features for n in values)
        and are_numbers([number for n in values for number in n["features"]])
        and are_numbers([n["best_scale"] for n in values])
        and {n["best_scale"] for n in values} <= set(scales)
    )


def _is_beside(value: Any) -> bool:
    """Say whether it has a size, an origin and a gain for each task, one or more, the sizes in rising order."""
    if not _has_fields(value, Beside) or not all(isinstance(value[name], list) for name in ("n_train", "origins")):
        return False
    sizes, origins, n = value["n_train"], value["origins"], len(value["n_train"])
    return (
        n > 0
        and are_numbers(sizes, n)
        and are_numbers(origins, n)
        and all(type(each) is int for each in [*sizes, *origins])
        and sizes[0] >= 1
        and sizes == sorted(sizes)
        and are_numbers(value["gains"], n)
    )


def _has_fields(value: Any, kind: type) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == _names_of(kind)
        and all(isinstance(value[name], str) for name in ("source_id", "recipe_id"))
    )


@cache
def _names_of(kind: type) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind))


def _are(is_one: Callable[[Any], bool], values: Any) -> bool:
    return isinstance(values, list) and all(is_one(value) for value in values)


def _are_names(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())
