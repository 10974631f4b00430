"""Reads data once: lists its images, decodes them, finds duplicates and splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalepred.data.duplicates import joined, near_duplicate_groups
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry, Listing
from scalepred.data.load import IN_MEMORY_BYTES, Loaded, load_images
from scalepred.data.scan import Skipped
from scalepred.data.splits import split_images


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The usable images of a listing, in its order, with the splits and groups of each.

    Attributes:
        entries: the n entries whose images can be used.
        loaded: their n images, and the reasons why the others can't be used.
        labels: (n,) class names.
        given: n splits that the user made, or None if the user made none.
        near_groups: (n,) group numbers of near duplicates.
        groups: (n,) group numbers of what shares a split: near duplicates and the user's groups, joined.
        codes: (n,) positions in ``SPLITS``.
    """

    listing: Listing
    entries: list[Entry]
    loaded: Loaded
    labels: np.ndarray
    given: list[str | None] | None
    near_groups: np.ndarray
    groups: np.ndarray
    codes: np.ndarray


def read_data(
    data: str | Path,
    *,
    image_px: int,
    resize: str = "squash",
    split_seed: int,
    max_megapixels: float,
    max_bytes: int = IN_MEMORY_BYTES,
    layout: Layout = FOUND_OUT,
    on_progress: Callable[[int, int], None] | None,
) -> Reading:
    """List the images of the data, decode each once, group what must share a split, and split.

    Raises:
        DataError: as ``list_images``.
    """
    listing = list_images(data, layout=layout)
    loaded = load_images(
        [entry.item for entry in listing.entries],
        image_px=image_px,
        resize=resize,
        max_megapixels=max_megapixels,
        max_bytes=max_bytes,
        on_progress=on_progress,
    )
    entries = [listing.entries[i] for i in loaded.kept]
    near_groups = near_duplicate_groups(loaded.hashes, loaded.thumbnails)
    groups = joined(near_groups, [entry.group for entry in entries])
    labels = np.array([entry.label for entry in entries], dtype=object)
    given = [entry.split for entry in entries] if any(entry.split for entry in entries) else None
    return Reading(
        listing=listing,
        entries=entries,
        loaded=loaded,
        labels=labels,
        given=given,
        near_groups=near_groups,
        groups=groups,
        codes=split_images(labels, groups, loaded.hashes, seed=split_seed, given=given),
    )


def bad_images(reading: Reading) -> list[Skipped]:
    """Return the images of the listing that can't be used, each with its reason."""
    return [Skipped(reading.listing.entries[i].path, reason) for i, reason in reading.loaded.bad]
