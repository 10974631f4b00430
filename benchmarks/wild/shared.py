"""Tells which collections of a suite have images in common: what ``SHARED`` in origins.py is chosen by."""

import csv
import itertools
from collections import defaultdict
from pathlib import Path

from scalepred.files import sha256


def print_shared(out: Path, *, at_least: float = 0.05) -> None:
    """Print pairs of collections that share images byte by byte, and what of each domain is in how many tasks.

    Args:
        out: a suite that is built.
        at_least: of the smaller collection's images, counted over its tasks; pairs that share less are not shown.
    """
    tasks = {folder.name: _images(folder) for folder in sorted((out / "tasks").iterdir())}
    collections: dict[str, set[str]] = defaultdict(set)
    for files in tasks.values():
        for file in files:
            collections[file.parent.parent.name].add(sha256(file))  # OUT/pictures/COLLECTION/LABEL/NAME
    for one, other in itertools.combinations(sorted(collections), 2):
        n, least = len(collections[one] & collections[other]), min(len(collections[one]), len(collections[other]))
        if n >= at_least * least:
            print(f"{n / least:.1%} {one}, {other}: {n} of {least} images")
    by_task = {name: set(map(sha256, files)) for name, files in tasks.items()}
    for folder in sorted((out / "domains").glob("*")):
        hashes_here = set(map(sha256, _images(folder)))
        n_tasks = sum(not hashes_here.isdisjoint(hashes) for hashes in by_task.values())
        n = len(hashes_here & set().union(*by_task.values()))
        print(f"{folder.name}: {n} of {len(hashes_here)} images are in {n_tasks} of {len(tasks)} tasks")


def _images(folder: Path) -> set[Path]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {(folder / row["path"]).resolve() for row in csv.DictReader(file)}
