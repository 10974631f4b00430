"""A training that was stopped goes on, and ends with the numbers of one that never was."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from image_files import noise, save
from small_networks import separable, tiny_source
from torch import nn

from scalepred.errors import CheckpointError, UsageError
from scalepred.networks.architecture import build
from scalepred.networks.source import load_source, source_of
from scalepred.recipe import Recipe
from scalepred.training.checkpoint import Checkpoint, kept_dtype
from scalepred.training.loop import finetune

CPU = torch.device("cpu")
SGD = Recipe(epochs=4, batch_size=8, image_px=32, multipliers=(1.0,) * 6, base_lr=0.01, augmentation="crop-flip")
ADAMW = dataclasses.replace(SGD, optimizer="adamw", base_lr=0.001, schedule="cosine", warmup_epochs=2)


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def tiny():
    """Return a small network that drops half of its features, so torch's own generator counts."""
    source = tiny_source()
    source.architecture.network.stages[4].append(nn.Dropout(0.5))
    return source


def small_vit():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        name = "timm/test_vit:depth=5,embed_dim=16,img_size=32,num_heads=2,patch_size=8"
        return source_of(build(name, n_classes=2))


def train(source, recipe, checkpoint=None, *, stop_after=None, **changes):
    def stop(epoch, _):
        if epoch == stop_after:
            raise StoppedError

    settings = {"n_classes": 2, "scale": 1.0, "seed": 3, "device": CPU, "measure_after": (1, 3)} | changes
    held_out = {"test": separable(12, seed=2)}
    return finetune(source, separable(), held_out, recipe=recipe, checkpoint=checkpoint, on_epoch=stop, **settings)


def at(tmp_path, **changes):
    settings = {"identity": "this", "dtype": torch.float32, "every_seconds": 0.0} | changes
    return Checkpoint(file=tmp_path / "folder" / "checkpoint.safetensors", **settings)


def assert_same(found, expected):
    assert found.epoch_losses == expected.epoch_losses
    assert found.course == expected.course
    states = found.network.state_dict(), expected.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    np.testing.assert_array_equal(found.scores["test"].loss, expected.scores["test"].loss)


@pytest.mark.parametrize(
    ("make", "recipe"),
    [
        (tiny, SGD),
        (tiny, ADAMW),
        (tiny, dataclasses.replace(ADAMW, head_start="fitted", augmentation="trivial")),
        (tiny, dataclasses.replace(SGD, momentum=0.0, multipliers=(0.0, 0.0, 1.0, 1.0, 1.0, 1.0))),
        (small_vit, ADAMW),
    ],
    ids=["sgd", "adamw", "fitted head", "frozen front", "transformer"],
)
def test_a_training_that_is_stopped_after_any_epoch_goes_on_to_the_same_bits(make, recipe, tmp_path):
    source, whole = make(), train(make(), recipe)
    for stop_after in (1, 3):
        checkpoint = at(tmp_path / str(stop_after))
        with pytest.raises(StoppedError):
            train(source, recipe, checkpoint, stop_after=stop_after)
        assert_same(train(source, recipe, checkpoint), whole)


def test_a_checkpoint_that_is_kept_changes_no_number(tmp_path):
    assert_same(train(tiny(), SGD, at(tmp_path)), train(tiny(), SGD))


def test_what_has_been_learnt_is_not_learnt_again_and_its_seconds_count(tmp_path):
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path), stop_after=4)
    epochs = []
    state = torch.get_rng_state()
    again = finetune(
        tiny(), separable(), {}, n_classes=2, recipe=SGD, scale=1.0, seed=3, device=CPU,
        checkpoint=at(tmp_path), on_epoch=lambda epoch, _: epochs.append(epoch),
    )  # fmt: skip
    assert (epochs, len(again.epoch_losses)) == ([], 4)
    assert again.train_seconds > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_young_file_is_not_replaced(tmp_path):
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path, every_seconds=1000.0), stop_after=3)
    first = at(tmp_path).file.read_bytes()
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path / "other"), stop_after=1)
    other = at(tmp_path / "other").file.read_bytes()
    assert len(first) == len(other)  # that of the first epoch, which has the same losses in its header
    assert [path.name for path in at(tmp_path).file.parent.iterdir()] == ["checkpoint.safetensors"]


def test_a_file_of_another_training_is_refused(tmp_path):
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path), stop_after=1)
    with pytest.raises(UsageError, match="is of another training, with other data or options: give another --output"):
        train(tiny(), SGD, at(tmp_path, identity="other"))


