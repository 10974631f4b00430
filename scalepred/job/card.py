"""The card of a model: what it is, what it was trained on, and how good it is beside the linear probe."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scalepred.job.probe import ProbeRun, expected_in_words, in_words
from scalepred.networks.source import Source
from scalepred.networks.timm_config import is_of_timm
from scalepred.recipe import Recipe
from scalepred.records import RunRecord

TRAINED_ON = {
    "train": "the training images",
    "train+val": "training and validation images together, since nothing was selected on validation images",
    "all": "all images, those of the test set too, so no accuracy was measured",
}

RESIZED = {
    "squash": "Images are squeezed whole to",
    "crop": "Of images the middle square is taken, at",
    "pad": "Images are fitted whole, between bars of their edges' colours, into",
}


def card(
    source: Source,
    recipe: Recipe | None,
    classes: Sequence[str],
    run: RunRecord | ProbeRun,
    job: Mapping[str, Any],
) -> str:
    """Return the README of a model's folder.

    Args:
        source: the network.
        recipe: how it was finetuned; None for a linear probe.
        classes: names in the order of the outputs.
        run: the run that was measured.
        job: the JSON that ``scalepred finetune`` prints.
    """
    image_px, resize = squares_of(recipe, run)
    names = ", ".join(json.dumps(name, ensure_ascii=True) for name in classes)
    return f"""# Classifier of {len(classes)} classes

{_what(source, job["choice"])}

{trained_on_in_words(job["metrics"])}

{_table(job["metrics"], job["probe"], is_probe=job["choice"] is None)}

{_beside(job["probe"])}

Classes, in the order of the network's outputs:

    {names}

{RESIZED[resize]} {image_px} x {image_px} pixels. {_effort(recipe)} took
{run.seconds:.1f} s on {run.device}. What else was measured, and versions, are in `run.json`.

    scalepred classify . IMAGE

{_elsewhere(source.architecture.name)}
"""


def squares_of(recipe: Recipe | None, run: RunRecord | ProbeRun) -> tuple[int, str]:
    """Return the side of the squares that a model takes, and how images are made squares.

    Raises:
        ValueError: if there is no recipe, and the run is no linear probe's.
    """
    if isinstance(run, ProbeRun):
        return run.image_px, run.resize
    if recipe is None:
        raise ValueError("a finetuned model has a recipe")
    return recipe.image_px, recipe.resize


def trained_on_in_words(metrics: Mapping[str, Any]) -> str:
    """Say which images a model was trained on, and which one the accuracies are of, where that is another."""
    first = f"trained on {TRAINED_ON[metrics['trained_on']]}: {metrics['n_train']} images"
    if metrics["refit"] is None:
        return f"The model was {first}."
    return (
        f"The accuracies are those of a first model, {first}. The model that is saved was then trained in the same way "
        f"on all {metrics['refit']['n_train']} images, those of the test set too, so no image is left to measure it on."
    )


def _what(source: Source, choice: Mapping[str, Any] | None) -> str:
    if choice is None:
        return (
            f"The linear probe of `{source.name}` by scalepred: logistic regression on what its frozen stages give. "
            "Nothing was finetuned."
        )
    return (
        f"Finetuned from `{source.name}` by scalepred, at scale {choice['scale']:g} "
        f"({choice['by']}: {choice['reason']})."
    )


def _elsewhere(architecture: str) -> str:
    """Say how timm loads the folder, or that it can't."""
    if not is_of_timm(architecture):
        return "timm has no such network, so it can't load this folder. `scalepred export` has other formats."
    return 'timm loads it too: `timm.create_model("local-dir:.", pretrained=True)` in this folder.'


def _table(metrics: Mapping[str, Any], probe: Mapping[str, Any], *, is_probe: bool) -> str:
    """Return the accuracies on the measured model's splits, beside the probe's unless it is the probe."""
    rows = [["", "images", "accuracy", "linear probe"], ["---"] * 4, ["training", str(metrics["n_train"]), "", ""]]
    for name, split in (("validation", "val"), ("test", "test")):
        accuracies = [_percent(values[f"{split}_accuracy"]) for values in (metrics, probe)]
        rows.append([name, str(metrics[f"n_{split}"]), *accuracies])
    n_columns = 3 if is_probe else 4
    return "\n".join(_row(row[:n_columns]) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return "|" + "|".join(cell if cell == "---" else f" {cell} " if cell else " " for cell in cells) + "|"


def _percent(accuracy: float | None) -> str:
    return "not measured" if accuracy is None else f"{100 * accuracy:.1f} %"


def _beside(probe: Mapping[str, Any]) -> str:
    verdict = "" if probe["compared"] is None else f" {probe['compared']['verdict']}"
    return " ".join(filter(None, (f"{in_words(probe)}.{verdict}", expected_in_words(probe))))


def _effort(recipe: Recipe | None) -> str:
    return "The probe" if recipe is None else recipe.length
