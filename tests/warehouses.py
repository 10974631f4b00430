"""Opens warehouses, harms them and tells their errors, for the tests of the store."""

import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest
from rows import make_run

from scalepred.errors import ScalepredError
from scalepred.records import KINDS
from scalepred.store.warehouse import open_warehouse

LEFT = "It was left as it is; move it away, or give another path with --warehouse."
REFUSED = f"{LEFT} If it was one, `scalepred warehouse rebuild` makes it again."


def read(path, **settings):
    with open_warehouse(path, **settings) as store:
        return {table: getattr(store, table)() for table in KINDS}


def everything(path):
    return read(path, read_only=True)


def harm(path, sql):
    with duckdb.connect(str(path)) as database:
        database.execute(sql)


def diverged_run(scale, **changes):
    return make_run(
        scale, status="diverged", diverged_step=7, val_accuracy=None, val_loss=None, val_correct=None,
        test_accuracy=None, test_loss=None, test_correct=None, epoch_losses=[], **changes,
    )  # fmt: skip


def opening(path, **settings):
    """Open a warehouse and read all; return the error."""
    with pytest.raises(ScalepredError) as caught:
        read(path, **settings)
    return caught.value


def refusal(path, reason):
    return (
        f"The warehouse {path} can't be read or written: {reason}. What is stored stays as it was; make room or mend "
        "the path, or give another with --warehouse, and run the same command again."
    )


DAMAGED = {
    "magic": lambda whole: whole[:9] + b"?" + whole[10:],
    "first header": lambda whole: whole[:20] + b"?" + whole[21:],
    "both other headers": lambda whole: whole[:4104] + b"?" + whole[4105:8200] + b"?" + whole[8201:],
    "blocks": lambda whole: (
        whole[:12288] + b"".join(b"?" + whole[n + 1 : n + 2**18] for n in range(12288, len(whole), 2**18))
    ),
    "cut in the headers": lambda whole: whole[:5000],
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
}


TESTS = Path(__file__).parent


PROGRAM = f"""
    import os, resource, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, {str(TESTS)!r})
    from rows import fill, make_run
    from scalepred.errors import ScalepredError
    from scalepred.store.warehouse import open_warehouse
    path = Path(sys.argv[1])
"""


HOLD = """
    with open_warehouse(path, read_only=len(sys.argv) > 2) as store:
        print("held", flush=True)
        sys.stdin.readline()
"""


def start(code, path, *arguments):
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(path), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
