"""The benchmark of the rivals: the same images for all, results that survive a stop, and a table of known answers."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from image_files import make_classes
from PIL import Image

from benchmarks import bench_rivals as bench
from benchmarks.bench_harvest import make_tiny_task
from benchmarks.rivals.ask import Asked, listed, read_asked, write_images
from benchmarks.rivals.by_timm import Images, loader
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.own import probe, search
from benchmarks.rivals.report import as_markdown, compare
from benchmarks.rivals.results import Outcome, append, read_results
from benchmarks.wild.choose import SuiteTask
from scalepred.data.decode import decode
from scalepred.data.task import read_task
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source, normalise
from scalepred.recipe import RECIPES

ROOT = Path(__file__).resolve().parent.parent


def outcome(method, task, accuracy, *, seconds=10.0, **changes):
    facts = {"settings": "s", "origin": task, "seed": 0, "n_test": 100, "work_seconds": seconds, "details": {}}
    facts |= {"wall_seconds": seconds, "cpu_seconds": seconds}
    return Outcome(method=method, task=task, accuracy=accuracy, **facts | changes)


def asked(folder, **changes):
    recipe = folder.parent / "recipe.json"
    small = dataclasses.replace(RECIPES["frozen-statistics"], epochs=1, image_px=32)
    recipe.write_text(small.to_json(), encoding="utf-8")
    facts = {"epochs": 2, "image_px": 32, "batch_size": 8, "seed": 0, "threads": 1, "learns_all": False}
    return Asked(folder=folder, recipe=recipe, **facts | changes)


def settings(*extra):
    return bench.read_settings(bench.argument_parser().parse_args(["suite", "--threads", "1", *extra]))


@pytest.fixture
def folder(tmp_path):
    write_images(make_tiny_task(tmp_path / "tiny", side_px=48), tmp_path / "images" / "tiny")
    return tmp_path / "images" / "tiny"


# --- what is told -----------------------------------------------------------------------------------------------------


def test_differences_are_paired_by_task_and_seconds_are_ratios():
    outcomes = [outcome("ours", task, right) for task, right in (("a", 0.8), ("b", 0.6), ("c", 0.9))]
    outcomes += [outcome("probe", task, right, seconds=5.0) for task, right in (("a", 0.7), ("b", 0.5), ("c", 0.8))]
    ours, other = compare(outcomes, ["ours", "probe"])
    assert (ours.ours_above, ours.wall) == (None, 1.0)
    assert (ours.n_tasks, ours.n_origins) == (3, 3)
    assert other.accuracy == pytest.approx(2 / 3)
    assert other.ours_above == pytest.approx(0.1)
    assert other.ours_above_interval == pytest.approx((0.1, 0.1))
    assert (other.wall, other.cpu, other.wall_seconds) == pytest.approx((0.5, 0.5, 5.0))
    assert "| linear probe | 3 (3) | 66.7 (50.0 to 80.0) | +10.0 (+10.0 to +10.0) | x 0.50 |" in as_markdown([other])


def test_tasks_that_a_rival_has_not_tried_do_not_count_and_failures_are_no_numbers():
    outcomes = [outcome("ours", task, 0.8) for task in "abc"]
    outcomes += [outcome("probe", "a", 0.6), outcome("probe", "b", None)]
    ours, other = compare(outcomes, ["ours", "probe"])
    assert (ours.n_tasks, other.n_tasks, other.n_failed) == (2, 1, 1)
    assert other.ours_above == pytest.approx(0.2)
    assert "1 (1), 1 failed" in as_markdown([other])


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_line_that_a_stop_has_cut_is_passed_over_and_the_next_stays_apart(tmp_path):
    file = tmp_path / "results.jsonl"
    append(file, outcome("ours", "a", 0.5))
    with file.open("a", encoding="utf-8") as cut:
        cut.write('{"settings": "s", "task": "b"')
    append(file, outcome("ours", "c", 0.5))
    assert [each.task for each in read_results(file)] == ["a", "c"]


def test_the_same_command_goes_on_and_a_failed_job_is_tried_again(tmp_path, monkeypatch):
    ran = []

    def run_job(asked_for, task, method, *, seed, scratch):
        ran.append((task.name, method))
        own = asked_for.settings_id(method)
        fails = ran.count((task.name, method)) == 1 and method == "timm"
        return outcome(method, task.name, None if fails else 0.5, seed=seed, settings=own)

    monkeypatch.setattr(bench, "run_job", run_job)
    monkeypatch.setattr(bench, "write_images", lambda *_: None)
    tasks = [SuiteTask(folder=Path(name), origin=name, n_train=8, n_val=2, n_test=50) for name in "ab"]
    file, chosen = tmp_path / "r.jsonl", settings("--methods", "ours", "timm")
    next(bench.run_missing(chosen, tasks, file, tmp_path))  # stopped after one
    list(bench.run_missing(chosen, tasks, file, tmp_path))
    assert ran == [("a", "ours"), ("a", "timm"), ("b", "timm"), ("b", "ours")]  # who begins rotates
    list(bench.run_missing(chosen, tasks, file, tmp_path))
    assert ran[4:] == [("a", "timm"), ("b", "timm")]
    with pytest.raises(SystemExit, match="ours finetunes: leave finetuned out"):
        settings("--methods", "ours", "finetuned", "--scale", "2")
    list(bench.run_missing(settings("--methods", "ours", "timm", "--scale", "2"), tasks, file, tmp_path))
    assert ran[6:] == [("a", "ours"), ("b", "ours")]  # another scale is another job, of ours alone


def test_parts_share_the_tasks(tmp_path):
    tasks = [SuiteTask(folder=Path(name), origin=name, n_train=8, n_val=2, n_test=50) for name in "abcde"]
    assert bench.part_of(tasks, "1/1") == tasks
    assert [[task.name for task in bench.part_of(tasks, part)] for part in ("1/2", "2/2")] == [list("ace"), list("bd")]


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/", "-1/2", "a/b", ""])
def test_what_is_no_part_is_said(part):
    with pytest.raises(SystemExit, match="like 1/2"):
        bench.part_of([], part)


# --- what rivals are asked --------------------------------------------------------------------------------------------


def test_a_job_is_what_its_options_say(tmp_path):
    job = asked(tmp_path / "task", learns_all=True)
    assert read_asked(["probe", *job.arguments()]) == ("probe", job)


def test_ours_and_todays_default_are_the_commands_of_a_user(tmp_path):
    task = SuiteTask(folder=tmp_path / "t", origin="o", n_train=8, n_val=2, n_test=50)
    chosen = settings("--recipe", "frozen-statistics", "--ours-options", "--on-bad-image fail", "--image-px", "96")
    where = {"seed": 3, "scratch": tmp_path, "output": tmp_path}
    ours = bench.job_command(chosen, task, "ours", **where)
    assert ours[3:8] == ["finetune", str(tmp_path / "t"), "--auto", "--on-bad-image", "fail"]
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))["image_px"] == 96
    finetuned = bench.job_command(chosen, task, "finetuned", **where)
    assert finetuned[5:7] == ["--auto", "--no-probe"]
    assert len({chosen.settings_id(method) for method in ("ours", "finetuned", "today")}) == 3
    today = bench.job_command(chosen, task, "today", **where)
    assert today[5:9] == ["--scale", "4.0", "--train-on", "train"]
    assert today[today.index("--seed") + 1] == "3"


def test_all_rivals_read_the_same_images_on_white_in_their_own_sizes(tmp_path):
    make_classes(tmp_path / "data", names=("a", "b"), n=10)
    clear = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    clear.save(tmp_path / "data" / "a" / "clear.png")
    folder = tmp_path / "images" / "data"
    write_images(tmp_path / "data", folder)
    first, second = read_task(tmp_path / "data", image_px=16).record, read_task(folder, image_px=16).record
    assert (second.n_train, second.n_val, second.n_test) == (first.n_train, first.n_val, first.n_test)
    assert second.data_hash != first.data_hash  # labels have other names
    every = [path for split in ("train", "val", "test") for path, _ in listed(folder, split)]
    white = [rgb for rgb in (decode(path).rgb for path in every) if rgb.min() == 255]
    assert [rgb.shape for rgb in white] == [(20, 30, 3)]
    assert asked(folder).n_classes() == 2
    assert len(asked(folder, learns_all=True).to_learn()) == first.n_train + first.n_val


@pytest.mark.parametrize(("n", "batch", "even"), [(40, 32, 20), (24, 32, 24), (33, 32, 16), (8, 32, 8), (65, 32, 21)])
def test_batches_are_even_so_that_loaders_that_drop_the_last_drop_little(tmp_path, n, batch, even):
    assert asked(tmp_path / "x", batch_size=batch).even_batch(n) == even
    assert n % even < -(-n // batch)


def test_timms_loader_gives_the_network_the_pixels_that_we_do(folder):
    architecture = load_source(DEFAULT_SOURCE).architecture
    test = listed(folder, "test")
    (images, labels), *_ = loader(test, architecture, asked(folder), batch_size=64, is_training=False)
    ours = read_task(folder, image_px=32).test
    by_path = {
        Path(path).name + str(label): row for row, (path, label) in enumerate(zip(ours.paths, ours.labels, strict=True))
    }
    rows = [by_path[path.name + str(label)] for path, label in test]
    expected = normalise(torch.from_numpy(ours.images[rows]), architecture)
    assert labels.tolist() == [label for _, label in test]
    assert float((images - expected).abs().mean()) < 0.02
    assert len(Images(test)) == len(test)


@pytest.mark.slow
def test_the_probe_and_the_search_answer_by_the_test_images(folder):
    answer = probe(asked(folder))
    assert answer.n_test == 8
    assert 0 <= answer.accuracy <= 1
    assert probe(asked(folder), learns_all=True).details["n_learnt"] == answer.details["n_learnt"] + 6
    found = search(asked(folder))
    assert len(found.details["test_accuracies"]) == 11
    assert found.accuracy in found.details["test_accuracies"]


@pytest.mark.slow
def test_the_benchmark_of_the_rivals_runs_ours_and_others():
    methods = ["ours", "probe", "timm"]
    command = [sys.executable, "-m", "benchmarks.bench_rivals", "--smoke", "--threads", "1", "--methods", *methods]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    report = json.loads(shown.stdout.splitlines()[-1])
    assert [(row["method"], row["n_tasks"], row["n_failed"]) for row in report["rows"]] == [(m, 2, 0) for m in methods]
    assert all(row["wall"] > 0 and row["cpu"] > 0 for row in report["rows"])


def test_a_rival_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "fastai" else object())
    bench.check_installed(["ours", "timm"])
    with pytest.raises(SystemExit, match=r"fastai is not installed: pip install -e '\.\[rivals\]'"):
        bench.check_installed(list(METHODS))
