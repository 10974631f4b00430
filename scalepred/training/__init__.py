"""Training: rates, augmentation, the optimizer, the loop, and one task and network in memory."""

__all__ = [
    "bundle",
    "critical",
    "devices",
    "direction",
    "embed",
    "loop",
    "planned",
    "pretrain",
    "rates",
    "scoring",
    "start",
]
