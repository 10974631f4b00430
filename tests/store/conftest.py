"""Warehouses that the tests of the store start from."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from rows import fill

from scalepred.store.warehouse import open_warehouse


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled") / "w.duckdb")


@pytest.fixture
def path(tmp_path, filled):
    """A warehouse with one task and one run."""
    return shutil.copy(filled, tmp_path / "w.duckdb")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "w.duckdb"
    with open_warehouse(path):
        return path


@pytest.fixture
def unprivileged(filled):
    """A folder with a warehouse that this user may read and not write, and a folder that it may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(filled, folder / "w.duckdb").chmod(0o444)
        (folder / "closed").mkdir(mode=0)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
