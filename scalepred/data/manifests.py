"""Reads manifests: their columns, their rows, and all that is wrong with them in one error."""

import os
import shlex
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalepred.data.cells import label_of, text_of
from scalepred.data.columns import Columns, choose_columns
from scalepred.data.find import Finder, Match, finder, folder_that_has
from scalepred.data.layout import FOUND_OUT, Layout
from scalepred.data.listing import Entry, Listing, contradictions
from scalepred.data.scan import Place, readable
from scalepred.data.splits import SPLIT_NAMES
from scalepred.data.tables import read_table
from scalepred.errors import DataError, join_problems


@dataclass(frozen=True)
class Row:
    """A row of a manifest: where it is, its texts, and what is wrong with them by themselves."""

    where: str
    path: str
    label: str
    split: str
    group: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest of which the columns are known, and the rows are read when they are asked for."""

    file: Path
    form: str
    columns: Columns
    rows: Iterator[Row]


def from_manifest(
    path: Path, *, name: str, origin: str, layout: Layout = FOUND_OUT, inside: Path | None = None
) -> Listing:
    """List the images of a manifest; one that it names twice, under any spelling of its path, is used once.

    Blanks around labels, splits and groups are dropped; a path is taken as it is, from the manifest's
    folder. An image without a split takes that of its group, if the group has a single one.

    Args:
        path: the manifest.
        name: of the task.
        origin: of the task.
        layout: what the user says of the manifest.
        inside: what no path may lead out of; None where any may be named.

    Raises:
        DataError: if it can't be read, a column isn't clear, or rows can't be used; all of these rows in one error.
    """
    listing = from_manifests([(path, None)], layout=layout, inside=inside)
    return replace(listing, name=name, origin=origin)


def from_manifests(
    files: Sequence[tuple[Path, str | None]], *, layout: Layout = FOUND_OUT, inside: Path | None = None
) -> Listing:
    """List the images of manifests that belong together, each with the split of all its images, if they have one.

    Raises:
        DataError: as ``from_manifest``.
    """
    listing = Listing(name="", origin="", layout="")
    entries: dict[Place, Entry] = {}
    for path, split in files:
        manifest = read_manifest(path, layout=layout)
        find = finder(path.parent, image_folder=layout.image_folder, inside=inside)
        _add_entries(entries, manifest, find, split=split, folder=Path(layout.image_folder or path.parent))
        listing.notes = list(dict.fromkeys([*listing.notes, *_ignored_note(manifest)]))
        listing.layout = manifest.form
    listing.entries = _split_by_group(list(entries.values()))
    return listing


def read_manifest(path: Path, *, layout: Layout = FOUND_OUT) -> Manifest:
    """Open a manifest and choose its columns.

    Raises:
        DataError: if it can't be read, or a column isn't clear.
    """
    table = read_table(path, layout=layout, folder=Path(layout.image_folder or path.parent))
    columns = choose_columns(table.columns, table.sample, layout=layout, file=path)
    form = table.form + (", a column for each class" if columns.classes else "")
    rows = (_row(f"{table.unit} {number}", cells, columns, table.columns) for number, cells in table.rows)
    return Manifest(file=path, form=form, columns=columns, rows=rows)


def _row(where: str, cells: Sequence[Any], columns: Columns, names: Sequence[str]) -> Row:
    """Return a row as texts, those of it that are missing as empty ones."""

    def cell(at: int | None) -> Any:
        return "" if at is None or at >= len(cells) else cells[at]

    problems = (
        []
        if len(cells) <= len(names) or not any(cells[len(names) :])
        else ["it has more fields than there are columns"]
    )
    texts = []
    for at in (columns.path, columns.label, columns.split, columns.group):
        text = text_of(cell(at))
        if text is None:
            problems.append(f"the column {names[at or 0]!r} holds {cell(at)!r:.60}, which is not one text")
        texts.append(text or "")
    path, label, split, group = texts
    if columns.classes:
        bits = {names[at]: text_of(cell(at)) or "" for at in columns.classes}
        label, problem = label_of(bits)
        problems += [f"{_shown(path)} {problem}"] if problem else []
    elif columns.is_ours:
        label, group = label.removeprefix("'"), group.removeprefix("'")
    else:
        label, group = label.strip(), group.strip()
    return Row(where, path, label, split.strip(), group, tuple(problems))


def _add_entries(
    entries: dict[Place, Entry], manifest: Manifest, find: Finder, *, split: str | None, folder: Path
) -> None:
    """Add the images of a manifest.

    Raises:
        DataError: if rows can't be used; proposes the folder of images if none of the first was found.
    """
    problems: list[str] = []
    lost: list[str] = []
    for row in manifest.rows:
        match = find(row.path)
        row_problems = [*row.problems, *_row_problems(row, match)]
        if match.status is None and match.problem is None and row.path:
            lost.append(row.path)
        if match.status is not None and not row_problems:
            given = SPLIT_NAMES.get(row.split.lower()) or split
            entry = Entry(readable(match.path), match.path, row.label, given, row.group or None)
            first = entries.setdefault((match.status.st_dev, match.status.st_ino), entry)
            row_problems = contradictions(_shown(row.path), first, entry)
        problems += [f"{row.where}: {problem}" for problem in row_problems]
    if problems:
        message = join_problems(f"{manifest.file} can't be used as it is:", problems)
        raise DataError(message + _where_images_lie(manifest.file, lost, folder))


def _where_images_lie(file: Path, lost: list[str], folder: Path) -> str:
    """Return the command with the folder that has the first image that was not found, if one is near."""
    place = folder_that_has(lost, folder) if lost else None
    if place is None:
        return ""
    words = ["scalepred", "inspect", str(file), "--image-folder", str(place)]
    return f"\nImages of these names lie in {place}. Try: {shlex.join(words)}"


def _ignored_note(manifest: Manifest) -> list[str]:
    """Return what to say of the columns that aren't used."""
    ignored = manifest.columns.ignored
    if not ignored:
        return []
    some = ", ".join(map(repr, ignored[:5])) + (f" … ({len(ignored)} in all)" if len(ignored) > 5 else "")
    are = "column is" if len(ignored) == 1 else "columns are"
    return [f"{manifest.file.name}: {len(ignored)} further {are} not used: {some}"]


def _split_by_group(entries: list[Entry]) -> list[Entry]:
    """Return the entries, those without a split in that of their group where it has a single one."""
    splits = defaultdict(set)
    for entry in entries:
        if entry.group and entry.split:
            splits[entry.group].add(entry.split)
    single = {group: names.pop() for group, names in splits.items() if len(names) == 1}
    return [
        replace(entry, split=single[entry.group]) if not entry.split and entry.group in single else entry
        for entry in entries
    ]


def _row_problems(row: Row, match: Match) -> list[str]:
    is_split = row.split.lower() in {"", *SPLIT_NAMES}
    checks = [
        ("\0" not in row.path + row.label + row.split + row.group, "it holds a NUL byte"),
        (row.path, "the path is empty"),
        (row.label or row.problems, f"the label of {_shown(row.path)} is empty"),
        (_is_file(match.status) or not row.path, match.problem or f"no file {_shown(str(match.path))}"),
        (is_split, f"the split {row.split!r} is unknown; known are train, val and test"),
    ]
    return [problem for fine, problem in checks if not fine]


def _is_file(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISREG(status.st_mode)


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)
