"""Our own harvest, stage by stage: which tasks of the suite meet which sources and recipes, and how often.

    python -m benchmarks.wild.harvest SUITE --warehouse FILE [--stages NAME ...] [OPTION ...]

SUITE is what `python -m benchmarks.wild build SUITE` wrote. Each stage is one `scalepred harvest`, so all of it may be
stopped at any moment and goes on with the same command; what is in the warehouse already, such as our imported
snapshot, is not run again. Further options are the harvest's, such as `--dry-run` or `--engine ray`. Tasks are taken
origin by origin in turns, so that the first ones are a balanced sample.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.wild import carried, pilot
from scalepred.harvest.plan import in_turns
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.recipe import RECIPES, Recipe

ROOT = Path(__file__).resolve().parent.parent.parent
DOMAIN_SOURCES = tuple(str(ROOT / "models" / "sources" / name) for name in ("sprites", "glyphs", "icons"))
MAX_TRAIN = 700
"""Holds whole ladders, and leaves the largest tasks to the small networks."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One harvest.

    Attributes:
        what: for a person.
        sources: names, or folders.
        recipes: name -> graduated recipe.
        n_tasks: so many, or all.
        max_train: no tasks with more images to learn from.
        n_seeds: runs of every point of the grid.
        tasks: these alone, by name.
    """

    what: str
    sources: tuple[str, ...]
    recipes: Mapping[str, Recipe]
    n_tasks: int | None = None
    max_train: int = MAX_TRAIN
    n_seeds: int = 1
    tasks: tuple[str, ...] = ()


FROZEN = {"frozen-statistics": RECIPES["frozen-statistics"]}
DEFAULT = {"frozen-statistics-128": RECIPES["frozen-statistics-128"]}
PAPER = {"graduated": RECIPES["graduated"]}
PILOT = Stage(
    what="recipes compared",
    sources=(DEFAULT_SOURCE, DOMAIN_SOURCES[0]),
    recipes=pilot.VARIANTS,
    tasks=pilot.TASKS,
)
SECOND_PILOT = Stage(
    what="frozen statistics at a tenth of the rates",
    sources=(DEFAULT_SOURCE,),
    recipes=pilot.SECOND,
    tasks=pilot.TASKS,
)
CORE = Stage(what="a task of each origin", sources=(DEFAULT_SOURCE,), recipes=FROZEN, n_tasks=68, max_train=200)
STAGES = {
    "pilot": PILOT,
    "pilot-frozen": SECOND_PILOT,
    "pilot-repeats": replace(PILOT, what="recipes compared, two more seeds", n_seeds=3),
    "pilot-frozen-repeats": replace(SECOND_PILOT, what="the second round, two more seeds", n_seeds=3),
    "core": CORE,
    "core-domains": replace(CORE, what="the same on the domains' sources", sources=DOMAIN_SOURCES, recipes=PAPER),
    "lite1": replace(CORE, what="a second ImageNet network", sources=("efficientnet_lite1",), n_tasks=40),
    "128px": Stage(
        what="larger images",
        sources=(DEFAULT_SOURCE,),
        recipes=DEFAULT,
        tasks=carried.LARGE + carried.SMALL,
    ),
    "224px": Stage(
        what="images of the size of photographs",
        sources=(DEFAULT_SOURCE,),
        recipes={"frozen-statistics-224": carried.SIZES[224]},
        tasks=carried.LARGE[:8],
    ),
    "core-128px": replace(CORE, what="the default recipe on a task of each origin", recipes=DEFAULT),
    "core-repeats": replace(CORE, what="two more seeds of the default source", n_seeds=3),
    "core-domains-cosine": replace(
        CORE,
        what="the schedule that won in the pilot, on the domains' sources",
        sources=DOMAIN_SOURCES,
        recipes={"cosine": RECIPES["cosine"]},
    ),
    "imagenet": Stage(what="the default source", sources=(DEFAULT_SOURCE,), recipes=FROZEN, n_tasks=200),
    "paper": Stage(what="the paper's recipe", sources=(DEFAULT_SOURCE,), recipes=PAPER, n_tasks=40, max_train=200),
    "domains": Stage(what="the domains' sources", sources=DOMAIN_SOURCES, recipes=PAPER, n_tasks=120, max_train=10_000),
    "domain-repeats": replace(CORE, what="two more seeds of these", sources=DOMAIN_SOURCES, recipes=PAPER, n_seeds=3),
}


def main() -> None:
    """Run the stages, or those named, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("suite", type=Path)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES), metavar="NAME")
    arguments, options = parser.parse_known_args()
    manifest = json.loads((arguments.suite / "manifest.json").read_text(encoding="utf-8"))
    for name in arguments.stages:
        print(f"{name}: {STAGES[name].what}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            command = harvest_command(STAGES[name], manifest, arguments.suite, Path(folder))
            code = subprocess.run([*command, "--warehouse", str(arguments.warehouse), *options], check=False).returncode
        if code not in (0, 6):  # a task that is refused is told, and the rest goes on
            sys.exit(code)


def harvest_command(stage: Stage, manifest: Mapping[str, Any], suite: Path, folder: Path) -> list[str]:
    """Return a stage's command line, but for the warehouse; its recipes are written to ``folder``.

    All runs are in float32, so that those of machines with and without bfloat16 can be compared.
    """
    command = [
        sys.executable,
        "-m",
        "scalepred",
        "harvest",
        *(str(suite / "tasks" / n) for n in chosen(stage, manifest)),
    ]
    for source in stage.sources:
        command += ["--source", source]
    for name, recipe in stage.recipes.items():
        (folder / f"{name}.json").write_text(recipe.to_json(), encoding="utf-8")
        command += ["--recipe", str(folder / f"{name}.json")]
    return [*command, "--seeds", str(stage.n_seeds), "--dtype", "float32"]


def chosen(stage: Stage, manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of a stage's tasks, in the order in which a harvest takes them."""
    if stage.tasks:
        return list(stage.tasks)
    tasks = [
        (origin["origin"], task["name"])
        for origin in manifest["origins"]
        for task in origin["tasks"]
        if task["n_train"] <= stage.max_train
    ]
    ordered = in_turns(tasks, name=lambda task: task[1], group=lambda task: task[0])
    return [name for _, name in ordered][: stage.n_tasks]


if __name__ == "__main__":
    main()
