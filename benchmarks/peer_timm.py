"""The peer: the twelve finetunes of a bundle by timm's own training pieces, set as well as a CPU allows.

    python -m benchmarks.peer_timm TASK --source NAME [--weights FILE] --recipe FILE [--seeds N] [--on-white]

`timm.data.create_dataset` and `create_loader` (uint8 batches from two persistent workers, normalised a whole batch at a
time by the prefetcher), `timm.optim.create_optimizer_v2` with an ``lr_scale`` for each stage, `MultiStepLRScheduler`
counting updates, `timm.utils.accuracy` and `AverageMeter`, channels-last memory order, and PyTorch's fused SGD. The
loaders are made once and serve all finetunes.

timm expresses the recipe: squeezed squares without augmentation are ``no_aug`` in training and ``crop_mode="squash"``
with ``crop_pct=1`` in evaluation; its optimizer ``momentum`` is SGD without the Nesterov step that its ``sgd`` has; its
scheduler drops at an update one before the milestone, so milestones are one later.

What differs: timm's training loader drops a last short batch, so the batches are made as large as gives the same number
of steps, and fewer images than there are steps are left out of an epoch; images come in another order; timm drops
transparency, scalepred puts it on white, which `--on-white` does here too, by a transform of ours before timm's.

Prints one line of JSON with the outcome of every finetune.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from timm.data import ImageDataset, create_dataset, create_loader
from timm.data.loader import PrefetchLoader
from timm.optim import create_optimizer_v2
from timm.scheduler import MultiStepLRScheduler
from timm.utils import AverageMeter
from timm.utils import accuracy as top_k_accuracy
from torch import nn
from torch.nn import functional
from torchvision import transforms

from benchmarks.bundle import Job, Outcome, Point, check_recipe, points, print_outcomes, put_on_white, read_job
from benchmarks.plain_loop import freeze, train_mode
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import Source, load_source, new_network
from scalepred.recipe import Recipe
from scalepred.training.rates import steps_per_epoch

WORKERS = 2
EVALUATION_BATCH = 256
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A task's loaders."""

    train: PrefetchLoader
    val: PrefetchLoader
    test: PrefetchLoader
    n_classes: int


def main() -> None:
    """Run a bundle and print its outcomes."""
    print_outcomes(run(read_job(__doc__)))


def run(job: Job) -> list[Outcome]:
    """Finetune at every point of the grid, one after another."""
    recipe = check_recipe(str(job.recipe))
    source = load_source(job.source, weights=job.weights)
    data = load_data(job, source.architecture, recipe)
    return [finetune(source, data, point) for point in points(recipe, n_seeds=job.n_seeds)]


def load_data(job: Job, architecture: Architecture, recipe: Recipe) -> Data:
    """Return timm's loaders over the task's three splits."""
    train = _dataset(job, "train")
    n_steps = steps_per_epoch(n_train=len(train), batch_size=recipe.batch_size)
    return Data(
        train=_loader(job, train, architecture, recipe.image_px, batch_size=len(train) // n_steps, is_training=True),
        val=_loader(job, _dataset(job, "val"), architecture, recipe.image_px),
        test=_loader(job, _dataset(job, "test"), architecture, recipe.image_px),
        n_classes=len(train.reader.class_to_idx),
    )


def _dataset(job: Job, split: str) -> ImageDataset:
    mode = "RGBA" if job.on_white else "RGB"
    return create_dataset("", root=str(job.task), split=split, is_training=split == "train", input_img_mode=mode)


def _loader(
    job: Job,
    dataset: ImageDataset,
    architecture: Architecture,
    image_px: int,
    *,
    batch_size: int = EVALUATION_BATCH,
    is_training: bool = False,
) -> PrefetchLoader:
    loader = create_loader(
        dataset,
        input_size=(3, image_px, image_px),
        batch_size=batch_size,
        is_training=is_training,
        no_aug=True,
        interpolation="bicubic",
        crop_pct=1.0,
        crop_mode="squash",
        mean=tuple(value / 255 for value in architecture.mean),
        std=tuple(value / 255 for value in architecture.std),
        num_workers=WORKERS,
        device=CPU,
        persistent_workers=True,
    )
    if job.on_white:
        dataset.transform = transforms.Compose([put_on_white, dataset.transform])
    return loader


def finetune(source: Source, data: Data, point: Point) -> Outcome:
    """Finetune once and score validation and test."""
    started = time.perf_counter()
    torch.manual_seed(point.seed)
    recipe, stages = point.recipe, source.architecture.stages
    generator = torch.Generator().manual_seed(point.seed)
    network = new_network(source, n_classes=data.n_classes, generator=generator)
    network = network.to(memory_format=torch.channels_last)
    freeze(network, stages, recipe.multipliers)
    optimizer = make_optimizer(network, stages, recipe, scale=point.scale)
    scheduler = make_scheduler(optimizer, n_steps=recipe.epochs * len(data.train))
    n_updates = 0
    for _ in range(recipe.epochs):
        train_mode(network, stages, recipe.multipliers)
        epoch_loss = AverageMeter()
        for images, labels in data.train:
            batch = images.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            n_updates += 1
            scheduler.step_update(n_updates)
            epoch_loss.update(loss.item(), len(labels))
        if not math.isfinite(epoch_loss.avg):
            val = test = None
            break
    else:
        val, test = accuracy(network, data.val), accuracy(network, data.test)
    seconds = time.perf_counter() - started
    return Outcome(scale=point.scale, seed=point.seed, val_accuracy=val, test_accuracy=test, seconds=seconds)


def make_optimizer(
    network: nn.Module, stages: Mapping[str, int], recipe: Recipe, *, scale: float | None
) -> torch.optim.Optimizer:
    """Return fused SGD whose groups have the stages' multipliers as ``lr_scale``; timm's scheduler applies them."""
    groups = [
        {"params": [p for name, p in network.named_parameters() if stages[name] == stage], "lr_scale": multiplier}
        for stage, multiplier in enumerate(recipe.multipliers)
        if multiplier > 0
    ]
    return create_optimizer_v2(
        groups,
        opt="momentum",
        lr=recipe.base_lr * (1.0 if scale is None else scale),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def make_scheduler(optimizer: torch.optim.Optimizer, *, n_steps: int) -> MultiStepLRScheduler:
    """Return timm's scheduler with tenfold drops after each third of the steps."""
    thirds: Sequence[int] = [math.ceil(n_steps / 3), math.ceil(2 * n_steps / 3)]
    return MultiStepLRScheduler(optimizer, decay_t=[step + 1 for step in thirds], decay_rate=0.1, t_in_epochs=False)


@torch.inference_mode()
def accuracy(network: nn.Module, loader: PrefetchLoader) -> float:
    """Return the share of a loader's images that the network gets right."""
    network.eval()
    meter = AverageMeter()
    for images, labels in loader:
        (top_1,) = top_k_accuracy(network(images.contiguous(memory_format=torch.channels_last)), labels)
        meter.update(float(top_1), len(labels))
    return meter.avg / 100


if __name__ == "__main__":
    main()
