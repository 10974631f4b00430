"""The one job: choose, finetune, save the model, and classify with it."""

__all__ = [
    "api",
    "choose",
    "classifier",
    "finetune",
    "keep",
    "line_plot",
    "options",
    "output",
    "places",
    "setup",
    "tools",
]
