"""Design points whose best scales are known, with lopsided curves: a gentle slope below the best, a cliff above."""

import math

import numpy as np

from scalepred.predictor.points import Point
from scalepred.recipe import Recipe

SGD = Recipe(momentum=0.9)
ADAMW = Recipe(optimizer="adamw")


def wide_point(index, recipe, *, best, facts, n_networks=5, n_origins=12):
    """Return a point that loses 6 points of accuracy an octave below its best scale, and 20 above; best is its log2."""
    scales = np.arange(-12.0, 9.0)
    below, above = np.maximum(best - scales, 0), np.maximum(scales - best, 0)
    accuracies = np.clip(0.8 - 0.06 * below - 0.2 * above, 0.2, 1)
    return Point(
        task=f"t{index}",
        origin=f"o{index % n_origins}",
        source=f"s{index % n_networks}",
        architecture="tiny",
        task_id=f"t{index}",
        source_id=f"s{index % n_networks}",
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
    )


def wide_points(n, *, per_octave_of_steps=1.0, recipes=(SGD, ADAMW), n_networks=5, n_origins=12, seed=0):
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
        }
        points.append(wide_point(index, recipe, best=best, facts=facts, n_networks=n_networks, n_origins=n_origins))
    return points
