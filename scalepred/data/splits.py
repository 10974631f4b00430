"""Splits images into train, val and test by class, and keeps duplicates and groups together."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from scalepred.errors import UsageError

SPLITS = ("train", "val", "test")

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders and of a manifest's column -> split; capitals don't matter."""

BESIDE_A_SPLIT = {"set", "data", "dataset", "images", "image", "imgs", "img", "split", "seg", "folder", "photos"}
"""Words that folders of splits have in their names beside the split's: train_set, test1, seg_train."""


TEST_SHARE = 0.2

VAL_SHARE = 0.2
"""Of what is not test."""

FEWEST = {"val": 2, "test": 5}
"""A class of fewer images gives none to the split."""


def check_seed(option: str, value: int) -> int:
    """Return a seed; raise UsageError unless it is a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{option} must be a whole number of 0 or more, not {value!r}.")
    return value


def split_of_name(name: str) -> str | None:
    """Return the split of a folder's name; "train", "Testing" and "val2017" have one, "test strip" has none."""
    words = set(re.split(r"[\W\d_]+", name.lower())) - BESIDE_A_SPLIT - {""}
    return SPLIT_NAMES.get(name.lower()) or (SPLIT_NAMES.get(words.pop()) if len(words) == 1 else None)


def split_images(
    labels: np.ndarray,
    groups: np.ndarray,
    hashes: Sequence[str],
    *,
    seed: int,
    given: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Return each image's split, (n,) int8: 0 train, 1 val, 2 test.

    A fifth of every class goes to test, where it has five images or more, and a fifth of the rest, at least one of
    two, to val. Images of a group share a split, so the shares are approximate; every class keeps a training image.
    Where groups are so few that one of the two would be empty, val gets one first, and then test.
    A split that the user gave is kept: then val is carved from train where there is none, and test is left empty; an
    image without a split counts as train.

    Args:
        labels: (n,) class names.
        groups: (n,) group numbers.
        hashes: n content hashes; the order of files and their names decide nothing.
        seed: of the draw.
        given: the user's split of each image, or None where there is none.
    """
    codes = np.zeros(len(labels), dtype=np.int8)
    names = set() if given is None else {name or "train" for name in given}
    if given is not None and names != {"train"}:
        codes = np.array([SPLITS.index(name or "train") for name in given], dtype=np.int8)
        if "val" in names:
            return codes
        carve_test = False
    else:
        carve_test = True
    units = _shuffled_units(labels, groups, hashes, np.flatnonzero(codes == 0), seed)
    _carve(codes, labels, units, carve_test=carve_test)
    return codes


def _shuffled_units(
    labels: np.ndarray, groups: np.ndarray, hashes: Sequence[str], rows: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the rows of each group, groups in a random order that depends on content only."""
    members = defaultdict(list)
    for row in rows:
        members[int(groups[row])].append(int(row))
    units = sorted(members.values(), key=lambda unit: sorted((hashes[row], str(labels[row])) for row in unit))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(units))
    return [np.array(units[at]) for at in order]


def _carve(codes: np.ndarray, labels: np.ndarray, units: list[np.ndarray], *, carve_test: bool) -> None:
    """Move whole units from train to test and val until each class has its share there."""
    total = Counter(label for unit in units for label in labels[unit])
    test = {label: round(TEST_SHARE * n) if carve_test and n >= FEWEST["test"] else 0 for label, n in total.items()}
    val = {
        label: max(1, round(VAL_SHARE * (n - test[label]))) if n >= FEWEST["val"] else 0 for label, n in total.items()
    }
    left = Counter(total)
    lacks = {2: dict(test), 1: dict(val)}
    for unit in units:
        counts = Counter(labels[unit])
        for code, wanted in lacks.items():
            fits = all(wanted[label] >= n and left[label] > n for label, n in counts.items())
            if fits:
                codes[unit] = code
                for label, n in counts.items():
                    wanted[label] -= n
                    left[label] -= n
                break
    _top_up(codes, labels, units, code=1, wanted=val, keep=0)
    _top_up(codes, labels, units, code=2, wanted=test, keep=0.5)
    if carve_test and not (codes == 1).any():  # the groups that can be spared are all in test
        codes[:] = 0
        _top_up(codes, labels, units, code=1, wanted=val, keep=0)
    if not (codes == 2).any():  # of three groups of a size none leaves the half
        _top_up(codes, labels, units, code=2, wanted=test, keep=0.25)


def _top_up(
    codes: np.ndarray,
    labels: np.ndarray,
    units: list[np.ndarray],
    *,
    code: int,
    wanted: Mapping[str, int],
    keep: float,
) -> None:
    """Give a class that got nothing, since its groups are all larger than its share, its smallest group.

    Every class of that group keeps an image in train, and ``keep`` of what it had.
    """
    total = Counter(label for unit in units for label in labels[unit])
    lacking = {label for label, n in wanted.items() if n > 0} - set(labels[codes == code])
    for unit in sorted(units, key=len):  # stable, so that the random order decides between equals
        counts = Counter(labels[unit])
        if codes[unit[0]] or lacking.isdisjoint(counts):
            continue
        left = Counter(labels[codes == 0])
        if all(left[label] - n >= max(1, keep * total[label]) for label, n in counts.items()):
            codes[unit] = code
            lacking -= set(counts)
