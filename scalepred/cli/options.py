"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of class folders (perhaps under train, val, test), a CSV manifest, or torchvision:NAME.",
        show_default=False,
    ),
]
SourceName = Annotated[
    str,
    typer.Option(
        "--source",
        help="The network to start from: efficientnet_lite0 or efficientnet_lite1, timm/NAME, torchvision/NAME, or a "
        "folder of `pretrain`.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="The source's weights, .safetensors or .pth, instead of a download.", show_default=False),
]
USUAL_RECIPE = "Default: frozen-statistics-128, and cosine for a folder of `pretrain`."
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", help=f"A recipe's name, or a JSON file with its fields. {USUAL_RECIPE}", show_default=False
    ),
]
ImagePx = Annotated[
    int | None,
    typer.Option(
        "--image-px",
        help="Side of the squares that images are resized to. Default: what the recipe says.",
        show_default=False,
    ),
]
WarehouseFile = Annotated[
    Path | None,
    typer.Option(
        "--warehouse",
        envvar="SCALEPRED_WAREHOUSE",
        help="The DuckDB file. Default: warehouse.duckdb in the user's data folder.",
        show_default=False,
    ),
]
PredictorFolder = Annotated[
    Path | None,
    typer.Option(
        "--predictor",
        envvar="SCALEPRED_PREDICTOR",
        help="A trained predictor's folder. Default: the one in the user's data folder, and the one that ships where "
        "there is none or it has not met the source.",
        show_default=False,
    ),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, or auto: bfloat16 where three steps show that it pays. Numbers of other machines "
        "are only the same in the same one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
LockTimeout = Annotated[
    float, typer.Option("--lock-timeout", help="Seconds to wait while another process holds the warehouse.", min=0)
]
MaxMegapixels = Annotated[float, typer.Option(help="Images above this are skipped.", min=0.001)]
SplitSeed = Annotated[int, typer.Option(help="Of the split into train, val and test.", min=0)]
TrainOn = Annotated[
    str | None,
    typer.Option(
        help="train, train+val, or all (then nothing is measured). Default: train+val, and train where you made a "
        "validation split.",
        show_default=False,
    ),
]
OnBadImage = Annotated[str, typer.Option("--on-bad-image", help="skip: leave bad images out; fail: stop.")]


Seed = Annotated[int, typer.Option(help="Of the new head and the order of images.", min=0)]


def warehouse_path(given: Path | None) -> Path:
    """Return the warehouse to use: the one given, else the one in the user's data folder.

    Raises:
        UsageError: if the path has no name that a file could have.
    """
    from scalepred.job.places import warehouse_file

    return warehouse_file(given)
