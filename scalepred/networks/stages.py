"""Parts a network into five stages and a head by the structure that its library gives it."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from timm.models import group_parameters
from torch import nn

from scalepred.errors import UsageError
from scalepred.recipe import STAGES

_SHOWN = 6


def assign_stages(parameters: Iterable[str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return parameter -> stage for six groups of parameter names, input first and head last.

    Raises:
        UsageError: naming the parameters that are in no stage, in two, or unknown, or a stage without any.
    """
    names = list(parameters)
    stages: dict[str, int] = {}
    problems = []
    for index, group in enumerate(groups):
        problems += [f"{name} is in {STAGES[stages[name]]} and {STAGES[index]}" for name in group if name in stages]
        problems += [f"{name} is no parameter of the network" for name in group if name not in set(names)]
        problems += [] if group else [f"{STAGES[index]} has no parameters"]
        stages.update(dict.fromkeys(group, index))
    problems += [f"{name} is in no stage" for name in names if name not in stages]
    if problems or len(groups) != len(STAGES):
        more = f" … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError(f"The stage map does not cover the network once: {'; '.join(problems[:_SHOWN])}{more}.")
    return stages


def five_stages(units: Sequence[Sequence[str]], last_of_stage: Sequence[int] | None) -> list[list[str]]:
    """Join ordered units of parameters into five: after the given units, or as evenly as their count allows."""
    if last_of_stage is None:
        return [[name for index in part for name in units[index]] for part in np.array_split(np.arange(len(units)), 5)]
    bounds = [0, *(index + 1 for index in last_of_stage[:-1]), len(units)]
    return [[name for unit in units[low:high] for name in unit] for low, high in itertools.pairwise(bounds)]


def timm_units(network: nn.Module, head: str, name: str) -> list[list[str]]:
    """Return timm's groups of layers in order, coarse ones if there are five, without the head.

    Raises:
        UsageError: if there are fewer than five.
    """
    names = {parameter for parameter, _ in network.named_parameters()}
    units: list[list[str]] = []
    for coarse in (True, False):
        groups = _timm_groups(network, coarse=coarse)
        units = [
            [each for each in groups[key] if each in names and not each.startswith(f"{head}.")]
            for key in sorted(groups)
        ]
        units = _joined(network, [unit for unit in units if unit])
        if len(units) >= 5:
            return units
    raise UsageError(
        f"timm knows {len(units)} groups of layers in {name}, and five stages need at least five; "
        "choose another network."
    )


def _timm_groups(network: nn.Module, *, coarse: bool) -> Mapping[Any, list[str]]:
    """Return timm's groups of parameters by their number; none where it has not grouped this network so."""
    try:
        matcher = cast("Callable[..., Any]", network.group_matcher)(coarse=coarse)
    except (AttributeError, AssertionError, NotImplementedError):  # no matcher, not as coarse, or a stub
        return {}
    return cast("Mapping[Any, list[str]]", group_parameters(network, matcher))


def timm_stage_ends(network: nn.Module, units: Sequence[Sequence[str]]) -> list[int] | None:
    """Return the last unit of each stage where timm names five modules, one for each halving of resolution."""
    info = getattr(network, "feature_info", None)
    modules = [entry["module"] for entry in info] if isinstance(info, list) else []
    if len(units) == 5 or len(modules) != 5:
        return None
    ends = [
        max((index for index, unit in enumerate(units) if any(n.startswith(f"{module}.") for n in unit)), default=-1)
        for module in modules
    ]
    return ends if all(low < high for low, high in itertools.pairwise([-1, *ends])) else None


def torchvision_units(network: nn.Module, head: str) -> list[list[str]]:
    """Return the parameters of the network's blocks in order; containers are opened until there are at least five."""
    blocks = [name for name, _ in network.named_children()]
    if "layer4" in blocks:  # ResNet and its kin: all before layer1 is the first stage
        stem = blocks[: blocks.index("layer1")]
        return [names_under(network, stem)] + [names_under(network, [f"layer{k}"]) for k in (1, 2, 3, 4)]
    units = _block_names(network, head, blocks)
    top_level = [name for name, _ in network.named_parameters(recurse=False)]
    grouped = [names_under(network, [block]) for block in units]
    grouped = [[n for n in unit if not n.startswith(f"{head}.")] for unit in grouped]
    grouped = [unit for unit in grouped if unit]
    covered = {name for unit in grouped for name in unit}
    loose = [n for n, _ in network.named_parameters() if n not in covered and not n.startswith(f"{head}.")]
    return _joined(network, [[*top_level, *(n for n in loose if n not in top_level), *grouped[0]], *grouped[1:]])


def _joined(network: nn.Module, units: Sequence[Sequence[str]]) -> list[list[str]]:
    """Join what holds vectors only, such as a normalisation at the end, to the unit before it."""
    joined: list[list[str]] = []
    for unit in units:
        if joined and all(network.get_parameter(name).ndim == 1 for name in unit):
            joined[-1].extend(unit)
        else:
            joined.append(list(unit))
    return joined


def _block_names(network: nn.Module, head: str, blocks: list[str]) -> list[str]:
    """Open the containers with most parameters until at least five blocks with parameters lie side by side."""
    while sum(1 for block in blocks if _size(network, block)) < 5 + 1:
        openable = [b for b in blocks if b != head and list(network.get_submodule(b).named_children())]
        if not openable:
            raise UsageError("This network has too few layers for five stages.")
        widest = max(openable, key=lambda block: _size(network, block))
        at = blocks.index(widest)
        blocks = [
            *blocks[:at],
            *(f"{widest}.{child}" for child, _ in network.get_submodule(widest).named_children()),
            *blocks[at + 1 :],
        ]
    return blocks


def _size(network: nn.Module, module: str) -> int:
    return sum(parameter.numel() for parameter in network.get_submodule(module).parameters())


def names_under(network: nn.Module, modules: Sequence[str]) -> list[str]:
    """Return the names of the parameters of these modules, in the network's order."""
    prefixes = tuple(f"{module}." for module in modules)
    return [name for name, _ in network.named_parameters() if name.startswith(prefixes)]
