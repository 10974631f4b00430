"""Several jobs on one task: which are run, which is kept, what is told of them, and what is refused."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from fakes import curve_table, fake_finetune, named_source, write_task
from wide_points import wide_points

from scalepred.data.merge import merged
from scalepred.errors import UsageError
from scalepred.files import sha256
from scalepred.job.choose import choose_scale
from scalepred.job.classifier import load
from scalepred.job.finetune import finetune_once
from scalepred.job.keep import keep_wanted
from scalepred.job.options import DataOptions, JobOptions, NetworkOptions, check_together, chosen_between
from scalepred.job.probe import report
from scalepred.job.setup import set_up
from scalepred.job.several import Running, kept_choice, run_several
from scalepred.job.tools import Asked, Tools
from scalepred.job.unfinished import file_of, how_to_go_on, job_file_of
from scalepred.predictor.curves import curves_of
from scalepred.predictor.rule import Constant, Rule, fit_rule
from scalepred.predictor.train import train
from scalepred.recipe import Recipe
from scalepred.store.warehouse import open_warehouse

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, image_px=16, batch_size=8, optimizer="adamw")
CONSTANT = Constant(coordinate="rate", log2=-10.0, octaves=1.0, n_points=120, n_origins=40, n_sources=5)
RULE = Rule(constants={"adamw, noise head": CONSTANT})
"""Puts every job at about scale 1, since the base rate is about 2 to the -10."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("data") / "birds", n=60)


@pytest.fixture(scope="module")
def curves():
    points = wide_points(24, per_octave_of_steps=0.5)
    return curves_of(points, fit_rule(points, {"sgd": "both, damped", "adamw": "noise"}))


@pytest.fixture(scope="module")
def setup(data, curves):
    asked = Asked(predictor=train(curve_table()), folder=data.parent / "predictor", note="predictor: made")
    tools = Tools(
        source=named_source(), recipe=RECIPE, recipe_name="mine", device=CPU, asked=asked, rule=RULE, curves=curves
    )
    return dataclasses.replace(set_up(data, tools, chosen_between(DataOptions(), 3)), dtype=torch.float32)


@pytest.fixture
def prediction(setup):
    return choose_scale(setup)


def job_of(setup, prediction, output, *, jobs, on_job=None, on_epoch=None, **options):
    wanted = JobOptions(jobs=jobs, **options)
    return finetune_once(setup, prediction, wanted, output=output, on_job=on_job, on_epoch=on_epoch)


def search_of(setup, prediction, monkeypatch, *, jobs, best, diverges=math.inf, on_job=None):
    """Search with jobs that are best at one scale, and diverge from another on; returns the search and the outcome."""

    def run(*arguments, scale, **settings):
        edge = scale if scale >= diverges else None
        return fake_finetune(*arguments, scale=scale, best=best, diverges=edge, **settings)

    monkeypatch.setattr("scalepred.training.bundle.finetune", run)
    running = Running(
        setup=setup,
        prediction=prediction,
        options=JobOptions(jobs=jobs),
        file=Path("no-such-folder/state.safetensors"),
        on_epoch=None,
        tell=lambda _: None,
        n_epochs=2,
    )
    return run_several(running, on_job=on_job)


