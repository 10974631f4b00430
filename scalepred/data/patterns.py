"""Reads labels and groups from the names and paths of files, by patterns that the user gives."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from scalepred.errors import UsageError

LABEL = "{label}"

FORMS = f"give text with {LABEL} in it and * for anything, such as '{LABEL}.*', or a regular expression with a group"


def label_reader(pattern: str) -> Callable[[str], str | None]:
    """Return what reads the label of a path, from the data or its split's folder on, with / between folders.

    Text with "{label}" in it fits the whole name of a file, or the whole path where it holds a "/"; the label is as
    short as it can be. Where it ends in neither "*" nor an ending, the name's ending doesn't count. A regular
    expression is searched for in the name, or in the path with a "/" before it where it holds a "/".

    Raises:
        UsageError: if it is neither.
    """
    if LABEL in pattern:
        return _template_reader(pattern)
    expression = _compiled("--label-pattern", pattern, FORMS)
    if "label" not in expression.groupindex and expression.groups != 1:
        raise UsageError(f"--label-pattern {pattern!r} has {expression.groups} groups and none named 'label': {FORMS}.")
    key = "label" if "label" in expression.groupindex else 1

    def read(path: str) -> str | None:
        found = expression.search(f"/{path}" if "/" in pattern else PurePosixPath(path).name)
        return (found[key] or None) if found else None

    return read


def _template_reader(pattern: str) -> Callable[[str], str | None]:
    """Return what reads labels by text with "{label}" and "*"."""
    if pattern.count(LABEL) > 1:
        raise UsageError(f"--label-pattern {pattern!r} holds {LABEL} more than once: {FORMS}.")
    pieces = {LABEL: "(?P<label>[^/]+?)", "*": ".*"}
    expression = re.compile(
        "".join(pieces.get(each) or re.escape(each) for each in re.split(r"(\{label\}|\*)", pattern))
    )
    last = pattern.rpartition("/")[2]
    whole = last.endswith("*") or "." in last

    def read(path: str) -> str | None:
        file = PurePosixPath(path) if "/" in pattern else PurePosixPath(PurePosixPath(path).name)
        found = expression.fullmatch(str(file if whole else file.with_suffix("")))
        return found["label"] if found else None

    return read


def group_reader(pattern: str) -> Callable[[str], str | None]:
    """Return what reads the group of a path from the data on: what the expression's group finds, or the whole of it.

    Raises:
        UsageError: if it is no regular expression, or has several groups.
    """
    advice = r"give one such as 'patient-(\d+)', which finds the same text in images that belong together"
    expression = _compiled("--group-pattern", pattern, advice)
    if expression.groups > 1:
        raise UsageError(f"--group-pattern {pattern!r} has {expression.groups} groups: write (?:…) for all but one.")

    def read(path: str) -> str | None:
        found = expression.search(path)
        return (found[expression.groups] or None) if found else None

    return read


def _compiled(option: str, pattern: str, advice: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{option} {pattern!r} is no regular expression ({error}): {advice}.") from error
