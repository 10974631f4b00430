"""Reads data once: lists its images, decodes them, finds duplicates and splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.data.duplicates import joined, near_duplicate_groups
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry, Listing
from scalepred.data.load import IN_MEMORY_BYTES, Loaded, load_images
from scalepred.data.scan import Skipped
from scalepred.data.splits import split_images


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The usable images of a listing, in its order, and what was found out about each.

    Attributes:
        good: n entries.
        loaded: their n images, and the reasons of the others.
        labels: (n,) class names.
        given: n splits of the user's own, or None if the user made none.
        same: (n,) group numbers of near duplicates.
        groups: (n,) group numbers of what shares a split: near duplicates and the user's groups, joined.
        codes: (n,) positions in ``SPLITS``.
    """

    listing: Listing
    good: list[Entry]
    loaded: Loaded
    labels: np.ndarray
    given: list[str | None] | None
    same: np.ndarray
    groups: np.ndarray
    codes: np.ndarray


def read_data(
    data: str | Path,
    *,
    image_px: int,
    split_seed: int,
    max_megapixels: float,
    max_bytes: int = IN_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None,
) -> Reading:
    listing = list_images(data)
    items = [entry.item for entry in listing.entries]
    loaded = load_images(
        items, image_px=image_px, max_megapixels=max_megapixels, max_bytes=max_bytes, on_progress=on_progress
    )
    good = [listing.entries[i] for i in loaded.kept]
    same = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    groups = joined(same, [entry.group for entry in good])
    labels = np.array([entry.label for entry in good], dtype=object)
    given = [entry.split for entry in good] if any(entry.split for entry in good) else None
    codes = split_images(labels, groups, loaded.hashes, seed=split_seed, given=given)
    return Reading(
        listing=listing, good=good, loaded=loaded, labels=labels, given=given, same=same, groups=groups, codes=codes
    )


def bad_images(found: Reading) -> list[Skipped]:
    return [Skipped(found.listing.entries[i].path, reason) for i, reason in found.loaded.bad]
