"""Where commands print: one JSON document or text on stdout, notes on stderr, and nothing unsafe on either."""

import errno
import json
import os
import shlex
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNBROKEN = 1_000
"""Width of lines that go to a file or another program, which should not be broken."""

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, lone surrogates, and separators of lines and paragraphs."""


def print_json(document: Any, *, indent: int | None = 1) -> None:
    """Print one document on stdout, with names as they are where stdout can hold them; on one line without indent.

    Lone surrogates, as in undecodable file names, are escaped, and so is all else that stdout's encoding lacks.

    Raises:
        ValueError: if a number is not finite; nothing has been printed then.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=indent, ensure_ascii=True, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def until_nobody_reads() -> Iterator[None]:
    """End the command quietly where whoever reads stdout has closed it, as `head` does after its lines."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python complains of what can't be flushed
        raise typer.Exit from None


def console() -> "Console":
    """Return the console of stdout."""
    return _console(stderr=False)


def notes() -> "Console":
    """Return the console of stderr, for notes and progress."""
    return _console(stderr=True)


def note(words: str) -> None:
    """Print a note on stderr, on a line of its own, whatever it holds."""
    say(notes(), safe(words))


def typed() -> str:
    """Return the command as it was typed, to be told in reports."""
    return shlex.join(["scalepred", *sys.argv[1:]])


def say(console: "Console", text: str) -> None:
    """Print a sentence that is safe already, and perhaps has markup, in lines that fit the console's terminal."""
    console.print(fitted(text, console.width) if console.is_terminal else text, soft_wrap=True)


def fitted(text: str, width: int) -> str:
    """Return text in lines of at most ``width``, broken between words alone, so that a path stays in one piece."""
    lines = [
        textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
        for line in text.split("\n")
    ]
    return "\n".join("\n".join(line) for line in lines)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # a class may be named :cat:, and is to be shown so
    made = Console(stderr=stderr, highlight=False, emoji=False, width=None if stream.isatty() else UNBROKEN)
    if not stderr:
        made.on_broken_pipe = _nobody_reads  # type: ignore[method-assign]  # its own ends the process with 1
    return made


def _nobody_reads() -> NoReturn:
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def safe(text: str) -> str:
    """Return text from outside so that it can be printed: no markup, and what is not seen is shown as escapes."""
    from rich.markup import escape

    return escape(visible(text))


def visible(text: str) -> str:
    """Return text with what is not seen, such as control characters, shown as escapes."""
    return "".join(c if unicodedata.category(c) not in _UNSEEN else ascii(c)[1:-1] for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "Table":
    """Return a table of cells made safe; columns of numbers are on the right, and None is empty."""
    from rich.table import Table

    cells = [list(row) for row in rows]
    made = Table(box=None)
    for index, name in enumerate(columns):
        numbers = [row[index] for row in cells if row[index] is not None]
        right = bool(numbers) and all(isinstance(cell, int | float) for cell in numbers)
        made.add_column(safe(name), justify="right" if right else "left")
    for row in cells:
        made.add_row(*("" if cell is None else safe(str(cell)) for cell in row))
    return made
