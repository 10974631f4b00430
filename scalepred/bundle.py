"""One task and source in memory: pictures decoded once, what is frozen computed once, then any number of finetunes."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import torch

from scalepred.config import Recipe
from scalepred.devices import device_name
from scalepred.errors import UsageError
from scalepred.features import as_records, compute_features
from scalepred.finetune import Finetuned, Prepared, finetune, prepare
from scalepred.plan import PlannedRun, planned_run
from scalepred.records import FeatureRecord, RunRecord
from scalepred.sources import Source
from scalepred.tasks import Task

VERSIONS = ("scalepred", "torch", "timm", "numpy")
ACTIVATION_BYTES = 1 << 29
"""What a frozen front gives is kept up to this size."""


@dataclass(kw_only=True)
class Bundle:
    """A task and a source, and what their finetunes share.

    Attributes:
        task: the decoded pictures.
        source: the network to start from.
        device: where to train.
        dtype: torch.bfloat16 turns autocast on.
        max_bytes: what a frozen front gives is kept up to this size; 0 keeps nothing.
        micro_batch: pictures that go through the network at once, or None for a whole batch; halved whenever memory
            runs out.
    """

    task: Task
    source: Source
    device: torch.device
    dtype: torch.dtype = torch.float32
    max_bytes: int = ACTIVATION_BYTES
    micro_batch: int | None = None
    _prepared: dict[tuple[object, ...], Prepared] = field(default_factory=dict)

    def features(self) -> list[FeatureRecord]:
        """Return the task's features on this source, as the warehouse's rows."""
        task, source = self.task, self.source
        found = compute_features(source, task.train, n_classes=len(task.classes), device=self.device, dtype=self.dtype)
        return as_records(found, task_id=task.record.task_id, source_id=source.source_id, image_px=task.image_px)

    def run(
        self, planned: PlannedRun, *, on_epoch: Callable[[int, float], None] | None = None
    ) -> tuple[RunRecord, Finetuned]:
        """Finetune once; return the warehouse's row for it, and what came of it.

        Raises:
            UsageError: if there is no memory even for one picture at a time.
            ValueError: if the run was planned for another task or source.
        """
        own = planned_run(
            self.task.record.task_id,
            self.source.source_id,
            recipe=planned.recipe,
            scale=planned.scale,
            seed=planned.seed,
        )
        if own.run_id != planned.run_id:
            raise ValueError(f"run {planned.run_id} is of another task or source; have its pictures changed?")
        while True:
            started = time.perf_counter()
            try:
                prepared = self._prepare(planned.recipe)
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
                    micro_batch=self.micro_batch,
                    prepared=prepared,
                    on_epoch=on_epoch,
                )
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            else:
                seconds = time.perf_counter() - started
                return self._as_record(outcome, planned, prepared, seconds=seconds), outcome
            self._make_do_with_less(planned.recipe)  # outside of the handler, whose error holds on to the tensors

    def _prepare(self, recipe: Recipe) -> Prepared:
        key = (tuple(m == 0 for m in recipe.multipliers), recipe.augmentation, recipe.batchnorm)
        if key not in self._prepared:
            splits = {"train": self.task.train, "val": self.task.val, "test": self.task.test}
            self._prepared[key] = prepare(
                self.source, splits, recipe, device=self.device, dtype=self.dtype, max_bytes=self.max_bytes
            )
        return self._prepared[key]

    def _make_do_with_less(self, recipe: Recipe) -> None:
        batch = self.micro_batch or min(recipe.batch_size, len(self.task.train.labels))
        if batch == 1:
            raise UsageError(
                f"There is no memory to train {self.source.name} on one picture of {recipe.image_px} px at a time: "
                "use fewer workers, smaller pictures (image_px) or a smaller network."
            )
        self.micro_batch, self.max_bytes = batch // 2, 0
        self._prepared.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _as_record(self, outcome: Finetuned, planned: PlannedRun, prepared: Prepared, *, seconds: float) -> RunRecord:
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
            versions={name: version(name) for name in VERSIONS},
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            role=planned.role,
            execution=self._execution(planned.recipe, prepared),
        )

    def _execution(self, recipe: Recipe, prepared: Prepared) -> dict[str, object]:
        facts: dict[str, object] = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "micro_batch": self.micro_batch or recipe.batch_size,
            "frozen_front_kept": bool(prepared.activations),
        }
        if self.device.type == "cuda":
            facts["peak_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return facts


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in said
