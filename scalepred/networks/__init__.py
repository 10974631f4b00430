"""Pretrained networks: built by name, parted into stages, loaded with their weights."""

__all__ = [
    "architecture",
    "cut",
    "names",
    "resnet27",
    "source",
    "staged",
    "timm_config",
    "weights",
]
