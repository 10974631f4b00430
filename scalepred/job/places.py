"""Where the user's warehouse and predictor lie, and the predictor that ships."""

import importlib.resources
from pathlib import Path

import platformdirs

from scalepred.errors import UsageError


def user_folder() -> Path:
    """Return scalepred's folder for the user's data."""
    return platformdirs.user_data_path("scalepred")


def user_predictor() -> Path:
    """Return the folder of the predictor that the user trains."""
    return user_folder() / "predictor"


def shipped_predictor() -> Path:
    """Return the folder of the predictor that ships with scalepred, from the wheel or from the checkout."""
    inside = Path(str(importlib.resources.files("scalepred"))) / "models" / "default"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "models" / "default"


def warehouse_file(given: str | Path | None = None) -> Path:
    """Return the warehouse to use: the given one, else the one in the user's data folder.

    Raises:
        UsageError: if the path has no name that a file could have.
    """
    path = user_folder() / "warehouse.duckdb" if given is None else Path(given)
    if path.name in ("", ".."):
        raise UsageError(f"The warehouse {path} names no file: give a DuckDB file, such as my.duckdb.")
    return path
