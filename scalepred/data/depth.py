"""Takes the class from a level of folders, and says what other levels would give."""

from collections import defaultdict
from dataclasses import replace

from scalepred.data.listing import Entry
from scalepred.data.splits import split_of_name

Depth = int | str | None
"""The level of the class, "path" for all of them, None for the outermost."""

Chain = tuple[str, ...]
"""The folders between the data, or a split's folder, and an image, the outermost first; none for what is no image."""

SHOWN = 3


def label_at(chain: Chain, depth: Depth) -> str | None:
    """Return the class of an image, or None where it lies above that level."""
    if depth == "path":
        return "/".join(chain)
    level = depth or 1
    return chain[level - 1] if isinstance(level, int) and len(chain) >= level else None


def in_words(depth: Depth) -> str:
    """Return what is added to the layout in words."""
    if depth in (None, 1):
        return ""
    return ", the class is the whole path" if depth == "path" else f", the class is at depth {depth}"


def level_notes(chains: list[Chain], depth: Depth) -> list[str]:
    """Return what other levels would give where none was asked for, and else which names were joined."""
    chains = [chain for chain in chains if chain]
    if depth is None:
        return _other_levels(chains)
    return _joined_folders(chains, depth) if isinstance(depth, int) else []


def _other_levels(chains: list[Chain]) -> list[str]:
    classes = sorted({chain[0] for chain in chains})
    others = []
    for level in range(2, max(map(len, chains), default=0) + 1):
        names = sorted({chain[level - 1] for chain in chains if len(chain) >= level})
        if len(names) > 1:
            n_above = sum(len(chain) < level for chain in chains)
            left = f" and leaves out {n_above} image{'s' * (n_above > 1)} above it" if n_above else ""
            others.append(f"--class-depth {level} gives {len(names)}{_few(names)}{left}")
    if not others:
        return []
    paths = sorted({"/".join(chain) for chain in chains})
    others.append(f"--class-depth path gives {len(paths)}{_few(paths)}")
    have = "1 class" if len(classes) == 1 else f"{len(classes)} classes"
    return [f"{have} at depth 1{_few(classes)}; {'; '.join(others)}"]


def _joined_folders(chains: list[Chain], depth: int) -> list[str]:
    """Return a note on classes whose images come from folders of the same name in several places."""
    places = defaultdict(set)
    for chain in chains:
        if len(chain) >= depth:
            places[chain[depth - 1]].add(chain[:depth])
    several = sorted(name for name, folders in places.items() if len(folders) > 1)
    if not several:
        return []
    have = "1 class joins" if len(several) == 1 else f"{len(several)} classes join"
    return [f"{have} folders of the same name in several places{_few(several)}; --class-depth path keeps them apart"]


def _few(names: list[str]) -> str:
    return f" ({', '.join(map(repr, names[:SHOWN]))}{', …' if len(names) > SHOWN else ''})"


def splits_below_classes(entries: list[Entry], chains: list[Chain]) -> tuple[list[Entry], list[str]]:
    """Return the entries in the splits that lie in every class, such as cat/train and cat/test, and what to know of it.

    They are taken where every image lies in such a folder, and training and another split are among them.
    """
    splits = [split_of_name(chain[1]) if len(chain) > 1 else None for chain in chains]
    of_images = {split for split, chain in zip(splits, chains, strict=True) if chain}
    if None in of_images or not {"train"} < of_images:
        return entries, []
    names = ", ".join(sorted({repr(chain[1]) for chain in chains if chain}))
    note = f"the folders {names} in the classes are taken for splits; --class-depth 1 takes no notice of them"
    return [replace(entry, split=split) for entry, split in zip(entries, splits, strict=True)], [note]
