"""What a rival is asked, and what it answers: one program for each, told by options, answering in a line of JSON."""

import argparse
import json
import math
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from scalepred.data.decode import decode
from scalepred.data.layouts import list_images
from scalepred.data.splits import SPLITS
from scalepred.data.task import read_task
from scalepred.files import write_text
from scalepred.recipe import Recipe

Listed = list[tuple[Path, int]]
"""Image files with the numbers of their classes."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A job as a rival gets it.

    Attributes:
        folder: of a task, as ``write_images`` writes it.
        epochs: of a rival that has no number of its own.
        image_px: side of the squares that the network sees.
        batch_size: images in a step, at most.
        recipe: a JSON file with a recipe's fields, for those that have one.
        seed: of all randomness.
        threads: of torch.
        learns_all: learn from validation images too.
    """

    folder: Path
    epochs: int
    image_px: int
    batch_size: int
    recipe: Path
    seed: int
    threads: int
    learns_all: bool

    def arguments(self) -> list[str]:
        """Return the command line that ``read_asked`` reads."""
        numbers = [f"--{name}={getattr(self, name.replace('-', '_'))}" for name in _NUMBERS]
        flags = ["--learns-all"] if self.learns_all else []
        return [str(self.folder), *numbers, f"--recipe={self.recipe}", *flags]

    def read_recipe(self) -> Recipe:
        """Return the recipe."""
        return Recipe.from_json(self.recipe.read_text(encoding="utf-8"))

    def to_learn(self) -> Listed:
        """Return the images to learn from."""
        return [*listed(self.folder, "train"), *(listed(self.folder, "val") if self.learns_all else [])]

    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(json.loads((self.folder.parent / f"{self.folder.name}.json").read_text(encoding="utf-8"))["classes"])

    def even_batch(self, n: int) -> int:
        """Return the batch size at which a loader that drops a last short batch drops fewest of n images."""
        return n // math.ceil(n / self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a rival made of a task.

    Attributes:
        accuracy: on the test images, a fraction.
        n_test: test images.
        work_seconds: wall time without imports.
        details: what tells how it was made.
    """

    accuracy: float
    n_test: int
    work_seconds: float
    details: dict[str, object] = field(default_factory=dict)


_NUMBERS = ("epochs", "image-px", "batch-size", "seed", "threads")


def read_asked(arguments: list[str] | None = None) -> tuple[str, Asked]:
    """Return the method and its job, of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("folder", type=Path)
    for name in _NUMBERS:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--learns-all", action="store_true")
    read = vars(parser.parse_args(arguments))
    return read.pop("method"), Asked(**read)


def print_answer(answer: Answer) -> None:
    """Print the line that ``read_answer`` reads."""
    print(json.dumps(asdict(answer)), flush=True)


def read_answer(printed: str) -> Answer:
    """Read an answer from the last line that a rival printed."""
    return Answer(**json.loads(printed.splitlines()[-1]))


def write_images(data: Path, folder: Path) -> None:
    """Write a task's images in their own sizes, upright and on white, as FOLDER/SPLIT/CLASS/NUMBER.png.

    So every rival reads the same pixels of the same splits, and none loses what transparency means. FOLDER.json beside
    it names the classes; the folder appears whole or not at all.
    """
    if folder.exists():
        return
    task = read_task(data, image_px=16)
    items = {entry.path: entry.item for entry in list_images(data).entries}
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for name in SPLITS:
        split = getattr(task, name)
        for number, (path, label) in enumerate(zip(split.paths, split.labels, strict=True)):
            file = part / name / f"c{label:03}" / f"{number:05}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(decode(items[path]).rgb)).save(file, compress_level=1)
    about = {"name": task.record.name, "origin": task.record.origin, "classes": list(task.classes)}
    write_text(folder.with_name(folder.name + ".json"), json.dumps(about) + "\n")
    part.rename(folder)


def listed(folder: Path, split: str) -> Listed:
    """Return a split's images in a fixed order, with the numbers of their classes."""
    return [(path, int(path.parent.name[1:])) for path in sorted((folder / split).glob("c*/*.png"))]
