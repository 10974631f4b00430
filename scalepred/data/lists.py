"""Reads lists without a header: lines of a path and a label, as half of all papers have them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scalepred.data import dialects
from scalepred.data.columns import LABEL_NAMES, PATH_NAMES, plain
from scalepred.data.endings import has_ending
from scalepred.data.scan import is_file

BLANKS = " "
"""Stands for any blanks before the label, the last word of a line."""

LIST_ENDINGS = (".txt", ".lst", ".list")


@dataclass(frozen=True)
class Form:
    """What is between the cells of a list, a delimiter or ``BLANKS``, and where path and label are among them."""

    delimiter: str
    path: int = 0
    label: int = 1


def form_of(path: Path, head: str, *, folder: Path) -> Form | None:
    """Return the form of a list; None if it isn't one.

    It is one if the first line is of two cells and one of them names an image file; or of three, a number, a label and
    such a name, as MXNet has it; or if the file is called ``.txt`` and its lines are of several words.

    Args:
        path: the file.
        head: its beginning.
        folder: from which its paths start.
    """
    line = next((line for line in head.splitlines() if line.strip()), "")
    for delimiter in dialects.DELIMITERS:
        cells = dialects.first_row(line, delimiter)
        images = [at for at, cell in enumerate(cells) if _names_image(cell, folder)]
        if len(cells) == 2 and (images or _are_titles(cells)):
            return Form(delimiter, *((1, 0) if images == [1] else (0, 1)))
        if len(cells) == 3 and images == [2] and cells[0].isdecimal():
            return Form(delimiter, 2, 1)
    words = line.rsplit(None, 1)
    if len(words) == 2 and (_names_image(words[0], folder) or path.suffix.lower() in LIST_ENDINGS):
        return Form(BLANKS)
    return None


def rows_of(path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, [path, label]) of a list; a first line that is a header is left out."""
    rows = _words(path) if form.delimiter == BLANKS else dialects.rows_of(path, form.delimiter)
    for at, (line, cells) in enumerate(rows):
        if at or not _are_titles(cells):
            yield line, [cells[place] if place < len(cells) else "" for place in (form.path, form.label)]


def _words(path: Path) -> Iterator[tuple[int, list[str]]]:
    with dialects.open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, [*line.strip().rsplit(None, 1), ""][:2]


def _are_titles(cells: list[str]) -> bool:
    return len(cells) == 2 and all(
        any(plain(cell) in tier for tier in tiers) for cell, tiers in zip(cells, (PATH_NAMES, LABEL_NAMES), strict=True)
    )


def _names_image(text: str, folder: Path) -> bool:
    return bool(text) and (has_ending(text) or is_file(folder / text))
