"""A model tells that an image shows none of its classes, at a rate of false alarms that it promises."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from fakes import QUICK, named_source, run_record, task_record, write_task
from safetensors.torch import load_file, save_file
from saved_models import JOB, NASTY

from scalepred.data.digits import write_digits
from scalepred.errors import UsageError, VersionError
from scalepred.job import none_of_these as module
from scalepred.job.classifier import load
from scalepred.job.folder import load_model, save_model
from scalepred.job.none_of_these import NoneOfThese, from_tensors, none_of_these
from scalepred.networks.source import new_network
from scalepred.training.embed import embeddings, logits_and_features
from scalepred.training.scoring import predict_logits

CPU = torch.device("cpu")


def features(n, *, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def known(held_out):
    return NoneOfThese(references=features(3).astype(np.float16), held_out=np.sort(np.asarray(held_out, np.float32)))


# --- distances and thresholds -----------------------------------------------------------------------------------------


def test_the_distance_is_that_of_a_slow_plain_loop():
    train, new = features(20), features(7, seed=1)
    distances = none_of_these(train, new).distances(new)
    for distance, row in zip(distances, new, strict=True):
        cosines = [row @ each / np.linalg.norm(row) / np.linalg.norm(each) for each in train]
        assert distance == pytest.approx(1 - max(cosines), abs=2e-3)  # references have 16 bits


def test_a_training_image_is_near_itself_however_bright_its_features_and_blank_ones_are_far():
    train = features(20)
    distances = none_of_these(train, train).distances(np.concatenate([7 * train, np.zeros((1, 6), np.float32)]))
    assert distances[:20].max() < 2e-3
    assert distances[20] == 1


def test_no_distance_is_below_zero_or_above_two():
    train = features(200)
    near, far = (none_of_these(train, train).distances(each) for each in (train, -train[:1]))
    assert near.min() == 0
    assert none_of_these(train, train).held_out.min() == 0
    assert none_of_these(train[:1], train).distances(-train[:1]).max() <= 2
    assert near.dtype == far.dtype == np.float32


@pytest.mark.parametrize(("n", "false_alarms", "rank"), [(19, 0.05, 19), (39, 0.05, 38), (100, 0.05, 96), (9, 0.1, 9)])
def test_the_threshold_is_the_quantile_of_split_conformal_prediction(n, false_alarms, rank):
    held_out = np.linspace(0.1, 0.9, n, dtype=np.float32)
    assert known(held_out).threshold(false_alarms) == held_out[rank - 1]


@pytest.mark.parametrize(("n", "false_alarms"), [(18, 0.05), (0, 0.05), (98, 0.01), (1000, 0)])
def test_where_too_few_images_are_held_out_nothing_is_none_of_these(n, false_alarms):
    assert math.isinf(known(np.linspace(0, 1, n)).threshold(false_alarms))


def test_new_images_of_the_classes_are_above_the_threshold_as_often_as_promised():
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(2_000):
        draw = rng.gamma(2.0, size=40)
        alarms.append(draw[39] > known(draw[:39]).threshold(0.1))
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("share", [-0.1, 1, 5, math.nan])
def test_a_share_of_false_alarms_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="false_alarms must be a share from 0 to below 1, not"):
        known([0.1]).threshold(share)


def test_features_that_are_not_finite_teach_nothing():
    train = features(5)
    train[2, 3] = np.inf
    assert none_of_these(train, features(3)) is None
    assert none_of_these(features(5), train) is None


def test_of_many_images_some_are_kept(monkeypatch):
    monkeypatch.setattr(module, "MOST", 4)
    images = np.arange(10)
    kept = module._some(images)
    assert (len(kept), len(set(kept))) == (4, 4)
    np.testing.assert_array_equal(kept, module._some(images))
    np.testing.assert_array_equal(module._some(images[:4]), images[:4])


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("held_out"),
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update(references=torch.zeros(3, 5, dtype=torch.float16)),
        lambda tensors: tensors.update(references=torch.zeros(0, 6, dtype=torch.float16)),
        lambda tensors: tensors.update(references=torch.zeros(3, 6)),
        lambda tensors: tensors.update(held_out=torch.zeros(3, 1)),
        lambda tensors: tensors.update(held_out=torch.tensor([0.5, 0.1])),
        lambda tensors: tensors.update(held_out=torch.tensor([0.5, math.nan])),
    ],
)
def test_tensors_that_fit_no_network_are_refused(change):
    tensors = known([0.1, 0.2]).tensors()
    assert from_tensors(tensors, size=6).threshold(0.5) == np.float32(0.2)
    change(tensors)
    with pytest.raises(ValueError, match=r"references|held_out|finite"):
        from_tensors(tensors, size=6)


@pytest.mark.slow
def test_one_pass_gives_the_logits_and_the_features_of_two():
    source = named_source()
    network = new_network(source, n_classes=3, generator=torch.Generator().manual_seed(0))
    images = np.random.default_rng(0).integers(0, 256, (70, 3, 32, 32), dtype=np.uint8)
    settings = {"device": CPU, "dtype": torch.float32}
    logits, seen = logits_and_features(network, source.architecture, images, device=CPU)
    assert torch.equal(logits, predict_logits(network, source.architecture, images, **settings))
    np.testing.assert_array_equal(seen.numpy(), embeddings(source, images, **settings))
    assert not network.get_submodule(source.architecture.head)._forward_pre_hooks


# --- in a model's folder ----------------------------------------------------------------------------------------------


def write(folder, *, unlike):
    source = named_source()
    network = new_network(source, n_classes=len(NASTY), generator=torch.Generator().manual_seed(0))
    run = run_record(task_record(), 2.0, val=[1, 1, 1, 0])
    save_model(
        folder, network, source=source, recipe=QUICK, classes=NASTY, run=run, job=JOB, none_of_these=unlike
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    size = named_source().record.facts["embedding_size"]
    unlike = none_of_these(features(30, d=size), features(40, d=size, seed=1))
    return write(tmp_path_factory.mktemp("saved"), unlike=unlike), unlike


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved[0], tmp_path / "model")


@pytest.mark.slow
def test_a_saved_model_knows_it_as_it_was_and_says_what_it_is(folder, saved):
    back = load_model(folder).none_of_these
    np.testing.assert_array_equal(back.references, saved[1].references)
    np.testing.assert_array_equal(back.held_out, saved[1].held_out)
    assert json.loads((folder / "scalepred.json").read_text())["none_of_these"] == {
        "method": "cosine distance of the penultimate features to those of the nearest training image",
        "false_alarms": 0.05,
        "threshold": back.threshold(),
        "n_held_out": 40,
        "n_references": 30,
    }


@pytest.mark.slow
def test_a_model_that_does_not_know_takes_the_file_of_the_one_before_away(folder):
    write(folder, unlike=None)
    assert not (folder / "none_of_these.safetensors").exists()
    assert load_model(folder).none_of_these is None


@pytest.mark.slow
def test_damage_is_found(folder):
    path = folder / "none_of_these.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(VersionError, match="were damaged, changed, or not saved together"):
            load_model(folder)
    tensors = load_file(write(folder, unlike=known_of(folder)) / path.name)
    save_file(tensors | {"held_out": tensors["held_out"].flip(0)}, path)
    with pytest.raises(VersionError, match="not saved together"):
        load_model(folder)
    path.unlink()
    with pytest.raises(VersionError, match=r"it has no none_of_these\.safetensors"):
        load_model(folder)


def known_of(folder):
    size = named_source().record.facts["embedding_size"]
    return none_of_these(features(30, d=size), features(40, d=size, seed=1))


# --- from data to verdict ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    write_task(folder / "birds", n=60)
    write_task(folder / "more", n=40, seed=1)
    write_digits(folder / "digits", last=40)
    return folder


def verdicts(run, *arguments):
    code, out, err = run("classify", *arguments, "--json", "--device", "cpu")
    assert code == 0, err
    return [each["verdict"] for each in json.loads(out)["images"]]


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--probe",), ("--probe", "--refit"), ("--scale", "1")])
def test_a_job_teaches_its_model_what_is_none_of_its_classes(run, places, tmp_path, way):
    (tmp_path / "quick.json").write_text(json.dumps({"epochs": 1, "image_px": 32, "batchnorm": "frozen"}))
    model = tmp_path / "model"
    options = ("--recipe", tmp_path / "quick.json", "--output", model, "--device", "cpu")
    code, _, err = run("finetune", places / "birds", *way, *options)
    assert code == 0, err
    assert verdicts(run, model, places / "digits").count("none of these") >= 35
    assert verdicts(run, model, places / "more").count("none of these") <= 12  # 5 % of 80 are promised on average
    assert set(verdicts(run, model, places / "digits", "--false-alarms", "0")) == {"class"}
    code, out, _ = run("classify", model, places / "digits", "--device", "cpu")
    assert ": (none of these) " in out


@pytest.mark.slow
def test_a_finetune_that_trained_on_all_images_at_last_knows_nothing_of_it(run, places, tmp_path):
    (tmp_path / "quick.json").write_text(json.dumps({"epochs": 1, "image_px": 32}))
    options = ("--scale", "1", "--refit", "--recipe", tmp_path / "quick.json", "--output", tmp_path / "model")
    assert run("finetune", places / "birds", *options)[0] == 0
    assert load(tmp_path / "model", device="cpu").model.none_of_these is None
    assert set(verdicts(run, tmp_path / "model", places / "digits")) == {"class"}
