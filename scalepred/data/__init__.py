"""Labelled images as people have them: listed, decoded, compared, split, checked."""

__all__ = [
    "archives",
    "aside",
    "decode",
    "digits",
    "duplicates",
    "keep_manifest",
    "layout",
    "layouts",
    "listing",
    "load",
    "merge",
    "scan",
    "splits",
    "square",
    "subset",
    "task",
    "thumbnails",
    "torchvision_sets",
]
