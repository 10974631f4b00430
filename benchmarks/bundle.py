"""What the rivals of a harvest share: the finetunes of a bundle, how a rival is asked for them, and how it answers."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from scalepred.recipe import GRID, Recipe, baseline_of, load_recipe

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A bundle as a rival gets it: one task and one source, every point of the grid, perhaps with several seeds.

    Attributes:
        task: a folder with train/CLASS/FILE, val/CLASS/FILE and test/CLASS/FILE.
        source: a name that ``scalepred.networks.source.load_source`` takes.
        weights: a file to load instead of the source's weights, or None.
        recipe: a JSON file with the recipe's fields.
        n_seeds: seeds 0..n_seeds-1.
        on_white: put transparent images on white, as scalepred does, instead of dropping their transparency.
    """

    task: Path
    source: str
    weights: Path | None
    recipe: Path
    n_seeds: int
    on_white: bool

    def arguments(self) -> list[str]:
        """Return the command line that ``read_job`` reads."""
        more = ["--weights", str(self.weights)] if self.weights else []
        flags = ["--on-white"] if self.on_white else []
        options = [str(self.task), "--source", self.source, "--recipe", str(self.recipe), "--seeds", str(self.n_seeds)]
        return [*options, *more, *flags]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One finetune of a bundle; ``scale`` is None for the baseline."""

    recipe: Recipe
    scale: float | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one finetune ended: accuracies in [0, 1], None where it diverged, and its wall time."""

    scale: float | None
    seed: int
    val_accuracy: float | None
    test_accuracy: float | None
    seconds: float


def read_job(description: str | None) -> Job:
    """Read a job from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, help="a folder with train/CLASS/FILE, val/CLASS/FILE, test/CLASS/FILE")
    parser.add_argument("--source", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--recipe", type=Path, required=True, help="a JSON file with the recipe's fields")
    parser.add_argument("--seeds", type=int, default=1, dest="n_seeds")
    parser.add_argument("--on-white", action="store_true", help="put transparent images on white, as scalepred does")
    return Job(**vars(parser.parse_args()))


def points(recipe: Recipe, *, n_seeds: int) -> list[Point]:
    """Return the finetunes of a bundle: for every seed the baseline without a scale, and the eleven scales."""
    return [
        Point(recipe=member, scale=scale, seed=seed)
        for seed in range(n_seeds)
        for member, scale in [(baseline_of(recipe), None), *((recipe, scale) for scale in GRID)]
    ]


def check_recipe(name: str) -> Recipe:
    """Return the recipe of this name or file if every rival can express it.

    Raises:
        SystemExit: if it has another schedule than "step", warms up, augments, or freezes all batch normalisation.
    """
    recipe = load_recipe(name)
    if (recipe.schedule, recipe.warmup_epochs, recipe.augmentation, recipe.batchnorm) != ("step", 0, "none", "batch"):
        raise SystemExit(
            f"{name}: the rivals know the schedule step without warm-up, augmentation none and batchnorm batch only."
        )
    return recipe


def check_task(folder: Path) -> None:
    """Raise SystemExit unless the three splits have the same classes, which libraries number split by split."""
    classes = {}
    for split in SPLITS:
        if not (folder / split).is_dir():
            raise SystemExit(f"{folder} has no folder {split}: give tasks with train, val and test, each with classes.")
        classes[split] = sorted(child.name for child in (folder / split).iterdir() if child.is_dir())
    if classes["val"] != classes["train"] or classes["test"] != classes["train"]:
        raise SystemExit(f"{folder}: train, val and test must have the same class folders.")


def put_on_white(image: Image.Image) -> Image.Image:
    """Return an image in RGB whose transparent parts are white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def open_on_white(path: str) -> Image.Image:
    """Open an image file as ``put_on_white`` returns it; a loader for torchvision's ImageFolder."""
    with Image.open(path) as image:
        image.load()  # one that is RGB already is returned as it is, and its file closes here
        return put_on_white(image)


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print the one line of JSON that ``read_outcomes`` reads."""
    print(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]))


def read_outcomes(printed: str) -> list[Outcome]:
    """Read the outcomes from the last line that a rival printed."""
    return [Outcome(**fields) for fields in json.loads(printed.splitlines()[-1])]