@pytest.mark.slow
def test_one_job_is_the_job_that_it_was(setup, prediction, tmp_path):
    one = job_of(setup, prediction, tmp_path / "one", jobs=1)
    plain = finetune_once(setup, prediction, JobOptions(), output=tmp_path / "plain")
    assert one.search is None is one.to_json()["metrics"]["search"]
    assert one.choice == plain.choice == prediction.choice
    weights = [sha256(tmp_path / name / "model.safetensors") for name in ("one", "plain")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_real_jobs_run_at_different_scales_and_the_kept_one_is_saved(setup, prediction, tmp_path):
    told, epochs = [], []
    job = job_of(
        setup, prediction, tmp_path / "model", jobs=3, on_job=told.append, on_epoch=lambda e, _: epochs.append(e)
    )
    search = job.search
    scales = [run.scale for run in search.runs]
    assert scales[0] == prediction.scale
    assert len(set(scales)) == len(scales) == 3
    assert epochs[:6] == [1, 2, 3, 4, 5, 6]
    assert job.run is search.runs[search.chosen]
    assert job.scale == job.run.scale
    assert search.expected[search.chosen] == max(search.expected)
    assert len(told) == 4
    assert told[0].startswith(f"job 1 of up to 3: scale {scales[0]:g}, ")
    assert told[0].endswith(f"of {setup.task.record.n_val} validation images")
    assert told[3] == f"3 of 3 jobs run; kept is that at scale {job.scale:g}"
    assert load(tmp_path / "model").classes == ("dark", "light")
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert [each["scale"] for each in metrics["search"]["jobs"]] == scales
    assert sum(each["chosen"] for each in metrics["search"]["jobs"]) == 1
    report = (tmp_path / "model" / "report.html").read_text()
    assert "3 of 3 jobs run" in report
    assert "It was kept of several jobs" in report
    assert not (tmp_path / "model.unfinished").exists()


def test_jobs_climb_to_a_best_scale_that_lies_octaves_above(setup, prediction, monkeypatch):
    best = 8 * prediction.scale
    search, _ = search_of(setup, prediction, monkeypatch, jobs=6, best=best)
    kept = kept_choice(prediction, search).choice
    assert kept.by == "jobs"
    assert kept.reason.startswith(f"the highest expected accuracy of {len(search.runs)} jobs; the first ran at")
    assert kept.scale == search.runs[search.chosen].scale
    assert best / 4 <= kept.scale <= 4 * best


def test_a_job_that_diverges_is_an_observation_and_lower_ones_follow(setup, prediction, monkeypatch):
    told, scale = [], prediction.scale
    search, _ = search_of(setup, prediction, monkeypatch, jobs=4, best=scale / 8, diverges=scale, on_job=told.append)
    assert search.runs[0].status == "diverged"
    assert told[0].endswith(", diverged")
    assert all(run.scale < scale for run in search.runs[1:])
    assert search.runs[search.chosen].status == "done"
    first = search.to_json()["jobs"][0]
    assert (first["status"], first["val_accuracy"]) == ("diverged", None)
    assert first["expected_accuracy"] == pytest.approx(0.5, abs=1e-9)  # guessing; sums of weights differ by machine


def test_if_all_jobs_diverge_it_says_so(setup, prediction, monkeypatch):
    with pytest.raises(UsageError, match=r"All 2 jobs diverged, the lowest at scale .*: --scale X"):
        search_of(setup, prediction, monkeypatch, jobs=2, best=1.0, diverges=0.0)


def test_a_job_that_diverges_when_it_is_run_again_is_not_kept(setup, prediction, monkeypatch):
    runs, best_after = [], iter([0, 1, 0])  # the second is best for a while, and the first in the end
    run = type(setup.bundle).run

    def diverging(bundle, planned, **more):
        record, outcome = run(bundle, planned, **more)
        runs.append(record)
        return (dataclasses.replace(record, status="diverged") if len(runs) == 4 else record), outcome

    monkeypatch.setattr(type(setup.bundle), "run", diverging)
    monkeypatch.setattr("scalepred.job.several.best_of", lambda _, tried: tried[next(best_after)].at)
    with pytest.raises(UsageError, match=r"diverged when it was run again, so nothing was saved.*--scale X"):
        search_of(setup, prediction, monkeypatch, jobs=3, best=prediction.scale)


@pytest.mark.slow
def test_jobs_that_all_diverged_leave_no_state_behind(setup, prediction, tmp_path):
    tools = dataclasses.replace(setup.tools, recipe=dataclasses.replace(RECIPE, optimizer="sgd", base_lr=1e30))
    setup = dataclasses.replace(setup, tools=tools)
    with pytest.raises(UsageError, match="All 2 jobs diverged"):
        job_of(setup, prediction, tmp_path / "model", jobs=2, checkpoint_seconds=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_that_validation_images_chose_is_not_set_beside_the_probe_on_them(setup, prediction):
    test = dataclasses.replace(setup.task.test, images=setup.task.test.images[:0], labels=setup.task.test.labels[:0])
    task = dataclasses.replace(setup.task, test=test)
    bundle = dataclasses.replace(setup.bundle, task=task)
    scores = dict(bundle.probe_scores())
    assert report(bundle, prediction.probe, scores).compared.split == "val"
    assert report(bundle, prediction.probe, scores, splits=("test",)).compared is None


def test_it_stops_where_nothing_more_is_expected_to_pay(setup, prediction, monkeypatch):
    monkeypatch.setattr("scalepred.job.several.PAYS", 0.5)
    told = []
    search, _ = search_of(setup, prediction, monkeypatch, jobs=5, best=prediction.scale, on_job=told.append)
    assert told[-1] == f"1 of 5 jobs run: nothing more is expected to pay; kept is that at scale {prediction.scale:g}"
    assert kept_choice(prediction, search) == prediction
    assert search.to_json()["run"] == 1


def test_an_earlier_job_that_turns_out_best_is_run_again_to_the_same(setup, prediction, monkeypatch):
    calls, best_after = [], iter([0, 1, 0])  # the second is best for a while, and the first in the end
    run = type(setup.bundle).run

    def counted(bundle, planned, **more):
        calls.append(planned.scale)
        return run(bundle, planned, **more)

    monkeypatch.setattr(type(setup.bundle), "run", counted)
    monkeypatch.setattr("scalepred.job.several.best_of", lambda _, tried: tried[next(best_after)].at)
    search, _ = search_of(setup, prediction, monkeypatch, jobs=3, best=prediction.scale)
    assert len(calls) == 4
    assert calls[0] == calls[3] == search.runs[search.chosen].scale == prediction.scale


@pytest.mark.slow
def test_jobs_that_were_stopped_go_on_to_the_same(setup, prediction, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(epoch, _):
        if epoch == 3:
            raise StoppedError

    options = JobOptions(jobs=3, checkpoint_seconds=0.0)
    whole = finetune_once(setup, prediction, options, output=tmp_path / "whole")
    output = tmp_path / "model"
    with pytest.raises(StoppedError):
        finetune_once(setup, prediction, options, output=output, on_epoch=stop)
    file = file_of(setup, options, output=output)
    assert file.exists()
    assert job_file_of(file, 2).exists()
    assert "after epoch 1 of 2 of job 2; its state is in" in how_to_go_on(setup, options, output=output)
    epochs = []
    again = finetune_once(setup, prediction, options, output=output, on_epoch=lambda e, _: epochs.append(e))
    assert epochs[0] == 4  # neither the first job nor the second's first epoch ran again
    assert [run.epoch_losses for run in again.search.runs] == [run.epoch_losses for run in whole.search.runs]
    assert sha256(output / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")
    assert not file.parent.exists()


@pytest.mark.slow
def test_a_refit_trains_on_all_images_at_the_scale_that_is_kept(setup, prediction, tmp_path):
    job = job_of(setup, prediction, tmp_path / "model", jobs=2, refit=True)
    assert job.refit.run.scale == job.scale
    assert job.refit.task.record.n_train == 120
    assert job.val_accuracy is not None


@pytest.mark.slow
def test_a_warehouse_keeps_all_jobs(setup, prediction, tmp_path):
    options = JobOptions(jobs=2, warehouse=tmp_path / "w.duckdb")
    job = finetune_once(setup, prediction, options, output=tmp_path / "model")
    keep_wanted(job, setup.tools, options)
    with open_warehouse(tmp_path / "w.duckdb", read_only=True) as store:
        assert {run.run_id for run in store.runs()} == {run.run_id for run in job.search.runs}
        assert [row.scale for row in store.predictions()] == [job.scale]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [0, 12, True, 2.0, "3"])
def test_jobs_out_of_range_are_refused(jobs):
    with pytest.raises(UsageError, match=r"jobs must be a whole number from 1 to 11, not"):
        JobOptions(jobs=jobs)


@pytest.mark.parametrize(("scale", "why"), [(2.0, "scale 2 was given"), ("probe", "a linear probe has no scale")])
def test_several_jobs_take_a_predicted_scale(scale, why):
    with pytest.raises(
        UsageError, match=rf"search around a predicted scale, and {why}: use --auto, or leave out --jobs"
    ):
        JobOptions(jobs=2, scale=scale)


def test_what_chooses_is_not_trained_on():
    assert chosen_between(DataOptions(), 1).train_on is None
    assert chosen_between(DataOptions(train_on="all"), 1).train_on == "all"
    assert chosen_between(DataOptions(), 2).train_on == "train"
    for train_on in ("train+val", "all"):
        with pytest.raises(UsageError, match=r"none may train on them.*--refit trains on all images"):
            chosen_between(DataOptions(train_on=train_on), 2)


def test_a_log_of_several_jobs_is_refused():
    with pytest.raises(UsageError, match=r"A log is of one job: leave out --log-to, or --jobs\."):
        check_together(NetworkOptions(), JobOptions(jobs=2, log_to=("tensorboard:x",)))


def test_without_validation_images_or_curves_several_jobs_are_refused(setup, prediction, tmp_path):
    without = dataclasses.replace(setup, task=merged(setup.task, "val"))
    with pytest.raises(UsageError, match=r"compared on validation images, and here there are none"):
        job_of(without, prediction, tmp_path / "model", jobs=2)
    bare = dataclasses.replace(setup, tools=dataclasses.replace(setup.tools, curves=None))
    with pytest.raises(UsageError, match=r"placed by harvested curves, and none ship"):
        job_of(bare, prediction, tmp_path / "model", jobs=2)
