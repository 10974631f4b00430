"""The replay of a few jobs, on points whose curves are all the same but for a shift: the search finds the shift."""

import contextlib
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from wide_points import wide_points

from benchmarks import jobs as bench
from scalepred.predictor.curves import load_curves
from scalepred.predictor.points import JobsSeen
from scalepred.predictor.rule import FILE as RULE_FILE
from scalepred.predictor.rule import load_rule


def with_jobs(point, *, n_images=200, n_val=400):
    """Give a point jobs whose images are right exactly as often as its curve says."""
    right = np.array([np.arange(n_images) < round(each * n_images) for each in point.accuracies], float)
    right = np.random.default_rng(0).permuted(right, axis=1)
    seen = np.where(point.diverged, np.nan, point.accuracies)
    fits = np.clip((point.accuracies - 0.2) / 0.6, 0.01, 1)
    losses = np.where(point.diverged, np.nan, -np.log(fits))
    return dataclasses.replace(point, jobs=JobsSeen(val_accuracies=seen, losses=losses, right=right, n_val=n_val))


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("jobs"), io.StringIO()
    shutil.copy(Path(__file__).resolve().parent.parent / "models/default" / RULE_FILE, folder)
    points = [with_jobs(point) for point in wide_points(60, n_networks=3, n_origins=5)]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(bench, "read_points", lambda _: points)
        patch.setattr("sys.argv", ["jobs", "w.duckdb", "--output", str(folder), "--json", str(folder / "line.json")])
        bench.main()
    assert (folder / "line.json").read_text() == out.getvalue().splitlines()[-1] + "\n"
    return out.getvalue(), folder


def test_on_shifted_copies_of_one_curve_three_jobs_find_the_shift_and_the_rest_is_saved(printed):
    found = json.loads(printed[0].splitlines()[-1])
    rows = {(row["seen"], row["points"], row["jobs"]): row for row in found["rows"]}
    own = "their own validation images"
    one, three, eleven = (rows[own, "all", k] for k in (1, 3, 11))
    assert one[bench.CURVES] == one[bench.SEARCH] == one[bench.RANDOM] < 75
    assert three[bench.CURVES] > three[bench.SEARCH] + 1
    assert three["over_one"][1] > 0
    best = np.mean([point.accuracies.max() for point in wide_points(60, n_networks=3, n_origins=5)])
    assert eleven[bench.CURVES] == pytest.approx(100 * best, abs=0.5)
    assert eleven["run"] < 9
    assert three["n"] == 60


def test_a_higher_threshold_runs_fewer_jobs(printed):
    found = json.loads(printed[0].splitlines()[-1])
    run = [row["run"] for row in found["stops"] if row["seen"] == "half of the test images"]
    assert run == sorted(run, reverse=True)
    assert run[0] > run[-1]


def test_the_curves_of_all_points_are_written_beside_their_rule(printed):
    folder = printed[1]
    assert len(load_curves(folder, load_rule(folder)).curves) == 60


def test_the_curves_that_ship_belong_to_the_rule_that_ships():
    ships = Path(__file__).resolve().parent.parent / "models/default"
    curves = load_curves(ships, load_rule(ships))
    assert len(curves.curves) == 730
    assert (ships / "curves.json").stat().st_size < 300_000
