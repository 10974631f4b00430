"""Rows of a warehouse, for tests that need one that is filled."""

import dataclasses

import numpy as np

from scalepred.recipe import RECIPES, run_id
from scalepred.records import FeatureRecord, PredictionRecord, RecipeRecord, RunRecord, SourceRecord, TaskRecord
from scalepred.store.warehouse import open_warehouse
from scalepred.training.rates import epoch_rates

RECIPE = RECIPES["graduated"]
NASTY = "'; drop table tasks; --\n[red]🐈 café"
TASK = TaskRecord(
    task_id="t" * 32,
    name=NASTY,
    origin="=1+1",
    n_classes=2,
    n_train=20,
    n_val=5,
    n_test=11,
    label_counts={NASTY: 18, "b": 18},
    median_width_px=64,
    median_height_px=48,
    data_hash="d" * 32,
)
SOURCE = SourceRecord(
    source_id="s" * 32, name="efficientnet_lite0", facts={"stages": {"conv1": 3}, "mean": [0.1, 1e-17]}
)
FEATURE = FeatureRecord(
    task_id=TASK.task_id,
    source_id=SOURCE.source_id,
    feature_set="basic-1@64px",
    name="knn",
    value=0.1 + 0.2,
    seconds=0.5,
)
PREDICTION = PredictionRecord(
    prediction_id="p",
    created_at="2026-01-01T00:00:00+00:00",
    task_id=TASK.task_id,
    source_id=SOURCE.source_id,
    recipe_id=RECIPE.recipe_id,
    scale=2.0,
    by="predicted",
    reason=NASTY,
    predicted={"curve": [[0.25, -0.1]]},
    val_accuracy=0.5,
)


def make_run(scale=1.0, seed=0, *, n_right=3, **changes):
    """Return a run of the task with ``n_right`` right validation and test images."""
    parts = {"task_id": TASK.task_id, "source_id": SOURCE.source_id, "recipe_id": RECIPE.recipe_id}
    val, test = (np.arange(n) < n_right for n in (TASK.n_val, TASK.n_test))
    run = RunRecord(
        run_id=run_id(**parts, scale=scale, seed=seed),
        **parts,
        scale=scale,
        seed=seed,
        status="done",
        diverged_step=None,
        val_accuracy=float(val.mean()),
        val_loss=0.3,
        test_accuracy=float(test.mean()),
        test_loss=1 / 3,
        val_correct=np.packbits(val).tobytes(),
        test_correct=np.packbits(test).tobytes(),
        epoch_losses=[1.5, 0.1 + 0.2],
        rates=epoch_rates(RECIPE, scale, n_train=TASK.n_train),
        seconds=1.25,
        device="cpu",
        versions={"torch": "2"},
        finished_at="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(run, **changes)


def fill(path, *runs):
    """Make a warehouse with one task and these runs."""
    with open_warehouse(path) as store:
        recipe = RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())
        store.add_all([TASK, SOURCE, recipe, FEATURE, PREDICTION, *(runs or [make_run()])])
    return path
