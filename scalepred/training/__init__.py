"""Training: rates, augmentation, the optimizer, the loop, and one task and network in memory."""

__all__ = [
    "bundle",
    "devices",
    "embed",
    "planned",
    "pretrain",
    "rates",
    "scoring",
]
