"""Which scale suits which task: facts, the table, the trees, the choice, its evaluation, and the artifact."""

__all__ = [
    "artifact",
    "card",
    "choice",
    "context",
    "coordinates",
    "evaluate",
    "facts",
    "formulations",
    "harvested",
    "honest",
    "model",
    "nested",
    "points",
    "rule",
    "scores",
    "start_facts",
    "table",
    "targets",
    "train",
    "wide_table",
]
