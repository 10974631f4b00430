"""Sets whole classes aside: those that the user excludes, that are too small, or that training lacks."""

import difflib
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace

from scalepred.data.layout import Layout
from scalepred.data.listing import Listing
from scalepred.data.load import Loaded, keep_rows
from scalepred.errors import UsageError

EXCLUDED = "excluded"
UNTRAINED = "no training images"


@dataclass(frozen=True)
class SetAside:
    """A class that is not used, its images, and why: images that can be used, or all of an excluded class."""

    label: str
    n_images: int
    reason: str


def without_excluded(listing: Listing, layout: Layout) -> tuple[Listing, list[SetAside]]:
    """Return the listing without the classes that the user excludes.

    Raises:
        UsageError: for a class that there isn't, naming those that are spelt nearly so.
    """
    counts = Counter(entry.label for entry in listing.entries)
    excluded = {label for name in layout.exclude_classes for label in _classes_called(name, {*counts, *listing.empty})}
    kept = [entry for entry in listing.entries if entry.label not in excluded]
    empty = [label for label in listing.empty if label not in excluded]
    aside = [SetAside(label, counts[label], EXCLUDED) for label in sorted(excluded)]
    return replace(listing, entries=kept, empty=empty), aside


def _classes_called(name: str, labels: set[str]) -> set[str]:
    """Return the class of a name, whatever its Unicode form."""
    form = unicodedata.normalize("NFC", name)
    same = {name} & labels or {label for label in labels if unicodedata.normalize("NFC", label) == form}
    if not same:
        lowered = {label.lower(): label for label in sorted(labels)}
        close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
        near = f" Did you mean {' or '.join(repr(lowered[each]) for each in close)}?" if close else ""
        shown = ", ".join(map(repr, sorted(labels)[:10])) + (f" … ({len(labels)} in all)" if len(labels) > 10 else "")
        raise UsageError(f"--exclude-class {name!r} is none of the classes: {shown}.{near}")
    return same


def without_small_or_untrained(listing: Listing, loaded: Loaded, layout: Layout) -> tuple[Loaded, list[SetAside]]:
    """Return the usable images without those of classes that are too small, or that training lacks.

    Nothing is lacking where there are no training images at all, and what is lacking stays where it is to be an error.
    """
    entries = [listing.entries[position] for position in loaded.kept]
    counts = Counter(entry.label for entry in entries)
    few = {label for label, n in counts.items() if n < layout.min_images}
    words = f"fewer than {layout.min_images} images"
    aside = [SetAside(label, counts[label], words) for label in sorted(few)]
    trained = {entry.label for entry in entries if entry.split in (None, "train")} - few
    lacking = set() if layout.strict or not trained else {*counts} - few - trained
    aside += [SetAside(label, counts[label], UNTRAINED) for label in sorted(lacking)]
    if not aside:
        return loaded, []
    return keep_rows(loaded, [row for row, entry in enumerate(entries) if entry.label not in few | lacking]), aside


def aside_warnings(aside: list[SetAside], labels: set[str]) -> list[str]:
    """Return a line for each reason why classes are set aside, and what training calls those that it seems to lack."""
    warnings = []
    for reason in dict.fromkeys(each.reason for each in aside):
        some = [each for each in aside if each.reason == reason]
        n = sum(each.n_images for each in some)
        classes = "1 class is" if len(some) == 1 else f"{len(some)} classes are"
        names = ", ".join(f"{each.label!r}{_like(each, labels)}" for each in some[:5])
        more = f" … ({len(some)} in all)" if len(some) > 5 else ""
        images = "1 image" if n == 1 else f"{n} images"
        warnings.append(f"{classes} set aside with {images} ({reason}): {names}{more}")
    return warnings


def _like(each: SetAside, labels: set[str]) -> str:
    """Return a class of training that looks the same as one that training lacks, in words."""
    same = [label for label in sorted(labels) if _looks(label) == _looks(each.label)]
    return f" (training has {same[0]!r})" if same and each.reason == UNTRAINED else ""


def _looks(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()
