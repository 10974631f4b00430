"""Cuts the tasks behind the preliminary predictor from four packages, unpacked without being installed.

The packages, and how to get them:

    apt-get download openclipart-png tuxpaint-stamps-default   # then: dpkg -x FILE.deb PACKAGES/NAME
    npm pack emoji-datasource-google                           # then: tar xf FILE.tgz -C PACKAGES/emoji

    python -m benchmarks.preliminary PACKAGES TASKS

writes TASKS/NAME/manifest.csv and task.json; images stay where they are, but for scikit-learn's digits. Of each class
at most ``per_class`` images are for training and validation, and the rest, up to ``MAX_TEST`` in all, are test.
Near duplicates share a split.
"""

import argparse
import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.data.digits import DEMO_IMAGES, write_digits
from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import load_images

OPENCLIPART = "openclipart-png/usr/share/openclipart/png"
TUXPAINT = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
EMOJI = "emoji/package"
MAX_TEST = 240


@dataclass(frozen=True)
class Cut:
    """A task: class -> folder (or emoji subcategories), and how many images of a class are to learn from."""

    name: str
    package: str
    classes: dict[str, list[str]]
    per_class: int


def folders(parent: str, names: str) -> dict[str, list[str]]:
    """Return class -> [folder] for sub-folders of a parent."""
    return {name: [f"{parent}/{name}"] for name in names.split()}


def emoji(**classes: str) -> dict[str, list[str]]:
    """Return class -> subcategories, given as text with commas."""
    return {name: [each.strip() for each in text.split(",")] for name, text in classes.items()}


CUTS = (
    Cut("clipart-animals", OPENCLIPART, folders("animals", "birds bugs fish mammals"), 16),
    Cut("clipart-food", OPENCLIPART, folders("food", "beverages desserts fruit meats_and_eggs"), 20),
    Cut("clipart-computer", OPENCLIPART, folders("computer", "buttons hardware"), 36),
    Cut("clipart-people", OPENCLIPART, folders("people", "bodypart clothing smilies stickmen"), 20),
    Cut("clipart-recreation", OPENCLIPART, folders("recreation", "holiday music party religion sports toys"), 14),
    Cut("clipart-shapes", OPENCLIPART, folders("shapes", "arrows callouts flowchart jigsaw"), 10),
    Cut("clipart-signs", OPENCLIPART, folders("signs_and_symbols", "clocks led map_symbols weather"), 12),
    Cut("clipart-special", OPENCLIPART, folders("special", "gradients patterns"), 40),
    Cut("clipart-places", OPENCLIPART, folders("", "buildings plants tools"), 24),
    Cut("clipart-transport", OPENCLIPART, folders("transportation", "aiga-symbols boating roadsigns vehicles"), 16),
    Cut("stamps-animals", TUXPAINT, folders("animals", "birds insects mammals"), 14),
    Cut("stamps-symbols", TUXPAINT, folders("symbols", "alphabets math money"), 15),
    Cut("stamps-kinds", TUXPAINT, folders("", "food household plants vehicles clothes"), 18),
    Cut(
        "emoji-food",
        EMOJI,
        emoji(prepared="food-prepared", plant="food-vegetable, food-fruit", sweet="food-sweet", drink="drink"),
        13,
    ),
    Cut(
        "emoji-animals",
        EMOJI,
        emoji(
            mammal="animal-mammal",
            bird="animal-bird",
            marine="animal-marine",
            bug="animal-bug",
            plant="plant-other, plant-flower",
        ),
        12,
    ),
    Cut(
        "emoji-objects",
        EMOJI,
        emoji(
            clothing="clothing", music="musical-instrument, music", tool="tool", office="office", household="household"
        ),
        14,
    ),
    Cut(
        "emoji-travel",
        EMOJI,
        emoji(ground="transport-ground", building="place-building", sky="sky & weather", time="time"),
        22,
    ),
    Cut(
        "emoji-faces", EMOJI, emoji(smiling="face-smiling, face-affection", worried="face-concerned", heart="heart"), 12
    ),
    Cut(
        "emoji-people",
        EMOJI,
        emoji(role="person-role", sport="person-sport", family="family", fantasy="person-fantasy"),
        20,
    ),
)


def main() -> None:
    """Write all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("tasks", type=Path)
    arguments = parser.parse_args()
    for cut in CUTS:
        labelled = labelled_images(arguments.packages, cut)
        print(cut.name, write_task(labelled, arguments.tasks / cut.name, per_class=cut.per_class))
    rest = write_digits(arguments.tasks / ".digits", first=DEMO_IMAGES, last=None)
    for name, per_class, classes in (("digits-ten", 8, "0123456789"), ("digits-four", 25, "3589")):
        chosen = [(path, path.parent.name) for path in rest if path.parent.name in classes]
        print(name, write_task(chosen, arguments.tasks / name, per_class=per_class, origin="digits"))


def labelled_images(packages: Path, cut: Cut) -> list[tuple[Path, str]]:
    """Return every image of a cut's classes with its class, from unpacked packages."""
    return _emoji(packages, cut) if cut.package == EMOJI else _folders(packages, cut)


def _folders(packages: Path, cut: Cut) -> list[tuple[Path, str]]:
    root = packages / cut.package
    return [
        (path, label)
        for label, places in cut.classes.items()
        for place in places
        for path in sorted((root / place.strip("/")).rglob("*.png"))
    ]


def _emoji(packages: Path, cut: Cut) -> list[tuple[Path, str]]:
    root = packages / cut.package
    label_of = {place: label for label, places in cut.classes.items() for place in places}
    listing = json.loads((root / "emoji.json").read_text(encoding="utf-8"))
    return [
        (root / "img/google/64" / each["image"], label_of[each["subcategory"]])
        for each in listing
        if each["has_img_google"] and each["subcategory"] in label_of
    ]


def write_task(
    labelled: list[tuple[Path, str]],
    folder: Path,
    *,
    per_class: int,
    origin: str | None = None,
    max_test: int = MAX_TEST,
) -> dict[str, int]:
    """Write a task's manifest; near duplicates stay on one side. Returns the images per split."""
    loaded = load_images([path for path, _ in labelled], image_px=16)
    groups = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    members = defaultdict(list)
    for at, group in zip(loaded.kept, groups, strict=True):
        members[group].append(labelled[at])
    units = sorted(members.values(), key=lambda unit: str(unit[0][0].name))
    order = np.random.default_rng(0).permutation(len(units))
    taken: dict[str, int] = defaultdict(int)
    rows: list[tuple[Path, str, str]] = []
    n_test = 0
    for at in order:
        unit = units[at]
        if len({label for _, label in unit}) > 1:
            continue  # the same image under two labels teaches nothing
        label = unit[0][1]
        if taken[label] + len(unit) <= per_class:
            taken[label] += len(unit)
            rows += [(path, label, "train") for path, _ in unit]
        elif n_test + len(unit) <= max_test:
            n_test += len(unit)
            rows += [(path, label, "test") for path, _ in unit]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows([(path.resolve(), label, split) for path, label, split in sorted(rows, key=str)])
    about = {"name": folder.name, "origin": origin or folder.name}
    (folder / "task.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    return {"classes": len(taken), "train+val": len(rows) - n_test, "test": n_test}


if __name__ == "__main__":
    main()
