"""Loads a source by the name that the warehouse has of it: one of ours from its folder, others as the product does."""

from pathlib import Path

from scalepred.networks.source import Source, load_source


def source_named(name: str) -> Source:
    """Return the source of models/sources that has a name, or the one that the product knows by it."""
    folder = Path(__file__).resolve().parent.parent / "models" / "sources" / name
    return load_source(str(folder) if folder.is_dir() else name)