def test_the_first_save_may_wait_too_so_that_a_short_training_writes_nothing(tmp_path):
    checkpoint = at(tmp_path, every_seconds=1000.0, waits=True)
    train(tiny(), SGD, checkpoint)
    assert not checkpoint.file.parent.exists()


def test_a_slow_save_is_not_made_so_often_that_it_takes_more_than_two_percent(tmp_path, monkeypatch):
    clock, saves = [0.0], []

    def slow(*_):
        saves.append(clock[0])
        clock[0] += 3.0

    monkeypatch.setattr("scalepred.training.checkpoint.time.monotonic", lambda: clock[0])
    checkpoint = at(tmp_path, every_seconds=30.0, waits=True)
    monkeypatch.setattr(checkpoint, "_write", slow)
    while clock[0] < 1000:
        clock[0] += 7.0
        checkpoint.keep(None, None, None, None)
    assert saves[0] == 35.0
    assert np.diff(saves).min() >= 150.0
    assert 3.0 * len(saves) <= 0.02 * clock[0] + 3.0


def test_a_state_that_can_not_be_written_ends_the_training_or_is_told(tmp_path):
    (tmp_path / "folder").write_text("in the way")
    with pytest.raises(UsageError, match=r"state can't be saved to .*: .* Give another folder with --output"):
        train(tiny(), SGD, at(tmp_path))
    told = []
    assert_same(train(tiny(), SGD, at(tmp_path, on_problem=told.append)), train(tiny(), SGD))
    assert len(told) == 4
    assert told[0].endswith("The training goes on.")


def test_a_bit_that_fell_over_is_found(tmp_path):
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path), stop_after=1)
    whole = bytearray(at(tmp_path).file.read_bytes())
    whole[-40] ^= 8
    at(tmp_path).file.write_bytes(whole)
    for use in (lambda: train(tiny(), SGD, at(tmp_path)), at(tmp_path).check):
        with pytest.raises(CheckpointError, match="its content has another hash"):
            use()


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_file_is_refused(tmp_path, content):
    with pytest.raises(StoppedError):
        train(tiny(), SGD, at(tmp_path), stop_after=1)
    whole = at(tmp_path).file.read_bytes()
    at(tmp_path).file.write_bytes(whole[:-100] if content is None else content)
    with pytest.raises(UsageError, match=r"is damaged .*: remove it, and the training begins anew"):
        train(tiny(), SGD, at(tmp_path))
    with pytest.raises(UsageError, match="is damaged"):
        kept_dtype(at(tmp_path).file)


def test_a_training_goes_on_in_the_type_that_it_was_begun_in(tmp_path):
    checkpoint = at(tmp_path, dtype=torch.bfloat16)
    assert kept_dtype(checkpoint.file) is None
    with pytest.raises(StoppedError):
        train(tiny(), SGD, checkpoint, stop_after=1, dtype=torch.bfloat16)
    assert kept_dtype(checkpoint.file) == torch.bfloat16
    with pytest.raises(UsageError, match="is of another training"):
        train(tiny(), SGD, at(tmp_path))


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("domain")
    for name, level in (("dark", 0), ("light", 150)):
        for index in range(20):
            save(folder / name / f"{index}.png", (noise(seed=[level, index]) // 3 + level).astype(np.uint8))
    return folder


def command(domain, output, *more):
    options = ["--architecture", "timm/test_resnet", "--epochs", "200", "--image-px", "32", "--batch-size", "8", *more]
    line = [
        "pretrain",
        str(domain),
        "--name",
        "x",
        *options,
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--output",
        str(output),
    ]
    return [sys.executable, "-m", "scalepred", *line]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_the_command_goes_on_after_kill_9_with_the_weights_of_one_that_was_never_stopped(domain, tmp_path):
    quick = ("--epochs", "30", "--half")
    subprocess.run(command(domain, tmp_path / "whole", *quick), check=True, capture_output=True)
    started = subprocess.Popen(command(domain, tmp_path / "killed", *quick), stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    while not checkpoint.exists() and started.poll() is None:
        time.sleep(0.005)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    (tmp_path / "killed" / ".checkpoint.safetensors.0123").write_bytes(b"half a file")
    other = subprocess.run(
        command(domain, tmp_path / "killed", *quick, "--seed", "1"), capture_output=True, text=True, check=False
    )
    assert (other.returncode, "is of another training" in other.stderr) == (2, True)
    subprocess.run(command(domain, tmp_path / "killed", *quick), check=True, capture_output=True)
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    assert load_source(str(killed)).source_id == load_source(str(whole)).source_id
    assert (killed / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
