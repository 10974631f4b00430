"""The loop: one finetune of a source on a task's pictures at one learning-rate scale."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scalepred.config import Recipe
from scalepred.records import DIVERGED, DONE
from scalepred.schedule import epoch_rates, schedule_factor, stage_rates, steps_per_epoch
from scalepred.sources import Architecture, Source, new_network, normalise, on_device
from scalepred.tasks import Split

EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a network does on a split: accuracy in [0, 1], mean cross-entropy, and which pictures it gets right."""

    accuracy: float
    loss: float
    correct: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What came of a finetune.

    Attributes:
        network: the trained network, on the device it was trained on; after a divergence it is worthless.
        status: ``records.DONE`` or ``records.DIVERGED``.
        diverged_step: the first step whose loss was not finite.
        epoch_losses: mean training loss of every finished epoch.
        rates: (epochs, 6), each stage's rate at the first step of each epoch.
        scores: split name -> scores, for the splits that have pictures; empty after a divergence.
        train_seconds, evaluate_seconds: wall time.
    """

    network: nn.Module
    status: str
    diverged_step: int | None
    epoch_losses: list[float]
    rates: list[tuple[float, ...]]
    scores: dict[str, Scores]
    train_seconds: float
    evaluate_seconds: float


def finetune(
    source: Source,
    train: Split,
    held_out: Mapping[str, Split],
    *,
    n_classes: int,
    recipe: Recipe,
    scale: float | None,
    seed: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Finetuned:
    """Finetune a copy of the source on ``train`` and score it once, at the end, on every held-out split.

    The rate of a stage is ``base_lr * multiplier * scale`` times the schedule's factor. A stage with multiplier 0 keeps
    its weights and its batch statistics. All randomness (head, order, augmentation) comes from ``seed`` and is drawn on
    the CPU, so the same seed gives the same numbers on a CPU with the same number of threads.

    Args:
        source: the network to start from; it is not changed.
        train: the pictures to learn, at least two.
        held_out: split name -> pictures to score; they decide nothing.
        n_classes: size of the new head.
        recipe: everything else that decides the result.
        scale: the secondary multiplier, or None for a recipe without one.
        seed: of head, order and augmentation.
        device: where the pictures lie and the network runs.
        dtype: torch.bfloat16 turns autocast on.
        on_epoch: called after every epoch with the number of epochs done and the epoch's mean loss.

    Source: Dube et al. 2018, sections 3 and 4.3.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    architecture = source.architecture
    network = on_device(new_network(source, n_classes=n_classes, generator=generator), device)
    stage_lr = stage_rates(recipe, scale)
    optimizer = _optimizer(network, architecture, recipe, stage_lr)
    images, labels = torch.from_numpy(train.images).to(device), torch.from_numpy(train.labels).to(device)
    per_epoch = steps_per_epoch(n_train=len(labels), batch_size=recipe.batch_size)
    n_steps = recipe.epochs * per_epoch
    epoch_losses: list[float] = []
    diverged_step = None
    for epoch in range(recipe.epochs):
        _set_mode(network, architecture, recipe)
        losses = []
        for index, rows in enumerate(torch.randperm(len(labels), generator=generator).tensor_split(per_epoch)):
            factor = schedule_factor(recipe.schedule, step=epoch * per_epoch + index, n_steps=n_steps)
            for group in optimizer.param_groups:
                group["lr"] = stage_lr[group["stage"]] * factor
            batch = augment(images[rows.to(device)], kind=recipe.augmentation, generator=generator)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                loss = functional.cross_entropy(network(normalise(batch, architecture)), labels[rows.to(device)])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has left it untyped
            optimizer.step()
            losses.append(loss.detach())
        finite = torch.stack(losses).isfinite()
        if not finite.all():
            diverged_step = epoch * per_epoch + int(finite.logical_not().nonzero()[0])
            break
        epoch_losses.append(float(torch.stack(losses).mean()))
        if on_epoch:
            on_epoch(epoch + 1, epoch_losses[-1])
    trained = time.perf_counter()
    scores: dict[str, Scores] = {}
    if diverged_step is None:
        scores = {
            name: score(network, architecture, split, device=device, dtype=dtype)
            for name, split in held_out.items()
            if len(split.labels)
        }
        if not all(np.isfinite(each.loss) for each in scores.values()):
            diverged_step, scores = n_steps - 1, {}  # the last step made weights that give no finite loss
    return Finetuned(
        network=network,
        status=DONE if diverged_step is None else DIVERGED,
        diverged_step=diverged_step,
        epoch_losses=epoch_losses,
        rates=epoch_rates(recipe, scale, n_train=len(labels)),
        scores=scores,
        train_seconds=trained - started,
        evaluate_seconds=time.perf_counter() - trained,
    )


