"""The options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scalepred.predictor.train import Predictor
    from scalepred.recipe import Recipe

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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
LockTimeout = Annotated[
    float, typer.Option("--lock-timeout", help="Seconds to wait while another process holds the warehouse.", min=0)
]
MaxMegapixels = Annotated[float, typer.Option(help="Images above this are skipped.", min=0.001)]
SplitSeed = Annotated[int, typer.Option(help="Of the split into train, val and test.", min=0)]
OnBadImage = Annotated[str, typer.Option("--on-bad-image", help="skip: leave bad images out; fail: stop.")]


def warehouse_path(given: Path | None) -> Path:
    """Return the warehouse to use: the one given, else the one in the user's data folder.

    Raises:
        UsageError: if the path has no name that a file could have.
    """
    from scalepred.errors import UsageError

    path = given or user_folder() / "warehouse.duckdb"
    if path.name in ("", ".."):
        raise UsageError(f"--warehouse {path} names no file: give a DuckDB file, such as --warehouse my.duckdb.")
    return path


def own_predictor() -> Path:
    """Return where the user's own predictor belongs."""
    return user_folder() / "predictor"


def load_predictors(given: Path | None) -> "dict[Path, Predictor]":
    """Return the predictors to ask, in this order, by folder: the given one, or the user's own and the one that ships.

    Raises:
        VersionError: if one can't be read.
    """
    from scalepred.job.choose import shipped_predictor
    from scalepred.predictor.artifact import load

    usual = [path for path in (own_predictor(), shipped_predictor()) if path.is_dir()] or [shipped_predictor()]
    return {path: load(path) for path in ([given] if given else usual)}


def which_predictor(asked: Path, predictors: "Mapping[Path, Predictor]") -> str:
    """Return a note that names the predictor that is asked, and says why it is not the first of all."""
    first = next(iter(predictors))
    why = "" if asked == first else f", which ships, since your own at {first} has not met this source"
    return f"predictor: {asked}{why}"


def first_recipe(given: str | None, source: str, image_px: int | None) -> "tuple[str, Recipe]":
    """Return the recipe that is given, or the default of a source, at a given size, and its name."""
    from scalepred.networks.names import default_recipe
    from scalepred.recipe import at_size, load_recipe

    name = given or default_recipe(source)
    return at_size(Path(name).stem, load_recipe(name), image_px)


def data_folder(data: str) -> Path | None:
    """Return the whole path of DATA if it is a folder; None where it is not, or can't be looked at."""
    try:
        path = Path(data).resolve()
        return path if data and path.is_dir() else None
    except (OSError, RuntimeError):  # the second is a link to itself; whoever reads the data says so
        return None


def check_outside(output: Path, data: str) -> Path:
    """Return the folder for what comes out, if DATA stays what it is with that in place.

    Raises:
        UsageError: if it lies in DATA, a folder without a manifest, where it would be taken for images of a class.
    """
    from scalepred.data.listing import MANIFEST
    from scalepred.errors import UsageError

    folder = data_folder(data)
    if folder and output.resolve().is_relative_to(folder) and not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{output} lies in the data at {folder}, and would be taken for a class there: "
            "give an --output outside of it."
        )
    return output


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
    from scalepred.harvest.calls import DTYPES

    return _one_of("--dtype", value, DTYPES)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    from scalepred.errors import UsageError

    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
