"""Checks the data before training: warnings, and the problem that keeps it from being used."""

import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from scalepred.data.aside import aside_warnings
from scalepred.data.reading import Reading
from scalepred.data.splits import FEWEST, SPLIT_NAMES, SPLITS

SPLITS_KEPT = "the splits are kept, and accuracies will look better than they are"

UNEVEN = 10
"""Where one class has more than so many times the images of another, the smaller one is easily forgotten."""

GIVE_SPLITS = "give your own splits (folders train/val/test, or a `split` column)"


HOLD_OUT = "finetune by --train-on train, which measures on the validation images"
"""What to do where no test images can be had, as finetune would measure nothing."""


def problem_of(reading: Reading) -> str | None:
    """Return why nothing can be learnt from these images, or None."""
    labels, codes = reading.labels, reading.codes
    classes = sorted(set(labels))
    if len(classes) < 2:
        classes_in_words = f"one class, {classes[0]!r}" if classes else "no usable image"
        return f"found {classes_in_words}; at least two classes with images are needed.{_what_may_help(reading)}"
    untrained = sorted(set(labels) - set(labels[codes == 0]))
    if untrained:
        instead = ", or leave out --strict, which sets it aside" if reading.strict and (codes == 0).any() else ""
        return f"no training images of {_few(untrained)}; add some, or remove the class{instead}."
    if not (codes == 1).any():
        return f"{len(labels)} images leave none to validate on; {_why_none(reading)}."
    return None


def _what_may_help(reading: Reading) -> str:
    """Return what was set aside, and what names of files tell, where there is too little."""
    n = len(reading.set_aside)
    aside = f" Set aside: {'1 class' if n == 1 else f'{n} classes'}." if n else ""
    return aside + (f" {reading.listing.hint}" if reading.listing.hint else "")


def _why_none(reading: Reading) -> str:
    """Return why no image can be spared to validate on, by what joined most of them, and what to do."""
    n, n_same, n_groups = len(reading.entries), len(set(reading.near_groups)), len(set(reading.groups))
    n_near = len(set(reading.loaded.hashes)) - n_same
    if n_same - n_groups > n_near:
        lie = "lie in 1 group" if n_groups == 1 else f"lie in {n_groups} groups"
        return f"they {lie}, and images of a group share a split; make smaller groups, or {GIVE_SPLITS}"
    if n_near:
        return f"{_repeats(n - n_same, n)}; if they are not, {GIVE_SPLITS}"
    return "at least one class needs two different images, and every class should have five or more"


def _repeats(n: int, total: int) -> str:
    does = "counts as a near duplicate" if n == 1 else "count as near duplicates"
    return f"{n} of {total} images {does} of another and so {'shares' if n == 1 else 'share'} a split"


def listing_warnings(reading: Reading) -> list[str]:
    """Return how the data was read where it could be read otherwise, and which classes are set aside."""
    return [*reading.listing.notes, *aside_warnings(reading.set_aside, set(reading.labels))]


def class_warnings(reading: Reading) -> list[str]:
    """Return what to know of classes: empty, of one image, uneven, named like splits, or named alike."""
    counts = Counter(reading.labels)
    aside = {each.label for each in reading.set_aside}
    lost = sorted({entry.label for entry in reading.listing.entries} - set(counts) - aside)
    trained = set(reading.labels[reading.codes == 0])
    single = sorted(name for name, n in counts.items() if n == 1 and name in trained)
    warnings = [f"the class {name!r} has no images and is left out" for name in reading.listing.empty]
    warnings += [f"the class {name!r} has no usable image and is left out" for name in lost]
    if single:
        have, them = _classes(len(single))
        warnings.append(
            f"{have} one image, which is kept for training, so no accuracy says anything of {them}: {_few(single)}"
        )
    warnings += _uneven(counts)
    if counts and set(map(str.lower, counts)) <= set(SPLIT_NAMES):
        warnings.append(
            f"the classes are called {_few(sorted(counts))}; if these are splits, each needs a folder for each class"
        )
    return warnings + _twins(sorted(counts))


def _uneven(counts: Counter[str]) -> list[str]:
    """Return a warning where one class has more than ``UNEVEN`` times the images of another."""
    ordered = sorted((n, name) for name, n in counts.items())
    if not ordered or ordered[-1][0] <= UNEVEN * ordered[0][0]:
        return []
    (least, small), (most, large) = ordered[0], ordered[-1]
    return [
        f"the classes are uneven: {large!r} has {most} images and {small!r} {least}; --class-weights balanced has "
        "all of them weigh the same in training"
    ]


