"""Groups images by what a pattern finds in their paths, so that a group shares a split."""

from dataclasses import replace

from scalepred.data.listing import Entry, Listing
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
    entries = [replace(each, group=each.group or read(path_in(listing, each))) for each in listing.entries]
    groups = {entry.group for entry in entries if entry.group}
    if not groups:
        example = f", such as {path_in(listing, entries[0])!r}" if entries else ""
        raise DataError(f"--group-pattern {pattern!r} finds nothing in any of {len(entries)} paths{example}.")
    alone = sum(entry.group is None for entry in entries)
    are = "1 image is in none and stands alone" if alone == 1 else f"{alone} images are in none and stand alone"
    rest = f"; {are}" if alone else ""
    note = f"--group-pattern finds {len(groups)} group{'s' * (len(groups) > 1)} in {len(entries) - alone} images{rest}"
    return replace(listing, entries=entries, notes=[*listing.notes, note])


def path_in(listing: Listing, entry: Entry) -> str:
    """Return an image's path from the data on, so that nothing above the data counts."""
    return entry.path.removeprefix(listing.root).lstrip("/") if listing.root else entry.path
