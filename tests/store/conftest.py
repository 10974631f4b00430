"""Warehouses that the tests of the store start from."""

import shutil

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
