"""The loop: one finetune of a source on a task's images at one learning-rate scale."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.data.task import Split
from scalepred.networks.source import Source, on_device
from scalepred.recipe import Recipe
from scalepred.records import DIVERGED, DONE
from scalepred.training.checkpoint import Checkpoint, Progress
from scalepred.training.course import critical_scale
from scalepred.training.front import Prepared, batches, inputs_of
from scalepred.training.loss import Loss, make_loss
from scalepred.training.optimizer import make_optimizer, set_mode
from scalepred.training.rates import epoch_rates, length_of, schedule_factor, stage_rates
from scalepred.training.scoring import EVALUATION_BATCH, Scores, score
from scalepred.training.start import Start, fitted_start, start_network


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What came of a finetune.

    Attributes:
        network: the trained network, on the device it was trained on; after a divergence it is worthless.
        status: ``records.DONE`` or ``records.DIVERGED``.
        diverged_step: the first step whose loss was not finite.
        epoch_losses: mean training loss of every finished epoch; of one that steps cut short, that of its steps.
        rates: (epochs, 6), each stage's rate at the first step of each epoch.
        scores: split name -> scores, for the splits that have images; empty after a divergence.
        train_seconds, evaluate_seconds: wall time.
        course: epochs done, as text -> critical scale, as ``critical_scale`` gives it.
    """

    network: nn.Module
    status: str
    diverged_step: int | None
    epoch_losses: list[float]
    rates: list[tuple[float, ...]]
    scores: dict[str, Scores]
    train_seconds: float
    evaluate_seconds: float
    course: dict[str, object] = field(default_factory=dict)


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
    start: Start | None = None,
    measure_after: Collection[int] = (),
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Finetuned:
    """Finetune a copy of the source on ``train`` and score it once, at the end, on every held-out split.

    The rate of a stage is ``base_lr * multiplier * scale`` times the schedule's factor. A stage with multiplier 0 keeps
    its weights and its batch statistics. All randomness comes from ``seed``: head, order and augmentation are drawn on
    the CPU, and what a network drops (dropout, stochastic depth) where it runs, so the same seed gives the same numbers
    on a CPU with the same number of threads. The state of torch's own generators stays as it was.

    Args:
        source: the network to start from; it is not changed.
        train: the images to learn, at least two.
        held_out: split name -> images to score; they decide nothing.
        n_classes: size of the new head.
        recipe: everything else that decides the result.
        scale: the secondary multiplier, or None for a recipe without one.
        seed: of head, order, augmentation and what the network drops.
        device: where the images lie and the network runs.
        dtype: torch.bfloat16 turns autocast on.
        micro_batch: images that go through the network at once, at most, where memory is short; gradients of a
            batch's even parts are accumulated, so a step stays a step, but batch normalisation sees the smaller part,
            so give it no less than ``fewest_at_once`` says.
        prepared: what ``prepare`` has computed for this source, recipe and all these splits; without it the numbers
            are the same but for rounding.
        start: what ``fitted_start`` has computed for this source, recipe and ``train``, where the recipe's head starts
            fitted; without it, it is computed here.
        measure_after: epochs after which to measure the critical scale; that changes no other number.
        checkpoint: where to go on from, and to keep the state after epochs; that changes no number.
        on_epoch: called after every epoch with the number of epochs done and the epoch's mean loss.

    Source: Dube et al. 2018, sections 3 and 4.3. Departs: where the recipe says so, AdamW, a fitted head, smoothed
    labels.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    architecture = source.architecture
    prepared = prepared or Prepared()
    if recipe.head_start == "fitted" and start is None:
        start = fitted_start(
            source, train, recipe, n_classes=n_classes, device=device, dtype=dtype, micro_batch=micro_batch
        )
    network = start_network(source, n_classes=n_classes, generator=generator, start=start)
    network = on_device(network, device)
    loss = make_loss(recipe, train.labels, n_classes=n_classes, device=device)
    stage_lr = stage_rates(recipe, scale)
    optimizer = make_optimizer(network, architecture, recipe, stage_lr)
    forward = prepared.cut.rest_of(network)
    rows_of = inputs_of(train, prepared, architecture, device=device)
    batch_of = batches(train, prepared, architecture, recipe, generator=generator, device=device)
    labels = torch.from_numpy(train.labels).to(device)
    length = length_of(recipe, n_train=len(labels))
    per_epoch, n_steps = length.per_epoch, length.n_steps
    diverged_step = None
    with _seeded(seed, device):
        done = checkpoint.restore(network, optimizer, generator) if checkpoint else Progress()
        epoch_losses, course, started = done.epoch_losses, done.course, started - done.seconds
        for epoch in range(len(epoch_losses), length.n_epochs):
            set_mode(network, architecture, recipe)
            losses = []
            order = torch.randperm(len(labels), generator=generator).to(device)
            for index, rows in enumerate(order.tensor_split(per_epoch)[: n_steps - epoch * per_epoch]):
                step = epoch * per_epoch + index
                factor = schedule_factor(recipe.schedule, step=step, n_steps=n_steps, n_warmup=length.n_warmup)
                for group in optimizer.param_groups:
                    group["lr"] = stage_lr[group["stage"]] * factor
                inputs, targets = batch_of(rows), labels[rows]
                losses.append(_step(forward, optimizer, loss, inputs, targets, dtype=dtype, micro_batch=micro_batch))
            finite = torch.stack(losses).isfinite()
            if not finite.all():
                diverged_step = epoch * per_epoch + int(finite.logical_not().nonzero()[0])
                break
            epoch_losses.append(float(torch.stack(losses).mean()))
            if epoch + 1 in measure_after:
                course[str(epoch + 1)] = critical_scale(
                    network,
                    forward,
                    architecture,
                    recipe,
                    loss_of=loss,
                    rows_of=rows_of,
                    labels=labels,
                    micro_batch=micro_batch,
                )
            if checkpoint:
                done = Progress(epoch_losses=epoch_losses, course=course, seconds=time.perf_counter() - started)
                checkpoint.keep(network, optimizer, generator, done)
            if on_epoch:
                on_epoch(epoch + 1, epoch_losses[-1])
    trained = time.perf_counter()
    scores: dict[str, Scores] = {}
    if diverged_step is None:
        network.eval()
        scores = {
            name: score(forward, split, kept, architecture, device=device, dtype=dtype, micro_batch=micro_batch)
            for name, (split, kept) in _to_score(train, held_out, prepared).items()
        }
        if not all(np.isfinite(each.loss) for each in scores.values()):
            diverged_step, scores = n_steps - 1, {}  # the last step made weights that give no finite loss
        scores.pop("train", None)  # where nothing is held out, they only tell whether the loss is finite
    return Finetuned(
        network=network,
        status=DONE if diverged_step is None else DIVERGED,
        diverged_step=diverged_step,
        epoch_losses=epoch_losses,
        rates=epoch_rates(recipe, scale, n_train=len(labels)),
        scores=scores,
        train_seconds=trained - started,
        evaluate_seconds=time.perf_counter() - trained,
        course=course,
    )


def _to_score(
    train: Split, held_out: Mapping[str, Split], prepared: Prepared
) -> dict[str, tuple[Split, Tensor | None]]:
    """Return name -> split, and what is kept of its front, of the splits that have images.

    Where none has, it is the first training images, which only tell whether the loss is finite.
    """
    first = Split(train.images[:EVALUATION_BATCH], train.labels[:EVALUATION_BATCH], ())
    splits = {name: split for name, split in held_out.items() if len(split.labels)} or {"train": first}
    kept = prepared.activations
    return {name: (split, kept[name][: len(split.labels)] if name in kept else None) for name, split in splits.items()}


def _step(
    forward: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
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
            loss = loss_of(logits, targets[part]) / len(inputs)
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
