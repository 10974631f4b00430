"""Calibrated models: a job fits a temperature on what it holds out, keeps it, and classifies with it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from fakes import QUICK, named_source, run_record, task_record, write_task

from scalepred.data.task import read_task
from scalepred.errors import VersionError
from scalepred.job.choose import Prediction, given
from scalepred.job.classifier import find_images, load
from scalepred.job.finetune import finetune_once, probe_once
from scalepred.job.folder import load_model, save_model
from scalepred.job.options import JobOptions
from scalepred.job.result import calibration_in_words
from scalepred.job.setup import Setup, with_all_images
from scalepred.job.tools import Tools
from scalepred.networks.source import new_network
from scalepred.recipe import content_id
from scalepred.training.calibration import Calibration, calibrate
from scalepred.training.scoring import predict_logits

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
JOB = {
    "choice": {"scale": 2.0, "by": "given", "reason": "because"},
    "metrics": {"val_accuracy": 0.75, "test_accuracy": None, "n_train": 20, "n_val": 4, "n_test": 0}
    | {"trained_on": "train", "refit": None},
    "probe": {
        "accuracy": None,
        "note": "none",
        "expected": None,
        "val_accuracy": None,
        "test_accuracy": None,
        "compared": None,
    },
}


@pytest.fixture(scope="module")
def source():
    return named_source()


@pytest.fixture(scope="module")
def setup(source, tmp_path_factory):
    folder = write_task(tmp_path_factory.mktemp("data") / "greys", classes=("one", "two", "three"), n=40)
    task = read_task(folder, image_px=16)
    swapped = np.random.default_rng(0).permutation(len(task.test.labels))[:8]  # so that no network is right everywhere
    labels = task.test.labels.copy()
    labels[swapped] = (labels[swapped] + 1) % 3
    task = dataclasses.replace(task, test=dataclasses.replace(task.test, labels=labels))
    tools = Tools(source=source, recipe=QUICK, recipe_name="quick", device=CPU, asked=None)
    return Setup(task=task, tools=tools, dtype=torch.float32, scan_seconds=0.0)


def write(folder, source, **settings):
    network = new_network(source, n_classes=3, generator=torch.Generator().manual_seed(0))
    run = run_record(task_record(), 2.0, val=[1, 1, 1, 0])
    save_model(folder, network, source=source, recipe=QUICK, classes="abc", run=run, job=JOB, **settings)
    return folder


def reseal(folder, change):
    config = json.loads((folder / "scalepred.json").read_text())
    change(config)
    config["config_id"] = content_id("model", {k: v for k, v in config.items() if k != "config_id"})
    (folder / "scalepred.json").write_text(json.dumps(config))


def test_probabilities_are_the_softmax_of_logits_over_the_temperature_that_was_saved(tmp_path, source):
    images = find_images([write_task(tmp_path / "images", n=4)])[0]
    classifier = load(write(tmp_path / "model", source, temperature=2.5), device="cpu")
    squares = read_task(tmp_path / "images", image_px=16)
    assert classifier.model.temperature == 2.5
    path = [str(each) for each in images].index(squares.train.paths[0])
    logits = predict_logits(
        classifier.model.architecture.network,
        classifier.model.architecture,
        squares.train.images[:1],
        device=CPU,
        dtype=torch.float32,
    )
    expected = (logits / 2.5).softmax(dim=1).numpy()[0]
    np.testing.assert_allclose(classifier.predict_proba(images)[path], expected, rtol=1e-4)


def test_a_folder_without_a_temperature_is_read_with_one(tmp_path, source):
    folder = write(tmp_path / "model", source)
    assert load_model(folder).temperature == 1.0
    reseal(folder, lambda config: config.pop("temperature"))
    assert load_model(folder).temperature == 1.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, "2", None, True])
def test_a_temperature_that_is_no_number_above_zero_is_refused(tmp_path, source, temperature):
    folder = write(tmp_path / "model", source)
    reseal(folder, lambda config: config.update(temperature=temperature))
    with pytest.raises(VersionError, match=r"scalepred.json has the temperature .*, which is no number above 0"):
        load_model(folder)


def test_a_job_keeps_the_temperature_that_it_tells(setup, tmp_path):
    prediction = Prediction(choice=given(1.0), features={}, seconds=0.0)
    job = finetune_once(setup, prediction, JobOptions(), output=tmp_path / "model")
    told = json.loads((tmp_path / "model" / "metrics.json").read_text())["calibration"]
    assert told == job.calibration.to_json() == job.to_json()["metrics"]["calibration"]
    assert (told["fitted_on"], told["scored_on"], told["note"]) == ("val", "test", "")
    assert load_model(tmp_path / "model").temperature == told["temperature"] != 1.0
    assert told["before"]["log_loss"] == pytest.approx(job.run.test_loss, rel=1e-5)


def test_a_probe_is_calibrated_by_its_own_logits(setup, tmp_path):
    job = probe_once(setup, JobOptions(), output=tmp_path / "model")
    scores = setup.bundle.probe_scores()
    splits = {"val": setup.task.val, "test": setup.task.test}
    assert job.calibration == calibrate({name: (scores[name].logits, each.labels) for name, each in splits.items()})
    assert load_model(tmp_path / "model").temperature == job.calibration.temperature


def test_a_job_that_holds_nothing_out_says_that_nothing_was_calibrated(setup, tmp_path):
    prediction = Prediction(choice=given(1.0), features={}, seconds=0.0)
    job = finetune_once(with_all_images(setup), prediction, JobOptions(), output=tmp_path / "model")
    assert job.calibration == Calibration(note="no image is held out to fit a temperature on")
    assert load_model(tmp_path / "model").temperature == 1.0
    assert calibration_in_words(job.calibration) == (
        "probabilities are not calibrated: no image is held out to fit a temperature on"
    )


def test_words_tell_what_was_fitted_on_what_and_what_it_changed():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 30)
    logits = 6 * np.eye(2)[np.where(rng.random(30) < 0.8, labels, 1 - labels)]
    calibration = calibrate({"test": (logits, labels)})
    before, after = calibration.before, calibration.after
    assert calibration_in_words(calibration) == (
        f"probabilities: temperature {calibration.temperature:.2f}, fitted on 30 test images; on 30 test images "
        f"log loss {before.log_loss:.3f} -> {after.log_loss:.3f}, calibration error {100 * before.ece:.1f} -> "
        f"{100 * after.ece:.1f} points (cross-fitted)"
    )
