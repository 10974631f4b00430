"""Finetune an image classifier in one job, at a learning-rate scale predicted from the task."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalepred.data.layout import Layout
    from scalepred.data.task import Inspection, inspect
    from scalepred.errors import ScalepredError
    from scalepred.job.api import finetune, predict_scale
    from scalepred.job.choose import Prediction
    from scalepred.job.classifier import Classifier, load
    from scalepred.job.evaluate import Evaluation, evaluate
    from scalepred.job.result import Job
    from scalepred.recipe import Recipe, layer_decay
    from scalepred.training.critical import CriticalRate, critical_rate

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "CriticalRate",
    "Evaluation",
    "Inspection",
    "Job",
    "Layout",
    "Prediction",
    "Recipe",
    "ScalepredError",
    "critical_rate",
    "evaluate",
    "finetune",
    "inspect",
    "layer_decay",
    "load",
    "predict_scale",
]

_HOMES = {
    "Classifier": "job.classifier",
    "CriticalRate": "training.critical",
    "Evaluation": "job.evaluate",
    "Inspection": "data.task",
    "Job": "job.result",
    "Layout": "data.layout",
    "Prediction": "job.choose",
    "Recipe": "recipe",
    "ScalepredError": "errors",
    "critical_rate": "training.critical",
    "evaluate": "job.evaluate",
    "finetune": "job.api",
    "inspect": "data.task",
    "layer_decay": "recipe",
    "load": "job.classifier",
    "predict_scale": "job.api",
}
"""Public name -> the module that is imported when the name is first asked for; PyTorch takes seconds."""


def __getattr__(name: str) -> object:
    """Return a public name from its module; see PEP 562."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
