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
    recipe: options.RecipeName = "graduated",
    output: Annotated[
        Path | None, typer.Option(help="Folder for the model. Default: DATA's name with -model.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    seed: Annotated[int, typer.Option(help="Of the new head and the order of pictures.", min=0)] = 0,
    split_seed: Annotated[int, typer.Option(help="Of the split into train, val and test.", min=0)] = 0,
    predictor: options.PredictorFolder = None,
    warehouse: Annotated[
        Path | None,
        typer.Option(help="Also store what was chosen and what came out in this warehouse.", show_default=False),
    ] = None,
    on_bad_image: options.OnBadImage = "skip",
    max_megapixels: options.MaxMegapixels = 64.0,
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
    folder = output or default_output(data)
    import time

    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.config import check_scale, load_recipe
    from scalepred.modelfolder import check_free

    check_free(folder, overwrite=overwrite)
    settings = load_recipe(recipe)
    if scale is not None:
        check_scale(scale)
    notes = out.notes()
    started = time.perf_counter()
    with render.progress("reading pictures") as bar:
        from scalepred.tasks import read_task

        task = read_task(
            data,
            image_px=settings.image_px,
            split_seed=split_seed,
            on_bad_image=on_bad_image,
            max_megapixels=max_megapixels,
            on_progress=bar.update,
        )
    seconds = {"scan": time.perf_counter() - started, "features": 0.0}
    render.show_inspection(notes, task.inspection)
    from scalepred.auto import as_prediction_record, finetune_once, given, pick_device, predict
    from scalepred.sources import load_source

    where, dtype = pick_device(device)
    network = load_source(source, weights=weights)
    if scale is None:
        chosen_from = options.predictor_path(predictor)
        from scalepred.predictor import load

        predicted = predict(task, network, load(chosen_from), recipe=settings, device=where, dtype=dtype)
        choice, seconds["features"] = predicted.choice, predicted.seconds
        notes.print(f"predictor: {out.safe(str(chosen_from))}")
    else:
        choice = given(scale)
    render.show_choice(notes, choice)
    render.show_rates(notes, settings, choice.scale)
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
            began=started,
            on_epoch=lambda epoch, loss: bar.update(epoch, settings.epochs, f"loss {loss:.3f}"),
        )
    if warehouse is not None:
        from scalepred.warehouse import open_warehouse

        with open_warehouse(warehouse) as store:
            store.add_prediction(as_prediction_record(job))
    if json:
        out.print_json(job.to_json())
    else:
        render.show_job(out.console(), job)


def default_output(data: str) -> Path:
    """Return the folder for a model of this data: its name and "-model", in the current folder."""
    name = Path(data).resolve().stem if ":" not in data else data.rpartition(":")[2]
    return Path(f"{name}-model")
