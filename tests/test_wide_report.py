"""The wide harvest's report: what it calls curves of known shapes; which runs an early end would have cut."""

import dataclasses
import itertools
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import run_record, source_record, task_record

from benchmarks import wide_report
from benchmarks.early_end import came_back, end_of
from benchmarks.wide_report import multipliers_of, passes_over, shape_of
from scalepred.predictor.context import start_set
from scalepred.recipe import GRID, Recipe
from scalepred.records import FeatureRecord, RecipeRecord
from scalepred.store.warehouse import open_warehouse

POINT, GRIDS = Recipe(optimizer="adamw", head_start="fitted"), Recipe()
N_TEST = 40


def curve(*accuracies, diverged=0):
    """Return what a shape is told from: accuracies by octave, of which the last ones have diverged."""
    values = np.array(accuracies)
    return SimpleNamespace(accuracies=values, diverged=np.arange(len(values)) >= len(values) - diverged, chance=0.1)


@pytest.mark.parametrize(
    ("point", "shape"),
    [
        (curve(0.80, 0.81, 0.80, 0.79), "flat"),
        (curve(0.30, 0.50, 0.70, 0.80), "rises to the end"),
        (curve(0.80, 0.75, 0.70, 0.60), "falls from the start"),
        (curve(0.50, 0.80, 0.30, 0.10), "cliff"),
        (curve(0.50, 0.80, 0.79, 0.10, diverged=1), "cliff"),
        (curve(0.80, 0.79, 0.10, diverged=1), "cliff"),
        (curve(0.50, 0.80, 0.60, 0.80, 0.70), "two humps"),
        (curve(0.50, 0.80, 0.79, 0.70, 0.60), "one hump"),
    ],
)
def test_a_curve_is_called_by_its_shape(point, shape):
    assert shape_of(point) == shape


@pytest.mark.parametrize(("octaves", "passed"), [([-2, -1, 0, 1], False), ([-2, 0, 1, 2], True), ([3], False)])
def test_a_point_whose_octaves_have_gaps_was_placed_by_twos(octaves, passed):
    rates = np.array(octaves) + np.log2(0.001)
    assert passes_over(SimpleNamespace(log2_rates=rates, base_log2_rate=np.log2(0.001))) is passed


@pytest.mark.parametrize(
    ("losses", "n_epochs", "end"),
    [
        ([1, 9, 1, 9, 1], 1, 2),
        ([1, 9, 1, 9, 1], 2, None),
        ([1, 9, 9, 9, 1], 2, 3),
        ([1, 1, 1, 9], 1, None),
        ([9], 1, None),
    ],
)
def test_a_run_is_cut_after_so_many_epochs_above_the_limit_and_never_after_its_last(losses, n_epochs, end):
    assert end_of(SimpleNamespace(epoch_losses=losses), 5.0, n_epochs) == end


def test_a_run_came_back_where_it_ended_near_the_best_of_a_curve_that_learnt():
    run = SimpleNamespace(test_accuracy=0.79)
    assert came_back(run, 0.80, 10)
    assert not came_back(run, 0.90, 10)
    assert not came_back(run, 0.80, 1)
    assert not came_back(SimpleNamespace(test_accuracy=None), 0.01, 10)


@pytest.mark.parametrize(
    ("multipliers", "name"),
    [
        ((0, 1, 2, 4, 8, 16), "graduated"),
        ((1, 1, 1, 1, 1, 1), "flat"),
        ((1, 1, 1, 1, 1, 10), "flat, fast head"),
        ((0, 0, 0, 1, 1, 1), "last stages"),
        ((0.03125, 0.0625, 0.125, 0.25, 0.5, 1), "decay 0.5"),
    ],
)
def test_multipliers_are_called_what_a_person_calls_them(multipliers, name):
    assert multipliers_of(Recipe(multipliers=tuple(map(float, multipliers)))) == name


def n_right(scale, best):
    """Return how many of 40 test images are right: 4 fewer for each octave from the best."""
    return max(8, 36 - round(4 * abs(np.log2(scale / best))))


def rows_of(task, source_id):
    """Return the runs of a design point, best at scale 16, and of a grid with two seeds, best at 2.5."""
    for scale in (2.0**octave for octave in range(1, 8)):
        right = n_right(scale, 16.0)
        test = [1] * right + [0] * (N_TEST - right)
        run = run_record(task, scale, val=[1, 0, 1, 0], test=test, recipe=POINT, source_id=source_id)
        yield dataclasses.replace(run, role="point")
    for scale, seed in itertools.product(GRID, (0, 1)):
        right = n_right(scale, 2.5)
        test = [1] * right + [0] * (N_TEST - right)
        yield run_record(task, scale, val=[1, 0, 1, 0], test=test, recipe=GRIDS, seed=seed, source_id=source_id)
    for name, value in {"noise_log2_critical": -5.0, "half_log2_critical": -5.0, "log2_steps": 6.0}.items():
        yield FeatureRecord(
            task_id=task.task_id, source_id=source_id, feature_set=start_set(POINT), name=name, value=value, seconds=0.5
        )


def test_the_report_of_a_warehouse_tells_what_was_put_in(tmp_path, monkeypatch, capsys):
    tasks = [task_record(f"t{n}", origin=f"o{n % 2}", n_test=N_TEST) for n in range(4)]
    sources = [dataclasses.replace(source_record(f"s{n}"), facts={"architecture": "timm/test_resnet"}) for n in (0, 1)]
    recipes = [RecipeRecord(recipe_id=r.recipe_id, name="r", json=r.to_json()) for r in (POINT, GRIDS)]
    with open_warehouse(tmp_path / "w.duckdb") as store:
        store.add_all([*tasks, *sources, *recipes])
        for task, source in itertools.product(tasks, sources):
            store.add_all(list(rows_of(task, source.source_id)))
    monkeypatch.setattr(sys, "argv", ["wide_report", str(tmp_path / "w.duckdb")])
    wide_report.main()
    *lines, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert (found["n_points"], found["n_grids"]) == (8, 16)
    assert "| adamw, fitted head | 8 | +4.0, +4.0, +4.0 | -6.0 |" in lines
    honest = next(line for line in lines if line.startswith("| best of each curve | 8 | 90.0 | "))
    assert "(+" in honest  # over scale 1, with an interval
    repeats = [line for line in lines if line.startswith("| grids of several seeds | 8 | ")]
    assert len(repeats) == 4
    assert found["octaves_on_halves"]["n"] == 8
    assert found["octaves_on_halves"]["lost"][0] == pytest.approx(0.02, abs=0.02)  # 2 is a third of an octave off 2.5
    cost = found["cost"]["scale 1, as the paper's"]
    assert cost["n_runs"] == 7
    assert cost["eleven_close"][0] == 0
    assert cost["share_of_eleven"][0] == pytest.approx((7 + 1.5) / 11)
    assert cost["n_equal"] > 11
