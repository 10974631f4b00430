"""Times what it costs a finetune to save its state after an epoch, and what share of a job that is.

    python -m benchmarks.bench_checkpoint [--repeats 10] [--smoke]

Each network trains for one epoch of 64 noisy images at 128 px, on the CPU, and is then saved again and again to a
temporary folder: weights, optimizer and generators, hashed, flushed to the disk and renamed. A job saves no more often
than every 30 seconds, nor more often than 50 times what its last save took. Prints a table and ends in one line of
JSON.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_harvest import SMOKE_SOURCE, VERSIONS
from benchmarks.timed import hardware
from scalepred.data.task import Split
from scalepred.job.options import CHECKPOINT_SECONDS
from scalepred.networks.architecture import build
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source, source_of
from scalepred.recipe import Recipe, load_recipe
from scalepred.training.checkpoint import PAYS_AFTER, Checkpoint, Progress
from scalepred.training.loop import finetune
from scalepred.training.optimizer import make_optimizer
from scalepred.training.rates import stage_rates

CPU = torch.device("cpu")
N_IMAGES, SIDE_PX = 64, 128
ADAMW = Recipe(optimizer="adamw", multipliers=(1.0,) * 6, image_px=SIDE_PX, epochs=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="a tiny network and 16 images, three saves")
    arguments = parser.parse_args()
    machine = hardware()
    usual = load_recipe("frozen-statistics-128")
    jobs = {DEFAULT_SOURCE: usual, "timm/resnet50": ADAMW}
    n_images, n_saves = (16, 3) if arguments.smoke else (N_IMAGES, arguments.repeats)
    rows = [
        measure(name, recipe, n_images=n_images, n_saves=n_saves)
        for name, recipe in ({SMOKE_SOURCE: usual} if arguments.smoke else jobs).items()
    ]
    for row in rows:
        low, high = row["range_seconds"]
        print(
            f"{row['source']:22} {row['optimizer']:6} {row['bytes'] / 1e6:7.1f} MB, save {row['median_seconds']:.3f} s "
            f"({low:.3f} to {high:.3f}, n = {n_saves}), epoch of {n_images} images {row['epoch_seconds']:.1f} s; "
            f"of a job at most {100 * row['share']:.2f} %"
        )
    versions = {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
    report = {"benchmark": "checkpoint", "smoke": arguments.smoke, "rows": rows}
    print(json.dumps(report | {"hardware": machine, "versions": versions}))


def measure(name: str, recipe: Recipe, *, n_images: int, n_saves: int) -> dict[str, Any]:
    """Train a network for an epoch, and save its state so many times."""
    source = load_source(name) if name == DEFAULT_SOURCE else source_of(build(name))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 3, recipe.image_px, recipe.image_px)).astype(np.uint8)
    train = Split(images, np.arange(n_images) % 10, tuple(map(str, range(n_images))))
    epochs = Recipe.from_json(json.dumps(json.loads(recipe.to_json()) | {"epochs": 1}))
    outcome = finetune(source, train, {}, n_classes=10, recipe=epochs, scale=1.0, seed=0, device=CPU)
    optimizer = make_optimizer(outcome.network, source.architecture, recipe, stage_rates(recipe, 1e-6))
    for parameter in outcome.network.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        checkpoint = Checkpoint(file=file, identity=name, dtype=torch.float32, every_seconds=0.0)
        seconds = []
        for _ in range(n_saves):
            started = time.perf_counter()
            checkpoint.keep(outcome.network, optimizer, torch.Generator(), Progress(epoch_losses=[1.0]))
            seconds.append(time.perf_counter() - started)
        size = file.stat().st_size
    median = statistics.median(seconds)
    return {
        "source": name,
        "optimizer": recipe.optimizer,
        "bytes": size,
        "median_seconds": median,
        "range_seconds": [min(seconds), max(seconds)],
        "epoch_seconds": outcome.train_seconds,
        "share": median / max(CHECKPOINT_SECONDS, PAYS_AFTER * median),
    }


if __name__ == "__main__":
    main()
