"""What the report on a snapshot says of harvests whose answer is known."""

import dataclasses
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from rows import FEATURE, RECIPE, SOURCE, TASK, make_run

from benchmarks import snapshot
from scalepred.recipe import GRID, HEAD_ONLY, run_id
from scalepred.records import RecipeRecord
from scalepred.store.warehouse import open_warehouse

BASELINE = dataclasses.replace(RECIPE, multipliers=HEAD_ONLY)
BEST = (0.5, 1.5, 3.0, 10.0)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """Four tasks of four origins: the more images per label, the higher the best scale."""
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    rows = [SOURCE, *(RecipeRecord(recipe_id=r.recipe_id, name=n, json=r.to_json()) for n, r in recipes().items())]
    for index, best in enumerate(BEST):
        name, counts = f"task {index}", dict.fromkeys("abcd", 9)
        task = dataclasses.replace(
            TASK, task_id=str(index) * 32, name=name, origin=f"origin {index}", label_counts=counts
        )
        rows += [task, feature(task, "images_per_label", 5.0 * 2**index), feature(task, "emd_similarity", 0.5)]
        for scale in (None, *GRID):
            right = 5 if scale is None else 10 if scale == best else 6
            recipe = BASELINE if scale is None else RECIPE
            parts = {"task_id": task.task_id, "source_id": SOURCE.source_id, "recipe_id": recipe.recipe_id}
            rows.append(make_run(scale, n_right=right, run_id=run_id(**parts, scale=scale, seed=0), **parts))
    with open_warehouse(path) as store:
        store.add_all(rows)
    return path


def recipes():
    return {"graduated": RECIPE, "baseline": BASELINE}


def feature(task, name, value):
    return dataclasses.replace(FEATURE, task_id=task.task_id, feature_set="basic-1@64px", name=name, value=value)


def report(monkeypatch, warehouse, out):
    monkeypatch.setattr(sys, "argv", ["snapshot", str(warehouse), str(out)])
    snapshot.main()
    return (out / "README.md").read_text(encoding="utf-8")


def test_the_report_tells_what_was_put_in(warehouse, tmp_path, monkeypatch):
    text = report(monkeypatch, warehouse, tmp_path / "out")
    assert "48 runs; 4 tasks of 4 origins have a whole grid, 0 more are left out because" in text
    assert "## efficientnet_lite0, graduated" in text
    right, best = 100 * 6 / 11, 100 * 10 / 11
    share = dict(zip(GRID, ("25 %" if scale in BEST else "0 %" for scale in GRID), strict=True))
    for scale in GRID:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {scale:g} |"))
        assert f"| {(3 * right + best) / 4 if scale in BEST else right:.1f} (" in line
        assert line.endswith(f"| {share[scale]} |  |")
    assert f"| naive best, chosen on test | 4 | {best:.1f} ({best:.1f} to {best:.1f})" in text
    assert "| images_per_label | +1.00 (" in text
    assert "| emd_similarity | none: one of the two never changes |" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "tasks.png", "source-0.png"}


def test_how_far_seeds_lie_apart_is_told_of_the_tasks_that_have_several(tmp_path, monkeypatch):
    rows = [SOURCE, *(RecipeRecord(recipe_id=r.recipe_id, name=n, json=r.to_json()) for n, r in recipes().items())]
    for index, seeds in enumerate(([4, 8], [5, 5, 8], [9])):
        names = {"task_id": str(index) * 32, "name": f"task {index}", "origin": f"origin {index}"}
        task = dataclasses.replace(TASK, **names, label_counts=dict.fromkeys("abcd", 9))
        rows.append(task)
        parts = {"task_id": task.task_id, "source_id": SOURCE.source_id, "recipe_id": RECIPE.recipe_id}
        for (seed, right), scale in itertools.product(enumerate(seeds), GRID):
            named = run_id(**parts, scale=scale, seed=seed)
            rows.append(make_run(scale, n_right=right if scale < 7 else 10, seed=seed, run_id=named, **parts))
    with open_warehouse(tmp_path / "w.duckdb") as store:
        store.add_all(rows)
    text = report(monkeypatch, tmp_path / "w.duckdb", tmp_path / "out")
    variances = [np.var([4 / 11, 8 / 11], ddof=1), np.var([5 / 11, 5 / 11, 8 / 11], ddof=1)]
    apart = dict.fromkeys(GRID, f"{100 * np.sqrt(np.mean(variances)):.1f}") | {7.0: "0.0", 10.0: "0.0"}
    for scale in GRID:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {scale:g} |"))
        assert line.endswith(f" % | {apart[scale]} |")


def test_a_task_at_which_nothing_beats_guessing_is_left_out_and_named(warehouse):
    rows = snapshot.load(warehouse)
    counts = {"a": 30, "b": 6}  # guessing gets 83 % right, and the best scale ten of eleven
    tasks = [dataclasses.replace(task, label_counts=counts) if task.name == "task 1" else task for task in rows.tasks]
    assert snapshot.not_learnable(rows) == set()
    assert snapshot.not_learnable(dataclasses.replace(rows, tasks=tasks)) == {"task 1"}


def test_an_exported_snapshot_gives_the_same_report(warehouse, tmp_path, monkeypatch):
    with open_warehouse(warehouse, read_only=True) as store:
        store.export_parquet(tmp_path / "snapshot")
    exported = report(monkeypatch, tmp_path / "snapshot", tmp_path / "a")
    assert exported == report(monkeypatch, warehouse, tmp_path / "b")
    assert (tmp_path / "a" / "source-0.png").read_bytes() == (tmp_path / "b" / "source-0.png").read_bytes()


def test_the_snapshot_that_ships_is_sound_and_has_what_it_says(tmp_path):
    shipped = Path(__file__).resolve().parent.parent / "warehouse" / "snapshot"
    with open_warehouse(tmp_path / "warehouse.duckdb") as store:
        added = store.import_parquet(shipped)
        assert store.verify() == []
        tasks, runs = store.tasks(), store.runs()
    assert (added["tasks"], added["runs"]) == (len(tasks), len(runs)) == (571, 25302)
    assert sum(path.stat().st_size for path in shipped.iterdir()) < 30e6


def test_a_warehouse_without_a_whole_grid_is_refused(tmp_path, monkeypatch):
    with open_warehouse(tmp_path / "empty.duckdb") as store:
        store.add_all([TASK, SOURCE])
    with pytest.raises(SystemExit, match="has no learnable task with a whole grid"):
        report(monkeypatch, tmp_path / "empty.duckdb", tmp_path / "out")


def test_scales_that_tie_share_a_task():
    assert snapshot.best_shares(np.array([[0.5, 0.7, 0.7], [0.9, 0.1, 0.1]])).tolist() == [0.5, 0.25, 0.25]


def test_a_feature_that_never_changes_has_no_correlation():
    correlation, low, high = snapshot.rank_correlation(np.ones(4), np.arange(4.0), ["a", "b", "c", "d"])
    assert all(map(math.isnan, (correlation, low, high)))


def test_bundles_without_a_value_are_left_out_of_a_mean():
    assert snapshot.mean_and_interval(np.array([0.5, math.nan]), ["a", "b"])[0] == 0.5
    assert math.isnan(snapshot.mean_and_interval(np.array([math.nan]), ["a"])[0])
