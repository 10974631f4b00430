"""Where a finetune starts: a head of noise, or the linear probe's, on the features that the job will see."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from scalepred.data.task import Split
from scalepred.networks.source import Source, new_network, normalise, on_device
from scalepred.recipe import Recipe
from scalepred.training.optimizer import batch_normalisations, check_batches, set_mode
from scalepred.training.probe import Probe, fit_probe
from scalepred.training.scoring import predict_logits


@dataclass(frozen=True, kw_only=True)
class Start:
    """The linear probe of a task on a source, and the running statistics that its features were taken with.

    Attributes:
        probe: the head.
        features: (n, d) float32, what it was fitted to.
        statistics: buffer name -> running mean or variance of the batch normalisations that take batch statistics in
            the job; empty where all keep those of the source.
    """

    probe: Probe
    features: np.ndarray
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


def fitted_start(
    source: Source,
    train: Split,
    recipe: Recipe,
    *,
    n_classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    micro_batch: int | None = None,
    is_standardised: bool = True,
    known: Start | None = None,
) -> Start:
    """Fit the linear probe to features in the mode that the job will have.

    With batch statistics the running ones leave the source's within a few steps, and a head that was fitted to features
    of the old ones would be worth nothing: they are estimated on the task first (log of 2026-11-29).

    Args:
        source: the network.
        train: training images; nothing else of the task is used.
        recipe: tells which batch normalisations take batch statistics, and of how many images.
        n_classes: rows of the head.
        device: where the network runs.
        dtype: torch.bfloat16 turns autocast on.
        micro_batch: images that go through the network at once, at most, where memory is short.
        is_standardised: the probe of standardised features, from which all harvested fitted heads started; else the
            better one, which is told and saved.
        known: another start in the same mode, whose features are taken.

    Raises:
        UsageError: if the recipe takes batch statistics and leaves a batch of one image.

    Source: Kumar et al. 2022 (Fine-tuning can distort pretrained features), the linear probe before the finetune.
    """
    if known is not None:
        return replace(known, probe=_probe(source, known.features, train, n_classes, is_standardised=is_standardised))
    check_batches(source, recipe, n_train=len(train.labels))
    network = on_device(copy.deepcopy(source.architecture.network), device)
    network.set_submodule(source.architecture.head, nn.Identity())
    statistics = _task_statistics(network, source, train, recipe, device=device, dtype=dtype, micro_batch=micro_batch)
    features = predict_logits(
        network, source.architecture, train.images, device=device, dtype=dtype, micro_batch=micro_batch
    )
    probe = _probe(source, features.numpy(), train, n_classes, is_standardised=is_standardised)
    return Start(probe=probe, features=features.numpy(), statistics=statistics)


def _probe(source: Source, features: np.ndarray, train: Split, n_classes: int, *, is_standardised: bool) -> Probe:
    """Fit either probe; that of standardised features was harvested with folds that part groups."""
    return fit_probe(
        features,
        train.labels,
        n_classes=n_classes,
        groups=() if is_standardised else train.groups,
        parts=source.architecture.parts,
        is_standardised=is_standardised,
    )


def _task_statistics(
    network: nn.Module,
    source: Source,
    train: Split,
    recipe: Recipe,
    *,
    device: torch.device,
    dtype: torch.dtype,
    micro_batch: int | None,
) -> dict[str, Tensor]:
    """Give a network the mean batch statistics of the task, in batches as the job has them, and return them by name."""
    normalisations = batch_normalisations(network, source.architecture, recipe)
    learning = [module for module, is_frozen in normalisations if not is_frozen]
    if not learning:
        return {}
    momenta = [module.momentum for module in learning]
    set_mode(network, source.architecture, recipe)
    for module in learning:
        cast("nn.BatchNorm2d", module).reset_running_stats()
        module.momentum = None  # type: ignore[assignment]  # torch's word for a plain mean over batches
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(train.labels)))
    size = min(recipe.batch_size, micro_batch or recipe.batch_size)
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for rows in order.tensor_split(-(-len(order) // size)):
            network(normalise(torch.from_numpy(train.images[rows.numpy()]).to(device), source.architecture))
    for module, momentum in zip(learning, momenta, strict=True):
        module.momentum = momentum
    state = network.state_dict()
    members = set(learning)
    return {
        f"{name}.{each}": state[f"{name}.{each}"].cpu().clone()
        for name, module in network.named_modules()
        if module in members
        for each in ("running_mean", "running_var")
    }


def start_network(
    source: Source, *, n_classes: int, generator: torch.Generator, start: Start | None, shrunk: float = 1.0
) -> nn.Module:
    """Return a copy of the source's network with a head of noise, or with the one that was fitted, shrunk by a factor.

    The noise is drawn either way, so that what follows is drawn alike.
    """
    network = new_network(source, n_classes=n_classes, generator=generator)
    if start is not None:
        head = cast("nn.Linear", network.get_submodule(source.architecture.head))
        with torch.no_grad():
            head.weight.copy_(shrunk * start.probe.weight)
            head.bias.copy_(shrunk * start.probe.bias)
        network.load_state_dict(dict(start.statistics), strict=False)
    return network


def half_way(start: Start, labels: np.ndarray) -> float:
    """Return the factor that shrinks the fitted head until its mean training loss is half of ln k.

    It is 1 where the loss is above that, or the features are not finite.

    There the features' gradient is about what it is in mid-training: at a head of noise it is nearly nothing, and at
    the fitted head the loss is.
    """
    logits = start.probe.logits(start.features)
    if not np.isfinite(logits).all():
        return 1.0
    target = 0.5 * math.log(max(2, logits.shape[1]))

    def loss_at(factor: float) -> float:
        scaled = factor * (logits - logits.max(axis=1, keepdims=True))
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]).mean())

    if loss_at(1.0) >= target:
        return 1.0
    return float(brentq(lambda factor: loss_at(factor) - target, 0.0, 1.0, xtol=1e-4))
