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
USUAL_RECIPE = "Default: frozen-statistics-128, and graduated for a folder of `pretrain`."
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
        help="Side of the squares that pictures are resized to. Default: what the recipe says.",
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
        help="A trained predictor's folder. Default: the one in the user's data folder, else the one that ships.",
        show_default=False,
    ),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
LockTimeout = Annotated[
    float, typer.Option("--lock-timeout", help="Seconds to wait while another process holds the warehouse.", min=0)
]
MaxMegapixels = Annotated[float, typer.Option(help="Pictures above this are set aside.", min=0.001)]
OnBadImage = Annotated[str, typer.Option("--on-bad-image", help="skip: set bad pictures aside; fail: stop.")]


def warehouse_path(given: Path | None) -> Path:
    """Return the warehouse to use: the one given, else the one in the user's data folder."""
    return given or user_folder() / "warehouse.duckdb"


def predictor_path(given: Path | None) -> Path:
    """Return the predictor to use: the one given, else the user's own, else the one that ships."""
    from scalepred.auto import shipped_predictor

    own = user_folder() / "predictor"
    return given or (own if own.is_dir() else shipped_predictor())


def user_folder() -> Path:
    """Return scalepred's folder for the user's data."""
    import platformdirs

    return platformdirs.user_data_path("scalepred")


def check_on_bad_image(value: str) -> str:
    """Return the value if it is allowed."""
    return _one_of("--on-bad-image", value, ("skip", "fail"))


def check_device(value: str) -> str:
    """Return the value if it is allowed."""
    return _one_of("--device", value, ("auto", "cpu", "cuda"))


def check_dtype(value: str) -> str:
    """Return the value if it is allowed."""
    from scalepred.calls import DTYPES

    return _one_of("--dtype", value, DTYPES)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    from scalepred.errors import UsageError

    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
