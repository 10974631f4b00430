"""`scalepred classify`: the classes that a finetuned model gives new images."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalepred.cli import options
from scalepred.errors import DataError, UsageError

if TYPE_CHECKING:
    from scalepred.data.scan import Skipped
    from scalepred.job.classifier import Classified

STDIN = "-"

COLUMNS = ("path", "verdict", "label", "probability", "distance", "problem")
"""Of the table that ``--csv`` prints."""


def classify(
    model: Annotated[Path, typer.Argument(help="A folder that `scalepred finetune` has written.", show_default=False)],
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, or folders of them; - reads their paths from stdin.", show_default=False),
    ],
    threshold: Annotated[
        float, typer.Option(help="An image is unsure if no class has this probability.", min=0, max=1)
    ] = 0.0,
    false_alarms: Annotated[
        float,
        typer.Option(
            help="Share of images of the classes that may be told to be none of these; 0: don't tell.", min=0, max=0.99
        ),
    ] = 0.05,
    max_megapixels: options.MaxMegapixels = 64.0,
    device: options.DeviceName = "auto",
    csv: Annotated[bool, typer.Option("--csv", help="Print a table as CSV on stdout.")] = False,
    json: options.Json = False,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="Print a line of JSON for each image.")] = False,
) -> None:
    """Classify IMAGES with the model in MODEL.

    Results come as they are ready, but for --json, whose one document comes at the end.
    """
    from scalepred.cli.output import until_nobody_reads
    from scalepred.job.classifier import load
    from scalepred.training.devices import keep_freed_memory

    if csv + json + json_lines > 1:
        raise UsageError("Give one of --csv, --json and --json-lines.")
    keep_freed_memory()
    classifier = load(model, device=device, max_megapixels=max_megapixels)
    skipped: list[Skipped] = []
    results = _Counted(classifier.stream(_files(images, skipped), threshold=threshold, false_alarms=false_alarms))
    with until_nobody_reads():
        if csv:
            _print_csv(results)
        elif json_lines:
            _print_lines(results)
        elif json:
            _print_document(results, skipped, model=model)
        else:
            _show(results)
    if not results.n_read:
        raise DataError("None of the images could be read." if results.n else "There are no images to classify.")


class _Counted:
    """Results that are counted as they go by."""

    def __init__(self, results: "Iterator[Classified]") -> None:
        self._results, self.n, self.n_read = results, 0, 0

    def __iter__(self) -> "Iterator[Classified]":
        for each in self._results:
            self.n += 1
            self.n_read += each.problem is None
            yield each


def _files(images: Sequence[Path], skipped: "list[Skipped]") -> Iterator[Path]:
    """Return the image files among paths and in folders, one by one; "-" stands for the paths on stdin.

    What is skipped is noted, and added to the list, when its folder's turn comes.

    Raises:
        DataError: naming the paths that don't exist; of those on stdin each is told when its turn comes.
    """
    from scalepred.job.classifier import find_images

    find_images([path for path in images if str(path) != STDIN and not path.is_dir()])
    return _found(images, skipped)


def _found(images: Sequence[Path], skipped: "list[Skipped]") -> Iterator[Path]:
    from scalepred.cli import output as out
    from scalepred.job.classifier import find_images

    for path in images:
        for each in _lines() if str(path) == STDIN else [path]:
            files, unused = find_images([each]) if each.is_dir() else ([each], [])
            for skip in unused:
                out.note(f"skipped: {skip.path}: {skip.reason}")
            skipped += unused
            yield from files


def _lines() -> Iterator[Path]:
    """Yield the paths that stdin has, one a line, as they come."""
    for line in sys.stdin.buffer:
        if text := line.rstrip(b"\r\n"):
            yield Path(os.fsdecode(text))


def _print_csv(results: "_Counted") -> None:
    from scalepred.cli.spreadsheet import print_rows

    print_rows([COLUMNS])
    for values in map(_as_json, results):
        print_rows([[values.get(column) for column in COLUMNS]])
        sys.stdout.flush()


def _print_lines(results: "_Counted") -> None:
    from scalepred.cli.output import print_json

    for each in results:
        print_json({"schema": 2} | _as_json(each), indent=None)


def _print_document(results: "_Counted", skipped: "list[Skipped]", *, model: Path) -> None:
    from dataclasses import asdict

    from scalepred.cli.output import print_json

    images = [_as_json(each) for each in results]
    document = {"schema": 2, "model": str(model), "images": images, "skipped": [asdict(each) for each in skipped]}
    print_json(document)


def _show(results: "_Counted") -> None:
    from scalepred.cli import output as out
    from scalepred.cli import render

    console = out.console()
    for each in results:
        render.show_classified(console, each)


def _as_json(result: "Classified") -> dict[str, Any]:
    """Return an image's verdict, its most probable class, and all that are ranked."""
    if result.problem:
        return {"path": result.path, "verdict": result.verdict, "label": None, "problem": result.problem}
    label, probability = result.ranking[0]
    ranking = [{"label": name, "probability": value} for name, value in result.ranking]
    about = {"path": result.path, "verdict": result.verdict, "label": label, "probability": probability}
    return about | {"ranking": ranking, "distance": result.distance}
