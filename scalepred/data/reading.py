"""Reads data once: lists its images, decodes them, finds duplicates and splits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scalepred.data.aside import SetAside, without_excluded, without_small_or_untrained
from scalepred.data.decode import check_megapixels
from scalepred.data.duplicates import joined, near_duplicate_groups
from scalepred.data.grouping import grouped
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.layouts import list_images
from scalepred.data.listing import Entry, Listing
from scalepred.data.load import IN_MEMORY_BYTES, Loaded, load_images
from scalepred.data.scan import Skipped
from scalepred.data.splits import check_seed, split_images
from scalepred.data.twins import joined_twins


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
        set_aside: classes that are not used, and are none of the above.
        strict: the user wants no class set aside for lack of training images.
    """

    listing: Listing
    entries: list[Entry]
    loaded: Loaded
    labels: np.ndarray
    given: list[str | None] | None
    near_groups: np.ndarray
    groups: np.ndarray
    codes: np.ndarray
    set_aside: list[SetAside] = field(default_factory=list)
    strict: bool = False


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
        DataError: as ``list_images``, and if a pattern for groups finds nothing.
        UsageError: if a class is to be excluded that there isn't, or an argument can't be used.
    """
    check_seed("split_seed", split_seed)
    check_megapixels(max_megapixels)
    listing, excluded = without_excluded(joined_twins(list_images(data, layout=layout)), layout)
    listing = grouped(listing, layout.group_pattern)
    loaded = load_images(
        [entry.item for entry in listing.entries],
        image_px=image_px,
        resize=resize,
        max_megapixels=max_megapixels,
        max_bytes=max_bytes,
        on_progress=on_progress,
    )
    loaded, unused = without_small_or_untrained(listing, loaded, layout)
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
        set_aside=excluded + unused,
        strict=layout.strict,
    )


def bad_images(reading: Reading) -> list[Skipped]:
    """Return the images of the listing that can't be used, each with its reason."""
    return [Skipped(reading.listing.entries[i].path, reason) for i, reason in reading.loaded.bad]
