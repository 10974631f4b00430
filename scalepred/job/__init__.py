"""The one job: choose, finetune, save the model, and classify with it."""

__all__ = [
    "api",
    "card",
    "choose",
    "classifier",
    "export",
    "finetune",
    "keep",
    "line_plot",
    "options",
    "output",
    "paired",
    "places",
    "probe",
    "result",
    "setup",
    "tools",
    "unfinished",
]