def score(
    network: nn.Module, architecture: Architecture, split: Split, *, device: torch.device, dtype: torch.dtype
) -> Scores:
    """Score a network on a split, with the statistics it has learnt and no augmentation."""
    logits = predict_logits(network, architecture, split.images, device=device, dtype=dtype)
    labels = torch.from_numpy(split.labels)
    correct = (logits.argmax(dim=1) == labels).numpy()
    return Scores(accuracy=float(correct.mean()), loss=float(functional.cross_entropy(logits, labels)), correct=correct)


def predict_logits(
    network: nn.Module, architecture: Architecture, images: np.ndarray, *, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return (n, n_outputs) float32 on the CPU for (n, 3, h, w) uint8 pictures; the network is left in eval mode."""
    network.eval()
    outputs = []
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for batch in torch.split(torch.from_numpy(images), EVALUATION_BATCH):
            outputs.append(network(normalise(batch.to(device), architecture)).float().cpu())
    return torch.cat(outputs)


def augment(images: Tensor, *, kind: str, generator: torch.Generator) -> Tensor:
    """Return (n, 3, h, w) uint8 pictures, each shifted by up to an eighth ("crop") and mirrored at random ("flip").

    What a shift uncovers repeats the picture's edge.
    """
    n, _, height, width = images.shape
    if kind in ("crop", "crop-flip"):
        reach = height // 8
        shifts = torch.randint(-reach, reach + 1, (2, n, 1), generator=generator)
        rows = (torch.arange(height) + shifts[0]).clamp(0, height - 1).to(images.device)
        columns = (torch.arange(width) + shifts[1]).clamp(0, width - 1).to(images.device)
        which = torch.arange(n, device=images.device)
        images = images.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )
    if kind in ("flip", "crop-flip"):
        mirrored = torch.rand(n, generator=generator).lt(0.5).to(images.device)
        images = torch.where(mirrored.view(n, 1, 1, 1), images.flip(3), images)
    return images


def _optimizer(
    network: nn.Module, architecture: Architecture, recipe: Recipe, rates: tuple[float, ...]
) -> torch.optim.SGD:
    """Return SGD with a parameter group for every stage that learns; the others are frozen."""
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        stage = architecture.stages[name]
        parameter.requires_grad_(recipe.multipliers[stage] > 0)
        if recipe.multipliers[stage] > 0:
            groups.setdefault(stage, []).append(parameter)
    return torch.optim.SGD(
        [{"params": params, "lr": rates[stage], "stage": stage} for stage, params in groups.items()],
        lr=recipe.base_lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def _set_mode(network: nn.Module, architecture: Architecture, recipe: Recipe) -> None:
    """Put the network in training mode, but what a frozen stage or recipe must not change in evaluation mode."""
    network.train()
    for name, module in network.named_modules():
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
        frozen = bool(own) and all(recipe.multipliers[architecture.stages[parameter]] == 0 for parameter in own)
        normalises = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if normalises and (frozen or recipe.batchnorm == "frozen"):
            module.eval()
