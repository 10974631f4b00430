"""What a harvest's worker does, wherever it runs: hold sources and one bundle, and answer the parent's calls."""

import os
import platform
from collections.abc import Sequence

import torch

from scalepred.data.subset import subset
from scalepred.data.task import Task, read_task, survey
from scalepred.harvest.calls import Hello, Opened, Squares, WorkerSettings
from scalepred.networks.architecture import check_takes
from scalepred.networks.source import Source, load_source
from scalepred.predictor.context import feature_set, probe_set, start_set
from scalepred.predictor.facts import facts_of
from scalepred.predictor.probe_facts import probe_facts_of
from scalepred.predictor.start_facts import start_facts_of
from scalepred.recipe import Recipe
from scalepred.records import FeatureRecord, RunRecord
from scalepred.training.bundle import Bundle
from scalepred.training.devices import device_name, keep_freed_memory, pick_device, pick_dtype
from scalepred.training.planned import PlannedRun


class Worker:
    """Holds the sources of a harvest, and the bundle in hand."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.device = torch.device("cpu")
        self.sources: list[Source] = []
        self.task: tuple[tuple[object, ...], Task] | None = None
        self.bundle: Bundle | None = None

    def hello(self) -> Hello:
        """Take the device, load the sources, and say what there is to work with.

        Raises:
            UsageError: if there is no such device or network.
            WeightsError: if a network's weights can't be had.
        """
        self.device = pick_device(self.settings.device, index=self.settings.device_index)
        if self.device.type == "cpu":
            torch.set_num_threads(self.settings.n_threads)
            keep_freed_memory()
        self.sources = [load_source(name, weights=weights) for name, weights in self.settings.sources]
        on_cuda = self.device.type == "cuda"
        return Hello(
            process=os.getpid(),
            sources=tuple(source.record for source in self.sources),
            device=device_name(self.device),
            n_devices=torch.cuda.device_count() if on_cuda else 1,
            device_bytes=torch.cuda.get_device_properties(self.device).total_memory if on_cuda else None,
            dtype=self.settings.dtype,
            host=platform.node(),
        )

    def pick_dtype(self, source: int, recipe: Recipe) -> str:
        """Return the dtype that was asked for, or that pays for a source, and check that it takes the recipe's size."""
        check_takes(self.sources[source].architecture, image_px=recipe.image_px)
        if self.settings.dtype != "auto":
            return self.settings.dtype
        return str(pick_dtype(self.sources[source], recipe, self.device)).removeprefix("torch.")

    def open(self, data: str, source: int, squares: Squares, dtype: str, n_images: int | None = None) -> Opened:
        """Decode a task's images, unless they are those in hand, and make a bundle of them and a source.

        With ``n_images`` the task is cut down to so many training and validation images.
        """
        self.bundle = None
        before = survey(data).fingerprint
        key = (data, squares, before, n_images)
        if self.task is None or self.task[0] != key:
            self.task = None  # never two in memory
            task = read_task(data, image_px=squares.px, resize=squares.resize, max_bytes=self.settings.max_bytes // 2)
            self.task = (key, task if n_images is None else subset(task, n_images))
        task = self.task[1]
        self.bundle = Bundle(
            task=task,
            source=self.sources[source],
            device=self.device,
            dtype=getattr(torch, dtype),
            max_bytes=self.settings.max_bytes // 2,
        )
        return Opened(
            task=task.record,
            fingerprint=before,
            skipped=tuple((each.path, each.reason) for each in task.inspection.skipped),
            warnings=tuple(task.inspection.warnings),
        )

    def features(self, sets: Sequence[str], recipes: Sequence[Recipe]) -> list[FeatureRecord]:
        """Compute sets of features of the bundle in hand, by their names: of its task, starts of recipes, and probe.

        Raises:
            UsageError: if there is no memory.
        """
        bundle = self._bundle()
        features = []
        for recipe in recipes:
            if start_set(recipe) in sets:
                features += start_facts_of(bundle, recipe)
        if feature_set(bundle.task.image_px, bundle.task.resize) in sets:
            features += facts_of(bundle)
        if probe_set(bundle.task.image_px, bundle.task.resize) in sets:
            features += probe_facts_of(bundle)
        return features

    def run(self, planned: PlannedRun) -> RunRecord:
        """Finetune the bundle in hand once."""
        return self._bundle().run(planned)[0]

    def _bundle(self) -> Bundle:
        if self.bundle is None:
            raise RuntimeError("the parent must open a bundle first")
        return self.bundle
