"""The rivals from our own house: the linear probes, and the search over eleven scales."""

import dataclasses
import time

import torch

from benchmarks.rivals.ask import Answer, Asked
from scalepred.data.merge import merged
from scalepred.data.task import Task, read_task
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source
from scalepred.recipe import GRID
from scalepred.records import DIVERGED
from scalepred.training.bundle import Bundle
from scalepred.training.embed import embeddings
from scalepred.training.planned import planned_run
from scalepred.training.probe import fit_probe
from scalepred.training.scoring import scores_of

CPU = torch.device("cpu")


def probe(asked: Asked, *, learns_all: bool = False, of_stages: bool = False) -> Answer:
    """Fit the linear probe on frozen penultimate features, or on what all stages give, as `--probe` does.

    Its strength is cross-validated on what it learns.
    """
    started = time.perf_counter()
    task = _read(asked)
    task = merged(task, "val") if learns_all or asked.learns_all else task
    bundle = Bundle(task=task, source=load_source(DEFAULT_SOURCE), device=CPU)
    if of_stages:
        fitted, scores = bundle.probe_start().probe, bundle.probe_scores()["test"]
    else:
        learnt, test = (
            embeddings(bundle.source, split.images, device=CPU, dtype=torch.float32)
            for split in (task.train, task.test)
        )
        labels, groups = task.train.labels, task.train.groups
        fitted = fit_probe(learnt, labels, n_classes=len(task.classes), groups=groups)
        scores = scores_of(torch.from_numpy(fitted.logits(test)), task.test.labels)
    return Answer(
        accuracy=scores.accuracy,
        n_test=len(task.test.labels),
        work_seconds=time.perf_counter() - started,
        details={"n_learnt": len(task.train.labels), "strength": fitted.strength, "cv_accuracy": fitted.accuracy},
    )


def search(asked: Asked) -> Answer:
    """Finetune at all eleven scales, and keep the one that is best on validation; of equals the one of least loss.

    One process reads the images once and computes the frozen front once for all eleven, as a harvest does.

    Source: Dube et al. 2018, section 4.3.
    """
    started = time.perf_counter()
    task = _read(asked)
    bundle = Bundle(task=task, source=load_source(DEFAULT_SOURCE), device=CPU)
    recipe = dataclasses.replace(asked.read_recipe(), image_px=asked.image_px)
    runs = []
    for scale in GRID:
        planned = planned_run(task.record.task_id, bundle.source.source_id, recipe=recipe, scale=scale, seed=asked.seed)
        runs.append(bundle.run(planned)[0])
    done = [run for run in runs if run.status != DIVERGED]
    if not done:
        raise SystemExit(f"All eleven scales diverged on {asked.folder.name}.")
    best = max(done, key=lambda run: (run.val_accuracy or 0.0, -(run.val_loss or 0.0)))
    return Answer(
        accuracy=best.test_accuracy or 0.0,
        n_test=len(task.test.labels),
        work_seconds=time.perf_counter() - started,
        details={
            "scale": best.scale,
            "n_learnt": len(task.train.labels),
            "n_diverged": len(runs) - len(done),
            "test_accuracies": [run.test_accuracy for run in runs],
        },
    )


def _read(asked: Asked) -> Task:
    return read_task(asked.folder, image_px=asked.image_px)
