"""What the warehouse holds, row by row, as frozen dataclasses that know neither database nor network."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What of a finished run decides which runs come next.

    Validation alone says whether a grid is extended. How far a design point's curve is followed is said by all held-out
    images; no accuracy is chosen by it.
    """

    status: str
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float | None = None


DONE = "done"

DIVERGED = "diverged"

GRID_RUN = "grid"

EXTENSION = "extension"

JOB = "job"

POINT = "point"
ROLES = (GRID_RUN, EXTENSION, JOB, POINT)
"""Why a run was made: the grid or its baseline, beyond the grid's edge, a user's own finetune, or a design point."""


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """One labelled image set with its fixed splits; ``task_id`` hashes decoded images, labels and splits."""

    task_id: str
    name: str
    origin: str
    n_classes: int
    n_train: int
    n_val: int
    n_test: int
    label_counts: dict[str, int]
    median_width_px: int
    median_height_px: int
    data_hash: str


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """A pretrained network; ``source_id`` hashes architecture, weights and preprocessing."""

    source_id: str
    name: str
    facts: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class RecipeRecord:
    """A recipe under the name it was used by; ``json`` is its canonical JSON."""

    recipe_id: str
    name: str
    json: str


@dataclass(frozen=True, kw_only=True)
class FeatureRecord:
    """One number known of a task before finetuning a source on it, and the seconds that it cost."""

    task_id: str
    source_id: str
    feature_set: str
    name: str
    value: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished finetune: done, or diverged at a step and then without accuracies.

    ``val_correct`` and ``test_correct`` hold one bit for each image in the task's order, first image in the highest
    bit, as ``numpy.packbits`` has it. ``rates`` is (epochs, 6): each stage's rate at the first step of each epoch.
    ``role`` is one of ``ROLES``. ``execution`` says how it was computed where that can move the last digits: dtype,
    images in a micro-batch, and whether what a frozen front gives was kept; on CUDA also the most bytes that tensors
    took. The number of threads is part of ``device``.
    ``course`` has what was measured in the run: epochs done, as text -> the scale at which the recipe's update would
    have brought the loss back to where it was; None where it would not.
    """

    run_id: str
    task_id: str
    source_id: str
    recipe_id: str
    scale: float | None
    seed: int
    status: str
    diverged_step: int | None
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float | None
    test_loss: float | None
    val_correct: bytes | None
    test_correct: bytes | None
    epoch_losses: list[float]
    rates: list[tuple[float, ...]]
    seconds: float
    device: str
    versions: dict[str, str]
    finished_at: str
    role: str = GRID_RUN
    execution: dict[str, object] = field(default_factory=dict)
    course: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """What ``finetune --auto`` chose and predicted, and what came out."""

    prediction_id: str
    created_at: str
    task_id: str
    source_id: str
    recipe_id: str
    scale: float
    by: str
    reason: str
    predicted: dict[str, object] = field(default_factory=dict)
    val_accuracy: float | None = None
    test_accuracy: float | None = None


KINDS: dict[str, type] = {
    "tasks": TaskRecord,
    "sources": SourceRecord,
    "recipes": RecipeRecord,
    "features": FeatureRecord,
    "runs": RunRecord,
    "predictions": PredictionRecord,
}
"""Table of the warehouse, and folder of the journal -> what it holds; what is referred to comes first."""
