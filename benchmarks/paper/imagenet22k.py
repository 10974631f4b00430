"""ImageNet22K as it is given: a folder of synset folders and WordNet's hierarchy become the paper's fifteen domains.

    ROOT/wordnet.is_a.txt     a line "PARENT CHILD" for each is-a relation
    ROOT/words.txt            a line "SYNSET<tab>word, word" for each synset
    ROOT/n12345678/*.JPEG     the images of a synset

The paper names its domains and not their synsets. A synset belongs to the domain whose root is the nearest above it, so
that none is in two.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paper.domains import Domain, DomainImage
from scalepred.errors import DataError, join_problems

HIERARCHY, WORDS = "wordnet.is_a.txt", "words.txt"

ROOTS = {
    "sport": "n00523513",
    "garment": "n03419014",
    "fungus": "n12992868",
    "weapon": "n04565375",
    "plant": "n00017222",
    "animal": "n00015388",
    "furniture": "n03405725",
    "food": "n00021265",
    "person": "n00007846",
    "nature": "n09287968",
    "music": "n03800933",
    "fruit": "n13134947",
    "fabric": "n03309808",
    "tool": "n04451818",
    "building": "n02913152",
}
"""Domain -> its root. Source: Dube et al. 2018, section 3, for the names. WordNet calls no things nature or music:
geological formation and musical instrument stand for them."""

ENDINGS = {".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp"}
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ImageNet22K:
    """The domains that have images, and what a user should know."""

    domains: tuple[Domain, ...]
    notes: tuple[str, ...]


def read_imagenet22k(root: Path, *, roots: Mapping[str, str] = ROOTS) -> ImageNet22K:
    """Read the domains.

    Args:
        root: the folder of synsets, the hierarchy and the words.
        roots: domain -> the synset above its others.

    Raises:
        DataError: if a file is missing or damaged, the hierarchy has a cycle, it lacks a domain's root, or no domain
            has images.
    """
    children, words = _hierarchy(root / HIERARCHY), _words(root / WORDS)
    _check_acyclic(children, root / HIERARCHY)
    if lacking := [f"{name} ({synset})" for name, synset in roots.items() if synset not in words]:
        raise DataError(join_problems(f"{root / WORDS} lacks the roots of these domains:", lacking))
    owner, n_shared = _owners(children, roots)
    synsets: dict[str, list[str]] = defaultdict(list)
    for synset, name in owner.items():
        synsets[name].append(synset)
    notes = [f"{n_shared} synsets are below several domains; each belongs to the nearest"] if n_shared else []
    domains = []
    for name in roots:
        images, empty = _images(root, sorted(synsets[name]))
        if empty:
            notes.append(f"{name}: {len(empty)} synsets have no images: {_some(empty, words)}")
        if images:
            domains.append(Domain(name=name, images=tuple(images), origin=name))
        else:
            notes.append(f"{name}: no images, so no domain")
    if strangers := sorted({each.name for each in root.iterdir() if each.is_dir()} - set(owner)):
        notes.append(f"{len(strangers)} folders belong to no domain: {_some(strangers, words)}")
    if not domains:
        raise DataError(
            f"{root} has images of none of the {len(roots)} domains: give the folder of the synset folders."
        )
    return ImageNet22K(domains=tuple(domains), notes=tuple(notes))


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise DataError(
            f"{file} can't be read: {reason}. ImageNet gives it; put it beside the synset folders."
        ) from error


def _hierarchy(file: Path) -> dict[str, list[str]]:
    """Return synset -> those right below it."""
    children: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(_lines(file), start=1):
        if len(parts := line.split()) != 2:
            raise DataError(f"{file}, line {number}: {line!r:.60} is no pair of synsets, parent and child.")
        children[parts[0]].append(parts[1])
    return children


def _words(file: Path) -> dict[str, str]:
    """Return synset -> its words."""
    pairs = [line.partition("\t") for line in _lines(file)]
    if wrong := [number for number, pair in enumerate(pairs, start=1) if not pair[1]]:
        raise DataError(f"{file}, line {wrong[0]}: there is no tab between a synset and its words.")
    return {synset.strip(): text.strip() for synset, _, text in pairs}


def _check_acyclic(children: Mapping[str, Sequence[str]], file: Path) -> None:
    """Take synsets away that have none above them until none is left.

    Raises:
        DataError: naming a cycle if some are always left.
    """
    n_above: dict[str, int] = defaultdict(int)
    for below in children.values():
        for child in below:
            n_above[child] += 1
    ready = deque(synset for synset in children if not n_above[synset])
    left = set(children) | set(n_above)
    while ready:
        synset = ready.popleft()
        left.discard(synset)
        for child in children.get(synset, ()):
            n_above[child] -= 1
            if not n_above[child]:
                ready.append(child)
    if left:
        cycle = " > ".join(_cycle(children, left))
        raise DataError(f"The hierarchy {file} has a cycle, {cycle}: remove one of these relations.")


def _cycle(children: Mapping[str, Sequence[str]], left: set[str]) -> list[str]:
    """Return a cycle among synsets all of which have one of the others above them: go up until one comes again."""
    above = {child: parent for parent in sorted(left) for child in children.get(parent, ()) if child in left}
    path = [min(left)]
    while path.count(path[-1]) < 2:
        path.append(above[path[-1]])
    return path[path.index(path[-1]) :][::-1]


def _owners(children: Mapping[str, Sequence[str]], roots: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Return synset -> the domain of the nearest root above it, the first of several; and how many have several."""
    steps = {name: _steps_below(children, synset) for name, synset in roots.items()}
    owner: dict[str, str] = {}
    n_shared = 0
    for synset in sorted(set().union(*steps.values())):
        above = [name for name in roots if synset in steps[name]]
        owner[synset] = min(above, key=lambda name: steps[name][synset])
        n_shared += len(above) > 1
    return owner, n_shared


def _steps_below(children: Mapping[str, Sequence[str]], root: str) -> dict[str, int]:
    """Return synset -> steps from the root, of the root and all below it."""
    steps, waiting = {root: 0}, deque([root])
    while waiting:
        synset = waiting.popleft()
        for child in children.get(synset, ()):
            if child not in steps:
                steps[child] = steps[synset] + 1
                waiting.append(child)
    return steps


def _images(root: Path, synsets: Sequence[str]) -> tuple[list[DomainImage], list[str]]:
    """Return the images of these synsets, and the synsets that have a folder without any."""
    images, empty = [], []
    for synset in synsets:
        if not (root / synset).is_dir():
            continue
        files = sorted(each for each in (root / synset).iterdir() if each.suffix.lower() in ENDINGS)
        images += [DomainImage(each, synset, f"{synset}/{each.name}", f"{synset}/{each.name}") for each in files]
        if not files:
            empty.append(synset)
    return images, empty


def _some(synsets: Sequence[str], words: Mapping[str, str]) -> str:
    named = [f"{synset} ({words[synset]})" if synset in words else synset for synset in synsets[:SHOWN]]
    return ", ".join(named) + (" …" if len(synsets) > SHOWN else "")
