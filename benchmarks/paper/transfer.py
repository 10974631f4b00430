"""The runs of the paper's studies: which targets meet which sources by which recipes, each run by `scalepred harvest`.

Everything lies beside the warehouse, in WAREHOUSE-paper: domains, sources and recipes. A source that is there is not
trained again, and a run that is stored is not run again, so each command may be stopped at any moment.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.paper import oxford_flowers
from benchmarks.paper.domains import Domain, apart, overlap, write_domain
from benchmarks.paper.imagenet22k import read_imagenet22k
from benchmarks.paper.oxford_flowers import read_oxford_flowers, write_oxford_flowers
from benchmarks.paper.settings import Settings, recipes_of
from benchmarks.paper.suite import read_suite
from scalepred.errors import DataError, UsageError
from scalepred.files import appearing, write_text
from scalepred.networks.names import is_source_folder
from scalepred.recipe import Recipe
from scalepred.training.pretrain import blank_network

RANDOM = "random"
N_BLANK = 10
"""Outputs of the network that starts from noise; its head is replaced."""


@dataclass(frozen=True)
class Pair:
    """A target and a source by the names of their domains, and whether they are close in meaning."""

    target: str
    source: str
    is_close: bool


PAIRS = (
    Pair("fabric", "garment", True),
    Pair("tool", "weapon", True),
    Pair("oxford", "plant", True),
    Pair("food", "fruit", True),
    Pair("fungus", "plant", True),
    Pair("person", "food", False),
    Pair("fruit", "garment", False),
    Pair("music", "plant", False),
    Pair("letters", "glyphs", True),
    Pair("greek", "glyphs", True),
    Pair("workers", "sprites", True),
    Pair("icons", "themes", True),
    Pair("emoji", "clipart", True),
    Pair("emoji", "glyphs", False),
    Pair("sky", "sprites", False),
    Pair("clipart", "glyphs", False),
)
"""Source: Dube et al. 2018, section 4.2, for the first eight; the others are of the suite, chosen before any run."""
FAVOURITES = ("tool", "workers")
"""Targets of figure 2: the paper's, and the suite's."""
GRADUATED_PAIRS = (
    Pair("oxford", "plant", True),
    Pair("oxford", "weapon", False),
    Pair("workers", "sprites", True),
    Pair("icons", "themes", True),
    Pair("emoji", "clipart", True),
    Pair("sky", "sprites", False),
)
"""The paper's target, and small ones of the suite, since each set of multipliers is run over octaves."""
GRADUATED = "graduated"


@dataclass(frozen=True)
class Cell:
    """A task and a source that a study wants runs of; both by name."""

    task: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a warehouse's studies lie, and how large they are."""

    warehouse: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        """Return the folder of domains, sources and recipes."""
        return self.warehouse.with_name(f"{self.warehouse.stem}-paper")

    @property
    def domains(self) -> dict[str, dict[str, int]]:
        """Return domain -> its counts, as ``read_domains`` has written them.

        Raises:
            UsageError: if there are none yet.
        """
        file = self.folder / "domains.json"
        if not file.exists():
            raise UsageError("There are no domains yet: give --suite, --imagenet or --flowers.")
        counts: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))["domains"]
        return counts

    def task(self, name: str) -> Path:
        """Return the folder of a task, such as "tool-target" or "tool-large"."""
        domain, _, part = name.rpartition("-")
        return self.folder / "domains" / domain / part

    def source(self, name: str) -> Path:
        """Return a source's folder, or of the random one its weights."""
        return self.folder / "sources" / (f"{RANDOM}.safetensors" if name == RANDOM else name)


# --- domains ----------------------------------------------------------------------------------------------------------


