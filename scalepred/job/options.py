"""What a user may ask of a job, in three groups: the data, the network, and the job itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from scalepred.data.decode import MAX_MEGAPIXELS, check_megapixels
from scalepred.data.layout import FOUND_OUT, Layout, check_layout
from scalepred.data.splits import check_seed
from scalepred.errors import UsageError
from scalepred.job.places import warehouse_file
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import Recipe, check_scale

DEVICES = ("auto", "cpu", "cuda")
ON_BAD_IMAGE = ("skip", "fail")
TRAIN_ON = {"train": (), "train+val": ("val",), "all": ("val", "test")}
"""What a job may train on -> the splits that are merged into the training images for it."""
CHECKPOINT_SECONDS = 30.0
MOST_JOBS = 11
"""As many as the paper's search takes."""
Scale: TypeAlias = float | Literal["auto", "probe"]
"""The factor on all learning rates; "auto" has it predicted, "probe" stands for the linear probe, which has none."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a user's images are read and split.

    Attributes:
        split_seed: of the splits that the user has not made.
        on_bad_image: "skip" leaves bad images out, "fail" refuses the data.
        max_megapixels: an image above this is a bad one.
        train_on: one of ``TRAIN_ON``; None for "train+val" where the user made no validation split, and for "train"
            where the user did.
        layout: what the user says of how the data is laid out.

    Raises:
        UsageError: naming the option that is out of range.
    """

    split_seed: int = 0
    on_bad_image: str = "skip"
    max_megapixels: float = MAX_MEGAPIXELS
    train_on: str | None = None
    layout: Layout = FOUND_OUT

    def __post_init__(self) -> None:
        check_seed("split_seed", self.split_seed)
        check_one_of("on_bad_image", self.on_bad_image, ON_BAD_IMAGE)
        check_megapixels(self.max_megapixels)
        check_layout(self.layout)
        if self.train_on is not None:
            check_one_of("train_on", self.train_on, tuple(TRAIN_ON))


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network a job starts from, how it is finetuned, and who predicts the scale.

    Attributes:
        source: "efficientnet_lite0" or "efficientnet_lite1", "timm/<name>", "torchvision/<name>", or a folder that
            ``scalepred pretrain`` has written.
        weights: a file with the source's weights, instead of a download.
        recipe: a recipe, its name, or a JSON file with its fields; None for the one that is usual with the source.
        image_px: side of the squares that images are resized to; None for what the recipe says.
        resize: how an image becomes a square, "squash", "crop" or "pad"; None for what the recipe says.
        class_weights: "none", or "balanced", by which small classes weigh more; None for what the recipe says.
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
    resize: str | None = None
    class_weights: str | None = None
    predictor: str | Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """At which scale a job finetunes, and where its results go.

    Attributes:
        scale: the factor on all learning rates, above 0; "auto" has it predicted, unless the linear probe is expected
            to be the better model, and "probe" has that saved instead of a finetune.
        seed: of the new head and the order of images.
        no_probe: finetune even where the linear probe is expected to be the better model, which "auto" takes else.
        jobs: so many jobs at most, 1 to ``MOST_JOBS``; of several, the best expected accuracy is kept.
        refit: after the job is measured, train on all images, and save that.
        output: folder for the model; None for one that is named after the data.
        overwrite: replace a model that is there.
        warehouse: file that the run and what was predicted of it are stored in too; None stores them nowhere.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
        checkpoint_seconds: the state of the training is saved after an epoch, but only once so many seconds have passed
            since it began or was saved last; 0 saves it after every epoch.
        command: as it was typed, for the report; None where Python called it.
        log_to: where to log the job too, each "tensorboard:FOLDER" or "mlflow:URI".

    Raises:
        UsageError: naming the option that is out of range.
    """

    scale: Scale = "auto"
    seed: int = 0
    no_probe: bool = False
    jobs: int = 1
    refit: bool = False
    output: str | Path | None = None
    overwrite: bool = False
    warehouse: str | Path | None = None
    lock_timeout_seconds: float = 60.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    command: str | None = None
    log_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale not in ("auto", "probe"):
            check_scale(self.scale)  # type: ignore[arg-type]  # what is no number is refused there
        check_seed("seed", self.seed)
        _check_jobs(self.jobs, self.scale)
        if self.no_probe and self.scale != "auto":
            what = "the linear probe is asked for" if self.scale == "probe" else "a scale is given"
            raise UsageError(f"no_probe is for a job that would choose, and here {what}: leave out one of them.")
        for name in ("lock_timeout_seconds", "checkpoint_seconds"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)!r}.")
        if self.warehouse is not None:
            warehouse_file(self.warehouse)
            if self.scale == "probe":
                raise UsageError(
                    "A warehouse keeps finetunes, each with its recipe and scale, and a linear probe has neither: "
                    "leave out --warehouse, or finetune with --auto or --scale X."
                )


def _check_jobs(jobs: int, scale: Scale) -> None:
    if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= MOST_JOBS:
        raise UsageError(f"jobs must be a whole number from 1 to {MOST_JOBS}, not {jobs!r}.")
    if jobs > 1 and scale != "auto":
        what = "a linear probe has no scale" if scale == "probe" else f"scale {scale:g} was given"
        raise UsageError(f"Several jobs search around a predicted scale, and {what}: use --auto, or leave out --jobs.")


def chosen_between(images: DataOptions, jobs: int) -> DataOptions:
    """Return the options of the data for so many jobs: of several, validation images choose, and are not trained on.

    Raises:
        UsageError: if they are to be trained on.
    """
    if jobs == 1:
        return images
    if images.train_on not in (None, "train"):
        raise UsageError(
            f"Of several jobs validation images choose, so none may train on them, and train_on is "
            f"{images.train_on!r}: leave out --train-on. --refit trains on all images once a job is chosen."
        )
    return replace(images, train_on="train")


def check_together(network: NetworkOptions, job: JobOptions) -> None:
    """Raise UsageError if what is asked of the network makes no sense for the job."""
    if job.jobs > 1 and job.log_to:
        raise UsageError("A log is of one job: leave out --log-to, or --jobs.")
    if job.scale == "probe" and job.log_to:
        raise UsageError(
            "A linear probe has no epochs to log: leave out --log-to, or finetune with --auto or --scale X."
        )
    if job.scale == "probe" and network.class_weights is not None:
        raise UsageError(
            "A linear probe weighs all images alike: leave out --class-weights, or finetune with --auto or --scale X."
        )


def check_device(name: str) -> str:
    """Return the name of a device; raise UsageError if it is none."""
    return check_one_of("device", name, DEVICES)


def check_one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return an option's value; raise UsageError unless it is allowed."""
    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
