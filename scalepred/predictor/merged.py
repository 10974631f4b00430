"""Origins that name several collections, and which origins have images in common with them."""

MERGED = " + "
"""Joins the names of collections in the origin of a task whose images are of several."""


def collections_in(origin: str) -> frozenset[str]:
    """Return the collections that an origin names: itself, or all that are joined by ``MERGED``."""
    return frozenset(origin.split(MERGED))


def are_apart(one: str, other: str) -> bool:
    """Say whether two origins have no collection in common, so that neither tells of the other's images."""
    return collections_in(one).isdisjoint(collections_in(other))
