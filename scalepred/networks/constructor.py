"""Options of timm's constructors as part of a network's name, such as "timm/vit_tiny_patch16_224:img_size=64"."""

import re
from collections.abc import Mapping
from typing import Any

from scalepred.errors import UsageError, join_problems

NUMBERS = {
    "depth": (1, 48),
    "embed_dim": (8, 1536),
    "growth_rate": (1, 64),
    "img_size": (16, 1024),
    "num_heads": (1, 32),
    "patch_size": (2, 64),
}
"""Option -> least and largest value: whole numbers that decide a network's shape, none of them a path or code."""

LISTS = {"block_config": (1, 64), "depths": (1, 48), "dims": (8, 1024)}
"""The same for options of one number per stage, with a dash between: "dims=24-48-96-192"."""

MOST_STAGES = 8


def split_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return a network's name without its options, and these: whole numbers, and tuples of them.

    Raises:
        UsageError: naming every option that is unknown, given twice, or out of range.
    """
    bare, colon, text = name.partition(":")
    options: dict[str, Any] = {}
    problems = []
    for part in text.split(",") if colon else []:
        option, _, value = part.partition("=")
        problems += [f"{option} is given twice"] if option in options else []
        options[option], wrong = _value(option, value)
        problems += wrong
    if problems:
        raise UsageError(join_problems(f"The options of the network {bare} can't be used:", problems))
    return bare, options


def canonical_name(bare: str, options: Mapping[str, Any]) -> str:
    """Return the one name of a network with these options: sorted, so that one network has one identity."""
    words = [f"{option}={_text(value)}" for option, value in sorted(options.items())]
    return f"{bare}:{','.join(words)}" if words else bare


def _value(option: str, text: str) -> tuple[Any, list[str]]:
    """Return an option's value and what is wrong with it."""
    if option not in NUMBERS and option not in LISTS:
        known = ", ".join(sorted((*NUMBERS, *LISTS)))
        return None, [f"{option!r:.40} is none of {known}, each given as OPTION=NUMBER"]
    low, high = NUMBERS.get(option) or LISTS[option]
    words = text.split("-") if option in LISTS else [text]
    fine = len(words) <= MOST_STAGES and all(re.fullmatch(r"[1-9][0-9]{0,3}", word) for word in words)
    if not fine or not all(low <= int(word) <= high for word in words):
        what = f"numbers of {low} to {high} with dashes between" if option in LISTS else f"a number of {low} to {high}"
        return None, [f"{option} must be {what}, not {text!r:.40}"]
    numbers = tuple(map(int, words))
    return (numbers if option in LISTS else numbers[0]), []


def _text(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
