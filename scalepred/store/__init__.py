"""The results of harvests: the journal, the DuckDB warehouse, and snapshots of it."""

__all__ = [
    "journal",
    "keeping",
    "query",
    "warehouse",
]
