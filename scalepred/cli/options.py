"""The options that several commands share."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scalepred.data.layout import Layout as DataLayout
    from scalepred.job.options import DataOptions, NetworkOptions

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of class folders (perhaps under train, val, test), a CSV manifest, COCO annotations, a zip or "
        "tar archive, or torchvision:NAME.",
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
Resize = Annotated[
    str | None,
    typer.Option(
        help="How an image becomes a square: squash, crop or pad. Default: what the recipe says.", show_default=False
    ),
]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        "--class-weights",
        help="none, or balanced: images of small classes weigh more. Default: what the recipe says.",
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


DIGITS = 10
"""Numbers of more are no depth, and Python may refuse to read them."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a user says of where images and their labels are."""

    label_pattern: Annotated[
        str | None,
        typer.Option(
            help="Read labels from file names: '{label}.*', where * is anything, or a regular expression with a group.",
            show_default=False,
        ),
    ] = None
    class_depth: Annotated[
        str | None,
        typer.Option(
            help="Which level of folders is the class: 1, 2, …, or path for the whole path.",
            metavar="N|path",
            show_default=False,
        ),
    ] = None
    exclude_class: Annotated[
        list[str] | None, typer.Option(help="Leave this class out. May be repeated.", show_default=False)
    ] = None
    image_column: Annotated[
        str | None, typer.Option(help="The manifest's column of image paths.", show_default=False)
    ] = None
    label_column: Annotated[str | None, typer.Option(help="The manifest's column of labels.", show_default=False)] = (
        None
    )
    image_folder: Annotated[
        str | None,
        typer.Option(
            help="The folder that a manifest's paths start from. Default: the manifest's own.", show_default=False
        ),
    ] = None

    def chosen(self) -> "DataLayout":
        """Return the same for the library.

        Raises:
            UsageError: naming the option that can't be used.
        """
        from scalepred.data.layout import Layout as DataLayout

        values = asdict(self)
        depth = values["class_depth"]
        return DataLayout(
            group_column=values.pop("group", None),
            exclude_classes=tuple(values.pop("exclude_class") or ()),
            class_depth=int(values.pop("class_depth"))
            if depth and depth.isdecimal() and len(depth) < DIGITS
            else values.pop("class_depth"),
            **values,
        )


@dataclass(frozen=True, kw_only=True)
class Layout(Labels):
    """The same for data that is split and trained on: also which images belong together, and which classes will do."""

    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="A regular expression: images in whose path it finds the same text share a split.", show_default=False
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            help="The manifest's column of groups: images of a group share a split.",
            metavar="COLUMN",
            show_default=False,
        ),
    ] = None
    min_images: Annotated[int, typer.Option(help="Leave out classes of fewer usable images.", min=1)] = 1
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse classes that validation or test have and training lacks, and set none aside."
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Images:
    """How images are read and split."""

    split_seed: SplitSeed = 0
    train_on: TrainOn = None
    on_bad_image: OnBadImage = "skip"
    max_megapixels: MaxMegapixels = 64.0

    def chosen(self, layout: Layout) -> "DataOptions":
        """Return the same for the library.

        Raises:
            UsageError: naming the option that can't be used.
        """
        from scalepred.job.options import DataOptions

        return DataOptions(layout=layout.chosen(), **asdict(self))


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which network a job starts from, how it is finetuned, and who predicts the scale."""

    source: SourceName = "efficientnet_lite0"
    weights: Weights = None
    recipe: RecipeName = None
    image_px: ImagePx = None
    resize: Resize = None
    class_weights: ClassWeights = None
    predictor: PredictorFolder = None
    device: DeviceName = "auto"

    def chosen(self) -> "NetworkOptions":
        """Return the same for the library.

        Raises:
            UsageError: naming the option that can't be used.
        """
        from scalepred.job.options import NetworkOptions

        return NetworkOptions(**asdict(self))


def warehouse_path(given: Path | None) -> Path:
    """Return the warehouse to use: the one given, else the one in the user's data folder.

    Raises:
        UsageError: if the path has no name that a file could have.
    """
    from scalepred.job.places import warehouse_file

    return warehouse_file(given)
