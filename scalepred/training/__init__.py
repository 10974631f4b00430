"""Training: rates, augmentation, the optimizer, the loop, and one task and network in memory."""

__all__ = [
    "bundle",
    "calibration",
    "checkpoint",
    "critical",
    "devices",
    "direction",
    "embed",
    "front",
    "loop",
    "loss",
    "optimizer",
    "planned",
    "pretrain",
    "probe",
    "rates",
    "scoring",
    "source_folder",
    "start",
]
