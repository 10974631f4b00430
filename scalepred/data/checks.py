"""What a user should know of the data before training: warnings, and what keeps it from being used."""

import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from scalepred.data.reading import Reading
from scalepred.data.splits import FEWEST, SPLIT_NAMES, SPLITS

KEPT = "the splits are kept, and accuracies will look better than they are"

OWN_SPLITS = "give your own splits (folders train/val/test, or a `split` column)"


def problem_of(found: Reading) -> str | None:
    """Return why nothing can be learnt from these images, or None."""
    labels, codes = found.labels, found.codes
    classes = sorted(set(labels))
    if len(classes) < 2:
        seen = f"one class, {classes[0]!r}" if classes else "no usable image"
        return f"found {seen}; at least two classes with images are needed."
    untrained = sorted(set(labels) - set(labels[codes == 0]))
    if untrained:
        return f"no training images of {_few(untrained)}; add some, or remove the class."
    if not (codes == 1).any():
        return f"{len(labels)} images leave none to validate on; {_why_none(found)}."
    return None


def _why_none(found: Reading) -> str:
    """Return why no image can be spared to validate on, by what joined most of them, and what to do."""
    n, n_same, n_groups = len(found.good), len(set(found.same)), len(set(found.groups))
    n_near = len(set(found.loaded.hashes)) - n_same
    if n_same - n_groups > n_near:
        lie = "lie in 1 group" if n_groups == 1 else f"lie in {n_groups} groups"
        return f"they {lie}, and images of a group share a split; make smaller groups, or {OWN_SPLITS}"
    if n_near:
        return f"{_repeats(n - n_same, n)}; if they are not, {OWN_SPLITS}"
    return "at least one class needs two different images, and every class should have five or more"


def _repeats(n: int, total: int) -> str:
    does = "counts as a near duplicate" if n == 1 else "count as near duplicates"
    return f"{n} of {total} images {does} of another and so {'shares' if n == 1 else 'share'} a split"


def class_warnings(found: Reading) -> list[str]:
    counts = Counter(found.labels)
    lost = sorted({entry.label for entry in found.listing.entries} - set(counts))
    single = sorted(name for name, n in counts.items() if n == 1)
    words = [f"the class {name!r} has no images and is left out" for name in found.listing.empty]
    words += [f"the class {name!r} has no usable image and is left out" for name in lost]
    if single:
        have, them = _classes(len(single))
        words.append(
            f"{have} one image, which is kept for training, so no accuracy says anything of {them}: {_few(single)}"
        )
    if counts and set(map(str.lower, counts)) <= set(SPLIT_NAMES):
        words.append(
            f"the classes are called {_few(sorted(counts))}; if these are splits, each needs a folder for each class"
        )
    return words + _twins(sorted(counts))


def notes_of_images(found: Reading) -> list[str]:
    """Return one line for each kind of note, with the first image that has it; numbers make no other kind."""
    kinds = defaultdict(list)
    for position, note in found.loaded.notes:
        kinds[re.sub(r"\d+", "", note)].append(f"{found.listing.entries[position].path}: {note}")
    return [some[0] + (f" ({len(some)} images like it)" if len(some) > 1 else "") for some in kinds.values()]


def duplicate_warnings(found: Reading) -> list[str]:
    """Return what to know of near duplicates: how many, under several classes, in several splits of the user's own."""
    words = []
    groups = _shared(found.same)
    if groups:
        is_ours = not set(found.given or ()) - {None, "train"}
        kept = "; duplicates share a split" if is_ours else ""
        if is_ours and 2 * max(map(len, groups)) > len(found.good):
            kept += f"; if they are not duplicates, {OWN_SPLITS}"
        n = sum(len(rows) - 1 for rows in groups)
        words.append(f"{_images(n, 'repeats', 'repeat')} another one exactly or nearly{kept}")
    mixed = [rows for rows in groups if len(set(found.labels[rows])) > 1]
    if mixed:
        rows = sorted(mixed[0], key=lambda row: str(found.labels[row]))
        examples = [f"{found.good[row].path} ({found.labels[row]})" for row in (rows[0], rows[-1])]
        n = sum(map(len, mixed))
        words.append(f"{n} images have duplicates under another class, such as {' and '.join(examples)}")
    n = sum(len(rows) for rows in groups if len(set(found.codes[rows])) > 1)
    if n:
        words.append(f"{n} images have duplicates in another split of your own; {KEPT}")
    return words


