"""One task and source in memory: images decoded once, what is frozen computed once, then any number of finetunes."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import TypeVar

import numpy as np
import torch

from scalepred import __version__
from scalepred.data.task import Split, Task
from scalepred.errors import UsageError
from scalepred.networks.source import Source
from scalepred.networks.staged import staged
from scalepred.recipe import Recipe
from scalepred.records import POINT, RunRecord
from scalepred.training.checkpoint import Checkpoint
from scalepred.training.course import epochs_to_measure
from scalepred.training.devices import device_name
from scalepred.training.embed import embeddings
from scalepred.training.front import Prepared, prepare
from scalepred.training.loop import Finetuned, finetune
from scalepred.training.optimizer import check_batches, fewest_at_once
from scalepred.training.planned import PlannedRun, planned_run
from scalepred.training.rates import length_of
from scalepred.training.scoring import EVALUATION_BATCH, Scores, scores_of
from scalepred.training.start import Start, fitted_start

T = TypeVar("T")

VERSIONS = ("torch", "timm", "numpy")

ACTIVATION_BYTES = 1 << 29
"""What a frozen front gives is kept up to this size."""

_PROBE = ("probe",)
"""The key of the start that is the linear probe's, beside those in the modes of recipes."""

_AS_IT_IS = Recipe(batchnorm="frozen")
"""Whatever else it says, a start with frozen statistics has the features of the source as it is."""

