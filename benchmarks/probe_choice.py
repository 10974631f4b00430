"""Linear probe or finetune: how `--auto` chooses between them, judged with origins held out, and kept with a predictor.

    python -m benchmarks.probe_choice WAREHOUSE [--output models/default]

WAREHOUSE holds the imported snapshot and `benchmarks/results/larger`. What the probes of its tasks reach is read from
WAREHOUSE and from the lines that `benchmarks.probe_grids` wrote, since most of the snapshot was harvested before a
harvest kept it. Prints the table of the predictor's card. With ``--output`` the predictor of that folder gets what the
choice is made from, and stays as it is but for that.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from benchmarks.probe_grids import PROBES
from benchmarks.probes import read_probes
from benchmarks.timed import ROOT
from scalepred.predictor.artifact import load, save
from scalepred.predictor.card import BESIDES, beside_cells, write_card
from scalepred.predictor.context import probe_set
from scalepred.predictor.harvested import build
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.probe_evidence import gather_beside
from scalepred.records import FeatureRecord
from scalepred.store.warehouse import open_warehouse


def main() -> None:
    """Judge the choice, and keep what it is made from if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--probes", type=Path, default=PROBES)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of a predictor")
    arguments = parser.parse_args()
    predictor = load(arguments.output or ROOT / "models" / "default")
    known = {(group.source_id, group.recipe_id) for group in predictor.all_groups}
    besides = [
        each
        for each in gathered(arguments.warehouse, arguments.probes)
        if (each.source_id, each.recipe_id) in known  # it says nothing of others
    ]
    print("| " + " | ".join(BESIDES) + " |")
    print("|---" * len(BESIDES) + "|")
    for each in besides:
        print("| " + " | ".join(beside_cells(predictor, each)) + " |")
    if arguments.output is not None:
        kept = dataclasses.replace(predictor, besides=tuple(besides))
        save(kept, arguments.output)
        write_card(kept, arguments.output)


def gathered(warehouse: Path, probes: Path) -> tuple[Beside, ...]:
    """Return the probe beside the finetunes of every source and recipe of a warehouse where both are known."""
    with open_warehouse(warehouse, read_only=True) as store:
        tasks, sources, recipes, runs = store.tasks(), store.sources(), store.recipes(), store.runs()
        features = [*store.features(), *as_features(probes)]
    harvested = build(tasks=tasks, sources=sources, recipes=recipes, features=[], runs=runs)
    return gather_beside(harvested, tasks=tasks, recipes=recipes, features=features, runs=runs)


def as_features(probes: Path) -> Iterator[FeatureRecord]:
    """Yield the lines of a file of probes as a harvest keeps what they tell."""
    for (task_id, source_id, image_px), line in read_probes(probes).items():
        yield FeatureRecord(
            task_id=task_id,
            source_id=source_id,
            feature_set=probe_set(image_px),
            name="test_accuracy",
            value=line["test"],
            seconds=0.0,
        )


if __name__ == "__main__":
    main()
