"""Where commands print: one JSON document or text on stdout, notes on stderr, and nothing unsafe on either."""

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

UNBROKEN = 1_000
"""Width of lines that go to a file or another program, which should not be broken."""


def print_json(document: Any) -> None:
    """Print one document on stdout; characters that UTF-8 can't hold, as in undecodable file names, are escaped."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")


def console() -> "Console":
    """Return the console of stdout."""
    return _console(stderr=False)


def notes() -> "Console":
    """Return the console of stderr, for notes and progress."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else UNBROKEN)


def safe(text: str) -> str:
    """Return text from outside so that it can be printed: no markup, control characters shown as escapes."""
    from rich.markup import escape

    shown = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else ascii(c)[1:-1] for c in text)
    return escape(shown)
