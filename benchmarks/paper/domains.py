"""Domains and their four parts: what a source learns, what validates sources and targets, and what is transferred.

Source: Dube et al. 2018, section 3 ("split into four equal partitions. One was used to train the source model, two were
used to validate the source and target models, and the last was used for the Transfer Learning task. One-tenth of the
fourth partition was used to create a Transfer Learning target"). Departs: images of a group, such as the frames of an
animation, stay in one part, since they are nearly the same; and the part that validates the source also tests the
target, which the paper does not. No network has learnt from it.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.wild.cut import order_key
from scalepred.errors import DataError
from scalepred.files import sha256, write_text

N_PARTS = 4
TENTH = 10
MOST_HELD_OUT = 1000
"""Images of a part that validates or tests, at most; all networks meet the same ones."""


@dataclass(frozen=True)
class DomainImage:
    """An image; those of a group stay in one part. ``key`` names it the same on every machine."""

    path: Path
    label: str
    group: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The images of a domain, and the origin of its tasks: all collections that they are of."""

    name: str
    images: tuple[DomainImage, ...]
    origin: str

    @property
    def labels(self) -> list[str]:
        """Return its labels, in order."""
        return sorted({image.label for image in self.images})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The four parts of a domain, and a tenth of the fourth.

    Attributes:
        source: what a source is trained on.
        source_val: validates it, and tests targets.
        target_val: validates targets.
        transfer: what a target is drawn from.
        target: a tenth of it, at least one image of each label.
        dropped: labels that are in none of them, since they have no image for each.
    """

    source: tuple[DomainImage, ...]
    source_val: tuple[DomainImage, ...]
    target_val: tuple[DomainImage, ...]
    transfer: tuple[DomainImage, ...]
    target: tuple[DomainImage, ...]
    dropped: tuple[str, ...]


def in_parts(domain: Domain) -> Parts:
    """Split a domain into four parts of about equal size, each label evenly, by the names of images alone.

    Raises:
        DataError: if fewer than two labels have images in all four.
    """
    parts = _dealt(domain.images)
    shared = set.intersection(*({image.label for image in part} for part in parts))
    if len(shared) < 2:
        raise DataError(
            f"The domain {domain.name} is too small for four parts: {len(shared)} of its {len(domain.labels)} labels "
            f"have images for each, and two are needed. Give every label {N_PARTS} images or more, in as many groups."
        )
    source, source_val, target_val, transfer = (tuple(i for i in part if i.label in shared) for part in parts)
    return Parts(
        source=source,
        source_val=at_most(source_val, MOST_HELD_OUT),
        target_val=at_most(target_val, MOST_HELD_OUT),
        transfer=transfer,
        target=a_tenth(transfer),
        dropped=tuple(sorted(set(domain.labels) - shared)),
    )


def _dealt(images: Iterable[DomainImage]) -> list[list[DomainImage]]:
    """Give each group, largest first, to the part that has the fewest images of its labels."""
    groups: dict[str, list[DomainImage]] = defaultdict(list)
    for image in sorted(images, key=lambda image: order_key(image.key)):
        groups[image.group].append(image)
    parts: list[list[DomainImage]] = [[] for _ in range(N_PARTS)]
    counts: list[Counter[str]] = [Counter() for _ in range(N_PARTS)]
    for name in sorted(groups, key=lambda name: (-len(groups[name]), order_key(name))):
        members = Counter(image.label for image in groups[name])
        at = min(range(N_PARTS), key=lambda n: (sum(counts[n][label] for label in members), len(parts[n]), n))
        parts[at] += groups[name]
        counts[at] += members
    return parts


def a_tenth(images: Sequence[DomainImage]) -> tuple[DomainImage, ...]:
    """Return a tenth of each label's images, at least one."""
    return _first(images, {label: max(1, round(n / TENTH)) for label, n in _counts(images).items()})


def at_most(images: Sequence[DomainImage], n: int) -> tuple[DomainImage, ...]:
    """Return about ``n`` images at most, each label's share of them, at least one."""
    if len(images) <= n:
        return tuple(images)
    return _first(images, {label: max(1, count * n // len(images)) for label, count in _counts(images).items()})


def _counts(images: Iterable[DomainImage]) -> Counter[str]:
    return Counter(image.label for image in images)


def _first(images: Iterable[DomainImage], wanted: Mapping[str, int]) -> tuple[DomainImage, ...]:
    seen: Counter[str] = Counter()
    kept = []
    for image in sorted(images, key=lambda image: order_key(image.key)):
        seen[image.label] += 1
        if seen[image.label] <= wanted[image.label]:
            kept.append(image)
    return tuple(kept)


# --- several domains --------------------------------------------------------------------------------------------------


def apart(domains: Sequence[Domain]) -> tuple[list[Domain], list[str]]:
    """Leave an image that is in several domains, byte by byte, to the smallest of them; returns notes of that too."""
    sizes = {domain.name: len(domain.images) for domain in domains}
    keepers = {}
    for holders in _copies(domains):
        keeper = min(holders, key=lambda name: (sizes[name], name))
        keepers |= dict.fromkeys((path for paths in holders.values() for path in paths), keeper)
    kept, notes = [], []
    for domain in domains:
        images = tuple(image for image in domain.images if keepers.get(image.path, domain.name) == domain.name)
        if lost := len(domain.images) - len(images):
            notes.append(
                f"{domain.name}: {lost} of its {len(domain.images)} images are in a smaller domain too: left out"
            )
        kept.append(replace(domain, images=images))
    return kept, notes


def _copies(domains: Sequence[Domain]) -> list[dict[str, list[Path]]]:
    """Return domain -> paths for each content that several domains have; only files of one size are read."""
    sizes: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for domain in domains:
        for image in domain.images:
            sizes[image.path.stat().st_size].append((domain.name, image.path))
    contents: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for alike in sizes.values():
        if len({name for name, _ in alike}) > 1:
            for name, path in alike:
                contents[sha256(path)][name].append(path)
    return [dict(holders) for holders in contents.values() if len(holders) > 1]


def overlap(source: Domain, target: Domain) -> list[str]:
    """Return the classes that a source and a target have in common, by the last part of their labels."""
    ends = [{label.rpartition("/")[2] for label in domain.labels} for domain in (source, target)]
    return sorted(ends[0] & ends[1])


# --- as tasks ---------------------------------------------------------------------------------------------------------


def write_domain(domain: Domain, folder: Path) -> Parts:
    """Write a domain as three tasks: FOLDER/source to pretrain on, FOLDER/target and ten times that, FOLDER/large."""
    parts = in_parts(domain)
    held_out = {"val": parts.target_val, "test": parts.source_val}
    tasks = {
        "source": {"train": parts.source, "val": parts.source_val},
        "target": {"train": parts.target, **held_out},
        "large": {"train": parts.transfer, **held_out},
    }
    for part, splits in tasks.items():
        write_task(folder / part, splits, f"{domain.name}-{part}", domain.origin)
    return parts


def write_task(folder: Path, splits: Mapping[str, Sequence[DomainImage]], name: str, origin: str) -> None:
    """Write manifest.csv and task.json, which scalepred reads as a task."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(str(i.path.resolve()), i.label, split, i.group) for split, images in splits.items() for i in images]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", "group"], *sorted(rows)])
    write_text(folder / "task.json", json.dumps({"name": name, "origin": origin}) + "\n")
