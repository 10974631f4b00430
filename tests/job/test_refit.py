"""What a job trains on: all but the test images, everything, or everything after it is measured."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import QUICK, named_source, write_task
from image_files import write_manifest
from safetensors.torch import load_file

from scalepred.data.merge import merged
from scalepred.data.task import read_task
from scalepred.errors import UsageError
from scalepred.job.choose import choose_scale
from scalepred.job.classifier import load
from scalepred.job.finetune import finetune_once, probe_once
from scalepred.job.keep import keep_wanted
from scalepred.job.options import DataOptions, JobOptions
from scalepred.job.probe import ProbeRun
from scalepred.job.setup import set_up
from scalepred.job.tools import Tools
from scalepred.networks.staged import staged
from scalepred.recipe import run_id
from scalepred.store.warehouse import open_warehouse
from scalepred.training.embed import embeddings
from scalepred.training.loop import finetune
from scalepred.training.probe import fit_probe

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
RECIPE = dataclasses.replace(QUICK, epochs=2)


@pytest.fixture(scope="module")
def tools():
    return Tools(source=named_source(), recipe=RECIPE, recipe_name="quick", device=CPU, asked=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("data") / "birds", n=20)


@pytest.fixture(scope="module")
def own_val(data, tmp_path_factory):
    """Return a manifest with the user's own validation set, and no test set."""
    paths = sorted(data.rglob("*.png"))
    rows = [f"{path},{path.parent.name},{'val' if at % 4 == 0 else 'train'}" for at, path in enumerate(paths)]
    return write_manifest(tmp_path_factory.mktemp("own") / "birds.csv", rows, header="path,label,split")


def job_of(data, tools, output, *, train_on=None, scale=1.0, on_epoch=None, **options):
    setup = set_up(data, tools, DataOptions(train_on=train_on))
    setup = dataclasses.replace(setup, dtype=torch.float32)  # which pays is measured, and may differ from call to call
    wanted = JobOptions(scale=scale, **options)
    if scale == "probe":
        return probe_once(setup, wanted, output=output)
    return finetune_once(setup, choose_scale(setup, scale), wanted, output=output, on_epoch=on_epoch)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second, *, rtol=1e-5):
    return all(torch.allclose(first[name], second[name], rtol=rtol, atol=1e-5) for name in first)


# --- what is trained on -----------------------------------------------------------------------------------------------


def test_validation_images_are_trained_on_unless_the_user_made_the_split(data, own_val, tools):
    setups = [set_up(each, tools, DataOptions()) for each in (data, own_val)]
    assert [setup.trained_on for setup in setups] == ["train+val", "train"]
    assert [(s.task.record.n_train, s.task.record.n_val) for s in setups] == [(32, 0), (30, 10)]


@pytest.mark.parametrize(
    ("train_on", "counts"), [("train", (26, 6, 8)), ("train+val", (32, 0, 8)), ("all", (40, 0, 0))]
)
def test_a_job_trains_on_what_it_is_told_to_and_measures_the_rest(data, tools, tmp_path, train_on, counts):
    job = job_of(data, tools, tmp_path / "model", train_on=train_on)
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert tuple(metrics[f"n_{name}"] for name in ("train", "val", "test")) == counts
    assert metrics["trained_on"] == train_on
    for split, n in zip(("val", "test"), counts[1:], strict=True):
        measured = (metrics[f"{split}_accuracy"], metrics["probe"][f"{split}_accuracy"])
        assert all((accuracy is None) == (n == 0) for accuracy in measured)
    assert (job.probe.compared is None) == (train_on == "all")


def test_a_job_on_more_images_is_that_finetune_and_has_an_identity_of_its_own(data, tools, tmp_path):
    jobs = {name: job_of(data, tools, tmp_path / name, train_on=name) for name in ("train", "train+val")}
    task = read_task(data, image_px=RECIPE.image_px)
    whole = merged(task, "val")
    alone = finetune(
        tools.source, whole.train, {"test": task.test}, n_classes=2, recipe=RECIPE, scale=1.0, seed=0, device=CPU
    )
    assert jobs["train+val"].run.epoch_losses == pytest.approx(alone.epoch_losses, rel=1e-4)
    for name, of in (("train", task), ("train+val", whole)):
        ids = {"source_id": tools.source.source_id, "recipe_id": RECIPE.recipe_id}
        assert jobs[name].run.run_id == run_id(task_id=of.record.task_id, **ids, scale=1.0, seed=0)
    assert jobs["train"].run.run_id != jobs["train+val"].run.run_id


