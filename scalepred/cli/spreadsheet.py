"""Rows as CSV on stdout, which a spreadsheet can open without taking a cell for a formula."""

import csv
import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from scalepred.files import FORMULAS


def print_rows(rows: Iterable[Iterable[Any]]) -> None:
    """Print rows; text that a spreadsheet would take for a formula is prefixed."""
    # with "\n" as the end of lines, the writer would leave a lone "\r" within text unquoted
    unix = SimpleNamespace(write=lambda line: sys.stdout.write(line.removesuffix("\r\n") + "\n"))
    writer = csv.writer(unix, lineterminator="\r\n")
    writer.writerows([unspreadsheet(cell) for cell in row] for row in rows)


def unspreadsheet(cell: Any) -> Any:
    """Prefix text that a spreadsheet would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell
