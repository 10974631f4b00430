"""Domains of the suite's packages: collections that look alike are one domain, with as many images as they hold.

The suite is what `python -m benchmarks.wild build SUITE` writes.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paper.domains import Domain, DomainImage
from scalepred.errors import DataError
from scalepred.predictor.merged import MERGED

_LETTERS = ("lower", "upper", "digits", "punctuation")
_GREEK = ("greek", "greek-lower", "cyrillic", "cyrillic-lower")
_ALPHABETS = ("armenian", "devanagari", "ethiopic", "georgian", "hebrew", "tamil", "thai")
_FAMILIES = ("hand", "lato", "mono", "sans", "serif", "slabs")
_EMOJI = ("animals", "food", "hands", "objects", "people", "symbols", "travel")
_CLIPART = ("animals", "cards", "computer", "flags", "food", "people", "places", "recreation", "shapes", "signs")

MEMBERS = {
    "glyphs": ("domain-glyphs",),
    "letters": tuple(f"letters-{each}" for each in _LETTERS),
    "greek": tuple(f"letters-{each}" for each in _GREEK),
    "alphabets": tuple(f"alphabet-{each}" for each in _ALPHABETS),
    "families": tuple(f"family-{each}" for each in _FAMILIES),
    "sprites": ("domain-sprites",),
    "workers": ("widelands-amazons", "widelands-barbarians", "widelands-empire"),
    "themes": ("domain-icons",),
    "icons": ("icons-oxygen", "icons-gnome", "icons-faenza"),
    "emoji": tuple(f"emoji-{each}" for each in _EMOJI),
    "clipart": tuple(f"clipart-{each}" for each in (*_CLIPART, "transport")),
    "tiles": (
        "supertux-creatures",
        "supertux-kinds",
        "supertux-tiles",
        "supertux-tux",
        "pingus-ground",
        "pingus-kinds",
    ),
    "sky": ("sky-kinds", "sky-land"),
}
"""Domain -> collections of the suite."""


def read_suite(suite: Path) -> list[Domain]:
    """Return the domains of a suite; one whose collections were not built is left out.

    Raises:
        DataError: if this is no suite, or it has none of their collections.
    """
    try:
        manifest = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))
        origins = {origin["origin"]: origin for origin in manifest["origins"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{suite} is no suite: `python -m benchmarks.wild build {suite}` makes one.") from error
    domains = []
    for name, members in MEMBERS.items():
        there = [member for member in members if member in origins]
        images = {each.key: each for member in there for each in _images(suite, origins[member])}
        if images:
            domains.append(Domain(name=name, images=tuple(images.values()), origin=MERGED.join(there)))
    if not domains:
        raise DataError(f"{suite} has no collection of any domain: build the whole suite.")
    return domains


def _images(suite: Path, origin: dict[str, Any]) -> Iterator[DomainImage]:
    """Yield a collection's images, those that its tasks have, or that it has as a domain."""
    for folder in _folders(suite, origin):
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                path = (folder / row["path"]).resolve()
                label = f"{origin['origin']}/{row['label']}"
                yield DomainImage(path, label, f"{origin['origin']} {row['group']}", f"{label}/{path.name}")


def _folders(suite: Path, origin: dict[str, Any]) -> Sequence[Path]:
    if origin["is_domain"]:
        return [suite / "domains" / origin["origin"]]
    return [suite / "tasks" / task["name"] for task in origin["tasks"]]
