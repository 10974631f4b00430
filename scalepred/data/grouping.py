"""Groups images by what a pattern finds in their paths, so that a group shares a split."""

import posixpath
from dataclasses import replace

from scalepred.data.listing import Listing
from scalepred.data.patterns import group_reader
from scalepred.errors import DataError


def grouped(listing: Listing, pattern: str | None) -> Listing:
    """Return the listing with the group of each image that has none of its own, and with a note of what was found.

    Raises:
        DataError: if the pattern finds nothing in any path.
    """
    if pattern is None:
        return listing
    read = group_reader(pattern)
    paths = paths_in(listing)
    entries = [replace(each, group=each.group or read(path)) for each, path in zip(listing.entries, paths, strict=True)]
    groups = {entry.group for entry in entries if entry.group}
    if not groups:
        example = f", such as {paths[0]!r}" if paths else ""
        raise DataError(f"--group-pattern {pattern!r} finds nothing in any of {len(entries)} paths{example}.")
    alone = sum(entry.group is None for entry in entries)
    are = "1 image is in none and stands alone" if alone == 1 else f"{alone} images are in none and stand alone"
    rest = f"; {are}" if alone else ""
    note = f"--group-pattern finds {len(groups)} group{'s' * (len(groups) > 1)} in {len(entries) - alone} images{rest}"
    return replace(listing, entries=entries, notes=[*listing.notes, note])


def paths_in(listing: Listing) -> list[str]:
    """Return the images' paths from the data on, or from the folder that all lie in; nothing above it counts."""
    paths = [entry.path for entry in listing.entries]
    root = listing.root or _folder_of_all(paths)
    return [path.removeprefix(root).lstrip("/") for path in paths]


def _folder_of_all(paths: list[str]) -> str:
    try:
        return posixpath.commonpath([posixpath.dirname(path) for path in paths])
    except ValueError:  # no paths, or absolute and relative ones
        return ""
