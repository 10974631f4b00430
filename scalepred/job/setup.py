"""Reads the data for a job: with its tools, all that is needed before a scale is chosen."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from scalepred.data.merge import merged
from scalepred.data.task import Task, read_task
from scalepred.errors import UsageError
from scalepred.job.options import TRAIN_ON, DataOptions
from scalepred.job.tools import Tools
from scalepred.training.bundle import Bundle
from scalepred.training.devices import pick_dtype


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A task and the tools to work on it.

    Attributes:
        task: the decoded images with their splits; those that are trained on too are merged into its training images.
        tools: source, recipe, device and predictor.
        dtype: torch.bfloat16 where that is clearly faster here, else torch.float32.
        scan_seconds: what reading the images took.
        trained_on: one of ``options.TRAIN_ON``.
    """

    task: Task
    tools: Tools
    dtype: torch.dtype
    scan_seconds: float
    trained_on: str = "train"

    @cached_property
    def bundle(self) -> Bundle:
        """Task and source in memory; what is computed of them once serves facts and finetune."""
        return Bundle(task=self.task, source=self.tools.source, device=self.tools.device, dtype=self.dtype)


def set_up(
    data: str | Path,
    tools: Tools,
    options: DataOptions,
    *,
    trains: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Setup:
    """Read the images as squares of the size and kind that the recipe wants, and merge the splits that are trained on.

    So the facts of a task are those of the images that a job trains on, and ``predict`` sees what ``finetune`` does.

    Args:
        data: as ``read_task`` takes it.
        tools: what the job works with.
        options: how to read and split.
        trains: a finetune follows, so it is measured which dtype it should take; a linear probe takes float32.
        on_progress: called with images decoded and images in all.

    Raises:
        DataError: if nothing can be learnt from the data, with what is needed.
    """
    started = time.perf_counter()
    task = read_task(
        data,
        image_px=tools.recipe.image_px,
        resize=tools.recipe.resize,
        split_seed=options.split_seed,
        on_bad_image=options.on_bad_image,
        max_megapixels=options.max_megapixels,
        layout=options.layout,
        on_progress=on_progress,
    )
    trained_on = options.train_on or ("train" if "val" in task.own_splits else "train+val")
    task = merged(task, *TRAIN_ON[trained_on])
    return Setup(
        task=task,
        tools=tools,
        scan_seconds=time.perf_counter() - started,
        dtype=pick_dtype(tools.source, tools.recipe, tools.device) if trains else torch.float32,
        trained_on=trained_on,
    )


def check_can_refit(setup: Setup) -> None:
    """Raise UsageError if no image is held out, so that nothing can be measured before a refit."""
    if not len(setup.task.val.labels) + len(setup.task.test.labels):
        raise UsageError(
            "A refit trains on all images after the job is measured, and here no image is left to measure it on: "
            "leave out --refit, or hold images out with --train-on train."
        )


def with_all_images(setup: Setup) -> Setup:
    """Return the same with every image among the training images, for the second job of a refit."""
    return dataclasses.replace(setup, task=merged(setup.task, *TRAIN_ON["all"]), trained_on="all")
