"""The optimizer with a group for each stage, and which parts of the network are in training mode."""

from collections.abc import Iterator

import torch
from torch import nn

from scalepred.networks.architecture import Architecture
from scalepred.networks.source import Source
from scalepred.recipe import Recipe

STATISTICS_IMAGES = 3
"""The least micro-batch that batch statistics are taken of: its even parts hold two or three images, never one."""


def make_optimizer(
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
    return 1 if all(is_frozen for _, is_frozen in normalisations) else STATISTICS_IMAGES


def _batch_normalisations(
    network: nn.Module, architecture: Architecture, recipe: Recipe
) -> Iterator[tuple[nn.Module, bool]]:
    """Yield every batch normalisation, and whether its statistics stay those of the source."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = [f"{name}.{own}".lstrip(".") for own, _ in module.named_parameters(recurse=False)]
            frozen = bool(own) and all(recipe.multipliers[architecture.stages[parameter]] == 0 for parameter in own)
            yield module, frozen or recipe.batchnorm == "frozen"
