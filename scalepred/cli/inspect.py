"""`scalepred inspect`: what is understood of the data, without training."""

from typing import Annotated

import typer

from scalepred.cli import options


def inspect(
    data: options.Data,
    split_seed: Annotated[int, typer.Option(help="Of the split into train, val and test.", min=0)] = 0,
    max_megapixels: options.MaxMegapixels = 64.0,
    json: options.Json = False,
) -> None:
    """Show layout, classes, counts and splits of DATA, and what was skipped and why.

    Ends with exit code 3 where the data can't be finetuned on.
    """
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.data import task as tasks
    from scalepred.errors import DataError

    found = render.read(tasks.inspect, data, split_seed=split_seed, max_megapixels=max_megapixels)
    if json:
        out.print_json({"schema": 1, **found.to_json()})
    else:
        render.show_inspection(out.console(), found, whole=True)
    if found.problem:
        raise DataError(f"{data}: {found.problem}")
