"""The folder of a model is also one of timm's: timm builds the same network from it, or says that it has none."""

import json

import numpy as np
import pytest
import timm
import torch
from fakes import TINY
from PIL import Image
from saved_models import NASTY, photographs, saved

from scalepred.data.square import to_square
from scalepred.job.classifier import load
from scalepred.job.folder import load_model
from scalepred.training.scoring import predict_logits

pytestmark = pytest.mark.slow

NETWORKS = {
    "efficientnet_lite0": 64,
    "efficientnet_lite1": 64,
    "efficientnet_lite2": 64,
    TINY: 32,
    "timm/mobilenetv3_small_050": 32,
    "timm/vit_tiny_patch16_224:img_size=32,patch_size=8": 32,
    "timm/densenet121:block_config=2-2-2-2": 32,
    "timm/convnext_atto:depths=1-1-1-1,dims=8-16-24-32": 32,
}


@pytest.mark.parametrize(("name", "image_px"), NETWORKS.items())
def test_timm_builds_the_network_of_the_folder_with_the_same_logits(tmp_path, name, image_px):
    folder = saved(tmp_path / "model", name, image_px=image_px)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(theirs)
    squares = np.stack([to_square(each, image_px) for each in photographs()])
    mean, std = (torch.tensor(settings[part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        logits = theirs((torch.from_numpy(squares) / 255 - mean) / std).numpy()
    model = load_model(folder)
    ours = predict_logits(
        model.architecture.network, model.architecture, squares, device=torch.device("cpu"), dtype=torch.float32
    ).numpy()
    np.testing.assert_allclose(logits, ours, atol=0.01 * ours.std(axis=0).min())  # far below what images differ by
    assert tuple(settings["input_size"]) == (3, image_px, image_px)
    assert tuple(theirs.pretrained_cfg["label_names"]) == NASTY


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_timms_own_transform_gives_nearly_the_same_probabilities(tmp_path, resize):
    folder = saved(tmp_path / "model", "efficientnet_lite0", image_px=64, resize=resize)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs), is_training=False)
    images = photographs()
    with torch.no_grad():
        probabilities = theirs(torch.stack([transform(Image.fromarray(each)) for each in images])).softmax(dim=1)
    np.testing.assert_allclose(probabilities.numpy(), load(folder, device="cpu").predict_proba(images), atol=0.02)


def test_a_network_that_timm_has_not_is_unknown_to_it_and_the_card_says_so(tmp_path):
    folder = saved(tmp_path / "model", "torchvision/mobilenet_v3_small", image_px=64)
    with pytest.raises(RuntimeError, match="Unknown model"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert "timm has no such network" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "config.json").read_text())["label_names"] == list(NASTY)
    assert load(folder, device="cpu").classes == NASTY


def test_the_card_says_how_timm_loads_the_folder(tmp_path, monkeypatch):
    folder = saved(tmp_path / "model", TINY, image_px=32)
    assert '`timm.create_model("local-dir:.", pretrained=True)`' in (folder / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    assert timm.create_model("local-dir:.", pretrained=True).num_classes == len(NASTY)
