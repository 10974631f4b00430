"""Cuts a task down to fewer images to learn from; its test images stay."""

import dataclasses
from collections import Counter

import numpy as np

from scalepred.data.task import Split, Task
from scalepred.recipe import content_id


def subset(task: Task, n_images: int) -> Task:
    """Return the task with at most about ``n_images`` training and validation images; itself where it has no more.

    Every class keeps its share of both, at least one training image, and at least one validation image is left in all.
    Which ones is decided by their content alone: the splits of a task are in the order of their images' hashes.

    Args:
        task: decoded.
        n_images: training and validation images together, 2 or more.
    """
    n_learn = len(task.train.labels) + len(task.val.labels)
    if n_images >= n_learn:
        return task
    share = n_images / n_learn
    train = _first(task.train, share, at_least=1)
    val = _first(task.val, share, at_least=0)
    if not len(val.labels):
        val = _rows(task.val, np.arange(1))
    labels = np.concatenate([train.labels, val.labels, task.test.labels])
    counts = Counter(task.classes[label] for label in labels)
    record = dataclasses.replace(
        task.record,
        task_id=content_id("subset", [task.record.task_id, n_images]),
        name=f"{task.record.name}~{n_images}",
        n_train=len(train.labels),
        n_val=len(val.labels),
        label_counts={name: counts[name] for name in task.classes},
    )
    return dataclasses.replace(task, record=record, train=train, val=val)


def _first(split: Split, share: float, *, at_least: int) -> Split:
    """Return the first images of each class, a share of them."""
    kept = []
    for label in np.unique(split.labels):
        rows = np.flatnonzero(split.labels == label)
        kept.append(rows[: max(at_least, round(share * len(rows)))])
    return _rows(split, np.sort(np.concatenate(kept)) if kept else np.arange(0))


def _rows(split: Split, rows: np.ndarray) -> Split:
    paths, hashes = (tuple(each[row] for row in rows) for each in (split.paths, split.hashes))
    groups = tuple(split.groups[row] for row in rows if split.groups)
    return Split(split.images[rows], split.labels[rows], paths, hashes, groups)
