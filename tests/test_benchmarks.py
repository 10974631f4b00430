"""The benchmarks run, and the rivals of a harvest do the work that a recipe asks for."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import write_task
from image_files import make_classes
from PIL import Image
from small_networks import tiny_source

from benchmarks import harvest_report as report
from benchmarks import timed as timed_module
from benchmarks.bench_tasks import cut_task
from benchmarks.bundle import Outcome, check_recipe, check_task, points, put_on_white
from benchmarks.peer_timm import make_optimizer, make_scheduler
from benchmarks.plain_loop import stage_groups
from benchmarks.timed import timed
from scalepred.recipe import GRID, HEAD_ONLY, Recipe
from scalepred.training.rates import schedule_factor, stage_rates

ROOT = Path(__file__).resolve().parent.parent


def measured(seconds, *, tests=(0.5, 0.75)):
    outcomes = [
        Outcome(scale=scale, seed=0, val_accuracy=0.5, test_accuracy=test, seconds=2.0)
        for scale, test in zip((None, 1.0), tests, strict=True)
    ]
    return report.Measured(wall_seconds=seconds, peak_bytes=2**20, outcomes=tuple(outcomes))


def bundle_of(plain, peer, scalepred, **changes):
    repeats = {"plain": plain, "peer": peer, "scalepred": scalepred}
    facts = {"task": "t", "source": "s", "n_classes": 2, "n_train": 100, "repeats": repeats}
    return report.Measurements(**facts | changes)


def numbers_of(bundle, roofs=()):
    return report.bundle_numbers(bundle, epochs=3, roofs=dict(roofs), n_cores=2)


def test_a_bundle_is_the_baseline_and_the_eleven_scales_for_every_seed():
    bundle_points = points(Recipe(), n_seeds=2)
    assert [(point.seed, point.scale) for point in bundle_points] == [
        (seed, s) for seed in (0, 1) for s in (None, *GRID)
    ]
    assert {point.recipe.multipliers for point in bundle_points if point.scale is None} == {HEAD_ONLY}


def test_the_peers_rates_are_the_recipes_at_every_step():
    recipe, n_steps = Recipe(), 10
    source = tiny_source()
    optimizer = make_optimizer(source.architecture.network, source.architecture.stages, recipe, scale=2.5)
    scheduler = make_scheduler(optimizer, n_steps=n_steps)
    learning = [rate for rate in stage_rates(recipe, 2.5) if rate > 0]
    for step in range(n_steps):
        factor = schedule_factor("step", step=step, n_steps=n_steps)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate * factor for rate in learning])
        scheduler.step_update(step + 1)
    assert not any(group["nesterov"] for group in optimizer.param_groups)


def test_the_plain_loops_groups_hold_what_learns_once():
    architecture = tiny_source().architecture
    groups = stage_groups(architecture.network, architecture.stages, Recipe().multipliers, rate=0.001)
    assert [group["lr"] for group in groups] == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.016])
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(architecture.stage_sizes[1:])


def test_a_recipe_that_a_rival_cannot_express_is_refused(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text('{"schedule": "cosine"}', encoding="utf-8")
    with pytest.raises(SystemExit, match="the rivals know the schedule step"):
        check_recipe(str(file))


def test_a_task_whose_splits_have_other_classes_is_refused(tmp_path):
    for split, names in (("train", "ab"), ("val", "ab"), ("test", "a")):
        make_classes(tmp_path / split, names=tuple(names), n=1)
    with pytest.raises(SystemExit, match="must have the same class folders"):
        check_task(tmp_path)


def test_transparent_parts_become_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(put_on_white(image)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_cut_task_has_every_class_in_every_split(tmp_path):
    make_classes(tmp_path / "package", names=("a", "b"), n=20)
    labelled = [(path, path.parent.name) for path in sorted((tmp_path / "package").rglob("*.png"))]
    task = cut_task(labelled, tmp_path / "task", per_class=10)
    check_task(tmp_path / "task")
    assert (task.record.n_train, task.record.n_val, task.record.n_test) == (16, 4, 20)


def test_ratios_are_those_of_neighbouring_repeats():
    bundle = bundle_of([measured(30), measured(40)], [measured(20), measured(20)], [measured(10), measured(20)])
    ratios = numbers_of(bundle)["ratios"]
    assert ratios["plain/scalepred"]["values"] == [3.0, 2.0]
    assert ratios["peer/scalepred"]["median"] == 1.5


def test_accuracies_are_compared_run_by_run():
    diverged = measured(1, tests=(0.25, None))
    numbers = numbers_of(bundle_of([measured(1)], [diverged], [measured(1, tests=(0.75, 0.5))]))
    assert numbers["mean_absolute_differences"] == {"plain-peer": 0.25, "plain-scalepred": 0.25, "peer-scalepred": 0.5}
    assert numbers["contenders"]["peer"]["n_diverged"] == 1
    assert numbers["contenders"]["peer"]["mean_test_accuracy"] == 0.25


def test_a_rival_may_be_left_out():
    whole = bundle_of([measured(4)], [measured(1)], [measured(2)])
    repeats = {name: whole.repeats[name] for name in ("plain", "scalepred")}
    numbers = numbers_of(dataclasses.replace(whole, repeats=repeats))
    assert {name: ratio["median"] for name, ratio in numbers["ratios"].items()} == {"plain/scalepred": 2.0}
    assert set(numbers["mean_absolute_differences"]) == {"plain-scalepred"}
    assert report.geometric_means([numbers])["all"] == pytest.approx({"plain/scalepred": 2.0})


def test_seed_noise_needs_a_second_seed():
    assert report.seed_noise({(1.0, 0): 0.5}) is None
    assert report.seed_noise({(1.0, 0): 0.5, (1.0, 1): 0.25, (2.0, 0): 0.5, (2.0, 1): 0.5}) == 0.125


def test_the_share_of_the_roof_counts_the_scaled_runs_alone():
    bundle = bundle_of([measured(1)], [measured(1)], [measured(1)])
    roof = numbers_of(bundle, {("s", 1, 2): [300.0]}.items())["roof"]
    assert roof["harvest_images_per_second"] == [150.0]  # one scaled run: 3 epochs x 100 images in 2 s
    assert roof["share_of_roof"] == [0.5]


def test_memory_counts_the_whole_process_tree_and_only_when_asked_for(tmp_path, monkeypatch):
    released, looks, tree = tmp_path / "released", [], timed_module._tree

    def tree_until_both_are_seen(pid):
        pids = tree(pid)
        looks.append(sum(timed_module._resident_bytes(each)[1] > 40_000_000 for each in pids))
        if looks.count(2) > 1:  # the sample of the first such look is kept by now
            released.touch()
        return pids

    monkeypatch.setattr(timed_module, "_tree", tree_until_both_are_seen)
    hold = f"""
