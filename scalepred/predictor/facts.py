"""Computes the facts of a task on a source before finetuning, each with its seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from scalepred.data.task import Split
from scalepred.networks.source import Source
from scalepred.predictor.context import feature_set
from scalepred.predictor.measures import colourfulness, emd_similarity, knn_accuracy, probe_accuracy, size_features
from scalepred.records import FeatureRecord
from scalepred.training.bundle import Bundle
from scalepred.training.embed import embeddings
from scalepred.training.scoring import EVALUATION_BATCH

MAX_IMAGES = 2_000
"""Frozen features are taken of so many training images at most, so that they cost a fraction of a job."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One fact of a task, and the seconds that it cost."""

    value: float
    seconds: float


def facts_of(bundle: Bundle) -> list[FeatureRecord]:
    """Return the facts of a bundle's task on its source, as the warehouse's rows.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    task, source = bundle.task, bundle.source
    features = bundle.within_memory(
        lambda micro_batch: compute_features(
            source,
            task.train,
            n_classes=len(task.classes),
            device=bundle.device,
            dtype=bundle.dtype,
            micro_batch=micro_batch,
        ),
        most=EVALUATION_BATCH,
    )
    return as_records(
        features,
        task_id=task.record.task_id,
        source_id=source.source_id,
        set_name=feature_set(task.image_px, task.resize),
    )


def compute_features(
    source: Source,
    train: Split,
    *,
    n_classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    micro_batch: int | None = None,
    embedded: np.ndarray | None = None,
) -> dict[str, Feature]:
    """Return the features of a task by name, without those that its images or the source don't allow.

    Args:
        source: the network whose frozen features are looked at.
        train: training images; nothing else of the task is used.
        n_classes: number of classes, so that accuracies can be set against chance.
        device: where the network runs.
        dtype: torch.bfloat16 turns autocast on.
        micro_batch: images that go through the network at once, at most, where memory is short.
        embedded: (n, d) float32, what ``embeddings`` gives for all training images, where it was computed before.
    """
    features = {name: Feature(value=value, seconds=0.0) for name, value in size_features(train.labels).items()}
    rows = _subset(train.labels)
    labels = train.labels[rows]
    embed_seconds, looked_at = _timed(
        lambda: (
            embeddings(source, train.images[rows], device=device, dtype=dtype, micro_batch=micro_batch)
            if embedded is None
            else embedded[rows]
        )
    )
    chance = 1 / n_classes
    measures: dict[str, Callable[[], float | None]] = {
        "colour": lambda: colourfulness(train.images[rows]),
    }
    if np.isfinite(looked_at).all():
        measures |= {
            "knn_accuracy": lambda: knn_accuracy(looked_at, labels),
            "probe_accuracy": lambda: probe_accuracy(looked_at, labels),
            "emd_similarity": lambda: emd_similarity(looked_at, labels, source.prototypes),
        }
    for name, measure in measures.items():
        seconds, value = _timed(measure)
        if value is not None:
            features[name] = Feature(value=float(value), seconds=seconds)
    # the pass through the network is shared; it is booked where it is used first
    if "knn_accuracy" in features:
        knn = features["knn_accuracy"]
        features["knn_accuracy"] = Feature(value=knn.value, seconds=knn.seconds + embed_seconds)
        features["knn_above_chance"] = Feature(value=(knn.value - chance) / (1 - chance), seconds=0.0)
    return features


def as_records(features: dict[str, Feature], *, task_id: str, source_id: str, set_name: str) -> list[FeatureRecord]:
    """Return the warehouse's rows for the features of a task."""
    return [
        FeatureRecord(
            task_id=task_id,
            source_id=source_id,
            feature_set=set_name,
            name=name,
            value=feature.value,
            seconds=feature.seconds,
        )
        for name, feature in sorted(features.items())
    ]


def _subset(labels: np.ndarray) -> np.ndarray:
    """Return the rows of at most ``MAX_IMAGES`` images, spread evenly over the classes' order."""
    order = np.argsort(labels, kind="stable")
    return np.sort(order[np.linspace(0, len(order) - 1, min(len(order), MAX_IMAGES)).astype(int)])


def _timed(measure: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    value = measure()
    return time.perf_counter() - started, value
