"""Cuts the three tasks of `bench_harvest` from unpacked packages: large, middle and 64-pixel images.

    python -m benchmarks.bench_tasks PACKAGES OUT

PACKAGES is the folder that `benchmarks.preliminary` takes; its docstring says how to get it. Writes OUT/large
(openclipart, of each class the images of most pixels that are not over 64 megapixels), OUT/middle (tuxpaint's stamps)
and OUT/small (emoji), each as train/CLASS/FILE, val/CLASS/FILE and test/CLASS/FILE with task.json.
Files are hard links to the packages' own, or copies where the file system has no such links.

Of five classes, 40 images each are to learn from and up to 200 in all are test; scalepred's own reader carves
validation from the 40, and checks at the end that no image has a duplicate in another split. The same packages give
the same tasks.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.preliminary import EMOJI, OPENCLIPART, TUXPAINT, Cut, emoji, folders, labelled_images, write_task
from scalepred.data.decode import MAX_MEGAPIXELS
from scalepred.data.splits import SPLITS
from scalepred.data.task import Task, read_task

PER_CLASS = 40
MAX_TEST = 200
CONSIDERED = PER_CLASS + MAX_TEST // 5
"""Images of a class that are looked at, so that no class fills the test split alone."""

LARGE = Cut(
    "large",
    OPENCLIPART,
    folders("", "geography transportation")
    | folders("signs_and_symbols", "flags")
    | folders("people", "stickmen")
    | folders("shapes", "arrows"),
    PER_CLASS,
)
MIDDLE = Cut("middle", TUXPAINT, folders("", "animals food symbols town seasonal"), PER_CLASS)
SMALL = Cut(
    "small",
    EMOJI,
    emoji(
        role="person-role",
        activity="person-activity",
        animal="animal-mammal, animal-bird",
        food="food-prepared, food-fruit, food-vegetable, food-sweet",
        flag="country-flag",
    ),
    PER_CLASS,
)


def main() -> None:
    """Write the three tasks and say what is in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for cut in (LARGE, MIDDLE, SMALL):
        labelled = labelled_images(arguments.packages, cut)
        task = cut_task(considered(labelled, by_size=cut is LARGE), arguments.out / cut.name)
        record = task.record
        print(
            f"{cut.name}: {record.n_classes} classes; {record.n_train} train, {record.n_val} val, "
            f"{record.n_test} test; median {record.median_width_px} x {record.median_height_px} px"
        )


def considered(labelled: Iterable[tuple[Path, str]], *, by_size: bool) -> list[tuple[Path, str]]:
    """Return ``CONSIDERED`` images of each class: the largest that scalepred takes, or every so many by name."""
    by_class: dict[str, list[Path]] = {}
    for path, label in labelled:
        by_class.setdefault(label, []).append(path)
    choose = largest if by_size else evenly
    return [(path, label) for label, paths in by_class.items() for path in choose(paths)]


def largest(paths: Sequence[Path]) -> list[Path]:
    """Return the images of most pixels, largest first, without those that scalepred would skipped."""
    sizes = {path: n_pixels(path) for path in paths}
    fit = [path for path in paths if sizes[path] <= MAX_MEGAPIXELS * 1e6]
    return sorted(fit, key=lambda path: (-sizes[path], str(path)))[:CONSIDERED]


def evenly(paths: Sequence[Path]) -> list[Path]:
    """Return images spread evenly over the order they come in, or all where there are no more."""
    n = min(CONSIDERED, len(paths))
    return [paths[index * len(paths) // n] for index in range(n)]


def n_pixels(path: Path) -> int:
    """Return an image's pixels as its header tells, of a size of which Pillow would warn too."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            return image.width * image.height
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def cut_task(labelled: list[tuple[Path, str]], folder: Path, *, per_class: int = PER_CLASS) -> Task:
    """Write a task of split folders, and return it as scalepred reads it.

    Raises:
        SystemExit: if the folder is there already, if a split lacks a class, or if near duplicates are in two splits.
    """
    if folder.exists():
        raise SystemExit(f"{folder} is there already: give a folder to make, or remove it.")
    with tempfile.TemporaryDirectory() as scratch:
        manifest = Path(scratch) / folder.name
        write_task(labelled, manifest, per_class=per_class, max_test=MAX_TEST)
        splits = read_task(manifest, image_px=16)
    write_split_folders(splits, folder)
    written = read_task(folder, image_px=16)
    across = [warning for warning in written.inspection.warnings if "another split" in warning]
    if across or written.inspection.skipped:
        raise SystemExit(f"{folder} can't be used: {across or written.inspection.skipped}.")
    return written


def write_split_folders(task: Task, folder: Path) -> None:
    """Link every image of a task to folder/SPLIT/CLASS/, and write ``task.json``."""
    for name in SPLITS:
        split = getattr(task, name)
        missing = set(range(len(task.classes))) - set(split.labels.tolist())
        if missing:
            raise SystemExit(f"{folder.name}: {name} has no images of {', '.join(task.classes[at] for at in missing)}.")
        for index, (path, label) in enumerate(sorted(zip(split.paths, split.labels.tolist(), strict=True))):
            target = folder / name / task.classes[label] / f"{index:04}-{Path(path).name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(Path(path).resolve(), target)
    about = {"name": f"bench-{folder.name}", "origin": f"bench-{folder.name}"}
    (folder / "task.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def link_or_copy(path: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system refuses one."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


if __name__ == "__main__":
    main()
