"""The plain rival: the twelve finetunes of a bundle as a good PyTorch user writes them in one sitting.

    python -m benchmarks.plain_loop TASK --source NAME [--weights FILE] --recipe FILE [--seeds N] [--on-white]

torchvision's `ImageFolder` over the images in their original sizes, `Resize`, `ToTensor` and `Normalize`, a
`DataLoader` with two persistent workers, `torch.optim.SGD` with a parameter group for each stage, `MultiStepLR`, one
finetune after another; default memory layout, default SGD, default threads. The workers are started once and serve all
finetunes. Validation and test are scored once, at the end of each.

The network, its new head and its stages come from `scalepred.networks`, so that the work is equal. What differs: the
last batch of an epoch may be short, and one of a single image, which batch normalisation refuses, is dropped;
resizing is torchvision's bilinear, scalepred's is bicubic; images come in another order; `ImageFolder` drops
transparency, scalepred puts it on white, which `--on-white` does here too.

Prints one line of JSON with the outcome of every finetune.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader

from benchmarks.bundle import Job, Outcome, Point, check_recipe, open_on_white, points, print_outcomes, read_job
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import Source, load_source, new_network

WORKERS = 2
EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Data:
    """A task's loaders, and the generator that shuffles the training images."""

    train: DataLoader[Any]
    val: DataLoader[Any]
    test: DataLoader[Any]
    shuffling: torch.Generator
    n_classes: int


def main() -> None:
    """Run a bundle and print its outcomes."""
    print_outcomes(run(read_job(__doc__)))


def run(job: Job) -> list[Outcome]:
    """Finetune at every point of the grid, one after another."""
    recipe = check_recipe(str(job.recipe))
    source = load_source(job.source, weights=job.weights)
    data = load_data(job, source.architecture, image_px=recipe.image_px, batch_size=recipe.batch_size)
    return [finetune(source, data, point) for point in points(recipe, n_seeds=job.n_seeds)]


def load_data(job: Job, architecture: Architecture, *, image_px: int, batch_size: int) -> Data:
    """Return loaders over the task's three splits."""
    transform = transforms.Compose(
        [
            transforms.Resize((image_px, image_px)),
            transforms.ToTensor(),
            transforms.Normalize(
                [value / 255 for value in architecture.mean], [value / 255 for value in architecture.std]
            ),
        ]
    )
    loader = open_on_white if job.on_white else default_loader
    train, val, test = (ImageFolder(job.task / name, transform, loader=loader) for name in ("train", "val", "test"))
    shuffling = torch.Generator()
    make = partial(DataLoader, num_workers=WORKERS, persistent_workers=True)
    one_left = len(train) % batch_size == 1
    return Data(
        train=make(train, batch_size=batch_size, shuffle=True, generator=shuffling, drop_last=one_left),
        val=make(val, batch_size=EVALUATION_BATCH),
        test=make(test, batch_size=EVALUATION_BATCH),
        shuffling=shuffling,
        n_classes=len(train.classes),
    )


def finetune(source: Source, data: Data, point: Point) -> Outcome:
    """Finetune once and score validation and test."""
    started = time.perf_counter()
    recipe, stages = point.recipe, source.architecture.stages
    generator = data.shuffling.manual_seed(point.seed)
    network = new_network(source, n_classes=data.n_classes, generator=generator)
    freeze(network, stages, recipe.multipliers)
    rate = recipe.base_lr * (1.0 if point.scale is None else point.scale)
    optimizer = torch.optim.SGD(
        stage_groups(network, stages, recipe.multipliers, rate=rate),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    n_steps = recipe.epochs * len(data.train)
    scheduler = MultiStepLR(optimizer, milestones=[math.ceil(n_steps / 3), math.ceil(2 * n_steps / 3)], gamma=0.1)
    for _ in range(recipe.epochs):
        train_mode(network, stages, recipe.multipliers)
        epoch_loss = 0.0
        for images, labels in data.train:
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            epoch_loss += loss.item()
        if not math.isfinite(epoch_loss):
            val = test = None
            break
    else:
        val, test = accuracy(network, data.val), accuracy(network, data.test)
    seconds = time.perf_counter() - started
    return Outcome(scale=point.scale, seed=point.seed, val_accuracy=val, test_accuracy=test, seconds=seconds)


def freeze(network: nn.Module, stages: Mapping[str, int], multipliers: Sequence[float]) -> None:
    """Ask for gradients only where the multiplier is above 0."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad = multipliers[stages[name]] > 0


def train_mode(network: nn.Module, stages: Mapping[str, int], multipliers: Sequence[float]) -> None:
    """Put the network in training mode, and the batch normalisation of frozen stages in evaluation mode."""
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and multipliers[stages[f"{name}.weight"]] == 0:
            module.eval()


def stage_groups(
    network: nn.Module, stages: Mapping[str, int], multipliers: Sequence[float], *, rate: float
) -> list[dict[str, object]]:
    """Return a parameter group with its learning rate for each stage that learns."""
    return [
        {
            "params": [parameter for name, parameter in network.named_parameters() if stages[name] == stage],
            "lr": rate * multiplier,
        }
        for stage, multiplier in enumerate(multipliers)
        if multiplier > 0
    ]


@torch.no_grad()
def accuracy(network: nn.Module, loader: DataLoader[Any]) -> float:
    """Return the share of a loader's images that the network gets right."""
    network.eval()
    n_correct = n = 0
    for images, labels in loader:
        n_correct += int((network(images).argmax(dim=1) == labels).sum())
        n += len(labels)
    return n_correct / n


if __name__ == "__main__":
    main()
