"""Tells which image sizes of a space a network takes, so that no others are drawn for it."""

from scalepred.errors import UsageError
from scalepred.harvest.space import Space
from scalepred.networks.architecture import Architecture, build, check_takes
from scalepred.networks.names import architecture_of


def sizes_taken(source: str, space: Space) -> tuple[int, ...] | None:
    """Return the sizes, in pixels, that points of this source may have; None where its network takes all of the space.

    A vision transformer takes the size alone that it was built for. Where the space has none that the network takes, it
    is that size.

    Args:
        source: a name, or a folder of `scalepred pretrain`; its weights are not read.
        space: of recipes.

    Raises:
        UsageError: if there is no such network.
        WeightsError: if the folder can't be read.
    """
    architecture = build(architecture_of(source))
    sizes = space.image_sizes()
    taken = tuple(px for px in sizes if _takes(architecture, px))
    return None if taken == sizes else taken or (architecture.input_px,)


def _takes(architecture: Architecture, image_px: int) -> bool:
    try:
        check_takes(architecture, image_px=image_px)
    except UsageError:
        return False
    return True
