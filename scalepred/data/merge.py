"""Merges splits of a task into its training images, for a job that holds fewer images out."""

import dataclasses

import numpy as np

from scalepred.data.load import IN_MEMORY_BYTES, room_for
from scalepred.data.splits import SPLITS
from scalepred.data.task import Split, Task, task_id_of


def merged(task: Task, *names: str) -> Task:
    """Return the task that also trains on the images of these splits, which are then empty; itself where they are.

    It is what the user would have by putting these images into the training set: order and ``task_id`` are the same,
    and other than those of the task it was made of.

    Args:
        task: decoded, with the hashes of its images.
        names: "val", "test" or both.
    """
    taken = [split for name in names if len((split := getattr(task, name)).labels)]
    if not taken:
        return task
    train = _joined([task.train, *taken], task.classes)
    empty = Split(train.images[:0], train.labels[:0], ())
    splits = {"train": train} | {name: empty if name in names else getattr(task, name) for name in ("val", "test")}
    n_train, n_val, n_test = (len(splits[name].labels) for name in SPLITS)
    task_id = task_id_of(splits, task.classes)
    record = dataclasses.replace(task.record, task_id=task_id, n_train=n_train, n_val=n_val, n_test=n_test)
    return dataclasses.replace(task, record=record, **splits)


def _joined(parts: list[Split], classes: tuple[str, ...]) -> Split:
    """Return several splits as one, in the order that a task's images have."""
    labels = np.concatenate([part.labels for part in parts])
    paths, hashes, groups = (sum((getattr(part, name) for part in parts), ()) for name in ("paths", "hashes", "groups"))
    order = sorted(range(len(labels)), key=lambda row: (hashes[row], classes[labels[row]], paths[row]))
    place = np.argsort(order)
    images = room_for((len(labels), *parts[0].images.shape[1:]), max_bytes=IN_MEMORY_BYTES)
    at = 0
    for part in parts:
        for image in part.images:  # one by one, for they may lie in a file
            images[place[at]] = image
            at += 1
    paths, hashes, groups = (tuple(each[row] for row in order if each) for each in (paths, hashes, groups))
    return Split(images, labels[order], paths, hashes, groups)
