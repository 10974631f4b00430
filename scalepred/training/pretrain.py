"""Trains a source of the paper's family from scratch on a domain's images, and keeps it in a folder."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from scalepred.data.task import Task
from scalepred.errors import UsageError
from scalepred.files import filling, sha256
from scalepred.networks.architecture import Architecture, build
from scalepred.networks.names import SOURCE_FILES, is_source_folder
from scalepred.networks.resnet27 import initialise
from scalepred.networks.source import SOURCE_SCHEMA, Source, source_of
from scalepred.recipe import STAGES, Recipe
from scalepred.records import DONE, TaskRecord
from scalepred.training.devices import device_name
from scalepred.training.embed import embeddings
from scalepred.training.loop import finetune

BASE_LR = 0.01


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


def recipe_from_scratch(*, epochs: int, batch_size: int, image_px: int, augmentation: str) -> Recipe:
    """Return the recipe of a source: all stages at one rate of 0.01, which falls tenfold after each third.

    Source: Dube et al. 2018, section 3 ("900,000 iterations with a step size of 300,000 iterations and an initial
    learning rate of 0.01"). Departs: as many epochs as are asked for, since domains here are small.
    """
    return Recipe(
        base_lr=BASE_LR,
        multipliers=(1.0,) * len(STAGES),
        epochs=epochs,
        batch_size=batch_size,
        image_px=image_px,
        augmentation=augmentation,
    )


def pretrain(
    task: Task,
    *,
    name: str,
    width: int,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Pretrained:
    """Train a ResNet-27 on a domain from scratch, and take its class prototypes from the training images.

    Args:
        task: the domain's images; train is learned, val and test are scored once at the end.
        name: what the source is to be called.
        width: of the network.
        recipe: as ``recipe_from_scratch`` makes it.
        seed: of weights, order and augmentation.
        device: where the network runs.
        dtype: torch.bfloat16 turns autocast on.
        on_epoch: called after every epoch with the number of epochs done and the epoch's mean loss.

    Raises:
        UsageError: if the training diverges.
    """
    started = time.perf_counter()
    blank = build(f"resnet27/{width}", n_classes=len(task.classes))
    initialise(blank.network, torch.Generator().manual_seed(seed))
    trained = finetune(
        source_of(blank),
        task.train,
        {"val": task.val, "test": task.test},
        n_classes=len(task.classes),
        recipe=recipe,
        scale=None,
        seed=seed,
        device=device,
        dtype=dtype,
        on_epoch=on_epoch,
    )
    if trained.status != DONE:
        raise UsageError(f"The training diverged at step {trained.diverged_step}: give more --width or another --seed.")
    source = with_prototypes(blank, trained.network, task, name=name, device=device, dtype=dtype)
    return Pretrained(
        source=source,
        classes=task.classes,
        recipe=recipe,
        seed=seed,
        accuracies={split: scores.accuracy for split, scores in trained.scores.items()},
        epoch_losses=trained.epoch_losses,
        seconds=time.perf_counter() - started,
        device=device_name(device),
        task=task.record,
    )


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


def save_source(folder: Path, pretrained: Pretrained) -> None:
    """Write a source's folder, which ``sources.load_source`` takes as a name.

    Raises:
        UsageError: if there is a source already, or it can't be written.
    """
    weights, prototypes, about = SOURCE_FILES
    if is_source_folder(str(folder)):
        raise UsageError(f"{folder} holds a source already: give another --output.")
    try:
        with filling(folder, ("README.md", *SOURCE_FILES)) as scratch:
            save_file(dict(pretrained.source.architecture.network.state_dict()), scratch / weights)
            save_file({"prototypes": torch.from_numpy(pretrained.source.prototypes)}, scratch / prototypes)
            hashes = {file: sha256(scratch / file) for file in (weights, prototypes)}
            facts = json.dumps(_facts(pretrained) | {"sha256": hashes}, indent=1, ensure_ascii=False) + "\n"
            (scratch / about).write_text(facts, encoding="utf-8")
            (scratch / "README.md").write_text(card(pretrained), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The source can't be saved to {folder}: {reason}. Give another folder with --output."
        ) from error


def _facts(pretrained: Pretrained) -> dict[str, object]:
    return {
        "schema": SOURCE_SCHEMA,
        "name": pretrained.source.name,
        "architecture": pretrained.source.architecture.name,
        "source_id": pretrained.source.source_id,
        "classes": list(pretrained.classes),
        "recipe": json.loads(pretrained.recipe.to_json()),
        "seed": pretrained.seed,
        "accuracies": pretrained.accuracies,
        "epoch_losses": pretrained.epoch_losses,
        "seconds": pretrained.seconds,
        "device": pretrained.device,
        "data": {
            "name": pretrained.task.name,
            "task_id": pretrained.task.task_id,
            "n_train": pretrained.task.n_train,
            "n_val": pretrained.task.n_val,
            "n_test": pretrained.task.n_test,
        },
    }


def card(pretrained: Pretrained) -> str:
    """Return the source's card in Markdown: data, accuracy, the curve of the losses, and the cost."""
    task, recipe, source = pretrained.task, pretrained.recipe, pretrained.source
    size = sum(source.architecture.stage_sizes)
    accuracies = ", ".join(f"{split} {100 * value:.1f} %" for split, value in pretrained.accuracies.items())
    curve = "\n".join(f"| {epoch} | {loss:.3f} |" for epoch, loss in enumerate(pretrained.epoch_losses, start=1))
    return f"""# {source.name}

A {source.architecture.name} ({size:,} parameters) trained from scratch by `scalepred pretrain`.

* **Data**: {task.name}; {task.n_classes} classes; {task.n_train} images to learn, {task.n_val} val, {task.n_test} \
test.
* **Accuracy** after the last epoch: {accuracies}; chance is {100 / task.n_classes:.1f} %.
* **Training**: {recipe.length}, batches of {recipe.batch_size}, rate {recipe.base_lr:g}, tenfold lower after \
each third, images of {recipe.image_px} px, augmentation {recipe.augmentation}, seed {pretrained.seed}.
* **Cost**: {pretrained.seconds:.0f} s on {pretrained.device}.

| epoch | mean training loss |
|---:|---:|
{curve}
"""
