"""Labelled images as people have them: found, listed, decoded, compared, split, and what is wrong with them."""

__all__ = [
    "decode",
    "digits",
    "duplicates",
    "layouts",
    "listing",
    "load",
    "scan",
    "splits",
    "task",
    "torchvision_sets",
]
