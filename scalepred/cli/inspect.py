"""`scalepred inspect`: what the data holds, without training."""

from pathlib import Path
from typing import Annotated

import typer

from scalepred.cli import options
from scalepred.cli.groups import grouped

SaveManifest = Annotated[
    Path | None,
    typer.Option(
        help="Write what was read as this CSV manifest, with your splits and groups; every command takes it as DATA.",
        metavar="FILE.csv",
        show_default=False,
    ),
]


@grouped
def inspect(
    data: options.Data,
    layout: options.Layout,
    split_seed: options.SplitSeed = 0,
    max_megapixels: options.MaxMegapixels = 64.0,
    save_manifest: SaveManifest = None,
    json: options.Json = False,
) -> None:
    """Show layout, classes, counts and splits of DATA, and what was skipped and why.

    Ends with exit code 3 where the data can't be finetuned on.
    """
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import progress
    from scalepred.data import keep_manifest, task
    from scalepred.errors import DataError

    if save_manifest:
        keep_manifest.check_manifest(save_manifest)
    with progress("reading images") as bar:
        inspection = task.inspect(
            data,
            split_seed=split_seed,
            max_megapixels=max_megapixels,
            layout=layout.chosen(),
            on_progress=bar.update,
        )
    if save_manifest:
        keep_manifest.save_manifest(save_manifest, inspection.entries)
        out.note(f"saved {save_manifest}, which every command takes as DATA")
    if json:
        out.print_json({"schema": 2, **inspection.to_json()})
    else:
        render.show_inspection(out.console(), inspection, whole=True)
    if inspection.problem:
        raise DataError(f"{data}: {inspection.problem}")