_OUT_OF_MEMORY = (
    "CUDA error: out of memory",  # outside of torch's allocator
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
"""What errors without a type of their own say."""


@dataclass(kw_only=True)
class Bundle:
    """A task and a source, and what their finetunes share.

    Attributes:
        task: the decoded images.
        source: the network to start from.
        device: where to train.
        dtype: torch.bfloat16 turns autocast on.
        max_bytes: what frozen fronts give is kept up to this size, of all recipes together; 0 keeps nothing, and so
            does a bundle whose memory has run out once.
        micro_batch: images that go through the network at once, or None for a whole batch; halved whenever memory
            runs out after that, as far as batch statistics allow.
    """

    task: Task
    source: Source
    device: torch.device
    dtype: torch.dtype = torch.float32
    max_bytes: int = ACTIVATION_BYTES
    micro_batch: int | None = None
    _prepared: dict[tuple[object, ...], Prepared] = field(default_factory=dict)
    _starts: dict[tuple[object, ...], Start] = field(default_factory=dict)
    _is_short: bool = False

    def run(
        self,
        planned: PlannedRun,
        *,
        checkpoint: Checkpoint | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> tuple[RunRecord, Finetuned]:
        """Finetune once; return the warehouse's row for it, and what came of it.

        Raises:
            UsageError: if there is no memory even for one image at a time, or three where batch statistics are taken;
                or if these leave a batch of one image.
            ValueError: if the run was planned for another task or source, or its recipe has other images.
        """
        own = planned_run(
            self.task.record.task_id,
            self.source.source_id,
            recipe=planned.recipe,
            scale=planned.scale,
            seed=planned.seed,
        )
        if own.run_id != planned.run_id:
            raise ValueError(f"run {planned.run_id} is of another task or source; have its images changed?")
        if planned.recipe.resize != self.task.resize:
            raise ValueError(
                f"the recipe has resize {planned.recipe.resize}, and the images were made by {self.task.resize}"
            )

        check_batches(self.source, planned.recipe, n_train=len(self.task.train.labels))

        def attempt(micro_batch: int | None) -> tuple[RunRecord, Finetuned]:
            started = time.perf_counter()
            if self.device.type == "cuda":
                torch.cuda.init()  # type: ignore[no-untyped-call]  # torch has left it untyped
                torch.cuda.reset_peak_memory_stats(self.device)
            prepared = self.prepared_for(planned.recipe, micro_batch)
            outcome = finetune(
                self.source,
                self.task.train,
                {"val": self.task.val, "test": self.task.test},
                n_classes=len(self.task.classes),
                recipe=planned.recipe,
                scale=planned.scale,
                seed=planned.seed,
                device=self.device,
                dtype=self.dtype,
                micro_batch=micro_batch,
                prepared=prepared,
                start=self.start_of(planned.recipe, micro_batch) if planned.recipe.head_start == "fitted" else None,
                measure_after=self._to_measure(planned),
                checkpoint=checkpoint,
                on_epoch=on_epoch,
            )
            seconds = time.perf_counter() - started
            execution = self._execution(planned.recipe, prepared, micro_batch)
            return self._as_record(outcome, planned, execution, seconds=seconds), outcome

        return self.within_memory(
            attempt,
            most=min(planned.recipe.batch_size, len(self.task.train.labels)),
            fewest=fewest_at_once(self.source, planned.recipe),
        )

    def in_float32(self) -> "Bundle":
        """Return this bundle if it is float32, else one that is; the linear probe of ``probe_start`` is shared."""
        if self.dtype == torch.float32:
            return self
        return replace(self, dtype=torch.float32, _prepared={})

    def start_of(self, recipe: Recipe, micro_batch: int | None = None) -> Start:
        """Return the linear probe that a recipe's fitted head is; computed once for all recipes with the same mode.

        Features that the probe of ``probe_start`` has taken already in that mode are not taken again.
        """
        mode: tuple[object, ...] = ()
        if recipe.batchnorm == "batch":
            mode = (tuple(m == 0 for m in recipe.multipliers), min(recipe.batch_size, micro_batch or recipe.batch_size))
        key = (self.dtype, *mode)
        is_taken = key == (torch.float32,) and _PROBE in self._starts
        if key not in self._starts:
            self._starts[key] = fitted_start(
                self.source,
                self.task.train,
                recipe,
                n_classes=len(self.task.classes),
                device=self.device,
                dtype=self.dtype,
                micro_batch=micro_batch,
                known=replace(self.probe_start(), features=self.embedded()) if is_taken else None,
            )
        return self._starts[key]

    @cached_property
    def probe_source(self) -> Source:
        """The source with a head on the outputs of all its stages; the source itself if these can't be read."""
        try:
            return replace(self.source, architecture=staged(self.source.architecture))
        except UsageError:
            return self.source

    def probe_start(self) -> Start:
        """Return the linear probe on what all stages of the source give, with its own statistics; computed once.

        Its features are float32 whatever the bundle's dtype, which may be another from call to call where it is
        measured, so that the probe is always the same, and the one that a saved model is. A recipe with a fitted head
        starts from another one, of standardised penultimate features.

        Raises:
            UsageError: if there is no memory even for one image at a time.
        """

        def fitted(micro_batch: int | None) -> Start:
            return fitted_start(
                self.probe_source,
                self.task.train,
                _AS_IT_IS,
                n_classes=len(self.task.classes),
                device=self.device,
                micro_batch=micro_batch,
                is_standardised=False,
            )

        if _PROBE not in self._starts:  # finding where stages end takes memory too, so it is tried in there
            most = min(EVALUATION_BATCH, len(self.task.train.labels))
            self._starts[_PROBE] = self.within_memory(fitted, most=most)
        return self._starts[_PROBE]

    def embedded(self) -> np.ndarray:
        """Return the source's penultimate features of the training images, (n, d) float32; see ``probe_start``."""
        return np.ascontiguousarray(self.probe_start().features[:, -self.source.architecture.embedding_size :])

    def probe_scores(self) -> dict[str, Scores]:
        """Return what the linear probe of ``probe_start`` does on the held-out splits that have images.

        Raises:
            UsageError: if there is no memory even for one image at a time.
        """
        start = self.probe_start()

        def scored(split: Split, micro_batch: int | None) -> Scores:
            features = embeddings(
                self.probe_source, split.images, device=self.device, dtype=torch.float32, micro_batch=micro_batch
            )
            return scores_of(torch.from_numpy(start.probe.logits(features)), split.labels)

        held_out = {"val": self.task.val, "test": self.task.test}
        return {
            name: self.within_memory(partial(scored, split), most=min(EVALUATION_BATCH, len(split.labels)))
            for name, split in held_out.items()
            if len(split.labels)
        }

    def prepared_for(self, recipe: Recipe, micro_batch: int | None = None) -> Prepared:
        """Return the cut network and what its frozen front gives; computed once for all recipes that freeze alike."""
        key = (tuple(m == 0 for m in recipe.multipliers), recipe.augmentation, recipe.batchnorm)
        if key not in self._prepared:
            splits = {"train": self.task.train, "val": self.task.val, "test": self.task.test}
            left_bytes = self.max_bytes - sum(prepared.kept_bytes for prepared in self._prepared.values())
            self._prepared[key] = prepare(
                self.source,
                splits,
                recipe,
                device=self.device,
                dtype=self.dtype,
                max_bytes=left_bytes,
                micro_batch=micro_batch,
            )
        return self._prepared[key]

    def within_memory(self, attempt: Callable[[int | None], T], *, most: int, fewest: int = 1) -> T:
        """Return what an attempt with a micro-batch gives, with less and less in memory for as long as that runs out.

        Args:
            attempt: takes how many images may go through the network at once, or None for as many as it likes.
            most: how many it likes.
            fewest: how many it needs.
        """
        while True:
            at_once = min(max(self.micro_batch or most, fewest), most)
            try:
                return attempt(at_once if self._is_short or self.micro_batch else None)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            self._make_do_with_less(at_once, fewest=fewest)  # outside of the handler: its error holds on to tensors

    def _make_do_with_less(self, at_once: int, *, fewest: int) -> None:
        """First keep no fronts and score no more at once than is trained on, which costs time; then halve that."""
        if not self._is_short:
            self._is_short, self.max_bytes = True, 0
            self._prepared.clear()
        elif at_once > fewest:
            self.micro_batch = max(at_once // 2, fewest)
        else:
            images = "one image" if at_once == 1 else f"{at_once} images"
            why = ", and batch statistics need so many" if fewest > 1 else ""
            raise UsageError(
                f"There is no memory to run {self.source.name} on {images} of {self.task.image_px} px at a time"
                f"{why}: use fewer workers, smaller images (image_px) or a smaller network."
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _as_record(
        self, outcome: Finetuned, planned: PlannedRun, execution: dict[str, object], *, seconds: float
    ) -> RunRecord:
        val, test = outcome.scores.get("val"), outcome.scores.get("test")
        return RunRecord(
            run_id=planned.run_id,
            task_id=self.task.record.task_id,
            source_id=self.source.source_id,
            recipe_id=planned.recipe.recipe_id,
            scale=planned.scale,
            seed=planned.seed,
            status=outcome.status,
            diverged_step=outcome.diverged_step,
            val_accuracy=val.accuracy if val else None,
            val_loss=val.loss if val else None,
            test_accuracy=test.accuracy if test else None,
            test_loss=test.loss if test else None,
            val_correct=np.packbits(val.correct).tobytes() if val else None,
            test_correct=np.packbits(test.correct).tobytes() if test else None,
            epoch_losses=outcome.epoch_losses,
            rates=outcome.rates,
            seconds=seconds,
            device=device_name(self.device),
            versions=versions(),
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            role=planned.role,
            execution=execution,
            course=outcome.course,
        )

    def _to_measure(self, planned: PlannedRun) -> tuple[int, ...]:
        """Return after which epochs a design point's run measures its critical rate; others don't."""
        if planned.role != POINT:
            return ()
        n_train = len(self.task.train.labels)
        return epochs_to_measure(n_train=n_train, epochs=length_of(planned.recipe, n_train=n_train).passes)

    def _execution(self, recipe: Recipe, prepared: Prepared, micro_batch: int | None) -> dict[str, object]:
        facts: dict[str, object] = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "micro_batch": min(micro_batch or recipe.batch_size, recipe.batch_size),
            "frozen_front_kept": bool(prepared.activations),
        }
        if self.device.type == "cuda":
            facts["peak_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return facts


def versions() -> dict[str, str]:
    """Return the versions of scalepred and of what computes its numbers."""
    return {"scalepred": __version__, **{name: version(name) for name in VERSIONS}}


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(phrase in said for phrase in _OUT_OF_MEMORY)