def read_domains(
    place: Place, *, suite: Path | None = None, imagenet: Path | None = None, flowers: Path | None = None
) -> list[str]:
    """Write the domains of these data, unless those are there; returns notes.

    Raises:
        DataError: if any of them can't be read, or a domain is too small for four parts.
        UsageError: if the folder has domains of other data.
    """
    inputs = {
        name: str(path.resolve())
        for name, path in (("suite", suite), ("imagenet", imagenet), ("flowers", flowers))
        if path
    }
    file = place.folder / "domains.json"
    if file.exists():
        there = json.loads(file.read_text(encoding="utf-8"))
        if inputs and there["inputs"] != inputs:
            raise UsageError(f"{place.folder} has domains of other data, {there['inputs']}: give another --warehouse.")
        return list(there["notes"])
    if not inputs:
        raise UsageError("There are no domains yet: give --suite, --imagenet or --flowers.")
    domains, notes = [], []
    if imagenet:
        read = read_imagenet22k(imagenet)
        domains, notes = [*read.domains], [*read.notes]
    if suite:
        domains += read_suite(suite)
    domains, more = apart(domains)
    counts, told = _write(domains, place)
    if flowers:
        oxford = read_oxford_flowers(flowers)
        write_oxford_flowers(oxford, place.folder / "domains" / oxford_flowers.NAME)
        domains.append(oxford.domain)
        counts[oxford_flowers.NAME] = {
            "images": len(oxford.domain.images),
            "labels": len(oxford.domain.labels),
            "target": len(oxford.splits["train"]),
        }
    notes += [*more, *told, *_overlaps(domains)]
    write_text(file, json.dumps({"inputs": inputs, "domains": counts, "notes": notes}, indent=1) + "\n")
    return notes


