"""The public functions that work on data: predict its scale, and finetune on it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scalepred.data.decode import MAX_MEGAPIXELS
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.job.choose import Prediction, choose_scale
from scalepred.job.finetune import probe_once
from scalepred.job.keep import check_can_keep, keep_wanted
from scalepred.job.options import (
    CHECKPOINT_SECONDS,
    DataOptions,
    JobOptions,
    NetworkOptions,
    Scale,
    check_together,
    chosen_between,
)
from scalepred.job.output import output_folder
from scalepred.job.probe import takes_probe
from scalepred.job.result import Job
from scalepred.job.setup import set_up
from scalepred.job.tools import pick_tools
from scalepred.job.tracking import check_can_log, finetune_logged
from scalepred.job.unfinished import go_on_or_choose
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import Recipe


def finetune(
    data: str | Path,
    *,
    source: str | Path = DEFAULT_SOURCE,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    image_px: int | None = None,
    resize: str | None = None,
    class_weights: str | None = None,
    scale: Scale = "auto",
    no_probe: bool = False,
    jobs: int = 1,
    seed: int = 0,
    split_seed: int = 0,
    train_on: str | None = None,
    refit: bool = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    predictor: str | Path | None = None,
    warehouse: str | Path | None = None,
    device: str = "auto",
    on_bad_image: str = "skip",
    max_megapixels: float = MAX_MEGAPIXELS,
    layout: Layout = FOUND_OUT,
    lock_timeout_seconds: float = 60.0,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    log_to: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Job:
    """Finetune a classifier on images in one job, at a predicted scale, and save it.

    Where harvested tasks with the same network and recipe have the linear probe above a finetune, it is fitted and
    saved instead, in seconds; ``no_probe`` finetunes all the same. Every finetune tells the probe on the same images
    beside it. A job that was stopped goes on with the same call.

    Args:
        data: a folder of class folders, perhaps under train, val and test; a CSV manifest, or a folder that holds
            ``manifest.csv``; COCO annotations; an archive of a folder; or ``torchvision:<Dataset>``.
        source: the network to start from: "efficientnet_lite0" or "efficientnet_lite1", "timm/<name>",
            "torchvision/<name>", or a folder that ``scalepred pretrain`` has written.
        weights: the source's weights, ``.safetensors`` or ``.pth``, instead of a download.
        recipe: a recipe, its name, or a JSON file with its fields. None takes what is usual with the source.
        image_px: side of the squares that images are resized to, 16 to 1024. None takes what the recipe says.
        resize: how an image becomes a square: "squash", "crop" or "pad". None takes what the recipe says.
        class_weights: "none", or "balanced", by which small classes weigh more. None takes what the recipe says.
        scale: the factor on all learning rates, above 0; "auto" has it predicted, unless the linear probe is expected
            to be the better model. "probe" finetunes nothing and fits that, on what all stages of the frozen source
            give; it has no scale.
        no_probe: with "auto", finetune even where the probe is expected to be better. So do several jobs, and jobs
            that a warehouse or a log is given for.
        jobs: up to so many jobs, 1 to 11, the first at the predicted scale, others where they may pay most. Validation
            images choose between them, and are not trained on.
        seed: of the new head and the order of images.
        split_seed: of the split into train, val and test, where the data has none.
        train_on: "train", "train+val", or "all", the test images too, which leaves nothing to measure. None takes
            "train+val" where you made no validation split, since nothing is selected on one, and "train" where you did.
        refit: after the job is measured, a second one at the same scale and seed trains on all images, and its model is
            what is saved; the accuracies stay those of the first.
        output: folder for the model. None takes the data's name with "-model" in the current folder, or beside the
            data where that is in it.
        overwrite: replace a model that is there.
        predictor: folder of a trained predictor. None takes the user's, and the one that ships where there is none
            or it has not met the source.
        warehouse: DuckDB file that the run and what was predicted of it are stored in too. None stores them nowhere.
        device: "auto", "cpu" or "cuda".
        on_bad_image: "skip" leaves bad images out, "fail" refuses the data.
        max_megapixels: an image above this is a bad one.
        layout: what you say of how the data is laid out, where its folders and columns don't tell.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
        checkpoint_seconds: the state of the training is saved beside the output after an epoch, but only once so many
            seconds have passed since it began or was saved last.
        log_to: where to log the job too, each "tensorboard:FOLDER" or "mlflow:URI" (extras of these names).
        on_progress: called with images read and images in all.
        on_epoch: called with epochs done and the epoch's mean training loss; those of a refit come after the first
            job's.

    Returns:
        The finished job: its choice of the scale, its accuracies (fractions; the test images are scored once, at the
        end), the linear probe beside it, and the folder of the model, which ``load`` reads.

    Raises:
        UsageError: if an option can't be used, something is in the way at ``output``, nothing is held out before a
            refit, or the run diverged.
        DataError: if nothing can be learnt from the data, with what is needed.
        WeightsError: if the source's weights are missing, unreadable, or of another network.
        VersionError: if the predictor or the warehouse can't be read, or is of another version; the warehouse is looked
            at before anything is trained.
        WarehouseBusyError: if another process holds the warehouse at the end; the model is saved then, and its run
            journaled.
    """
    began = time.perf_counter()
    data_options = DataOptions(
        split_seed=split_seed,
        on_bad_image=on_bad_image,
        max_megapixels=max_megapixels,
        train_on=train_on,
        layout=layout,
    )
    network_options = NetworkOptions(
        source=source,
        weights=weights,
        recipe=recipe,
        image_px=image_px,
        resize=resize,
        class_weights=class_weights,
        predictor=predictor,
        device=device,
    )
    options = JobOptions(
        scale=scale,
        no_probe=no_probe,
        seed=seed,
        jobs=jobs,
        refit=refit,
        output=output,
        overwrite=overwrite,
        warehouse=warehouse,
        lock_timeout_seconds=lock_timeout_seconds,
        checkpoint_seconds=checkpoint_seconds,
        log_to=tuple(log_to),
    )
    check_together(network_options, options)
    check_can_log(options.log_to)
    check_can_keep(options)
    data_options = chosen_between(data_options, jobs)
    folder = output_folder(output, data, overwrite=overwrite)
    tools = pick_tools(network_options, predicts=scale in ("auto", "probe"))
    setup = set_up(data, tools, data_options, trains=scale != "probe", on_progress=on_progress)
    if takes_probe(setup, options):
        return probe_once(setup, options, output=folder, began=began)
    setup, prediction = go_on_or_choose(setup, options, output=folder)
    job = finetune_logged(setup, prediction, options, output=folder, began=began, on_epoch=on_epoch)
    keep_wanted(job, tools, options)
    return job


def predict_scale(
    data: str | Path,
    *,
    source: str | Path = DEFAULT_SOURCE,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    image_px: int | None = None,
    resize: str | None = None,
    class_weights: str | None = None,
    split_seed: int = 0,
    train_on: str | None = None,
    predictor: str | Path | None = None,
    device: str = "auto",
    on_bad_image: str = "skip",
    max_megapixels: float = MAX_MEGAPIXELS,
    layout: Layout = FOUND_OUT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Predict the scale to finetune at, and say why, without training.

    Args:
        data: as ``finetune``, and so are all others.
        source: the network to start from.
        weights: the source's weights.
        recipe: a recipe, its name, or a JSON file with its fields.
        image_px: side of the squares that images are resized to.
        resize: "squash", "crop" or "pad".
        class_weights: "none" or "balanced".
        split_seed: of the split into train, val and test.
        train_on: "train", "train+val" or "all"; what is looked at is what the job would train on.
        predictor: folder of a trained predictor.
        device: "auto", "cpu" or "cuda".
        on_bad_image: "skip" or "fail".
        max_megapixels: an image above this is a bad one.
        layout: what you say of how the data is laid out, where its folders and columns don't tell.
        on_progress: called with images read and images in all.

    Returns:
        The choice of the scale with its reason, the predicted curve, the features that it was made from, and what the
        linear probe reaches, and whether it is expected to be above a finetune.

    Raises:
        UsageError: if an option can't be used.
        DataError: if nothing can be learnt from the data, with what is needed.
        WeightsError: if the source's weights are missing, unreadable, or of another network.
        VersionError: if the predictor can't be read, or is of another version.
    """
    data_options = DataOptions(
        split_seed=split_seed,
        on_bad_image=on_bad_image,
        max_megapixels=max_megapixels,
        train_on=train_on,
        layout=layout,
    )
    network_options = NetworkOptions(
        source=source,
        weights=weights,
        recipe=recipe,
        image_px=image_px,
        resize=resize,
        class_weights=class_weights,
        predictor=predictor,
        device=device,
    )
    tools = pick_tools(network_options, predicts=True)
    return choose_scale(set_up(data, tools, data_options, on_progress=on_progress))
