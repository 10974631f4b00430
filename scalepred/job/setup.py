"""Reads the data for a job: with its tools, all that is needed before a scale is chosen."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from scalepred.data.task import Task, read_task
from scalepred.job.options import DataOptions
from scalepred.job.tools import Tools
from scalepred.training.bundle import Bundle
from scalepred.training.devices import pick_dtype


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A task and the tools to work on it.

    Attributes:
        task: the decoded images with their splits.
        tools: source, recipe, device and predictor.
        dtype: torch.bfloat16 where that is clearly faster here, else torch.float32.
        scan_seconds: what reading the images took.
    """

    task: Task
    tools: Tools
    dtype: torch.dtype
    scan_seconds: float

    @cached_property
    def bundle(self) -> Bundle:
        """Task and source in memory; what is computed of them once serves facts and finetune."""
        return Bundle(task=self.task, source=self.tools.source, device=self.tools.device, dtype=self.dtype)


def set_up(
    data: str | Path,
    tools: Tools,
    options: DataOptions,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Setup:
    """Read the images as squares of the size and kind that the recipe wants.

    Args:
        data: as ``read_task`` takes it.
        tools: what the job works with.
        options: how to read and split.
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
        on_progress=on_progress,
    )
    seconds = time.perf_counter() - started
    return Setup(
        task=task, tools=tools, dtype=pick_dtype(tools.source, tools.recipe, tools.device), scan_seconds=seconds
    )