def _write(domains: Sequence[Domain], place: Place) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Write domains as tasks; one that is too small is told, unless all are."""
    counts, notes = {}, []
    for domain in domains:
        try:
            parts = write_domain(domain, place.folder / "domains" / domain.name)
        except DataError as error:
            notes.append(str(error))
            continue
        named = {"source": parts.source, "source_val": parts.source_val, "target_val": parts.target_val}
        named |= {"transfer": parts.transfer, "target": parts.target}
        counts[domain.name] = {"images": len(domain.images), "labels": len(domain.labels)}
        counts[domain.name] |= {name: len(images) for name, images in named.items()}
        if parts.dropped:
            notes.append(f"{domain.name}: labels with too few images for four parts: {', '.join(parts.dropped)}")
    if domains and not counts:
        raise DataError("\n".join(notes))
    return counts, notes


def _overlaps(domains: Iterable[Domain]) -> list[str]:
    by_name = {domain.name: domain for domain in domains}
    notes = []
    for pair in PAIRS:
        if pair.source in by_name and pair.target in by_name:
            common = overlap(by_name[pair.source], by_name[pair.target])
            if common:
                notes.append(
                    f"{pair.target} from {pair.source}: {len(common)} classes in common: {', '.join(common[:5])}"
                )
    return notes


# --- cells ------------------------------------------------------------------------------------------------------------


def pairs_of(place: Place) -> list[Pair]:
    """Return the pairs whose target and source are there."""
    return _there(PAIRS, place)


def graduated_pairs_of(place: Place) -> list[Pair]:
    """Return the pairs of figure 10 whose target and source are there."""
    return _there(GRADUATED_PAIRS, place)


def _there(pairs: Iterable[Pair], place: Place) -> list[Pair]:
    counts = place.domains
    return [pair for pair in pairs if pair.target in counts and "source" in counts.get(pair.source, {})]


def cells_of(study: str, place: Place) -> list[Cell]:
    """Return what a study wants runs of."""
    sources = [name for name, counts in place.domains.items() if "source" in counts]
    if study == "size":
        return [Cell(f"{name}-{part}", RANDOM) for name in sources for part in ("target", "large")]
    if study == "source":
        return [
            Cell(f"{target}-target", source)
            for target in FAVOURITES
            if target in sources
            for source in (RANDOM, *(each for each in paired_sources(place) if each != target))
        ]
    pairs = graduated_pairs_of(place) if study == GRADUATED else pairs_of(place)
    return [Cell(f"{pair.target}-target", pair.source) for pair in pairs]


def paired_sources(place: Place) -> list[str]:
    """Return the sources of all pairs, each once: those that are trained."""
    return list(dict.fromkeys(pair.source for pair in pairs_of(place)))


def run_studies(studies: Iterable[str], place: Place, *, options: Sequence[str] = ()) -> None:
    """Train the sources and do the runs that these studies lack.

    Args:
        studies: names.
        place: where.
        options: further ones of `scalepred harvest`.

    Raises:
        SystemExit: if a command fails, with its exit code.
    """
    chosen = list(studies)
    wanted: dict[Cell, dict[str, Recipe]] = defaultdict(dict)
    for study in chosen:
        for cell in cells_of(study, place):
            wanted[cell] |= recipes_of(study, place.settings)
    for source in dict.fromkeys(cell.source for cell in wanted):
        train(source, place)
    if GRADUATED in chosen:
        run_octaves(place, options=options)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    recipes: dict[str, Recipe] = {}
    for cell, named in wanted.items():
        groups[cell.source, tuple(named)].append(cell.task)
        recipes |= named
    _write_recipes(recipes, place)
    for (source, names), tasks in groups.items():
        _call("harvest", *harvest_arguments(tasks, source, names, place), *options)


def run_octaves(place: Place, *, options: Sequence[str]) -> None:
    """Run figure 10's sets of multipliers over octaves, so that each can be compared at its own best rate.

    They are design points, which predictors of other networks learn from.
    """
    recipes = recipes_of(GRADUATED, place.settings)
    _write_recipes(recipes, place)
    tasks: dict[str, list[str]] = defaultdict(list)
    for cell in cells_of(GRADUATED, place):
        tasks[cell.source].append(cell.task)
    for source, some in tasks.items():
        _call("harvest", *harvest_arguments(some, source, list(recipes), place, scales=("--octaves",)), *options)


def _write_recipes(recipes: Mapping[str, Recipe], place: Place) -> None:
    (place.folder / "recipes").mkdir(parents=True, exist_ok=True)
    for name, recipe in recipes.items():
        write_text(place.folder / "recipes" / f"{name}.json", recipe.to_json())


def harvest_arguments(
    tasks: Sequence[str], source: str, recipes: Sequence[str], place: Place, *, scales: Sequence[str] = ("--scale", "1")
) -> list[str]:
    """Return the arguments of the harvest of one source: each recipe at scale 1, and the baseline, or at others."""
    arguments = [str(place.task(name)) for name in tasks]
    if source == RANDOM:
        arguments += ["--source", f"resnet27/{place.settings.width}", "--weights", str(place.source(RANDOM))]
    else:
        arguments += ["--source", str(place.source(source))]
    for name in recipes:
        arguments += ["--recipe", str(place.folder / "recipes" / f"{name}.json")]
    return [*arguments, *scales, "--dtype", "float32", "--warehouse", str(place.warehouse)]


def train(source: str, place: Place) -> None:
    """Train a source on its domain, unless it is there; the random one is drawn.

    Source: Dube et al. 2018, section 3: ResNet-27, 0.01 and a tenfold drop after each third. Departs: by epochs.
    """
    path, settings = place.source(source), place.settings
    path.parent.mkdir(parents=True, exist_ok=True)
    if source == RANDOM and not path.exists():
        network = blank_network(f"resnet27/{settings.width}", n_classes=N_BLANK, seed=0).network
        with appearing(path) as temporary:
            save_file(network.state_dict(), temporary)
    elif source != RANDOM and not is_source_folder(str(path)):
        _call(
            *("pretrain", str(place.folder / "domains" / source / "source"), "--name", f"paper-{source}"),
            *("--output", str(path)),
            *("--width", str(settings.width), "--epochs", str(settings.source_epochs)),
            *("--batch-size", str(settings.batch_size), "--image-px", str(settings.image_px), "--dtype", "float32"),
        )


def _call(*arguments: str) -> None:
    code = subprocess.run([sys.executable, "-m", "scalepred", *arguments], check=False).returncode
    if code not in (0, 6):  # a task that is refused is told, and the rest goes on
        sys.exit(code)
