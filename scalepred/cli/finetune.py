"""`scalepred finetune`: one job at a predicted, or a given, scale."""

from pathlib import Path
from typing import Annotated

import typer

from scalepred.cli import options
from scalepred.errors import UsageError


def finetune(
    data: options.Data,
    auto: Annotated[bool, typer.Option("--auto", help="Predict the scale from the task.")] = False,
    scale: Annotated[float | None, typer.Option("--scale", help="Use this scale.", show_default=False)] = None,
    source: options.SourceName = "efficientnet_lite0",
    weights: options.Weights = None,
    recipe: options.RecipeName = None,
    image_px: options.ImagePx = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the model. Default: DATA's name with -model, in the current folder, or beside DATA where "
            "that is in it.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    seed: Annotated[int, typer.Option(help="Of the new head and the order of images.", min=0)] = 0,
    split_seed: options.SplitSeed = 0,
    predictor: options.PredictorFolder = None,
    warehouse: Annotated[
        Path | None,
        typer.Option(
            help="Also store the run and what was predicted of it in this warehouse.",
            callback=lambda given: given and options.warehouse_path(given),
            show_default=False,
        ),
    ] = None,
    on_bad_image: options.OnBadImage = "skip",
    max_megapixels: options.MaxMegapixels = 64.0,
    lock_timeout: options.LockTimeout = 60.0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Finetune a classifier on DATA in one job.

    Give --auto to have the scale predicted, or --scale X to choose it.
    """
    if auto == (scale is not None):
        raise UsageError("Give either --auto, to have the scale predicted, or --scale X, to choose it.")
    options.check_on_bad_image(on_bad_image)
    options.check_device(device)
    import time

    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.job.folder import check_free
    from scalepred.recipe import at_size, check_scale

    began = time.perf_counter()
    folder = options.check_outside(output or default_output(data), data)
    check_free(folder, overwrite=overwrite)
    recipe_name, settings = options.first_recipe(recipe, source, image_px)
    if scale is not None:
        check_scale(scale)  # before the imports that take seconds
    from scalepred.data.task import read_task
    from scalepred.job.choose import given, pick_predictor, predict, usual_recipe
    from scalepred.job.finetune import finetune_once
    from scalepred.job.keep import keep_job
    from scalepred.networks.architecture import check_takes
    from scalepred.networks.source import load_source
    from scalepred.training.devices import keep_freed_memory, pick_device, pick_dtype

    notes = out.notes()
    predictors = options.load_predictors(predictor) if scale is None else {}
    where = pick_device(device)
    keep_freed_memory()
    network = load_source(source, weights=weights)
    chooser = pick_predictor(predictors, network) if scale is None else scale
    if recipe is None and isinstance(chooser, Path):
        recipe_name, settings = at_size(*usual_recipe(predictors[chooser], network, source), image_px)
    check_takes(network.architecture, image_px=settings.image_px)
    started = time.perf_counter()
    task = render.read(
        read_task,
        data,
        image_px=settings.image_px,
        split_seed=split_seed,
        on_bad_image=on_bad_image,
        max_megapixels=max_megapixels,
    )
    seconds = {"scan": time.perf_counter() - started, "features": 0.0}
    render.show_inspection(notes, task.inspection)
    dtype = pick_dtype(network, settings, where)
    if isinstance(chooser, Path):
        predicted = predict(task, network, predictors[chooser], recipe=settings, device=where, dtype=dtype)
        choice, seconds["features"] = predicted.choice, predicted.seconds
        out.note(options.which_predictor(chooser, predictors))
    else:
        choice = given(chooser)
    render.show_choice(notes, choice)
    render.show_rates(notes, settings, choice.scale, recipe_name)
    with render.progress("finetuning", total=settings.epochs) as bar:
        job = finetune_once(
            task,
            network,
            choice,
            recipe=settings,
            seed=seed,
            output=folder,
            overwrite=overwrite,
            device=where,
            dtype=dtype,
            seconds=seconds,
            began=began,
            on_epoch=lambda epoch, loss: bar.update(epoch, settings.epochs, f"loss {loss:.3f}"),
        )
    if json:
        out.print_json(job.to_json())
    else:
        render.show_job(out.console(), job)
    if warehouse is not None:
        keep_job(
            job, network, settings, recipe_name=recipe_name, warehouse=warehouse, lock_timeout_seconds=lock_timeout
        )


def default_output(data: str) -> Path:
    """Return the folder for a model of this data: its name and "-model", in the current folder.

    Where that is the data's folder or lies in it, it is beside the data instead.
    """
    from scalepred.data.torchvision_sets import PREFIX

    folder = options.data_folder(data)
    if folder is None or data.startswith(PREFIX):
        name = data.removeprefix(PREFIX) if data.startswith(PREFIX) else Path(data).stem
        return Path(f"{name}-model")
    own = Path(f"{folder.name}-model")
    return folder.parent / own if Path.cwd().is_relative_to(folder) else own
