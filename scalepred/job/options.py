"""What a user may ask of a job, in three groups: the data, the network, and the job itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scalepred.errors import UsageError
from scalepred.job.places import warehouse_file
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import Recipe, check_scale

DEVICES = ("auto", "cpu", "cuda")
ON_BAD_IMAGE = ("skip", "fail")
MAX_MEGAPIXELS = 64.0


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a user's images are read and split.

    Attributes:
        split_seed: of the splits that the user has not made.
        on_bad_image: "skip" leaves bad images out, "fail" refuses the data.
        max_megapixels: an image above this is a bad one.

    Raises:
        UsageError: naming the option that is out of range.
    """

    split_seed: int = 0
    on_bad_image: str = "skip"
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        check_seed("split_seed", self.split_seed)
        check_one_of("on_bad_image", self.on_bad_image, ON_BAD_IMAGE)
        check_megapixels(self.max_megapixels)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network a job starts from, how it is finetuned, and who predicts the scale.

    Attributes:
        source: "efficientnet_lite0" or "efficientnet_lite1", "timm/<name>", "torchvision/<name>", or a folder that
            ``scalepred pretrain`` has written.
        weights: a file with the source's weights, instead of a download.
        recipe: a recipe, its name, or a JSON file with its fields; None for the one that is usual with the source.
        image_px: side of the squares that images are resized to; None for what the recipe says.
        predictor: folder of the predictor; None for the user's own, and for the one that ships where there is none or
            it has not met the source.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: if there is no such device.
    """

    source: str | Path = DEFAULT_SOURCE
    weights: str | Path | None = None
    recipe: str | Path | Recipe | None = None
    image_px: int | None = None
    predictor: str | Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """At which scale a job finetunes, and where its results go.

    Attributes:
        scale: the factor on all learning rates, above 0; "auto" has it predicted.
        seed: of the new head and the order of images.
        output: folder for the model; None for one that is named after the data.
        overwrite: replace a model that is there.
        warehouse: file that the run and what was predicted of it are stored in too; None stores them nowhere.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.

    Raises:
        UsageError: naming the option that is out of range.
    """

    scale: float | Literal["auto"] = "auto"
    seed: int = 0
    output: str | Path | None = None
    overwrite: bool = False
    warehouse: str | Path | None = None
    lock_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.scale != "auto":
            check_scale(self.scale)
        check_seed("seed", self.seed)
        if self.warehouse is not None:
            warehouse_file(self.warehouse)


def check_device(name: str) -> str:
    """Return the name of a device; raise UsageError if it is none."""
    return check_one_of("device", name, DEVICES)


def check_megapixels(value: float) -> float:
    """Return a limit in megapixels; raise UsageError unless it is above 0."""
    if not value > 0:
        raise UsageError(f"max_megapixels must be above 0, not {value!r}.")
    return value


def check_seed(option: str, value: int) -> int:
    """Return a seed; raise UsageError unless it is a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{option} must be a whole number of 0 or more, not {value!r}.")
    return value


def check_one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return an option's value; raise UsageError unless it is allowed."""
    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