def image_warnings(reading: Reading) -> list[str]:
    """Return one line for each kind of note on images, with the first image that has it; numbers make no other kind."""
    kinds = defaultdict(list)
    for position, note in reading.loaded.notes:
        kinds[re.sub(r"\d+", "", note)].append(f"{reading.listing.entries[position].path}: {note}")
    return [some[0] + (f" ({len(some)} images like it)" if len(some) > 1 else "") for some in kinds.values()]


def duplicate_warnings(reading: Reading) -> list[str]:
    """Return what to know of near duplicates: how many, under several classes, in several of the user's splits."""
    warnings = []
    groups = _shared(reading.near_groups)
    if groups:
        is_ours = not set(reading.given or ()) - {None, "train"}
        kept = "; duplicates share a split" if is_ours else ""
        if is_ours and 2 * max(map(len, groups)) > len(reading.entries):
            kept += f"; if they are not duplicates, {GIVE_SPLITS}"
        n = sum(len(rows) - 1 for rows in groups)
        warnings.append(f"{_images(n, 'repeats', 'repeat')} another one exactly or nearly{kept}")
    mixed = [rows for rows in groups if len(set(reading.labels[rows])) > 1]
    if mixed:
        rows = sorted(mixed[0], key=lambda row: str(reading.labels[row]))
        examples = [f"{reading.entries[row].path} ({reading.labels[row]})" for row in (rows[0], rows[-1])]
        n = sum(map(len, mixed))
        warnings.append(f"{n} images have duplicates under another class, such as {' and '.join(examples)}")
    n = sum(len(rows) for rows in groups if len(set(reading.codes[rows])) > 1)
    if n:
        warnings.append(f"{n} images have duplicates in another split of your own; {SPLITS_KEPT}")
    return warnings


def _shared(groups: np.ndarray) -> list[list[int]]:
    """Return the rows of every group that has two or more."""
    members = defaultdict(list)
    for row, group in enumerate(groups):
        members[int(group)].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def split_warnings(reading: Reading) -> list[str]:
    """Return what to know of the splits: no test images; of the user's, groups in several and images without one."""
    warnings = []
    torn = _torn_groups(reading)
    if torn:
        lie = "1 group lies" if len(torn) == 1 else f"{len(torn)} groups lie"
        warnings.append(f"{lie} in several of your splits; {SPLITS_KEPT}: {_few(torn)}")
    unnamed = (reading.given or []).count(None)
    if unnamed:
        warnings.append(f"{_images(unnamed, 'is', 'are')} without a split and taken for training")
    return warnings + _no_test_images(reading)


def _no_test_images(reading: Reading) -> list[str]:
    """Return a warning where nothing will be tested on, with the reason and what to do."""
    if (reading.codes == 2).any() or problem_of(reading):
        return []
    if set(reading.given or ()) - {None, "train"}:
        return ["your splits have no test images, so there is no test accuracy"]
    few = FEWEST["test"]
    if max(Counter(reading.labels).values()) < few:
        why, do = f"every class has fewer than {few} images", "add images"
    elif any(entry.group for entry in reading.entries):
        why, do = "images of a group share a split, and the groups are too few", "make three groups or more of a class"
    else:
        why, do = "near duplicates share a split, and too few of each class differ", "add images"
    return [f"there are no test images, so there is no test accuracy: {why}; {do}, {GIVE_SPLITS}, or {HOLD_OUT}"]


def _torn_groups(reading: Reading) -> list[str]:
    """Return the user's groups that lie in several splits."""
    splits = defaultdict(set)
    for entry, code in zip(reading.entries, reading.codes, strict=True):
        if entry.group:
            splits[entry.group].add(int(code))
    return sorted(group for group, codes in splits.items() if len(codes) > 1)


def absence_warnings(reading: Reading) -> list[str]:
    """Return the classes that are trained on and left out of an accuracy: a line for each reason, none for each class.

    Those of a single image are not among them.
    """
    absences = defaultdict(list)
    for name, word in (("val", "validation"), ("test", "test")):
        for label, reason in _absent(reading, name).items():
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


def _absent(reading: Reading, name: str) -> dict[str, str]:
    """Return the classes of two images or more that a split lacks, though it and train have some, with the reason."""
    given = reading.given or []
    present = set(reading.labels[reading.codes == SPLITS.index(name)])
    if not present:
        return {}
    drawn_from = reading.codes < 2 if "test" in given else np.ones(len(reading.codes), bool)
    labels, groups = reading.labels[drawn_from], reading.groups[drawn_from]
    n_images, n_groups = Counter(labels), Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    several = {label for label, n in Counter(reading.labels).items() if n > 1}
    reasons = {}
    for label in set(reading.labels[reading.codes == 0]) & several - present:
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
