"""`scalepred classify`: the classes that a finetuned model gives new images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli import options

if TYPE_CHECKING:
    from scalepred.job.classifier import Classified


def classify(
    model: Annotated[Path, typer.Argument(help="A folder that `scalepred finetune` has written.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)],
    max_megapixels: options.MaxMegapixels = 64.0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Classify IMAGES with the model in MODEL."""
    from dataclasses import asdict

    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.errors import DataError
    from scalepred.job.classifier import find_images, load

    classifier = load(model, device=device, max_megapixels=max_megapixels)
    files, skipped = find_images(images)
    for each in skipped:
        out.note(f"skipped: {each.path}: {each.reason}")
    results = classifier.classify(files)
    if json:
        out.print_json(
            {
                "schema": 2,
                "model": str(model),
                "images": [_as_json(result) for result in results],
                "skipped": [asdict(each) for each in skipped],
            }
        )
    else:
        render.show_classified(out.console(), results)
    if not any(result.ranking for result in results):
        raise DataError("None of the images could be read." if results else "There are no images to classify.")


def _as_json(result: "Classified") -> dict[str, object]:
    if result.problem:
        return {"path": result.path, "label": None, "problem": result.problem}
    label, probability = result.ranking[0]
    ranking = [{"label": name, "probability": value} for name, value in result.ranking]
    return {"path": result.path, "label": label, "probability": probability, "ranking": ranking}