held, waited = bytearray(b"x") * 40_000_000, 0
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]]) if sys.argv[1:] else None
while {timed_module.PROC.exists()} and not pathlib.Path({str(released)!r}).exists() and waited < 600:
    time.sleep(0.05)
    waited += 0.05
child and child.wait()
"""
    looked = timed([sys.executable, "-c", hold, hold], sample_memory=True)
    assert looked.peak_bytes is None or looked.peak_bytes > 80_000_000
    assert looked.largest_bytes is None or 40_000_000 < looked.largest_bytes < looked.peak_bytes
    assert timed([sys.executable, "-c", "pass"]).peak_bytes is None


def test_a_command_that_fails_stops_the_benchmark_with_its_error():
    with pytest.raises(SystemExit, match="no such luck"):
        timed([sys.executable, "-c", "raise ValueError('no such luck')"])


def test_geometric_means_are_told_for_each_source_and_for_all():
    four = numbers_of(bundle_of([measured(4)], [measured(1)], [measured(1)]))
    nine = numbers_of(bundle_of([measured(9)], [measured(1)], [measured(1)], source="other"))
    means = report.geometric_means([four, nine])
    assert {name: ratios["plain/scalepred"] for name, ratios in means.items()} == pytest.approx(
        {"s": 4.0, "other": 9.0, "all": 6.0}
    )


@pytest.mark.slow
def test_the_benchmark_of_the_harvest_runs_all_contenders(tmp_path):
    output = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.bench_harvest", "--smoke", "--no-memory", "--output", output]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert json.loads(output.read_text(encoding="utf-8")) == printed
    assert [bundle["task"] for bundle in printed["bundles"]] == ["tiny"]
    for bundle in printed["bundles"]:
        assert {name: each["n_runs"] for name, each in bundle["contenders"].items()} == dict.fromkeys(
            ("plain", "peer", "scalepred"), 12
        )
        assert all(each["wall_seconds"]["median"] > 0 for each in bundle["contenders"].values())
        assert set(bundle["ratios"]) == {"plain/scalepred", "peer/scalepred"}
        assert bundle["roof"]["median_share_of_roof"] > 0
        assert bundle["roof"]["dtypes"] in (["float32"], ["bfloat16"])
    assert set(printed["geometric_means"]) == {"timm/test_efficientnet", "all"}
    assert all(ratio > 0 for ratios in printed["geometric_means"].values() for ratio in ratios.values())


@pytest.mark.slow
def test_the_benchmark_of_the_store_runs_all_steps():
    command = [sys.executable, "-m", "benchmarks.bench_store", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert (printed["benchmark"], printed["runs"]) == ("store", 2_000)
    assert set(printed["steps"]) == {"export", "import", "status", "verify", "keys", "add"}


@pytest.mark.slow
def test_the_benchmark_of_predicting_asks_trees_and_rule():
    command = [sys.executable, "-m", "benchmarks.bench_predict", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert set(printed["median_ratios"]) == {"by the trees", "by the rule"}
    assert all(0 < seconds < 60 for seconds in printed["median_seconds"].values())


@pytest.mark.slow
def test_the_benchmark_of_training_learns_from_grids_and_points():
    command = [sys.executable, "-m", "benchmarks.bench_train", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert (printed["rows"], printed["columns"], set(printed["steps"])) == (5_000, 40, {"fit", "train", "rule"})
    assert all(step["seconds"] > 0 and step["peak_bytes"] > 1e7 for step in printed["steps"].values())


@pytest.mark.slow
def test_the_benchmark_of_a_resumed_harvest_waits_for_a_new_run():
    command = [sys.executable, "-m", "benchmarks.bench_resume", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert printed["runs_done"] >= 100
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in printed["seconds"].values())


@pytest.mark.slow
def test_the_benchmark_of_a_worker_tells_memory():
    command = [sys.executable, "-m", "benchmarks.bench_worker", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    printed = json.loads(shown.stdout.splitlines()[-1])
    (bytes_of,) = printed["largest_bytes"].values()
    assert set(bytes_of) == {"plain", "scalepred"}


@pytest.mark.slow
def test_the_benchmark_of_checkpoints_saves_real_states():
    command = [sys.executable, "-m", "benchmarks.bench_checkpoint", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    (row,) = json.loads(shown.stdout.splitlines()[-1])["rows"]
    assert row["bytes"] > 500_000
    assert 0 < row["share"] <= 0.02


def test_the_benchmark_of_calibration_compares_priors_on_a_probe(tmp_path):
    write_task(tmp_path / "greys", classes=("a", "b", "c"), n=60)
    command = [sys.executable, "-m", "benchmarks.bench_calibration", tmp_path / "greys"]
    command += ["--scale", "probe", "--image-px", "32", "--draws", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    told = json.loads(shown.stdout.splitlines()[-1])
    assert (told["benchmark"], told["n"], told["rows"][0]["task"]) == ("calibration", 1, "greys")
    assert set(told["few"]["10"]) == {"none", "plain", "2", "1", "0.7", "0.5", "0.3"}
    assert told["few"]["10"]["none"][2] == 0.0  # at temperature 1 it is never worse than there