def test_the_card_says_what_was_trained_on(data, tools, tmp_path):
    job_of(data, tools, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "on training and validation images together, since nothing was selected on validation images: 32 im" in card
    assert "| validation | 0 | not measured | not measured |\n" in card


# --- refit ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refit(data, tools, tmp_path_factory):
    epochs = []
    folder = tmp_path_factory.mktemp("refit") / "model"
    job = job_of(data, tools, folder, refit=True, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3, 4]
    return job


def test_a_refit_saves_the_model_of_all_images_and_reports_the_first(refit, data, tools, tmp_path):
    first, of_all = (job_of(data, tools, tmp_path / name, train_on=name) for name in ("train+val", "all"))
    assert refit.run.test_correct == first.run.test_correct
    assert refit.run.run_id == first.run.run_id
    assert refit.refit.run.run_id == of_all.run.run_id
    assert refit.refit.run.test_accuracy is None
    assert same(weights(refit.output), weights(of_all.output))
    assert not same(weights(refit.output), weights(first.output))


def test_a_refit_says_both_in_metrics_run_and_card(refit):
    metrics, run = (json.loads((refit.output / name).read_text()) for name in ("metrics.json", "run.json"))
    assert (metrics["trained_on"], metrics["n_train"]) == ("train+val", 32)
    assert metrics["refit"] == {"trained_on": "all", "n_train": 40}
    assert (run["run_id"], run["refit"]["run_id"]) == (refit.run.run_id, refit.refit.run.run_id)
    assert set(refit.seconds) == {"scan", "features", "train", "evaluate", "refit", "total"}
    assert (
        "The accuracies are those of a first model, trained on training and validation images together, since nothing "
        "was selected on validation images: 32 images. The model that is saved was then trained in the same way on all "
        "40 images, those of the test set too, so no image is left to measure it on."
    ) in (refit.output / "README.md").read_text()


def test_both_runs_of_a_refit_are_stored_as_those_of_the_tasks_that_they_trained_on(refit, tools, tmp_path):
    path = tmp_path / "w.duckdb"
    keep_wanted(refit, tools, JobOptions(warehouse=path))
    with open_warehouse(path) as store:
        assert store.verify() == []
        counts = {task.task_id: (task.n_train, task.n_val, task.n_test) for task in store.tasks()}
        assert {run.run_id: counts[run.task_id] for run in store.runs()} == {
            refit.run.run_id: (32, 0, 8),
            refit.refit.run.run_id: (40, 0, 0),
        }
        (prediction,) = store.predictions()
    assert (prediction.val_accuracy, prediction.test_accuracy) == (None, refit.run.test_accuracy)


@pytest.mark.parametrize("scale", [1.0, "probe"])
def test_without_held_out_images_nothing_is_refitted(data, own_val, tools, tmp_path, scale):
    for images, train_on in ((data, "all"), (own_val, "train+val")):
        with pytest.raises(UsageError, match="here no image is left to measure it on: leave out --refit, or hold im"):
            job_of(images, tools, tmp_path / "model", train_on=train_on, refit=True, scale=scale)
    assert not (tmp_path / "model").exists()


# --- the probe as the model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(data, tools, tmp_path_factory):
    return job_of(data, tools, tmp_path_factory.mktemp("probe") / "model", scale="probe")


def test_a_saved_probe_classifies_as_it_was_scored(probe):
    paths = [Path(path) for path in probe.task.test.paths]
    names = load(probe.output, device="cpu").predict(paths)
    right = [name == probe.classes[label] for name, label in zip(names, probe.task.test.labels, strict=True)]
    assert sum(right) / len(right) == probe.test_accuracy


def test_a_saved_probe_is_logistic_regression_on_what_the_sources_own_stages_give(probe, tools):
    train = probe.task.train
    source = dataclasses.replace(tools.source, architecture=staged(tools.source.architecture))
    features = embeddings(source, train.images, device=CPU, dtype=torch.float32)
    expected = fit_probe(features, train.labels, n_classes=2, parts=source.architecture.parts)
    saved = weights(probe.output)
    assert np.allclose(saved["head.weight"], expected.weight)
    assert np.allclose(saved["head.bias"], expected.bias)
    body = {name: tensor for name, tensor in tools.source.architecture.network.state_dict().items() if "fc" not in name}
    assert all(saved[f"body.{name}"].equal(tensor) for name, tensor in body.items())


def test_a_saved_probe_says_that_it_has_neither_recipe_nor_scale(probe):
    config, run, metrics = (
        json.loads((probe.output / f"{n}.json").read_text()) for n in ("scalepred", "run", "metrics")
    )
    assert (config["recipe"], config["scale"], config["rates"]) == (None, None, None)
    assert isinstance(probe.run, ProbeRun)
    assert "recipe_id" not in run
    assert (run["task_id"], run["job"]["choice"]) == (probe.task.record.task_id, None)
    assert metrics["test_accuracy"] == metrics["probe"]["test_accuracy"] == run["test_accuracy"]
    card = (probe.output / "README.md").read_text()
    assert "\nThe linear probe of `timm/test_resnet` by scalepred: " in card
    assert "logistic regression on what its frozen stages give. " in card
    assert "| test | 8 | " in card
    assert "| | images | accuracy |\n" in card


def test_a_probe_beside_a_job_is_the_one_that_would_be_saved(probe, data, tools, tmp_path):
    beside = job_of(data, tools, tmp_path / "model").probe
    assert (beside.test_accuracy, beside.summary.accuracy) == (probe.test_accuracy, probe.probe.summary.accuracy)
    assert beside.compared.n == 8


def test_a_probe_is_refitted_to_all_images(probe, data, tools, tmp_path):
    again = job_of(data, tools, tmp_path / "model", scale="probe", refit=True)
    of_all = job_of(data, tools, tmp_path / "all", scale="probe", train_on="all")
    assert again.test_accuracy == probe.test_accuracy
    assert same(weights(again.output), weights(of_all.output), rtol=1e-2)  # its weights are in the thousands
    assert not same(weights(again.output), weights(probe.output), rtol=1e-2)
    assert again.refit.task.record.n_train == 40


def test_a_warehouse_has_no_row_for_a_probe(probe, tools, tmp_path):
    with pytest.raises(UsageError, match="a linear probe has neither: leave out --warehouse, or finetune with --auto"):
        JobOptions(scale="probe", warehouse=tmp_path / "w.duckdb")
    with pytest.raises(ValueError, match="no row in a warehouse"):
        keep_wanted(probe, tools, JobOptions(warehouse=tmp_path / "w.duckdb"))
