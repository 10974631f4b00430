"""Joins the classes whose names are the same text in two Unicode forms, as Mac and Linux write them."""

import unicodedata
from collections import defaultdict
from dataclasses import replace

from scalepred.data.listing import Listing


def joined_twins(listing: Listing) -> Listing:
    """Return the listing with the name that training has where another split has it in another Unicode form.

    Names of two forms in one split, or without splits, stay two classes: somebody made two of them.
    """
    forms = _forms(listing)
    names: dict[str, str] = {}
    for splits in forms.values():
        different = set().union(*splits.values())
        if len(different) > 1 and all(len(names_in) == 1 for names_in in splits.values()):
            (name,) = splits.get("train") or {sorted(different)[0]}
            names |= dict.fromkeys(different - {name}, name)
    if any(each.split for each in listing.entries):
        listing = replace(listing, empty=[each for each in listing.empty if _form(each) not in forms])
    if not names:
        return listing
    entries = [replace(each, label=names.get(each.label, each.label)) for each in listing.entries]
    notes = [
        f"the class {name!r} is written in two Unicode forms and counts once" for name in sorted({*names.values()})
    ]
    return replace(listing, entries=entries, notes=[*listing.notes, *notes])


def _form(name: str) -> str:
    """Return a name in the one form by which twins are known."""
    return unicodedata.normalize("NFC", name)


def _forms(listing: Listing) -> dict[str, dict[str, set[str]]]:
    """Return the name in one form -> the split -> the forms that it has there."""
    forms: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in listing.entries:
        forms[_form(entry.label)][entry.split or "train"].add(entry.label)
    return forms
