"""The trees: LightGBM over facts and log2 scale."""

from collections.abc import Sequence

import lightgbm
import numpy as np

from scalepred.predictor.table import TrainingTable
from scalepred.predictor.targets import accuracy_noise, noise_weights, relative_accuracy

RUN_NOISE = 0.02
"""Standard deviation between seeds that weights allow for.

Three seeds of 24 tasks had 1.7 to 2.7 points at scales up to 2.5 (3.7 at 0.25); 15 at 7, where some runs break down
(log of 2026-11-26).
"""

BOOSTING_ROUNDS = 120

ONE_THREAD_ROWS = 100_000
"""With more rows all cores are used; the trees are the same."""

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


def fit(table: TrainingTable, *, seed: int = 0) -> lightgbm.Booster:
    """Fit the trees to accuracies relative to each bundle's own mean, weighted by how precise they are."""
    relative = relative_accuracy(table.accuracies)
    run_noise = RUN_NOISE / np.sqrt(table.n_seeds[:, None])
    weights = noise_weights(accuracy_noise(table.accuracies, table.n_held_out[:, None]), run_noise=run_noise)
    data = lightgbm.Dataset(
        joint_inputs(table.features, table.scales),
        label=relative.ravel(),
        weight=weights.ravel(),
        feature_name=model_columns(table.feature_names),
        free_raw_data=True,
    )
    own = {"seed": seed} | ({"num_threads": 0} if relative.size > ONE_THREAD_ROWS else {})
    return lightgbm.train({**PARAMETERS, **own}, data, num_boost_round=BOOSTING_ROUNDS)


def joint_inputs(features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (n * s, f + 1): every row of (n, f) features beside every log2 scale, scales running fastest."""
    repeated = np.repeat(features, len(scales), axis=0)
    return np.column_stack([repeated, np.tile(np.log2(scales), len(features))])


def predict_curves(booster: lightgbm.Booster, features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return predicted relative accuracies (n, s) for (n, f) features."""
    flat = np.asarray(booster.predict(joint_inputs(features, scales), num_threads=1))
    return flat.reshape(len(features), len(scales))


def model_columns(feature_names: Sequence[str]) -> list[str]:
    """Return the names of the model's columns."""
    return [*feature_names, "log2_scale"]
