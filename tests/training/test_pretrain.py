"""A source trained from scratch: the network's shape, its folder, and what starts from it."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from image_files import noise, save
from torch import nn
from typer.testing import CliRunner

from scalepred.cli import app
from scalepred.data.task import read_task
from scalepred.errors import UsageError, WeightsError
from scalepred.networks.architecture import build
from scalepred.networks.names import SOURCE_FILES
from scalepred.networks.resnet27 import ResNet27, initialise
from scalepred.networks.source import load_source, normalise, source_of
from scalepred.training.embed import embeddings
from scalepred.training.loop import finetune
from scalepred.training.pretrain import (
    blank_network,
    pretrain,
    recipe_from_scratch,
    rounded,
    usual_optimizer,
)
from scalepred.training.source_folder import save_source

CPU = torch.device("cpu")
FULL = """
import resource
from scalepred.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
main()
"""
RECIPE = recipe_from_scratch(epochs=12, batch_size=8, image_px=32, augmentation="none")


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    """Twenty dark and twenty light images."""
    folder = tmp_path_factory.mktemp("domain")
    for name, level in (("dark", 0), ("light", 150)):
        for index in range(20):
            save(folder / name / f"{index}.png", (noise(seed=[level, index]) // 3 + level).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def trained(domain):
    task = read_task(str(domain), image_px=RECIPE.image_px)
    return pretrain(task, name="shades", architecture="resnet27/8", recipe=RECIPE, seed=3, device=CPU)


@pytest.fixture
def saved(trained, tmp_path):
    save_source(tmp_path / "shades", trained)
    return tmp_path / "shades"


def test_it_has_27_convolutions_beside_the_shortcuts():
    network = ResNet27(8, 3)
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    assert sum("shortcut" not in name for name in convolutions) == 27
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_its_stages_are_the_papers():
    architecture = build("resnet27/8")
    assert set(architecture.stages.values()) == set(range(6))
    assert {name.split(".")[0]: stage for name, stage in architecture.stages.items()} == {
        "conv1": 0, "conv2": 1, "conv3": 2, "conv4": 3, "conv5": 4, "fc": 5,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["resnet27/0", "resnet27/wide", "resnet27/", "resnet27/4", "resnet27/520"])
def test_a_width_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match="multiple of 8"):
        build(name)


def test_without_training_it_is_no_source():
    with pytest.raises(UsageError, match="scalepred pretrain"):
        load_source("resnet27/8")


def test_the_same_seed_draws_the_same_weights():
    def drawn(seed):
        network = ResNet27(8, 2)
        initialise(network, torch.Generator().manual_seed(seed))
        return network.conv3[0].body[0].weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert float(drawn(1).detach().std()) == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.15)


def test_it_learns_what_is_easy(trained):
    assert trained.accuracies["val"] == 1.0
    assert trained.epoch_losses[-1] < trained.epoch_losses[0]


def test_the_same_seed_trains_the_same_source(trained, domain):
    task = read_task(str(domain), image_px=RECIPE.image_px)
    again = pretrain(task, name="shades", architecture="resnet27/8", recipe=RECIPE, seed=3, device=CPU)
    assert again.source.source_id == trained.source.source_id


def test_prototypes_are_the_class_means_of_its_features(trained, domain):
    task = read_task(str(domain), image_px=RECIPE.image_px)
    embedded = embeddings(trained.source, task.train.images, device=CPU, dtype=torch.float32)
    dark = embedded[task.train.labels == 0].mean(axis=0)
    assert trained.source.prototypes.shape == (2, 64)
    np.testing.assert_allclose(trained.source.prototypes[0], dark, rtol=1e-5, atol=1e-6)


def test_a_saved_source_comes_back_as_it_was(trained, saved):
    loaded = load_source(str(saved))
    assert (loaded.name, loaded.source_id) == ("shades", trained.source.source_id)
    np.testing.assert_array_equal(loaded.prototypes, trained.source.prototypes)
    assert "val 100.0 %" in (saved / "README.md").read_text(encoding="utf-8")
    facts = json.loads((saved / "source.json").read_text(encoding="utf-8"))
    assert facts["data"]["n_train"] == trained.task.n_train
    assert facts["epoch_losses"] == trained.epoch_losses


def test_a_finetune_starts_from_a_saved_source(saved, domain):
    task = read_task(str(domain), image_px=32)
    source = load_source(str(saved))
    done = finetune(source, task.train, {"test": task.test}, n_classes=2, recipe=RECIPE, scale=1.0, seed=0, device=CPU)
    assert done.scores["test"].accuracy == 1.0


@pytest.mark.parametrize("file", SOURCE_FILES[:2])
def test_a_changed_file_is_noticed(saved, file):
    content = bytearray((saved / file).read_bytes())
    content[-1] ^= 1
    (saved / file).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{file} is damaged"):
        load_source(str(saved))


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"architecture": "resnet27/16"}, {"architecture": 5}, {"classes": ["a"]}, {"sha256": {}}]
)
def test_a_changed_description_is_noticed(saved, change):
    about = saved / "source.json"
    about.write_text(json.dumps(json.loads(about.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(WeightsError, match="shades"):
        load_source(str(saved))


def test_what_is_no_json_is_no_source(saved):
    (saved / "source.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="can't be read as a source"):
        load_source(str(saved))


def test_a_source_is_not_written_over(trained, saved):
    with pytest.raises(UsageError, match="holds a source already"):
        save_source(saved, trained)


@pytest.mark.skipif(os.name != "posix", reason="needs limits of file sizes")
def test_a_training_whose_state_finds_no_room_says_so_after_the_first_epoch(domain, tmp_path):
    command = [sys.executable, "-c", FULL, "pretrain", str(domain), "--name", "shades", "--width", "8", "--epochs", "1"]
    options = ["--image-px", "32", "--output", str(tmp_path / "shades")]
    found = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    (words,) = (line for line in found.stderr.splitlines() if line.startswith("scalepred: "))
    assert words.startswith(f"scalepred: The training's state can't be saved to {tmp_path / 'shades'}")
    assert words.endswith(" Give another folder with --output.")
    assert "File too large" in words
    assert list((tmp_path / "shades").iterdir()) == []


def test_a_source_that_finds_no_room_says_so(trained, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        UsageError, match=r"The source can't be saved to .*: Not a directory. Give another folder with --output"
    ):
        save_source(tmp_path / "file" / "shades", trained)


def test_a_source_is_not_put_into_the_data(domain):
    made = CliRunner().invoke(app, ["pretrain", str(domain), "--name", "shades", "--output", str(domain / "shades")])
    assert "would be taken for a class there: give an --output outside of it." in str(made.exception)


def test_a_training_that_diverges_says_so(domain):
    task = read_task(str(domain), image_px=32)
    wild = dataclasses.replace(RECIPE, base_lr=1e30)
    with pytest.raises(UsageError, match="diverged"):
        pretrain(task, name="wild", architecture="resnet27/8", recipe=wild, seed=0, device=CPU)


def test_the_command_writes_a_source_that_other_commands_take(domain, tmp_path):
    runner, folder = CliRunner(), tmp_path / "made"
    options = ["--width", "8", "--epochs", "1", "--image-px", "32", "--batch-size", "8", "--output", str(folder)]
    made = runner.invoke(app, ["pretrain", str(domain), "--name", "shades", *options, "--json"])
    assert made.exit_code == 0, made.output
    document = json.loads(made.stdout)
    assert document["source_id"] == load_source(str(folder)).source_id
    shown = runner.invoke(app, ["sources", str(folder), "--json"])
    assert json.loads(shown.stdout)["n_parameters"] == sum(build("resnet27/8", n_classes=2).stage_sizes)
    again = runner.invoke(app, ["pretrain", str(domain), "--name", "shades", *options])
    assert "is there already" in str(again.exception)


def test_the_command_trains_a_network_of_timm_with_what_is_given(domain, tmp_path):
    runner, folder = CliRunner(), tmp_path / "made"
    options = ["--epochs", "2", "--image-px", "32", "--label-smoothing", "0.1", "--warmup-epochs", "1", "--half"]
    line = ["pretrain", str(domain), "--name", "vit", "--architecture", SMALL_VIT, *options, "--output", str(folder)]
    made = runner.invoke(app, line)
    assert made.exit_code == 0, made.output
    recipe = json.loads((folder / "source.json").read_text(encoding="utf-8"))["recipe"]
    assert (recipe["optimizer"], recipe["label_smoothing"], recipe["warmup_epochs"]) == ("adamw", 0.1, 1)
    assert load_source(str(folder)).architecture.name == SMALL_VIT
    (tmp_path / "quick.json").write_text('{"epochs": 2, "image_px": 32, "batch_size": 8, "optimizer": "adamw"}')
    model, recipe = tmp_path / "model", str(tmp_path / "quick.json")
    finetuned = ["finetune", str(domain), "--scale", "1", "--source", str(folder), "--recipe", recipe]
    done = runner.invoke(app, [*finetuned, "--output", str(model)])
    assert done.exit_code == 0, done.output
    assert json.loads((model / "scalepred.json").read_text(encoding="utf-8"))["architecture"] == SMALL_VIT
    shown = runner.invoke(app, ["classify", str(model), str(domain / "dark"), "--json"])
    assert {image["label"] for image in json.loads(shown.stdout)["images"]} <= {"dark", "light"}


def test_a_network_is_given_once(domain):
    made = CliRunner().invoke(
        app, ["pretrain", str(domain), "--name", "x", "--width", "8", "--architecture", "timm/test_resnet"]
    )
    assert "give it or --architecture, not both" in str(made.exception)


SMALL_VIT = "timm/test_vit:img_size=32,patch_size=4"


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("resnet27/8", "sgd"), ("timm/test_resnet", "sgd"), ("timm/test_convnext", "adamw"), (SMALL_VIT, "adamw")],
)
def test_networks_that_are_not_normalised_by_batch_are_trained_with_adamw(name, optimizer):
    assert usual_optimizer(build(name)) == optimizer


def test_the_papers_recipe_stays_what_it_was():
    paper = recipe_from_scratch(epochs=30, batch_size=64, image_px=64, augmentation="crop", base_lr=None)
    assert json.loads(paper.to_json()) == {
        "augmentation": "crop", "base_lr": 0.01, "batch_size": 64, "batchnorm": "batch", "epochs": 30, "image_px": 64,
        "momentum": 0.9, "multipliers": [1.0] * 6, "schedule": "step", "weight_decay": 1e-4,
    }  # fmt: skip


def test_adamw_warms_up_and_decays_and_what_is_given_goes_before():
    usual = recipe_from_scratch(optimizer="adamw", epochs=12)
    assert (usual.base_lr, usual.schedule, usual.warmup_epochs, usual.weight_decay) == (0.001, "cosine", 2, 0.05)
    given = recipe_from_scratch(optimizer="adamw", epochs=1, base_lr=0.01, schedule="step", weight_decay=0.0)
    assert (given.base_lr, given.schedule, given.warmup_epochs, given.weight_decay) == (0.01, "step", 0, 0.0)
    with pytest.raises(UsageError, match="optimizer must be one of sgd, adamw, not 'adam'"):
        recipe_from_scratch(optimizer="adam", epochs=1)


@pytest.mark.parametrize("name", ["timm/test_resnet", SMALL_VIT, "resnet27/8"])
def test_weights_are_drawn_from_the_seed_alone_and_the_global_generator_stays(name):
    def drawn(seed):
        return source_of(blank_network(name, n_classes=2, seed=seed)).source_id

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert drawn(0) == first != drawn(1)


@pytest.fixture(scope="module")
def transformer(domain):
    """A transformer of timm, built for images of 32 pixels and trained for an epoch, to be kept in 16 bits."""
    task = read_task(str(domain), image_px=32)
    recipe = recipe_from_scratch(optimizer="adamw", epochs=1, batch_size=8, image_px=32, augmentation="flip")
    return pretrain(task, name="vit", architecture=SMALL_VIT, recipe=recipe, seed=0, device=CPU, is_half=True)


def test_a_source_with_options_and_half_weights_comes_back_as_it_was(transformer, tmp_path):
    save_source(tmp_path / "vit", transformer)
    loaded = load_source(str(tmp_path / "vit"))
    assert loaded.source_id == transformer.source.source_id
    assert loaded.architecture.name == SMALL_VIT
    assert {tensor.dtype for tensor in loaded.architecture.network.state_dict().values()} == {torch.float32}
    assert "convolutions and matrices in 16 bits" in (tmp_path / "vit" / "README.md").read_text(encoding="utf-8")
    n_bytes = (tmp_path / "vit" / "weights.safetensors").stat().st_size
    assert n_bytes < 2.2 * sum(loaded.architecture.stage_sizes) + 20_000


def test_half_weights_are_what_16_bits_hold_and_statistics_are_not_rounded(transformer):
    state = transformer.source.architecture.network.state_dict()
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1]
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in matrices)
    network = build("timm/test_resnet").network
    large = network.bn1.running_var.fill_(1e6).clone()
    assert torch.equal(rounded(network).bn1.running_var, large)


def test_accuracies_are_those_of_the_weights_that_are_kept(transformer, domain):
    task = read_task(str(domain), image_px=32)
    network = transformer.source.architecture.network.eval()
    images = normalise(torch.from_numpy(task.test.images), transformer.source.architecture)
    with torch.no_grad():
        right = (network(images).argmax(1).numpy() == task.test.labels).mean()
    assert transformer.accuracies["test"] == pytest.approx(right)


def test_one_architecture_with_two_trainings_is_two_sources(trained):
    blank = source_of(build("resnet27/8", n_classes=2))
    assert blank.source_id != trained.source.source_id
