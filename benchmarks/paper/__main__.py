"""Makes studies of Dube et al. 2018 again, each by one command.

    python -m benchmarks.paper NAME --warehouse FILE [--out DIR]

NAME is one of:

    scales      section 4.3: the best of eleven scales, of all whole grids that the warehouse has
    humps       section 2's remark: is accuracy monotone in the scale, of all grids with several seeds

Both read the warehouse alone: import ours with `scalepred warehouse import warehouse/snapshot --warehouse FILE`. Each
prints its table and a line of JSON, and puts its section into OUT/README.md, beside its figures.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.paper import humps, scales
from benchmarks.paper.grids import Rows, read_rows
from benchmarks.paper.report import Report, publish
from scalepred.errors import ScalepredError

STUDIES: Mapping[str, Callable[[Rows], Report]] = {"scales": scales.study, "humps": humps.study}


def main() -> None:
    """Run a study."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=STUDIES, metavar="NAME")
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="default: WAREHOUSE-paper")
    arguments = parser.parse_args()
    out = arguments.out or arguments.warehouse.with_name(f"{arguments.warehouse.stem}-paper")
    try:
        publish(STUDIES[arguments.name](read_rows(arguments.warehouse)), out)
    except ScalepredError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
