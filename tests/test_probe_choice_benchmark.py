"""What the choice between probe and finetune is made from: gathered, and kept with a predictor that stays as it was."""

import json
import sys
from pathlib import Path

import pytest
from fakes import RECIPE, SOURCE, curve_table

from benchmarks import probe_choice as bench
from scalepred.predictor.artifact import MODEL, load, save
from scalepred.predictor.context import probe_set
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.train import train

KNOWN = Beside(source_id=SOURCE, recipe_id=RECIPE, n_train=(8, 9, 10), origins=(0, 1, 2), gains=(0.1, 0.0, -0.02))
UNKNOWN = Beside(source_id="other", recipe_id=RECIPE, n_train=(8,), origins=(0,), gains=(0.1,))
DEFAULT = Path(__file__).resolve().parent.parent / "models" / "default"


@pytest.fixture
def made(tmp_path, monkeypatch, capsys):
    """Run the benchmark on what is gathered here; return the folder, its trees of before, and what was printed."""
    folder = tmp_path / "predictor"
    save(bench.dataclasses.replace(train(curve_table(10)), facts=load(DEFAULT).facts), folder)
    trees = (folder / MODEL).read_bytes()
    monkeypatch.setattr(bench, "gathered", lambda warehouse, probes: (KNOWN, UNKNOWN))
    monkeypatch.setattr(bench, "write_card", lambda predictor, folder: None)
    monkeypatch.setattr(sys, "argv", ["probe_choice", "w.duckdb", "--output", str(folder)])
    bench.main()
    return folder, trees, capsys.readouterr().out


def test_a_predictor_keeps_what_is_known_of_its_own_sources_and_recipes_and_is_else_as_it_was(made):
    folder, trees, printed = made
    assert load(folder).besides == (KNOWN,)
    assert (folder / MODEL).read_bytes() == trees
    assert [line.split("|")[1].strip() for line in printed.splitlines()[2:]] == [SOURCE]


def test_lines_of_measured_probes_are_read_as_a_harvest_keeps_them(tmp_path):
    file = tmp_path / "probes.jsonl"
    file.write_text(json.dumps({"task_id": "t", "source_id": "s", "image_px": 64, "test": 0.75}) + "\n")
    (feature,) = bench.as_features(file)
    assert (feature.task_id, feature.source_id, feature.feature_set) == ("t", "s", probe_set(64))
    assert (feature.name, feature.value) == ("test_accuracy", 0.75)


def test_the_predictor_that_ships_knows_it_for_the_default_and_finetunes_where_nothing_is_known():
    predictor = load(DEFAULT)
    sizes = {predictor.facts["recipes"][each.recipe_id]: each.n_train for each in predictor.besides}
    assert sizes["frozen-statistics-128"][-1] == 680
    assert len(sizes["frozen-statistics-128"]) == 80
