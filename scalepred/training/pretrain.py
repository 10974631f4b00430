"""Trains a source from scratch on a domain's images."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.data.task import Task
from scalepred.errors import UsageError
from scalepred.networks.architecture import Architecture, build
from scalepred.networks.resnet27 import ResNet27, initialise
from scalepred.networks.source import Source, source_of
from scalepred.recipe import STAGES, Recipe, content_id
from scalepred.records import DONE, TaskRecord
from scalepred.training.checkpoint import Checkpoint, forget
from scalepred.training.devices import device_name
from scalepred.training.embed import embeddings
from scalepred.training.loop import finetune
from scalepred.training.scoring import score

CHECKPOINT = "checkpoint.safetensors"
"""In the folder that a source is going to be written to: the state of its training."""

USUAL: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"base_lr": 0.01},
    "adamw": {"base_lr": 0.001, "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 5},
}
"""Optimizer -> fields of a source's recipe that are not given; what is named neither way has a recipe's own default."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A source trained from scratch, and how that went.

    Attributes:
        source: the network with the domain's class prototypes.
        classes: the domain's, in the order of the prototypes.
        recipe: how it was trained.
        seed: of weights, order and augmentation.
        accuracies: split name -> accuracy in [0, 1] after the last epoch.
        epoch_losses: mean training loss of every epoch.
        seconds: wall time of training and scoring.
        device: in words.
        task: the domain's images.
        is_half: convolutions and matrices have the values of 16-bit numbers, and are to be saved as such.
    """

    source: Source
    classes: tuple[str, ...]
    recipe: Recipe
    seed: int
    accuracies: dict[str, float]
    epoch_losses: list[float]
    seconds: float
    device: str
    task: TaskRecord
    is_half: bool = False


def usual_optimizer(architecture: Architecture) -> str:
    """Return "sgd" for a network that is normalised by batch, else "adamw", which convnexts and transformers need."""
    normalised = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in architecture.network.modules())
    return "sgd" if normalised else "adamw"


def recipe_from_scratch(*, optimizer: str = "sgd", epochs: int, **fields: Any) -> Recipe:
    """Return the recipe of a source, all of whose stages learn at one rate.

    Args:
        optimizer: "sgd" is the paper's, at a rate of 0.01 which falls tenfold after each third; "adamw" has a rate of
            0.001, a weight decay of 0.05, five epochs of warm-up or a fifth of all, and the cosine schedule.
        epochs: passes over the images.
        fields: of a ``Recipe``, instead of these; None counts as not given.

    Raises:
        UsageError: if a field is out of range.

    Source: Dube et al. 2018, section 3 ("900,000 iterations with a step size of 300,000 iterations and an initial
    learning rate of 0.01"). Departs: as many epochs as are asked for, since domains here are small. AdamW as Touvron et
    al. 2021 (DeiT), table 9, which has this decay, warm-up and schedule, and 0.001 for batches of 1,024.
    """
    usual = dict(USUAL.get(optimizer, {}))
    if "warmup_epochs" in usual:
        usual["warmup_epochs"] = min(usual["warmup_epochs"], epochs // 5)
    given = {name: value for name, value in fields.items() if value is not None}
    return Recipe(multipliers=(1.0,) * len(STAGES), optimizer=optimizer, epochs=epochs, **usual | given)


def blank_network(name: str, *, n_classes: int, seed: int) -> Architecture:
    """Return a network of this name whose weights are drawn from the seed; torch's own generator stays as it was.

    A network of timm or torchvision is drawn as its library does it.

    Raises:
        UsageError: as ``architecture.build``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        blank = build(name, n_classes=n_classes)
    if isinstance(blank.network, ResNet27):
        initialise(blank.network, torch.Generator().manual_seed(seed))
    return blank


def pretrain(
    task: Task,
    *,
    name: str,
    architecture: str,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    is_half: bool = False,
    folder: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Pretrained:
    """Train a network on a domain from scratch, and take its class prototypes from the training images.

    Args:
        task: the domain's images; train is learned, val and test are scored once at the end.
        name: what the source is to be called.
        architecture: the network's name, as ``architecture.build`` takes it.
        recipe: as ``recipe_from_scratch`` makes it.
        seed: of weights, order and augmentation.
        device: where the network runs.
        dtype: torch.bfloat16 turns autocast on.
        is_half: round convolutions and matrices to 16-bit numbers before they are scored, to save half of the space.
        folder: where ``CHECKPOINT`` is kept, so that a training that was stopped goes on; None keeps nothing.
        on_epoch: called after every epoch with the number of epochs done and the epoch's mean loss.

    Raises:
        UsageError: if there is no such network, the training diverges, or the folder's checkpoint is of another one.
    """
    blank = blank_network(architecture, n_classes=len(task.classes), seed=seed)
    checkpoint = None
    if folder:
        identity = content_id("training", [task.record.task_id, blank.name, recipe.recipe_id, seed, device.type])
        checkpoint = Checkpoint(file=folder / CHECKPOINT, identity=identity, dtype=dtype)
    trained = finetune(
        source_of(blank),
        task.train,
        {},
        n_classes=len(task.classes),
        recipe=recipe,
        scale=None,
        seed=seed,
        device=device,
        dtype=dtype,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    if trained.status != DONE:
        if checkpoint:
            forget(checkpoint.file)  # it would only diverge again
        raise UsageError(f"The training diverged at step {trained.diverged_step}: give a lower --base-lr.")
    network = rounded(trained.network) if is_half else trained.network
    accuracies = _accuracies(network, blank, task, device=device, dtype=dtype)
    source = with_prototypes(blank, network, task, name=name, device=device, dtype=dtype)
    return Pretrained(
        source=source,
        classes=task.classes,
        recipe=recipe,
        seed=seed,
        accuracies=accuracies,
        epoch_losses=trained.epoch_losses,
        seconds=trained.train_seconds + time.perf_counter() - started,
        device=device_name(device),
        task=task.record,
        is_half=is_half,
    )


def _accuracies(
    network: nn.Module, architecture: Architecture, task: Task, *, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Return the accuracy on each held-out split that has images.

    Raises:
        UsageError: if the network gives no finite loss there.
    """
    network.eval()
    scores = {
        name: score(network, split, None, architecture, device=device, dtype=dtype, micro_batch=None)
        for name, split in (("val", task.val), ("test", task.test))
        if len(split.labels)
    }
    if not all(np.isfinite(each.loss) for each in scores.values()):
        raise UsageError("The training diverged in its last steps: give a lower --base-lr.")
    return {name: each.accuracy for name, each in scores.items()}


def rounded(network: nn.Module) -> nn.Module:
    """Round what ``as_saved`` keeps as 16-bit numbers to their values, in place; returns the network."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(as_saved(tensor, is_half=True))
    return network


def as_saved(tensor: Tensor, *, is_half: bool) -> Tensor:
    """Return convolutions and matrices as float16; statistics, which may be large, and biases stay as they are."""
    return tensor.half() if is_half and tensor.is_floating_point() and tensor.ndim > 1 else tensor


def with_prototypes(
    architecture: Architecture,
    network: nn.Module,
    task: Task,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Source:
    """Return a trained network as a source whose prototypes are the mean penultimate features of each class."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    architecture.network.load_state_dict(state)
    source = source_of(architecture, name=name)
    embedded = embeddings(source, task.train.images, device=device, dtype=dtype)
    means = [embedded[task.train.labels == label].mean(axis=0) for label in range(len(task.classes))]
    return source_of(architecture, name=name, prototypes=np.stack(means))
