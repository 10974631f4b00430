"""How predicted scales do when whole packages are held out, not only collections of one.

    python -m benchmarks.wild.held_out FILE

The suite's origins are collections with labels of their own, but many come from one package: its images are drawn
alike, and up to 8 % of a collection are in another one too. So this holds out all origins of the same packages at once,
and draws whole packages for the intervals. FILE is a DuckDB file or a snapshot's folder.
Prints the tables of `scalepred train-predictor`, which holds out origins, for comparison.
"""

import argparse
import dataclasses
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.snapshot import Rows, load
from benchmarks.wild.origins import ORIGINS
from scalepred.predictor.card import HEADINGS, cells
from scalepred.predictor.evaluate import leave_one_origin_out
from scalepred.predictor.harvested import Harvested
from scalepred.predictor.train import MIN_ORIGINS


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    rows = load(parser.parse_args().warehouse)
    for table in tables(rows):
        Console(width=140).print(table)


def tables(rows: Rows) -> list[Table]:
    """Return a table for each source and recipe that enough packages have met."""
    if len(set(by_package(rows.harvested).table.origins)) < MIN_ORIGINS:
        return []
    names = {each.source_id: each.name for each in rows.sources} | {each.recipe_id: each.name for each in rows.recipes}
    results = []
    for group in leave_one_origin_out(by_package(rows.harvested)).groups:
        title = (
            f"{names[group.source_id]}, {names[group.recipe_id]}: {group.n_tasks} tasks of {group.n_origins} packages"
        )
        shown = Table(*HEADINGS, title=title)
        for row in group.rows:
            shown.add_row(*cells(dataclasses.asdict(row), group.n_tasks))
        results.append(shown)
    return results


def by_package(harvested: Harvested) -> Harvested:
    """Return the harvest with the first of its packages as every task's origin; others than the suite's stay."""
    package_of = {origin.name: origin.packages[0] for origin in ORIGINS}
    origins = tuple(package_of.get(origin, origin) for origin in harvested.table.origins)
    return dataclasses.replace(harvested, table=dataclasses.replace(harvested.table, origins=origins))


if __name__ == "__main__":
    main()
