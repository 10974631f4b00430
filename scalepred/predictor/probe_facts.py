"""What the linear probe on all stages reaches on a task's held-out images, kept beside what finetunes reach there."""

import math
import time

from scalepred.predictor.context import probe_set
from scalepred.predictor.facts import Feature, as_records
from scalepred.records import FeatureRecord
from scalepred.training.bundle import Bundle

HELD_OUT = ("test_accuracy", "val_accuracy")
"""By which a probe is set beside a finetune: the first that a task has."""


def probe_facts_of(bundle: Bundle) -> list[FeatureRecord]:
    """Fit the linear probe of a bundle, as ``--probe`` does, and return what it reaches, as the warehouse's rows.

    They are the accuracies on the held-out splits that have images, that of cross-validation where there is one, and
    log2 of the inverse strength of the penalty.

    Raises:
        UsageError: if there is no memory even for one image at a time.
    """
    started = time.perf_counter()
    probe, scores = bundle.probe_start().probe, bundle.probe_scores()
    seconds = time.perf_counter() - started
    values = {f"{split}_accuracy": each.accuracy for split, each in scores.items()}
    values |= {} if probe.accuracy is None else {"cross_validated": probe.accuracy}
    facts = {name: Feature(value=value, seconds=0.0) for name, value in values.items()}
    facts["log2_strength"] = Feature(value=math.log2(probe.strength), seconds=seconds)  # of all of them
    return as_records(
        facts,
        task_id=bundle.task.record.task_id,
        source_id=bundle.source.source_id,
        set_name=probe_set(bundle.task.image_px, bundle.task.resize),
    )
