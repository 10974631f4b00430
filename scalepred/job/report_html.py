"""Renders reports: one file that needs nothing else, runs nothing, and shows every name as it is."""

import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from scalepred import __version__
from scalepred.errors import UsageError
from scalepred.files import write_text
from scalepred.job import report_chart

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, lone surrogates, and separators of lines and paragraphs."""


def render(template: str, page: Mapping[str, Any]) -> str:
    """Return a page as HTML.

    Whatever is put in is text: it is escaped, and what is not seen in it, such as a line break or a change of
    direction, is shown as an escape. A Content-Security-Policy forbids scripts and all that would be fetched.

    Args:
        template: a file of ``templates``.
        page: name -> what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scalepred.job"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_as_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "number": number, "short": short}
    shared = {"version": __version__, "plot": report_chart}
    return environment.get_template(template).render(shared | dict(page))


def write_page(path: Path, html: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        UsageError: if it can't be written.
    """
    try:
        write_text(path, html)
    except OSError as error:
        raise UsageError(
            f"The report can't be written to {path}: {error.strerror or error}. Give another place for it."
        ) from error


def check_page(path: Path) -> None:
    """Raise UsageError, before anything is measured, unless a report can be written there."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"A report is an HTML file, not {path}: give a name that ends in .html.")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {path.resolve().parent} to put the report in: make it first.")


def _as_seen(value: Any) -> Any:
    """Return text with what is not seen in it as escapes; what the templates made stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join(c if unicodedata.category(c) not in _UNSEEN else ascii(c)[1:-1] for c in value)


def percent(share: float | None) -> str:
    """Return a fraction in per cent."""
    return "–" if share is None else f"{100 * share:.1f} %"


def interval(bounds: tuple[float, float] | None) -> str:
    """Return an interval of fractions in per cent."""
    return "–" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def short(path: str) -> str:
    """Return the name of a file without the folders that it lies in."""
    return path.replace("\\", "/").rstrip("/").split("/")[-1] or path


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"
