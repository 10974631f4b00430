"""Writes the folder of a source that was trained from scratch, with its card."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from scalepred.errors import UsageError
from scalepred.files import filling, sha256
from scalepred.networks.names import SOURCE_FILES, is_source_folder
from scalepred.networks.source import SOURCE_SCHEMA
from scalepred.training.checkpoint import forget
from scalepred.training.pretrain import CHECKPOINT, Pretrained, as_saved


def is_unfinished(folder: Path) -> bool:
    """Say whether a folder holds nothing but what a training has left that was stopped."""
    leftovers = (CHECKPOINT, f".{CHECKPOINT}.", ".saving-")
    return all(path.name.startswith(leftovers) for path in folder.iterdir())


def save_source(folder: Path, pretrained: Pretrained) -> None:
    """Write a source's folder, which ``sources.load_source`` takes as a name, and remove its training's checkpoint.

    Raises:
        UsageError: if there is a source already, or it can't be written.
    """
    weights, prototypes, about = SOURCE_FILES
    if is_source_folder(str(folder)):
        raise UsageError(f"{folder} holds a source already: give another --output.")
    try:
        with filling(folder, ("README.md", *SOURCE_FILES)) as scratch:
            state = pretrained.source.architecture.network.state_dict()
            kept = {key: as_saved(tensor, is_half=pretrained.is_half) for key, tensor in state.items()}
            save_file(kept, scratch / weights)
            save_file({"prototypes": torch.from_numpy(pretrained.source.prototypes)}, scratch / prototypes)
            hashes = {file: sha256(scratch / file) for file in (weights, prototypes)}
            facts = json.dumps(_facts(pretrained) | {"sha256": hashes}, indent=1, ensure_ascii=False) + "\n"
            (scratch / about).write_text(facts, encoding="utf-8")
            (scratch / "README.md").write_text(card(pretrained), encoding="utf-8")
        forget(folder / CHECKPOINT)
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
    rates = "tenfold lower after each third" if recipe.schedule == "step" else "falling with a cosine"
    warm = f" (epochs of warm-up: {recipe.warmup_epochs})" if recipe.warmup_epochs else ""
    smoothed = f", label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    half = "* **Weights**: convolutions and matrices in 16 bits; all is computed in 32.\n" if pretrained.is_half else ""
    curve = "\n".join(f"| {epoch} | {loss:.3f} |" for epoch, loss in enumerate(pretrained.epoch_losses, start=1))
    return f"""# {source.name}

A {source.architecture.name} ({size:,} parameters) trained from scratch by `scalepred pretrain`.

* **Data**: {task.name}; {task.n_classes} classes; {task.n_train} images to learn, {task.n_val} val, {task.n_test} \
test.
* **Accuracy** after the last epoch: {accuracies}; chance is {100 / task.n_classes:.1f} %.
* **Training**: {recipe.length}, batches of {recipe.batch_size}, {recipe.optimizer}, rate {recipe.base_lr:g}, \
{rates}{warm}, weight decay {recipe.weight_decay:g}{smoothed}, images of {recipe.image_px} px, augmentation \
{recipe.augmentation}, seed {pretrained.seed}.
{half}* **Cost**: {pretrained.seconds:.0f} s on {pretrained.device}.

| epoch | mean training loss |
|---:|---:|
{curve}
"""
