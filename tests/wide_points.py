"""Design points whose best scales are known, with lopsided curves: a gentle slope below the best, a cliff above."""

import math

import numpy as np

from scalepred.predictor.context import start_set
from scalepred.predictor.points import Point
from scalepred.recipe import Recipe, run_id
from scalepred.records import (
    DIVERGED,
    DONE,
    POINT,
    FeatureRecord,
    RecipeRecord,
    RunRecord,
    SourceRecord,
    TaskRecord,
)
from scalepred.training.rates import epoch_rates

SGD = Recipe(momentum=0.9)
ADAMW = Recipe(optimizer="adamw")


def wide_point(index, recipe, *, best, facts, n_networks=5, n_origins=12, n_families=0):
    """Return a point that loses 6 points of accuracy an octave below its best scale, and 20 above; best is its log2.

    Its losses fall to one minus the accuracy. Networks are of one family, or dealt to so many.
    """
    scales = np.arange(-12.0, 9.0)
    below, above = np.maximum(best - scales, 0), np.maximum(scales - best, 0)
    accuracies = np.clip(0.8 - 0.06 * below - 0.2 * above, 0.2, 1)
    losses = 1 - accuracies[:, None] * np.arange(1, recipe.epochs + 1) / recipe.epochs
    losses[accuracies <= 0.2, 1:] = np.nan
    network = index % n_networks
    return Point(
        task=f"t{index}",
        origin=f"o{index % n_origins}",
        source=f"s{network}",
        architecture=f"{'abcdefgh'[network * n_families // n_networks]}net_{network}" if n_families else "tiny",
        task_id=f"t{index}",
        source_id=f"s{network}",
        recipe=recipe,
        facts=facts,
        log2_scales=scales,
        accuracies=accuracies,
        diverged=accuracies <= 0.2,
        chance=0.2,
        n_train=50,
        n_images=200,
        n_seeds=np.ones(len(scales), int),
        honest_best=0.8,
        job_seconds=10.0,
        facts_seconds=1.0,
        fact_seconds={"noise_loss": 0.25, "half_loss": 0.25, "fitted_accuracy": 0.5},
        epoch_losses=losses,
        val_accuracies=accuracies,
    )


def wide_points(n, *, per_octave_of_steps=1.0, recipes=(SGD, ADAMW), n_networks=5, n_origins=12, n_families=0, seed=0):
    """Return points whose best rate is their critical rate times a constant times a power of their steps."""
    rng = np.random.default_rng(seed)
    points = []
    for index in range(n):
        recipe = recipes[index % len(recipes)]
        noise, half, steps = rng.uniform(-9, -5), rng.uniform(-9, -5), rng.uniform(3, 9)
        rate = noise - 2 if recipe.optimizer == "adamw" else (noise + half) / 2 + math.log2(0.1)
        best = rate + per_octave_of_steps * (steps - 6) - math.log2(recipe.base_lr)
        facts = {
            "noise_log2_critical": noise,
            "half_log2_critical": half,
            "noise_log2_minimum": noise - 1,
            "half_log2_minimum": half - 1,
            "log2_steps": steps,
            "log2_area": steps - 1,
            "fitted_accuracy": 0.6,
        }
        groups = {"n_networks": n_networks, "n_origins": n_origins, "n_families": n_families}
        points.append(wide_point(index, recipe, best=best, facts=facts, **groups))
    return points


def records_of(points):
    """Return the rows of a warehouse that holds these points."""
    records = {}
    for point in points:
        task = TaskRecord(
            task_id=point.task_id,
            name=point.task,
            origin=point.origin,
            n_classes=round(1 / point.chance),
            n_train=point.n_train,
            n_val=0,
            n_test=point.n_images,
            label_counts={f"c{k}": (point.n_train + point.n_images) // 5 for k in range(5)},
            median_width_px=64,
            median_height_px=64,
            data_hash=point.task_id,
        )
        source = SourceRecord(source_id=point.source_id, name=point.source, facts={"architecture": point.architecture})
        recipe = RecipeRecord(recipe_id=point.recipe.recipe_id, name="drawn", json=point.recipe.to_json())
        records |= {task.task_id: task, source.source_id: source, recipe.recipe_id: recipe}
        records |= {(point.key, name): _fact(point, name) for name in point.facts}
        records |= {(point.key, scale): _run(point, scale) for scale in range(len(point.log2_scales))}
    return list(records.values())


def _fact(point, name):
    return FeatureRecord(
        task_id=point.task_id,
        source_id=point.source_id,
        feature_set=start_set(point.recipe),
        name=name,
        value=point.facts[name],
        seconds=point.fact_seconds.get(name, 0.0),
    )


def _run(point, at):
    """Return the run of a point at the scale of this number."""
    diverged, scale = bool(point.diverged[at]), float(2 ** point.log2_scales[at])
    right = np.arange(point.n_images) < round(point.accuracies[at] * point.n_images)
    parts = {"task_id": point.task_id, "source_id": point.source_id, "recipe_id": point.recipe.recipe_id}
    return RunRecord(
        run_id=run_id(**parts, scale=scale, seed=0),
        **parts,
        scale=scale,
        seed=0,
        status=DIVERGED if diverged else DONE,
        diverged_step=7 if diverged else None,
        val_accuracy=None,
        val_loss=None,
        val_correct=None,
        test_accuracy=None if diverged else float(right.mean()),
        test_loss=None if diverged else 1.0,
        test_correct=None if diverged else np.packbits(right).tobytes(),
        epoch_losses=[float(loss) for loss in point.epoch_losses[at] if not math.isnan(loss)],
        rates=epoch_rates(point.recipe, scale, n_train=point.n_train),
        seconds=point.job_seconds,
        device="cpu",
        versions={},
        finished_at="2026-01-01T00:00:00+00:00",
        role=POINT,
    )
