"""Packs the tasks that the next points of the wide harvest need, for a machine that can fetch nothing.

    python -m benchmarks.wild.pack SUITE FILE.tar.gz --warehouse FILE [--megabytes 40] [OPTION ...]

Options say which points are wanted, as for `benchmarks.wild.points`; those whose curve the warehouse knows are left out
always. Points are taken in the order of the draw, each with the images of its task, as long as all of it fits; a task
that does not fit is passed over. What every task is called and where it is from goes along, so that the same points are
drawn from it as from the whole suite. Files are kept as they are, since a task's id is that of its decoded images.
"""

import argparse
import csv
import json
import sys
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.wild.points import add_options, chosen
from scalepred.files import appearing
from scalepred.harvest.draw import DesignPoint

HEADER_BYTES = 200
"""What a file's name and facts take in the archive, roughly and compressed."""


def main() -> None:
    """Pack, and tell what fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=40.0)
    add_options(parser)
    arguments = parser.parse_args()
    arguments.new = True
    points = chosen(arguments)
    files = always(arguments.suite)
    tasks = fitting(points, files, max_bytes=int(arguments.megabytes * 1e6))
    for task in tasks:
        files.update(dict.fromkeys(files_of(Path(task))))
    write(arguments.file, files, arguments.suite)
    n_points = sum(point.data in tasks for point in points)
    size = arguments.file.stat().st_size / 1e6
    print(f"{n_points} of {len(points)} points, {len(tasks)} tasks, {len(files)} files, {size:.1f} MB")
    print(json.dumps({"benchmark": "pack", "n_points": n_points, "n_tasks": len(tasks), "megabytes": round(size, 2)}))
    sys.exit(0 if tasks or not points else 1)


def always(suite: Path) -> dict[Path, None]:
    """Return the files that every archive has: what is said of all tasks."""
    return dict.fromkeys([suite / "manifest.json", *sorted((suite / "tasks").glob("*/task.json"))])


def files_of(task: Path) -> list[Path]:
    """Return a task's manifest and its images, by paths without ``..``."""
    with (task / "manifest.csv").open(encoding="utf-8", newline="") as file:
        images = [(task / row["path"]).resolve() for row in csv.DictReader(file)]
    return [task.resolve() / "manifest.csv", *dict.fromkeys(images)]


def fitting(points: Sequence[DesignPoint], files: Iterable[Path], *, max_bytes: int) -> list[str]:
    """Return the tasks that fit, in the order of the points that need them; images that several have count once."""
    there = {file.resolve(): packed_bytes(file) for file in files}
    tasks = []
    for task in dict.fromkeys(point.data for point in points):
        more = {file: packed_bytes(file) for file in files_of(Path(task)) if file not in there}
        if sum(there.values()) + sum(more.values()) <= max_bytes:
            tasks.append(task)
            there |= more
    return tasks


def packed_bytes(file: Path) -> int:
    """Return about how many bytes a file takes in the archive."""
    return len(zlib.compress(file.read_bytes())) + HEADER_BYTES


def write(archive: Path, files: Iterable[Path], suite: Path) -> None:
    """Write the archive, whole or not at all, with paths as they are in the suite."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with appearing(archive) as temporary, tarfile.open(temporary, "w:gz") as tar:
        for file in sorted({file.resolve() for file in files}):
            tar.add(file, arcname=str(file.relative_to(suite.resolve())), filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return an entry without who owned it here."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
