"""Splits an origin's images and cuts tasks and ladders of it; a function of names and contents alone."""

import csv
import hashlib
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wild.origins import SHARED
from scalepred.data.duplicates import near_duplicate_groups
from scalepred.data.load import load_images

RUNGS = (10, 20, 40, 80, 160)
SIZES = (5, 8, 12, 16, 25, 40, 60, 100, 150)
LARGE = 400
CLASSES = (2, 2, 3, 3, 4, 5, 5, 6, 8, 10, 12)
LADDER_CLASSES = 5
MAX_CLASSES = 20
N_DRAWN = 3
MIN_LEARN, MIN_LABEL_TEST = 5, 2
TEST_SHARE = 0.4
MIN_TEST, MAX_TEST = 50, 1000
MAX_LABEL_TEST = 250


@dataclass(frozen=True)
class SuiteImage:
    """An image of OUT by its path there; images of a group stay on one side of the split."""

    path: str
    label: str
    group: str


@dataclass(frozen=True)
class Plan:
    """A task to cut.

    Attributes:
        name: its folder under OUT/tasks.
        classes: their names, in order.
        per_label: the most images of a class to learn from, validation included.
        rung: the same number where this is a rung of a ladder, on which every class has as many; else None.
    """

    name: str
    classes: tuple[str, ...]
    per_label: int
    rung: int | None = None


@dataclass(frozen=True)
class Sides:
    """Label -> images in their fixed order, to learn from and for test."""

    learn: dict[str, list[SuiteImage]]
    test: dict[str, list[SuiteImage]]


def order_key(text: str) -> str:
    """Return what images and groups are ordered by: as if shuffled, and the same on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()


def distinct(images: Sequence[SuiteImage], out: Path) -> list[SuiteImage]:
    """Return one image of each set of near duplicates, and none of a set under two labels."""
    ordered = sorted(images, key=lambda each: order_key(each.path))
    loaded = load_images([out / each.path for each in ordered], image_px=16)
    alike: dict[int, list[SuiteImage]] = defaultdict(list)
    for at, number in zip(loaded.kept, near_duplicate_groups(loaded.hashes, loaded.thumbnails), strict=True):
        alike[int(number)].append(ordered[at])
    return [some[0] for some in alike.values() if len({each.label for each in some}) == 1]


def split_sides(images: Iterable[SuiteImage]) -> Sides:
    """Give whole groups to test until each label has two fifths there, or ``MAX_LABEL_TEST``; drop labels too small."""
    groups: dict[str, list[SuiteImage]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    for each in sorted(images, key=lambda each: order_key(each.path)):
        groups[each.group].append(each)
        totals[each.label] += 1
    wanted = {label: min(round(TEST_SHARE * n), MAX_LABEL_TEST) for label, n in totals.items()}
    learn: dict[str, list[SuiteImage]] = defaultdict(list)
    test: dict[str, list[SuiteImage]] = defaultdict(list)
    for name in sorted(groups, key=order_key):
        is_short = any(len(test[each.label]) < wanted[each.label] for each in groups[name])
        for each in groups[name]:
            (test if is_short else learn)[each.label].append(each)
    kept = sorted(label for label in totals if _is_large_enough(learn[label], test[label]))
    return Sides(*({label: _mixed(side[label]) for label in kept} for side in (learn, test)))


def _is_large_enough(learn: Sequence[SuiteImage], test: Sequence[SuiteImage]) -> bool:
    """Tell whether a label can be in a task; two groups, so that one of them can be for validation."""
    return len(learn) >= MIN_LEARN and len(test) >= MIN_LABEL_TEST and len({each.group for each in learn}) > 1


def _mixed(images: Iterable[SuiteImage]) -> list[SuiteImage]:
    """Return images in an order in which a group's don't follow each other, so that a few are of many groups."""
    return sorted(images, key=lambda each: order_key(each.path))


def plans(origin: str, sides: Sides) -> list[Plan]:
    """Return an origin's tasks, none where its test images are too few.

    These are a ladder of its largest classes, where each has 20 images to learn from or more; all its classes, up to
    ``MAX_CLASSES``, as unequal as they are; one of up to ``LARGE`` images a class where two classes have more than
    half of that; and some drawn ones, of few or many classes with few or many images.
    """
    have = {label: len(images) for label, images in sides.learn.items()}
    by_size = sorted(have, key=lambda label: (-have[label], label))
    draw = random.Random(origin)  # noqa: S311 - the same draw everywhere is what is wanted
    candidates = [*_ladder(origin, by_size, have), *_wide(origin, by_size, have), *_drawn(origin, have, draw)]
    learnt: set[tuple[tuple[str, ...], int]] = set()
    wanted = []
    for plan in candidates:
        learns = (plan.classes, min(plan.per_label, max(have[label] for label in plan.classes)))
        if learns not in learnt and len(plan.classes) > 1 and _n_test(plan.classes, sides) >= MIN_TEST:
            learnt.add(learns)
            wanted.append(plan)
    return wanted


def _ladder(origin: str, by_size: Sequence[str], have: dict[str, int]) -> Iterator[Plan]:
    classes = tuple(sorted(by_size[:LADDER_CLASSES]))
    rungs = [rung for rung in RUNGS if classes and rung <= min(have[label] for label in classes)]
    if len(rungs) > 1:
        yield from (Plan(f"{origin}-{rung:03}", classes, rung, rung) for rung in rungs)


def _wide(origin: str, by_size: Sequence[str], have: dict[str, int]) -> Iterator[Plan]:
    yield Plan(f"{origin}-all", tuple(sorted(by_size[:MAX_CLASSES])), SIZES[-1])
    large = tuple(sorted(label for label in by_size[:LADDER_CLASSES] if have[label] > LARGE // 2))
    if len(large) > 1:
        yield Plan(f"{origin}-large", large, LARGE)


def _drawn(origin: str, have: dict[str, int], draw: random.Random) -> Iterator[Plan]:
    labels = sorted(have)
    for number in range(N_DRAWN if len(labels) > 1 else 0):
        n_classes = draw.choice([n for n in CLASSES if n <= len(labels)])
        classes = tuple(sorted(draw.sample(labels, n_classes)))
        middle = statistics.median(have[label] for label in classes)
        yield Plan(f"{origin}-{'abc'[number]}", classes, draw.choice([size for size in SIZES if size <= middle]))


def _n_test(classes: Sequence[str], sides: Sides) -> int:
    return sum(len(sides.test[label]) for label in classes)


def write_task(plan: Plan, sides: Sides, out: Path, origin: str) -> Path:
    """Write OUT/tasks/NAME/manifest.csv and task.json, and return the folder."""
    folder = out / "tasks" / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(each, "train") for label in plan.classes for each in sides.learn[label][: plan.per_label]]
    top = MAX_TEST // len(plan.classes)
    rows += [(each, "test") for label in plan.classes for each in sides.test[label][:top]]
    write_manifest(folder, rows)
    about = {"name": plan.name, "origin": SHARED.get(origin, origin)}
    (folder / "task.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    return folder


def write_manifest(folder: Path, rows: Iterable[tuple[SuiteImage, str]]) -> None:
    """Write FOLDER/manifest.csv of (image, split, or "" where scalepred is to choose); FOLDER is OUT/X/NAME."""
    lines = sorted((f"../../{each.path}", each.label, split, each.group) for each, split in rows)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        writer.writerows(lines)
