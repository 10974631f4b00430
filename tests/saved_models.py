"""Models saved to folders, with hostile class names, and images to show them."""

import dataclasses

import numpy as np
import torch
from fakes import QUICK, run_record, task_record
from PIL import Image

from scalepred.job.folder import save_model
from scalepred.networks.architecture import build
from scalepred.networks.names import STAGED, STAGED_MEANS
from scalepred.networks.source import load_source, new_network, source_of
from scalepred.networks.staged import staged

NASTY = (
    "=1+1",
    "<script>alert(1)</script>",
    "a\nb|c",
    "caf\u00e9 \U0001f408",
    "[red]'; drop table tasks; --",
    "\udcff\udc80",
)
JOB = {
    "choice": {"scale": 2.0, "by": "predicted", "reason": "because"},
    "metrics": {
        "val_accuracy": 0.75,
        "test_accuracy": None,
        "n_train": 20,
        "n_val": 4,
        "n_test": 0,
        "trained_on": "train",
        "refit": None,
    },
    "probe": {
        "accuracy": 0.7,
        "interval": [0.48, 0.85],
        "n": 20,
        "seconds": 0.4,
        "note": "",
        "expected": None,
        "val_accuracy": 0.5,
        "test_accuracy": None,
        "compared": {"verdict": "The finetuned model is not shown to be above its linear probe."},
    },
}


def saved(folder, name, *, image_px, resize="squash", classes=NASTY):
    """Save a network with a new head that gives logits far apart, as a finetuned one does."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = name.removesuffix(STAGED).removesuffix(STAGED_MEANS)
        source = source_of(build(plain)) if "/" in plain else load_source(plain)
    if name != plain:
        source = dataclasses.replace(
            source, architecture=staged(source.architecture, means_alone=name.endswith(STAGED_MEANS))
        )
    network = new_network(source, n_classes=len(classes), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.get_submodule(source.architecture.head).weight.mul_(20)
    recipe = dataclasses.replace(QUICK, image_px=image_px, resize=resize)
    run = run_record(task_record(), 2.0, val=[1, 1, 1, 0], recipe=recipe)
    save_model(folder, network, source=source, recipe=recipe, classes=classes, run=run, job=JOB)
    return folder


def photographs(*, seed=0):
    """Return smooth images of several shapes, (h, w, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = [rng.integers(0, 256, (5, 6, 3), dtype=np.uint8) for _ in range(6)]
    sizes = [(90, 60), (60, 90), (64, 64), (200, 150), (33, 47), (128, 300)]
    return [
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC))
        for each, size in zip(small, sizes, strict=True)
    ]
