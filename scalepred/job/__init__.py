"""The one job: choose, finetune, save the model, and classify with it."""

__all__ = [
    "choose",
    "classify",
    "finetune",
    "folder",
    "keep",
]
