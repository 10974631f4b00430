"""`scalepred pretrain`: a source of the paper's family, trained from scratch on a domain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options
from scalepred.errors import UsageError

if TYPE_CHECKING:
    from scalepred.recipe import Recipe
    from scalepred.training.pretrain import Pretrained


def pretrain(
    data: options.Data,
    name: Annotated[str, typer.Option(help="What to call the source.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="Folder for it. Default: NAME.", show_default=False)] = None,
    width: Annotated[int, typer.Option(help="Channels of the first stages, a multiple of 8.", min=8)] = 16,
    epochs: Annotated[int, typer.Option(help="Passes over the images.", min=1)] = 30,
    batch_size: Annotated[int, typer.Option(help="Images in a step, at most.", min=2)] = 64,
    image_px: Annotated[int, typer.Option(help="Side that images are resized to.", min=16)] = 64,
    augmentation: Annotated[str, typer.Option(help="none, flip, crop or crop-flip.")] = "crop",
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.", min=0)] = 0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Train a ResNet-27 from scratch on DATA, as a source for finetunes of tasks that look like it.

    Give the folder that it writes as --source to finetune, predict and harvest.
    """
    from scalepred.job.options import check_device

    check_device(device)
    if not name.strip():
        raise UsageError("Give the source a --name.")
    folder = output or Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: give another --output.")
    from scalepred.cli import output as out
    from scalepred.job.output import check_outside
    from scalepred.training.pretrain import recipe_from_scratch, save_source

    check_outside(folder, data)
    recipe = recipe_from_scratch(epochs=epochs, batch_size=batch_size, image_px=image_px, augmentation=augmentation)
    pretrained = _pretrain(data, recipe, name=name, width=width, seed=seed, device=device)
    save_source(folder, pretrained)
    if json:
        out.print_json(
            {
                "schema": 2,
                "name": name,
                "folder": str(folder),
                "source_id": pretrained.source.source_id,
                "accuracies": pretrained.accuracies,
                "epoch_losses": pretrained.epoch_losses,
                "seconds": pretrained.seconds,
            }
        )
    else:
        scores = ", ".join(f"{split} {100 * value:.1f} %" for split, value in pretrained.accuracies.items())
        out.note(f"{name}: {scores} after {epochs} epochs, {pretrained.seconds:.0f} s; in {folder}")
        out.note(f"next: scalepred harvest TASKS --source {folder}")


def _pretrain(data: str, recipe: "Recipe", *, name: str, width: int, seed: int, device: str) -> "Pretrained":
    """Read the data and train on it, and show how far that is."""
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import Pace, progress
    from scalepred.data.task import read_task
    from scalepred.networks.architecture import build, check_takes
    from scalepred.networks.source import source_of
    from scalepred.training.devices import keep_freed_memory, pick_device, pick_dtype
    from scalepred.training.pretrain import pretrain as train

    architecture = build(f"resnet27/{width}")
    check_takes(architecture, image_px=recipe.image_px)
    where, pace = pick_device(device), Pace()
    keep_freed_memory()
    with progress("reading images", pace=pace) as bar:
        task = read_task(data, image_px=recipe.image_px, resize=recipe.resize, on_progress=bar.update)
    render.show_inspection(out.notes(), task.inspection)
    with progress("training", total=recipe.epochs, pace=pace) as bar:
        return train(
            task,
            name=name,
            width=width,
            recipe=recipe,
            seed=seed,
            device=where,
            dtype=pick_dtype(source_of(architecture), recipe, where),
            on_epoch=lambda epoch, loss: bar.update(epoch, recipe.epochs, f"loss {loss:.3f}"),
        )