def _shared(groups: np.ndarray) -> list[list[int]]:
    """Return the rows of every group that has two or more."""
    members = defaultdict(list)
    for row, group in enumerate(groups):
        members[int(group)].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def split_warnings(found: Reading) -> list[str]:
    if found.given is None:
        return []
    words = []
    torn = _torn_groups(found)
    if torn:
        lie = "1 group lies" if len(torn) == 1 else f"{len(torn)} groups lie"
        words.append(f"{lie} in several of your splits; {KEPT}: {_few(torn)}")
    unnamed = found.given.count(None)
    if unnamed:
        words.append(f"{_images(unnamed, 'is', 'are')} without a split and taken for training")
    if not (found.codes == 2).any() and set(found.given) - {None, "train"}:
        words.append("your splits have no test images, so there is no test accuracy")
    return words


def _torn_groups(found: Reading) -> list[str]:
    """Return the user's groups that lie in several splits."""
    splits = defaultdict(set)
    for entry, code in zip(found.good, found.codes, strict=True):
        if entry.group:
            splits[entry.group].add(int(code))
    return sorted(group for group, codes in splits.items() if len(codes) > 1)


def absence_warnings(found: Reading) -> list[str]:
    """Return the classes that are trained on and left out of an accuracy: a line for each reason, none for each class.

    Those of a single image are not among them.
    """
    absences = defaultdict(list)
    for name, word in (("val", "validation"), ("test", "test")):
        for label, reason in _absent(found, name).items():
            absences[label, reason].append(word)
    alike = defaultdict(list)
    for (label, reason), words in sorted(absences.items()):
        alike[tuple(words), reason].append(label)
    return [_absence(words, reason, labels) for (words, reason), labels in alike.items()]


def _absence(words: tuple[str, ...], reason: str, labels: list[str]) -> str:
    have, them = _classes(len(labels))
    says = "accuracy says" if len(words) == 1 else "accuracies say"
    return (
        f"{have} no {' or '.join(words)} images, so the {' and '.join(words)} {says} nothing of {them} "
        f"({reason}): {_few(labels)}"
    )


def _absent(found: Reading, name: str) -> dict[str, str]:
    """Return the classes of two images or more that a split lacks, though it and train have some, with the reason."""
    given = found.given or []
    there = set(found.labels[found.codes == SPLITS.index(name)])
    if not there:
        return {}
    drawn_from = found.codes < 2 if "test" in given else np.ones(len(found.codes), bool)
    labels, groups = found.labels[drawn_from], found.groups[drawn_from]
    n_images, n_groups = Counter(labels), Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    several = {label for label, n in Counter(found.labels).items() if n > 1}
    reasons = {}
    for label in set(found.labels[found.codes == 0]) & several - there:
        if name in given:
            reasons[label] = "your splits give none"
        elif 1 == n_groups[label] < n_images[label]:
            reasons[label] = "all images are one group or near duplicates, which share a split"
        elif n_images[label] < FEWEST[name]:
            reasons[label] = f"fewer than {FEWEST[name]} images to draw from"
        else:
            reasons[label] = "too few groups, with near duplicates counted as one"
    return reasons


def _twins(classes: list[str]) -> list[str]:
    """Return a warning for class names that look the same: other Unicode forms, capitals, or blanks around them."""
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFKC", name).casefold().strip()].append(name)
    return [
        f"the classes {' and '.join(map(repr, names))} look the same and are kept apart"
        for names in alike.values()
        if len(names) > 1
    ]


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" … ({len(names)} in all)" if len(names) > 5 else "")


def _images(n: int, does: str, do: str) -> str:
    return f"1 image {does}" if n == 1 else f"{n} images {do}"


def _classes(n: int) -> tuple[str, str]:
    return ("1 class has", "it") if n == 1 else (f"{n} classes have", "them")
