"""A job that was stopped goes on to the same numbers, and nobody else goes on from it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from fakes import named_source, write_task

from scalepred.errors import UsageError
from scalepred.files import sha256
from scalepred.job.choose import Prediction, choose_scale
from scalepred.job.finetune import finetune_once
from scalepred.job.options import DataOptions, JobOptions
from scalepred.job.setup import set_up
from scalepred.job.tools import Tools
from scalepred.job.unfinished import (
    _as_json,
    _prediction_from,
    file_of,
    go_on_or_choose,
    how_to_go_on,
    refit_file_of,
)
from scalepred.predictor.choice import Choice
from scalepred.predictor.outlook import Near, Outlook
from scalepred.predictor.rule import RuleAnswer
from scalepred.recipe import Recipe
from scalepred.training.checkpoint import header
from scalepred.training.critical import CriticalRate

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=4, image_px=16, batch_size=8, augmentation="crop-flip", optimizer="adamw", schedule="cosine")


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("data") / "birds", n=20)


def tools_of(**changes):
    settings = {"source": named_source(), "recipe": RECIPE, "recipe_name": "quick", "device": CPU, "asked": None}
    return Tools(**settings | changes)


def options_of(**changes):
    return JobOptions(**{"scale": 1.0, "checkpoint_seconds": 0.0} | changes)


def setup_of(data, **changes):
    setup = set_up(data, tools_of(**changes), DataOptions())
    return dataclasses.replace(setup, dtype=torch.float32)  # which pays is measured, and may differ from call to call


def job(setup, options, output, *, stop_after=None, tell=None):
    """Do a job as the command does it; returns its metrics, the hash of its weights and what was told."""
    told = []

    def stop(epoch, _):
        if epoch == stop_after:
            raise StoppedError

    note = tell or told.append
    setup, prediction = go_on_or_choose(setup, options, output=output, tell=note)
    done = finetune_once(setup, prediction, options, output=output, on_epoch=stop, tell=note)
    metrics = done.to_json() | {"seconds": None, "output": None}
    metrics["probe"] |= {"seconds": None}
    return metrics, sha256(output / "model.safetensors"), done.run.epoch_losses, told


def stopped(setup, options, output, *, after=2):
    with pytest.raises(StoppedError):
        job(setup, options, output, stop_after=after)
    return file_of(setup, options, output=output)


@pytest.mark.parametrize("refit", [False, True])
def test_a_job_that_is_stopped_after_any_epoch_goes_on_to_the_same_bits(data, tmp_path, refit):
    setup, options = setup_of(data), options_of(refit=refit)
    whole = job(setup, options, tmp_path / "whole")
    assert whole[-1] == []
    for after in (1, 4, 6) if refit else (1, 3):
        output = tmp_path / str(after)
        file = stopped(setup, options, output, after=after)
        assert refit_file_of(file).exists() == (after > 4)
        metrics, weights, losses, told = job(setup, options, output)
        assert (metrics, weights, losses) == whole[:3]
        assert f"goes on after epoch {min(after, 4)} of 4, at the scale that was chosen when it began" in told[0]
        assert not file.parent.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["whole", *("146" if refit else "13")])


def test_the_scale_that_was_chosen_is_not_chosen_again(data, tmp_path, monkeypatch):
    setup, options = setup_of(data), options_of()
    stopped(setup, options, tmp_path / "model")
    monkeypatch.setattr("scalepred.job.unfinished.choose_scale", None)
    kept, prediction = go_on_or_choose(setup, options, output=tmp_path / "model", tell=lambda _: None)
    assert prediction.choice == choose_scale(setup, 1.0).choice
    assert kept.dtype == torch.float32
    assert prediction.probe.accuracy == choose_scale(setup, 1.0).probe.accuracy


def test_a_prediction_is_kept_whole_but_for_its_probe():
    rule = RuleAnswer(scale=2.0, critical_scale=8.0, safe_factor=4.0, n_points=3, n_origins=2, n_sources=1)
    near = Near(source="s", kind="sgd, noise head", n_steps=64, best_scale=2.0, rule_scale=1.0)
    choice = Choice(
        scale=2.0, by="predicted", reason="<b>ü</b>", fixed_scale=1.0, curve=((1.0, 0.1), (2.0, np.float64(1 / 3))),
        gain_interval=(-0.1, 0.2), same_scales=(2.0,), contributions={"a": 0.1}, neighbours={"b": 2.0}, rule=rule,
        outlook=Outlook(lowest=1.0, highest=4.0, lost_half=0.1, lost_double=-0.1, nearest=(near, near), n_curves=9),
    )  # fmt: skip
    curve = ((0.0, 0.7), (1.0, float("inf")))
    line = CriticalRate(factor=float("inf"), minimum=1.0, depth=0.1, loss=0.7, spread=0.0, curve=curve, lines=())
    given = Prediction(choice=choice, features={"f": 0.1}, seconds=1.5, predictor=None, lines={"noise": line})
    assert _prediction_from(json.loads(json.dumps(_as_json(given)))) == given


def test_nobody_else_goes_on_from_a_job_that_was_stopped(data, tmp_path):
    setup, options, output = setup_of(data), options_of(), tmp_path / "model"
    file = stopped(setup, options, output)
    other_data = write_task(tmp_path / "other" / "birds", n=20, seed=1)
    others = [
        (setup_of(other_data), options),
        (setup_of(data, recipe=dataclasses.replace(RECIPE, epochs=5)), options),
        (setup_of(data, source=named_source(seed=1)), options),
        (setup, options_of(scale=2.0)),
        (setup, options_of(seed=1)),
    ]
    for other, wanted in others:
        told = job(other, dataclasses.replace(wanted, overwrite=True), output)[-1]
        assert [note.partition(";")[0] for note in told] == [
            f"{file.parent} has the state of another job, with other data or options"
        ]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("spoil", ["bit", "cut", "empty", "text"])
def test_a_state_that_is_damaged_is_set_aside_and_the_job_begins_anew(data, tmp_path, spoil):
    setup, options, output = setup_of(data), options_of(), tmp_path / "model"
    file = stopped(setup, options, output)
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    whole = {"bit": content, "cut": content[:-200], "empty": b"", "text": b"{}"}[spoil]
    file.write_bytes(whole)
    metrics, weights, losses, told = job(setup, options, output)
    assert (metrics, weights, losses) == job(setup, options, tmp_path / "whole")[:3]
    (aside,) = file.parent.iterdir()
    assert aside.read_bytes() == whole
    assert [f"{file} is damaged" in note and aside.name in note for note in told] == [True]


def test_a_state_of_another_version_is_set_aside(data, tmp_path, monkeypatch):
    setup, options, output = setup_of(data), options_of(), tmp_path / "model"
    monkeypatch.setattr("scalepred.job.unfinished._as_json", lambda _: {"choice": "in words"})
    file = stopped(setup, options, output)
    monkeypatch.undo()
    told = job(setup, options, output)[-1]
    assert told[0].startswith(f"{file} can't be read: it is set aside as ")


def test_other_libraries_are_told_of(data, tmp_path, monkeypatch):
    setup, options, output = setup_of(data), options_of(), tmp_path / "model"
    stopped(setup, options, output)
    monkeypatch.setattr("scalepred.job.unfinished.versions", lambda: {"torch": "0.0"})
    assert "here is torch 0.0, threads" in job(setup, options, output)[-1][1]


def test_a_short_job_writes_nothing(data, tmp_path):
    setup, options, output = setup_of(data), options_of(checkpoint_seconds=30.0), tmp_path / "model"
    file = stopped(setup, options, output, after=3)
    assert not file.parent.exists()
    words = "stopped before anything was kept (every 30 s); the same command begins anew"
    assert how_to_go_on(setup, options, output=output) == words


def test_how_a_job_goes_on_is_told(data, tmp_path):
    setup, options, output = setup_of(data), options_of(refit=True), tmp_path / "model"
    file = stopped(setup, options, output, after=3)
    words = "stopped; the same command goes on after epoch {} of 4{}; its state is in {}"
    assert how_to_go_on(setup, options, output=output) == words.format(3, "", file)
    stopped(setup, options, output, after=6)
    assert how_to_go_on(setup, options, output=output) == words.format(2, " of the refit", refit_file_of(file))


def test_a_state_that_can_not_be_written_is_told_once_and_the_job_is_done(data, tmp_path):
    setup, options, output = setup_of(data), options_of(), tmp_path / "model"
    (tmp_path / "model.unfinished").write_text("in the way")
    *_, told = job(setup, options, output)
    assert len(told) == 1
    assert "The training's state can't be saved to" in told[0]
    assert told[0].endswith("The training goes on.")
    assert (output / "model.safetensors").exists()


def test_a_job_that_diverges_leaves_no_state(data, tmp_path):
    setup, options, output = setup_of(data), options_of(scale=1e30), tmp_path / "model"
    file = file_of(setup, options, output=output)
    with pytest.raises(UsageError, match="the loss stopped being finite"):
        job(setup, options, output)
    assert not file.parent.exists()


def test_a_state_says_what_it_was_made_by(data, tmp_path):
    file = stopped(setup_of(data), options_of(), tmp_path / "model")
    assert f"torch {torch.__version__}".partition("+")[0] in header(file)["made_by"]


def test_seconds_between_saves_are_zero_or_more():
    for value in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="checkpoint_seconds must be 0 or more"):
            JobOptions(checkpoint_seconds=value)
