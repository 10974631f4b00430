"""`scalepred sources`: a network's stages, their parameters and rates."""

from collections.abc import Mapping
from typing import Annotated

import typer

from scalepred.cli import options


def sources(
    name: Annotated[
        str,
        typer.Argument(
            help="efficientnet_lite0, timm/NAME, torchvision/NAME, resnet27/WIDTH, or a folder of `pretrain`.",
            show_default=False,
        ),
    ] = "efficientnet_lite0",
    recipe: options.RecipeName = None,
    json: options.Json = False,
) -> None:
    """Show the five stages and the head of the network NAME: parameters, and rate at scale 1."""
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.networks.architecture import build
    from scalepred.networks.names import default_recipe, is_source_folder
    from scalepred.networks.source import load_source
    from scalepred.recipe import STAGES, load_recipe
    from scalepred.training.rates import stage_rates

    rates = stage_rates(load_recipe(recipe or default_recipe(name)), 1.0)
    architecture = load_source(name).architecture if is_source_folder(name) else build(name)
    stages = [
        {
            "stage": stage,
            "first": _first(architecture.stages, index),
            "n_parameters": size,
            "rate_at_scale_1": rate,
        }
        for index, (stage, size, rate) in enumerate(zip(STAGES, architecture.stage_sizes, rates, strict=True))
    ]
    if json:
        out.print_json(
            {
                "schema": 2,
                "name": name,
                "stages": stages,
                "n_parameters": sum(architecture.stage_sizes),
                "input_px": architecture.input_px,
                "mean": list(architecture.mean),
                "std": list(architecture.std),
            }
        )
    else:
        render.show_stages(out.console(), name, stages)


def _first(stages: Mapping[str, int], index: int) -> str:
    """Return the first parameter of a stage, by which a reader finds it in the network."""
    return next(parameter for parameter, stage in stages.items() if stage == index)
