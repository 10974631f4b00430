"""The facts of a start: how far a recipe's own first update can be stretched on a task, and what it meets there."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalepred.errors import StartError
from scalepred.predictor.context import HEADS, start_set
from scalepred.predictor.facts import Feature
from scalepred.recipe import Recipe
from scalepred.records import FeatureRecord
from scalepred.training.bundle import Bundle
from scalepred.training.critical import CriticalRate
from scalepred.training.direction import DRAWS, IMAGES, Direction, measure_direction
from scalepred.training.optimizer import check_batches, fewest_at_once
from scalepred.training.rates import length_of, schedule_factor
from scalepred.training.start import Start

SHARE = 0.1
"""Of a job's cost that three draws of images may take; one is drawn where they would take more."""

PASSES = 12
"""Forward passes that a draw costs at one head: a gradient, which counts as three, some seven looks, and set-up."""


@dataclass(frozen=True, kw_only=True)
class MeasuredStart:
    """What was measured of a recipe's start on a task and source.

    Attributes:
        facts: name -> value and seconds. Rates are in units of the base rate: a stage's learning rate is the rate times
            its multiplier. What has no finite value, such as a loss that never comes back, is left out, and
            ``…_is_placed`` is 0.
        lines: head -> what was seen along the first update; factors are scales. Without heads whose loss or gradient is
            not finite.
    """

    facts: Mapping[str, Feature]
    lines: Mapping[str, CriticalRate]

    @property
    def values(self) -> dict[str, float]:
        """Name -> value."""
        return {name: fact.value for name, fact in self.facts.items()}


def measure_start(bundle: Bundle, recipe: Recipe) -> MeasuredStart:
    """Measure a recipe's start on a bundle's task and source.

    Raises:
        UsageError: if there is no memory even for one image at a time, or a batch of one has no statistics.
    """
    check_batches(bundle.source, recipe, n_train=len(bundle.task.train.labels))
    return bundle.within_memory(
        lambda micro_batch: _measure(bundle, recipe, micro_batch),
        most=min(IMAGES, recipe.batch_size, len(bundle.task.train.labels)),
        fewest=fewest_at_once(bundle.source, recipe),
    )


def _measure(bundle: Bundle, recipe: Recipe, micro_batch: int | None) -> MeasuredStart:
    facts = {name: Feature(value=value, seconds=0.0) for name, value in schedule_facts(bundle, recipe).items()}
    lines = {}
    started = time.perf_counter()
    start = bundle.start_of(recipe, micro_batch)
    facts |= _booked(started, probe_facts(start))
    started = time.perf_counter()
    facts |= _booked(started, feature_facts(start.features))
    n_train = len(bundle.task.train.labels)
    n_draws = affordable_draws(n_train=n_train, epochs=length_of(recipe, n_train=n_train).passes)
    for head in HEADS:
        started = time.perf_counter()
        try:
            measured = measure_direction(bundle, recipe, head=head, n_draws=n_draws, micro_batch=micro_batch)
        except StartError:
            facts |= _booked(started, {f"{head}_is_placed": 0.0})
        else:
            facts |= _booked(started, direction_facts(measured, head=head, base_lr=recipe.base_lr))
            lines[head] = measured.critical
    return MeasuredStart(facts=facts, lines=lines)


def start_facts_of(bundle: Bundle, recipe: Recipe) -> list[FeatureRecord]:
    """Return the facts of a recipe's start on a bundle's task and source, as the warehouse's rows.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    return [
        FeatureRecord(
            task_id=bundle.task.record.task_id,
            source_id=bundle.source.source_id,
            feature_set=start_set(recipe),
            name=name,
            value=fact.value,
            seconds=fact.seconds,
        )
        for name, fact in sorted(measure_start(bundle, recipe).facts.items())
    ]


def affordable_draws(*, n_train: int, epochs: float) -> int:
    """Return 3 draws where they take a tenth of the job at most, else 1; a step counts as three forward passes.

    So a job of 240 images and 32 epochs, or of 400 and 20, has three.
    """
    cost = len(HEADS) * DRAWS * PASSES * min(n_train, IMAGES)
    return DRAWS if cost <= SHARE * 3 * n_train * epochs else 1


def schedule_facts(bundle: Bundle, recipe: Recipe) -> dict[str, float]:
    """Return the number of steps and the area under the schedule, in steps at the full rate; both as log2."""
    length = length_of(recipe, n_train=len(bundle.task.train.labels))
    area = sum(
        schedule_factor(recipe.schedule, step=step, n_steps=length.n_steps, n_warmup=length.n_warmup)
        for step in range(length.n_steps)
    )
    return {"log2_steps": math.log2(length.n_steps), "log2_area": math.log2(area)}


def probe_facts(start: Start) -> dict[str, float]:
    """Return the linear probe's cross-validated accuracy and log loss, where it has them."""
    values = {"fitted_accuracy": start.probe.accuracy, "fitted_log_loss": start.probe.log_loss}
    return {name: value for name, value in values.items() if value is not None}


def feature_facts(features: np.ndarray) -> dict[str, float]:
    """Return log2 of the features' mean squared norm, of their variance, and of the top eigenvalue of mean phi phi'.

    The last bounds the head's own curvature: the Hessian of the cross-entropy in the head's weights is a mean of
    (diag p - p p') times phi phi', whose first factor is at most 1/2.

    Source: Böhning 1992 (Multinomial logistic regression algorithm), section 2.

    Args:
        features: (n, d) float32.
    """
    phi = features.astype(np.float64)
    if not np.isfinite(phi).all():
        return {}
    gram = phi @ phi.T if len(phi) < phi.shape[1] else phi.T @ phi
    values = {
        "features_log2_norm": float((phi**2).sum(axis=1).mean()),
        "features_log2_variance": float(phi.var(axis=0).sum()),
        "features_log2_eigenvalue": float(np.linalg.eigvalsh(gram)[-1] / len(phi)),
    }
    return {name: math.log2(value) for name, value in values.items() if value > 0}


def direction_facts(measured: Direction, *, head: str, base_lr: float) -> dict[str, float]:
    """Return the facts of a recipe's first update at one head."""
    critical = measured.critical
    is_placed = 0 < critical.factor < math.inf
    facts = {
        f"{head}_loss": critical.loss,
        f"{head}_is_placed": float(is_placed),
        f"{head}_depth": critical.depth,
        f"{head}_spread": critical.spread,
    }
    if is_placed:
        facts[f"{head}_log2_critical"] = math.log2(critical.factor * base_lr)
        facts[f"{head}_log2_minimum"] = math.log2(critical.minimum * base_lr)
    if measured.noise_images is not None:
        facts[f"{head}_log2_noise_images"] = math.log2(measured.noise_images)
    facts |= {
        f"{head}_log2_update_{stage}": math.log2(share / base_lr)
        for stage, share in measured.update_shares.items()
        if share > 0
    }
    return {name: value for name, value in facts.items() if math.isfinite(value)}


def _booked(started: float, facts: dict[str, float]) -> dict[str, Feature]:
    """Return facts that were measured together, the seconds since then booked on the first."""
    seconds = time.perf_counter() - started
    return {
        name: Feature(value=float(value), seconds=seconds if at == 0 else 0.0)
        for at, (name, value) in enumerate(facts.items())
    }
