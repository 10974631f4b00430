"""The optimizer with a group for each stage, and which parts of the network are in training mode."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from scalepred.errors import UsageError
from scalepred.networks.architecture import Architecture
from scalepred.networks.source import Source
from scalepred.recipe import Recipe

STATISTICS_IMAGES = 3
"""The least micro-batch that batch statistics are taken of: its even parts hold two or three images, never one."""

ADAMW_BETA2 = 0.999
ADAMW_EPS = 1e-8


def make_optimizer(
    network: nn.Module, architecture: Architecture, recipe: Recipe, rates: tuple[float, ...]
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer with a parameter group for every stage that learns; the others are frozen.

    Source: AdamW is Loshchilov and Hutter 2019 (Decoupled weight decay regularization), algorithm 2, with beta 2 at
    0.999 and epsilon at 1e-8.
    """
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        stage = architecture.stages[name]
        parameter.requires_grad_(recipe.multipliers[stage] > 0)
        if recipe.multipliers[stage] > 0:
            groups.setdefault(stage, []).append(parameter)
    staged = [{"params": params, "lr": rates[stage], "stage": stage} for stage, params in groups.items()]
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, ADAMW_BETA2)
        return torch.optim.AdamW(
            staged, lr=recipe.base_lr, betas=betas, eps=ADAMW_EPS, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.SGD(
        staged, lr=recipe.base_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def set_mode(network: nn.Module, architecture: Architecture, recipe: Recipe) -> None:
    """Put the network in training mode, but what a frozen stage or recipe must not change in evaluation mode."""
    network.train()
    for module, is_frozen in batch_normalisations(network, architecture, recipe):
        if is_frozen:
            module.eval()


def fewest_at_once(source: Source, recipe: Recipe) -> int:
    """Return the least micro-batch that a recipe can train in: three where batch statistics are taken, else one."""
    normalisations = batch_normalisations(source.architecture.network, source.architecture, recipe)
    return 1 if all(is_frozen for _, is_frozen in normalisations) else STATISTICS_IMAGES


def check_batches(source: Source, recipe: Recipe, *, n_train: int) -> None:
    """Raise UsageError if a recipe that takes batch statistics leaves a batch of one image, which has none."""
    n_batches = math.ceil(n_train / recipe.batch_size)
    if n_train // n_batches < 2 and fewest_at_once(source, recipe) > 1:
        raise UsageError(
            f"This recipe takes statistics of batches, and {n_train} images in batches of at most {recipe.batch_size} "
            'leave a batch of one: give it a larger batch_size, or "batchnorm": "frozen".'
        )


def batch_normalisations(
    network: nn.Module, architecture: Architecture, recipe: Recipe
) -> Iterator[tuple[nn.Module, bool]]:
    """Yield every batch normalisation, and whether its statistics stay those of the source."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            parameters = [f"{name}.{each}".lstrip(".") for each, _ in module.named_parameters(recurse=False)]
            frozen = bool(parameters) and all(recipe.multipliers[architecture.stages[each]] == 0 for each in parameters)
            yield module, frozen or recipe.batchnorm == "frozen"
