"""`scalepred export`: a finetuned model as a file or folder of another program."""

from pathlib import Path
from typing import Annotated

import typer

from scalepred.cli import options


def export(
    model: Annotated[Path, typer.Argument(help="A folder that `scalepred finetune` has written.", show_default=False)],
    format: Annotated[  # noqa: A002 - so that a settings file calls it what the command line does
        str, typer.Option(help="onnx (extra `onnx`), torchscript, or timm (a folder).", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="File, or folder of timm's. Default: MODEL's name in the current folder.", show_default=False
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image files, or folders of them, to compare on. Default: images are drawn.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an export has left there.")] = False,
    json: options.Json = False,
) -> None:
    """Write the model in MODEL in another format, once it gives the same probabilities there.

    It takes raw pixels, (n, 3, px, px) uint8. timm's folder takes what timm's transform gives.
    """
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.errors import DataError
    from scalepred.job.classifier import find_images
    from scalepred.job.export import export as export_model

    files = find_images(images or [])[0]
    if images and not files:
        raise DataError(f"There are no images in {', '.join(map(str, images))}.")
    exported = export_model(model, kind=format, output=output, images=files, overwrite=overwrite)
    if json:
        out.print_json(exported.to_json())
    else:
        render.show_exported(out.console(), exported)
