"""Exports what was harvested here as a snapshot, without what the warehouse was imported from.

    python -m benchmarks.new_runs WAREHOUSE FOLDER

The journal beside a warehouse has what harvests on this machine have finished, and the tasks, sources, recipes and
facts that belong to it. What came from a snapshot is not in it. FOLDER is a snapshot that `scalepred warehouse import
FOLDER` adds to any warehouse; rows that are there stay as they are. The warehouse is not opened. Ends in one line of
JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path

from scalepred.records import DIVERGED
from scalepred.store.journal import journal_of
from scalepred.store.keeping import Keeper
from scalepred.store.warehouse import open_warehouse


def main() -> None:
    """Export, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(json.dumps({"benchmark": "new_runs", **export(arguments.warehouse, arguments.folder)}))


def export(warehouse: Path, folder: Path) -> dict[str, object]:
    """Write the snapshot and return its counts; it may be empty.

    Raises:
        UsageError: if the journal can't be read, or the folder can't be written.
    """
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "new.duckdb"
        Keeper(file, journal_of(warehouse), lock_timeout_seconds=10.0).catch_up()
        with open_warehouse(file) as store:
            counts = store.export_parquet(folder)
            runs = store.runs()
    return {
        "rows": counts,
        "diverged": sum(run.status == DIVERGED for run in runs),
        "seconds": round(sum(run.seconds for run in runs), 1),
        "devices": sorted({run.device for run in runs}),
    }


if __name__ == "__main__":
    main()
