"""The loop: one finetune of a source on a task's pictures at one learning-rate scale."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scalepred.config import Recipe
from scalepred.cut import WHOLE, Cut, cut
from scalepred.records import DIVERGED, DONE
from scalepred.schedule import epoch_rates, schedule_factor, stage_rates, steps_per_epoch
from scalepred.sources import Architecture, Source, new_network, normalise, on_device
from scalepred.tasks import Split

EVALUATION_BATCH = 64
STATISTICS_PICTURES = 3
"""The least micro-batch that batch statistics are taken of: its even parts hold two or three pictures, never one."""

_SAMPLE = 8


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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the finetunes of a source on a task share: how the network is cut, and what its frozen front gives.

    Attributes:
        cut: the network's two parts.
        activations: split name -> (n, ...) what the front gives for its pictures; empty where that isn't kept.
        mirrored: the same for the mirrored training pictures, where the recipe mirrors.
    """

    cut: Cut = WHOLE
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    mirrored: Tensor | None = None

    @property
    def kept_bytes(self) -> int:
        """Return what the kept activations take."""
        return sum(kept.nbytes for kept in (*self.activations.values(), self.mirrored) if kept is not None)


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
    micro_batch: int | None = None,
    prepared: Prepared | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Finetuned:
    """Finetune a copy of the source on ``train`` and score it once, at the end, on every held-out split.

    The rate of a stage is ``base_lr * multiplier * scale`` times the schedule's factor. A stage with multiplier 0 keeps
    its weights and its batch statistics. All randomness comes from ``seed``: head, order and augmentation are drawn on
    the CPU, and what a network drops (dropout, stochastic depth) where it runs, so the same seed gives the same numbers
    on a CPU with the same number of threads. The state of torch's own generators stays as it was.

    Args:
        source: the network to start from; it is not changed.
        train: the pictures to learn, at least two.
        held_out: split name -> pictures to score; they decide nothing.
        n_classes: size of the new head.
        recipe: everything else that decides the result.
        scale: the secondary multiplier, or None for a recipe without one.
        seed: of head, order, augmentation and what the network drops.
        device: where the pictures lie and the network runs.
        dtype: torch.bfloat16 turns autocast on.
        micro_batch: pictures that go through the network at once, at most, where memory is short; gradients of a
            batch's even parts are accumulated, so a step stays a step, but batch normalisation sees the smaller part,
            so give it no less than ``fewest_at_once`` says.
        prepared: what ``prepare`` has computed for this source, recipe and all these splits; without it the numbers
            are the same but for rounding.
        on_epoch: called after every epoch with the number of epochs done and the epoch's mean loss.

    Source: Dube et al. 2018, sections 3 and 4.3.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    architecture = source.architecture
    prepared = prepared or Prepared()
    network = on_device(new_network(source, n_classes=n_classes, generator=generator), device)
    stage_lr = stage_rates(recipe, scale)
    optimizer = _optimizer(network, architecture, recipe, stage_lr)
    forward = prepared.cut.rest_of(network)
    batch_of = _batches(train, prepared, architecture, recipe, generator=generator, device=device)
    labels = torch.from_numpy(train.labels).to(device)
    per_epoch = steps_per_epoch(n_train=len(labels), batch_size=recipe.batch_size)
    n_steps = recipe.epochs * per_epoch
    epoch_losses: list[float] = []
    diverged_step = None
    with _seeded(seed, device):
        for epoch in range(recipe.epochs):
            set_mode(network, architecture, recipe)
            losses = []
            order = torch.randperm(len(labels), generator=generator).to(device)
            for index, rows in enumerate(order.tensor_split(per_epoch)):
                step = epoch * per_epoch + index
                factor = schedule_factor(
                    recipe.schedule, step=step, n_steps=n_steps, n_warmup=recipe.warmup_epochs * per_epoch
                )
                for group in optimizer.param_groups:
                    group["lr"] = stage_lr[group["stage"]] * factor
                inputs, targets = batch_of(rows), labels[rows]
                losses.append(_step(forward, optimizer, inputs, targets, dtype=dtype, micro_batch=micro_batch))
            finite = torch.stack(losses).isfinite()
            if not finite.all():
                diverged_step = epoch * per_epoch + int(finite.logical_not().nonzero()[0])
                break
            epoch_losses.append(float(torch.stack(losses).mean()))
            if on_epoch:
                on_epoch(epoch + 1, epoch_losses[-1])
    trained = time.perf_counter()
    scores: dict[str, Scores] = {}
    kept = prepared.activations
    if diverged_step is None:
        network.eval()
        scores = {
            name: _score(
                forward, split, kept.get(name), architecture, device=device, dtype=dtype, micro_batch=micro_batch
            )
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


def _step(
    forward: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    *,
    dtype: torch.dtype,
    micro_batch: int | None,
) -> Tensor:
    """Take one step on a batch, in even parts of ``micro_batch`` at most, and return its mean loss, on the device."""
    optimizer.zero_grad()
    step_loss = torch.zeros((), device=inputs.device)
    n_parts = math.ceil(len(inputs) / (micro_batch or len(inputs)))
    for part in torch.arange(len(inputs), device=inputs.device).tensor_split(n_parts):
        with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = forward(inputs[part])
            loss = functional.cross_entropy(logits, targets[part], reduction="sum") / len(inputs)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has left it untyped
        step_loss += loss.detach()
    optimizer.step()
    return step_loss


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Have the CPU's and the device's own generators, which dropout draws from, start at a seed; then put them back."""
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed devices that are not in use too
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def prepare(
    source: Source,
    splits: Mapping[str, Split],
    recipe: Recipe,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    max_bytes: int = 0,
    micro_batch: int | None = None,
) -> Prepared:
    """Cut a source's network for a recipe, and compute once what its frozen front gives for a task's pictures.

    Args:
        source: the network.
        splits: "train" and every split to score.
        recipe: tells what is frozen, and how pictures are augmented.
        device: where the network runs and the activations lie.
        dtype: torch.bfloat16 turns autocast on.
        max_bytes: activations that would take more are not kept, nor are those of pictures that are shifted at random,
            for these are never the same twice; mirrored ones are kept both ways.
        micro_batch: pictures that go through the network at once, at most, where memory is short.
    """
    architecture = source.architecture
    network = on_device(copy.deepcopy(architecture.network), device)
    set_mode(network, architecture, recipe)
    sample = splits["train"].images[: min(micro_batch or _SAMPLE, _SAMPLE)]
    found = cut(
        network,
        lambda name: recipe.multipliers[architecture.stages[name]] == 0,
        sample=normalise(torch.from_numpy(sample).to(device), architecture),
    )
    front = found.front_of(network)
    if front is None or recipe.augmentation not in ("none", "flip"):
        return Prepared(cut=found.uncut())
    network.eval()

    def activations(images: np.ndarray) -> Tensor:
        return _run(front, images, architecture, device=device, dtype=dtype, micro_batch=micro_batch)

    n = sum(len(split.labels) for split in splits.values())
    n += len(splits["train"].labels) if recipe.augmentation == "flip" else 0
    if n * activations(splits["train"].images[:1]).nbytes > max_bytes:
        return Prepared(cut=found.uncut())
    train = splits["train"].images
    return Prepared(
        cut=found,
        activations={name: activations(split.images) for name, split in splits.items() if len(split.labels)},
        mirrored=activations(train[..., ::-1].copy()) if recipe.augmentation == "flip" else None,
    )


