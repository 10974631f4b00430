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
    _run(
        data,
        scale=scale,
        source_name=source,
        weights=weights,
        recipe_name=recipe,
        output=output or default_output(data),
        overwrite=overwrite,
        seed=seed,
        split_seed=split_seed,
        predictor_folder=predictor,
        warehouse=warehouse,
        on_bad_image=options.check_on_bad_image(on_bad_image),
        max_megapixels=max_megapixels,
        device_name=options.check_device(device),
        json=json,
    )


def default_output(data: str) -> Path:
    """Return the folder for a model of this data: its name and "-model", in the current folder."""
    name = Path(data).resolve().stem if ":" not in data else data.rpartition(":")[2]
    return Path(f"{name}-model")


def _run(
    data: str,
    *,
    scale: float | None,
    source_name: str,
    weights: Path | None,
    recipe_name: str,
    output: Path,
    overwrite: bool,
    seed: int,
    split_seed: int,
    predictor_folder: Path | None,
    warehouse: Path | None,
    on_bad_image: str,
    max_megapixels: float,
    device_name: str,
    json: bool,
) -> None:
    import time

    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.config import check_scale, load_recipe
    from scalepred.modelfolder import check_free

    check_free(output, overwrite=overwrite)
    recipe = load_recipe(recipe_name)
    if scale is not None:
        check_scale(scale)
    notes = out.notes()
    started = time.perf_counter()
    with render.progress("reading pictures") as bar:
        from scalepred.tasks import read_task

        task = read_task(
            data,
            image_px=recipe.image_px,
            split_seed=split_seed,
            on_bad_image=on_bad_image,
            max_megapixels=max_megapixels,
            on_progress=bar.update,
        )
    seconds = {"scan": time.perf_counter() - started, "features": 0.0}
    render.show_inspection(notes, task.inspection)
    from scalepred import auto
    from scalepred.sources import load_source

    device, dtype = auto.pick_device(device_name)
    source = load_source(source_name, weights=weights)
    if scale is None:
        chosen_from = options.predictor_path(predictor_folder)
        from scalepred.predictor import load

        predicted = auto.predict(task, source, load(chosen_from), recipe=recipe, device=device, dtype=dtype)
        choice, seconds["features"] = predicted.choice, predicted.seconds
        notes.print(f"predictor: {out.safe(str(chosen_from))}")
    else:
        choice = auto.given(scale)
    render.show_choice(notes, choice)
    render.show_rates(notes, recipe, choice.scale)
    with render.progress("finetuning", total=recipe.epochs) as bar:
        job = auto.finetune_once(
            task,
            source,
            choice,
            recipe=recipe,
            seed=seed,
            output=output,
            overwrite=overwrite,
            device=device,
            dtype=dtype,
            seconds=seconds,
            on_epoch=lambda epoch, loss: bar.update(epoch, recipe.epochs, f"loss {loss:.3f}"),
        )
    if warehouse is not None:
        from scalepred.warehouse import open_warehouse

        with open_warehouse(warehouse) as store:
            store.add_prediction(auto.as_prediction_record(job))
    if json:
        out.print_json(job.to_json())
    else:
        render.show_job(out.console(), job)
