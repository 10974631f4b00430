"""`scalepred finetune`: one job at a predicted or a given scale, or the linear probe."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options
from scalepred.cli.groups import grouped
from scalepred.errors import UsageError

if TYPE_CHECKING:
    from scalepred.job.options import DataOptions, JobOptions, NetworkOptions
    from scalepred.job.options import Scale as Asked

Auto = Annotated[
    bool,
    typer.Option("--auto", help="Predict the scale from the task, or save the linear probe where that is better."),
]
Scale = Annotated[float | None, typer.Option("--scale", help="Use this scale.", show_default=False)]
Probe = Annotated[bool, typer.Option("--probe", help="Finetune nothing: save the linear probe, in seconds.")]
NoProbe = Annotated[
    bool,
    typer.Option("--no-probe", help="With --auto: finetune even where the linear probe is expected to be better."),
]
Jobs = Annotated[
    int,
    typer.Option(
        help="With --auto: up to so many jobs, the first at the predicted scale, others where they may pay most. "
        "Validation images choose, and are not trained on.",
        min=1,
        max=11,
    ),
]
Refit = Annotated[
    bool,
    typer.Option("--refit", help="After it is measured, train again on all images, test too, and save that."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the model. Default: DATA's name with -model, in the current folder, or beside DATA where "
        "that is in it.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")]
Warehouse = Annotated[
    Path | None,
    typer.Option(
        help="Also store the run and what was predicted of it in this warehouse.",
        show_default=False,
    ),
]

CheckpointSeconds = Annotated[
    float,
    typer.Option(
        help="The training's state is saved after an epoch, this long after the last save or the start. The same "
        "command goes on from it.",
        min=0,
    ),
]

LogTo = Annotated[
    list[str] | None,
    typer.Option(
        help="Log epochs and results there too: tensorboard:FOLDER or mlflow:URI (extras). May be given again.",
        show_default=False,
    ),
]


@grouped
def finetune(
    data: options.Data,
    *,
    auto: Auto = False,
    scale: Scale = None,
    probe: Probe = False,
    no_probe: NoProbe = False,
    network: options.Network,
    images: options.Images,
    layout: options.Layout,
    output: Output = None,
    overwrite: Overwrite = False,
    seed: options.Seed = 0,
    jobs: Jobs = 1,
    refit: Refit = False,
    warehouse: Warehouse = None,
    lock_timeout: options.LockTimeout = 60.0,
    checkpoint_seconds: CheckpointSeconds = 30.0,
    log_to: LogTo = None,
    json: options.Json = False,
) -> None:
    """Finetune a classifier on DATA in one job, or the best of --jobs K.

    Give --auto to have the scale predicted, --scale X to choose it, or --probe for the linear probe alone. --auto
    saves the probe too where harvested tasks like this one have it above a finetune.
    """
    asked = _asked_scale(auto, scale, probe)
    began = time.perf_counter()
    from scalepred.cli.output import typed
    from scalepred.job.options import JobOptions

    wanted = JobOptions(
        scale=asked,
        no_probe=no_probe,
        seed=seed,
        jobs=jobs,
        refit=refit,
        output=output,
        overwrite=overwrite,
        warehouse=warehouse,
        lock_timeout_seconds=lock_timeout,
        checkpoint_seconds=checkpoint_seconds,
        command=typed(),
        log_to=tuple(log_to or ()),
    )
    _finetune(data, images.chosen(layout), network.chosen(), wanted, began=began, json=json)


def _asked_scale(auto: bool, scale: float | None, probe: bool) -> "Asked":
    """Return which scale is asked for, in one of the three ways.

    Raises:
        UsageError: if it is in none, or in several.
    """
    if auto + (scale is not None) + probe != 1:
        raise UsageError(
            "Give one of --auto, to have the scale predicted, --scale X, to choose it, or --probe, to finetune nothing."
        )
    if scale is None:
        return "probe" if probe else "auto"
    return scale


def _finetune(
    data: str, images: "DataOptions", network: "NetworkOptions", wanted: "JobOptions", *, began: float, json: bool
) -> None:
    """Do a job step by step, and show what each has come to."""
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import Pace, progress
    from scalepred.job.finetune import n_epochs_of, probe_once
    from scalepred.job.keep import check_can_keep, keep_wanted
    from scalepred.job.options import check_together, chosen_between
    from scalepred.job.output import output_folder
    from scalepred.job.probe import takes_probe
    from scalepred.job.setup import set_up
    from scalepred.job.tools import pick_tools
    from scalepred.job.tracking import check_can_log, finetune_logged
    from scalepred.job.unfinished import go_on_or_choose, how_to_go_on
    from scalepred.training.devices import keep_freed_memory

    check_together(network, wanted)
    check_can_log(wanted.log_to)
    check_can_keep(wanted)
    images = chosen_between(images, wanted.jobs)
    folder = output_folder(wanted.output, data, overwrite=wanted.overwrite)
    keep_freed_memory()
    tools, pace = pick_tools(network, predicts=wanted.scale in ("auto", "probe")), Pace()
    with progress("reading images", pace=pace) as bar:
        setup = set_up(data, tools, images, trains=wanted.scale != "probe", on_progress=bar.update)
    render.show_inspection(out.notes(), setup.task.inspection)
    render.show_trained_on(out.notes(), setup)
    if takes_probe(setup, wanted):
        if wanted.scale == "auto":
            render.show_takes_probe(out.notes(), setup)
        job = probe_once(setup, wanted, output=folder, began=began)
    else:
        setup, prediction = go_on_or_choose(setup, wanted, output=folder, tell=out.note)
        try:
            render.show_start(out.notes(), tools, prediction)
            n_epochs = n_epochs_of(setup, refit=wanted.refit, jobs=wanted.jobs)
            with progress("finetuning", total=n_epochs, pace=pace) as bar:
                job = finetune_logged(
                    setup,
                    prediction,
                    wanted,
                    output=folder,
                    began=began,
                    on_epoch=lambda epoch, loss: bar.update(epoch, n_epochs, f"loss {loss:.3f}"),
                    on_job=out.note,
                    tell=out.note,
                )
        except KeyboardInterrupt:
            out.note(how_to_go_on(setup, wanted, output=folder))
            raise
    if json:
        out.print_json(job.to_json())
    else:
        render.show_job(out.console(), job)
    keep_wanted(job, tools, wanted)