def _batches(
    train: Split,
    prepared: Prepared,
    architecture: Architecture,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """Return what gives the network's input for rows, on the device, of the training pictures or kept activations."""
    kept = prepared.activations.get("train")
    if kept is None:
        images = torch.from_numpy(train.images).to(device)

        def from_pictures(rows: Tensor) -> Tensor:
            batch = augment(images[rows], kind=recipe.augmentation, generator=generator)
            return normalise(batch, architecture)

        return from_pictures

    def from_activations(rows: Tensor) -> Tensor:
        batch = kept[rows]
        if prepared.mirrored is not None:
            mirrored = _mirrored(len(rows), generator).to(device)
            batch[mirrored] = prepared.mirrored[rows[mirrored]]
        return batch

    return from_activations


def _score(
    forward: nn.Module,
    split: Split,
    kept: Tensor | None,
    architecture: Architecture,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None,
) -> Scores:
    """Score a network that is in evaluation mode on a split's pictures, or on what was kept of them."""
    inputs = split.images if kept is None else kept
    logits = _run(forward, inputs, architecture, device=device, dtype=dtype, micro_batch=micro_batch).float().cpu()
    labels = torch.from_numpy(split.labels)
    correct = (logits.argmax(dim=1) == labels).numpy()
    return Scores(accuracy=float(correct.mean()), loss=float(functional.cross_entropy(logits, labels)), correct=correct)


def predict_logits(
    network: nn.Module,
    architecture: Architecture,
    images: np.ndarray,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None = None,
) -> Tensor:
    """Return (n, n_outputs) float32 on the CPU for (n, 3, h, w) uint8 pictures; the network is left in eval mode."""
    network.eval()
    return _run(network, images, architecture, device=device, dtype=dtype, micro_batch=micro_batch).float().cpu()


def _run(
    forward: nn.Module,
    inputs: np.ndarray | Tensor,
    architecture: Architecture,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None = None,
) -> Tensor:
    """Return what a module gives, without gradients, for uint8 pictures or for activations, batch by batch."""
    outputs = []
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for batch in torch.split(torch.as_tensor(inputs), min(micro_batch or EVALUATION_BATCH, EVALUATION_BATCH)):
            on = batch.to(device)
            outputs.append(forward(normalise(on, architecture) if on.dtype == torch.uint8 else on))
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
        mirrored = _mirrored(n, generator).to(images.device)
        images = torch.where(mirrored.view(n, 1, 1, 1), images.flip(3), images)
    return images


def _mirrored(n: int, generator: torch.Generator) -> Tensor:
    """Draw which of n pictures are mirrored."""
    return torch.rand(n, generator=generator).lt(0.5)


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


def set_mode(network: nn.Module, architecture: Architecture, recipe: Recipe) -> None:
    """Put the network in training mode, but what a frozen stage or recipe must not change in evaluation mode."""
    network.train()
    for module, is_frozen in _batch_normalisations(network, architecture, recipe):
        if is_frozen:
            module.eval()


def fewest_at_once(source: Source, recipe: Recipe) -> int:
    """Return the least micro-batch that a recipe can train in: three where batch statistics are taken, else one."""
    normalisations = _batch_normalisations(source.architecture.network, source.architecture, recipe)
    return 1 if all(is_frozen for _, is_frozen in normalisations) else STATISTICS_PICTURES


def _batch_normalisations(
    network: nn.Module, architecture: Architecture, recipe: Recipe
) -> Iterator[tuple[nn.Module, bool]]:
    """Yield every batch normalisation, and whether its statistics stay those of the source."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = [f"{name}.{own}".lstrip(".") for own, _ in module.named_parameters(recurse=False)]
            frozen = bool(own) and all(recipe.multipliers[architecture.stages[parameter]] == 0 for parameter in own)
            yield module, frozen or recipe.batchnorm == "frozen"
