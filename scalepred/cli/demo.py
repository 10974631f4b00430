"""`scalepred demo`: the whole way on real images that come with a dependency."""

from pathlib import Path
from typing import Annotated

import typer

from scalepred.cli import options
from scalepred.cli.finetune import finetune


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the images and the model go.")] = Path("demo"),
    json: options.Json = False,
) -> None:
    """Write 600 handwritten digits of scikit-learn as PNG folders, and finetune on them with --auto."""
    from scalepred.cli import output as out
    from scalepred.data.digits import write_digits

    written = write_digits(folder / "digits")
    out.notes().print(f"wrote {len(written)} images of ten classes to {folder / 'digits'}")
    out.notes().print(
        f"running: scalepred finetune {folder / 'digits'} --auto --image-px 64 --output {folder / 'model'} --overwrite"
    )
    # its images have 8 pixels, and a quarter of the time is enough to see the whole way
    finetune(str(folder / "digits"), auto=True, image_px=64, output=folder / "model", overwrite=True, json=json)
    out.notes().print(f"now classify an image: scalepred classify {folder / 'model'} {written[-1]}")
