"""What tests of harvests in this process start from."""

import pytest
from fakes import fake_finetune, write_task
from small_networks import tiny_source


@pytest.fixture
def fakes(monkeypatch, source):
    """Have workers hold tiny networks, and finetune in no time."""
    sources = {"tiny": source, "other": tiny_source(seed=1)}
    monkeypatch.setattr("scalepred.harvest.worker.load_source", lambda name, weights: sources[name])
    monkeypatch.setattr("scalepred.training.bundle.finetune", fake_finetune)


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture
def tasks(tmp_path):
    return [str(write_task(tmp_path / name, seed=seed)) for seed, name in enumerate(("birds", "fish"))]


@pytest.fixture
def more_tasks(tmp_path):
    return [str(write_task(tmp_path / f"t{index}", seed=index)) for index in range(5)]


@pytest.fixture
def warehouse(tmp_path):
    return tmp_path / "w.duckdb"
