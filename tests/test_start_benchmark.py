"""What the facts of a start add to a job: which points are measured, and what the table says."""

import dataclasses
import math

import pytest
from small_networks import tiny_source
from small_suite import write_suite
from wide_points import SGD, wide_point

from benchmarks import bench_start
from benchmarks.bench_start import SIZES, Cost, cost_of, drawn, median_interval, passes_of, report, size_of
from scalepred.data.task import read_task
from scalepred.errors import UsageError

SHORT = dataclasses.replace(SGD, epochs=2, batch_size=8, image_px=16)


def cost(passes, share, octaves=0.0):
    return Cost(point="p", passes=passes, job_seconds=10.0, facts_seconds=10 * share, octaves=octaves)


def test_points_of_every_size_are_drawn_by_the_seed_alone():
    recipes = [dataclasses.replace(SGD, epochs=epochs) for epochs in (5, 15, 30, 60)]
    points = [wide_point(at, recipes[at % 4], best=0.0, facts={}) for at in range(40)]
    assert [passes_of(point) for point in points[:4]] == [250, 750, 1500, 3000]
    sizes = drawn(points, each=3, seed=1)
    assert [[size_of(passes_of(point)) for point in sized] for sized in sizes] == [[at] * 3 for at in range(len(SIZES))]
    assert drawn(points[::-1], each=3, seed=1) == sizes
    assert drawn(points, each=3, seed=2) != sizes


def test_the_table_has_medians_with_intervals_and_says_what_has_moved():
    told = report([cost(100, 0.5), cost(3000, 0.05), cost(3000, 0.08), cost(9000, 0.2, octaves=0.9)])
    assert "| 0 to 500 | 1 | 10.0 | 5.00 | 50.0% (50.0% to 50.0%) |" in told
    assert "| 2,000 or more | 3 | 10.0 | 0.80 | 8.0% (5.0% to 20.0%) |" in told
    assert told.endswith("3 of 4 points have the stored critical rates within 0.01 octaves.")
    assert median_interval([1.0, 2.0, 3.0])[0] == 2


def test_facts_are_measured_beside_their_own_job(tmp_path, monkeypatch):
    suite = write_suite(tmp_path / "suite")
    task = read_task(suite / "tasks" / "moss-010", image_px=16)
    monkeypatch.setattr(bench_start, "source_named", lambda name: tiny_source())
    point = dataclasses.replace(
        wide_point(0, SHORT, best=0.0, facts={"noise_log2_critical": -3.0}),
        task="moss-010",
        task_id=task.record.task_id,
        source_id=tiny_source().source_id,
        n_train=24,
    )
    found = cost_of(point, suite)
    assert found.passes == 48
    assert found.facts_seconds > 0
    assert found.job_seconds > 0
    assert found.octaves > 0
    assert math.isclose(found.share, found.facts_seconds / found.job_seconds)
    assert cost_of(dataclasses.replace(point, source_id="another"), suite).octaves is None
    with pytest.raises(UsageError, match="moss-010 is another task than the one that was harvested"):
        cost_of(dataclasses.replace(point, task_id="another"), suite)
