"""`scalepred pretrain`: a source trained from scratch on a domain."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options
from scalepred.cli.groups import grouped
from scalepred.errors import UsageError

if TYPE_CHECKING:
    from scalepred.training.pretrain import Pretrained

USUAL_WIDTH = 16

Architecture = Annotated[
    str | None,
    typer.Option(
        help="The network: resnet27/WIDTH, timm/NAME, timm/NAME:OPTION=NUMBER,… or torchvision/NAME. "
        f"Default: resnet27/{USUAL_WIDTH}.",
        show_default=False,
    ),
]
Width = Annotated[
    int | None,
    typer.Option(help="Short for --architecture resnet27/WIDTH; a multiple of 8.", min=8, show_default=False),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help="sgd or adamw. Default: sgd for a network that is normalised by batch, else adamw.", show_default=False
    ),
]
BaseLr = Annotated[
    float | None,
    typer.Option(help="The learning rate. Default: 0.01 with sgd, 0.001 with adamw.", show_default=False),
]
Schedule = Annotated[
    str | None, typer.Option(help="step or cosine. Default: step with sgd, cosine with adamw.", show_default=False)
]
WarmupEpochs = Annotated[
    int | None,
    typer.Option(
        help="Epochs in which the rate rises. Default: 0 with sgd, 5 or a fifth of all with adamw.", show_default=False
    ),
]
WeightDecay = Annotated[
    float | None, typer.Option(help="Default: 0.0001 with sgd, 0.05 with adamw.", show_default=False)
]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is trained; what is None depends on the network and the optimizer."""

    epochs: Annotated[int, typer.Option(help="Passes over the images.", min=1)] = 30
    batch_size: Annotated[int, typer.Option(help="Images in a step, at most.", min=2)] = 64
    image_px: Annotated[int, typer.Option(help="Side that images are resized to.", min=16)] = 64
    optimizer: Optimizer = None
    base_lr: BaseLr = None
    schedule: Schedule = None
    warmup_epochs: WarmupEpochs = None
    weight_decay: WeightDecay = None
    label_smoothing: Annotated[float, typer.Option(help="Share of each target spread over all classes.")] = 0.0
    augmentation: Annotated[str, typer.Option(help="none, flip, crop, crop-flip or trivial.")] = "crop"


@grouped
def pretrain(
    data: options.Data,
    name: Annotated[str, typer.Option(help="What to call the source.", show_default=False)],
    training: Training,
    output: Annotated[Path | None, typer.Option(help="Folder for it. Default: NAME.", show_default=False)] = None,
    architecture: Architecture = None,
    width: Width = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits, in half of the space.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.", min=0)] = 0,
    device: options.DeviceName = "auto",
    dtype: options.Dtype = "auto",
    json: options.Json = False,
) -> None:
    """Train a network from scratch on DATA, as a source for finetunes of tasks that look like it.

    Give the folder that it writes as --source to finetune, predict and harvest. A training that was stopped goes on
    with the same command.
    """
    from scalepred.job.options import check_device, check_one_of

    check_device(device)
    if not name.strip():
        raise UsageError("Give the source a --name.")
    folder = output or Path(name)
    from scalepred.cli import output as out
    from scalepred.job.output import check_outside
    from scalepred.training.checkpoint import DTYPES
    from scalepred.training.source_folder import is_unfinished, save_source

    check_one_of("--dtype", dtype, ("auto", *DTYPES))
    if folder.exists() and not (folder.is_dir() and is_unfinished(folder)):
        raise UsageError(f"{folder} is there already: give another --output.")
    check_outside(folder, data)
    network = _network(architecture, width)
    pretrained = _pretrain(
        data, training, name=name, architecture=network, half=half, seed=seed, device=device, dtype=dtype, folder=folder
    )
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
        out.note(f"{name}: {scores} after {training.epochs} epochs, {pretrained.seconds:.0f} s; in {folder}")
        out.note(f"next: scalepred harvest TASKS --source {folder}")


def _network(architecture: str | None, width: int | None) -> str:
    """Return the network's name.

    Raises:
        UsageError: if it is given twice.
    """
    if architecture is not None and width is not None:
        raise UsageError(
            f"--width {width} is short for --architecture resnet27/{width}: give it or --architecture, not both."
        )
    return architecture or f"resnet27/{width or USUAL_WIDTH}"


def _pretrain(
    data: str,
    training: Training,
    *,
    name: str,
    architecture: str,
    half: bool,
    seed: int,
    device: str,
    dtype: str,
    folder: Path,
) -> "Pretrained":
    """Read the data and train on it, and show how far that is."""
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import Pace, progress
    from scalepred.data.task import read_task
    from scalepred.networks.architecture import build, check_takes
    from scalepred.networks.source import source_of
    from scalepred.training.checkpoint import DTYPES, kept_dtype
    from scalepred.training.devices import keep_freed_memory, pick_device, pick_dtype
    from scalepred.training.pretrain import CHECKPOINT, recipe_from_scratch, usual_optimizer
    from scalepred.training.pretrain import pretrain as train

    network = build(architecture)
    fields = dataclasses.asdict(training)
    recipe = recipe_from_scratch(**fields | {"optimizer": training.optimizer or usual_optimizer(network)})
    check_takes(network, image_px=recipe.image_px)
    where, pace = pick_device(device), Pace()
    keep_freed_memory()
    with progress("reading images", pace=pace) as bar:
        task = read_task(data, image_px=recipe.image_px, resize=recipe.resize, on_progress=bar.update)
    render.show_inspection(out.notes(), task.inspection)
    with progress("training", total=recipe.epochs, pace=pace) as bar:
        return train(
            task,
            name=name,
            architecture=network.name,
            recipe=recipe,
            seed=seed,
            device=where,
            dtype=DTYPES.get(dtype) or kept_dtype(folder / CHECKPOINT) or pick_dtype(source_of(network), recipe, where),
            is_half=half,
            folder=folder,
            on_epoch=lambda epoch, loss: bar.update(epoch, recipe.epochs, f"loss {loss:.3f}"),
        )
