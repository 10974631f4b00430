"""Sources: real weights that know photographs, new heads, and the identity of a source."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from small_networks import separable, tiny_source

from scalepred.data.square import to_square
from scalepred.networks.source import load_source, new_network, normalise, source_of

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


DAISY, BELL_COTE, PALACE = 985, 442, 698


@pytest.fixture(scope="module")
def embedded():
    return load_source()


@pytest.mark.parametrize(("photograph", "labels"), [("china.jpg", {BELL_COTE, PALACE}), ("flower.jpg", {DAISY})])
def test_the_embedded_weights_know_two_photographs(embedded, photograph, labels):
    image = torch.from_numpy(to_square(load_sample_image(photograph), 224))[None]
    network = embedded.architecture.network.eval()
    with torch.no_grad():
        best = int(network(normalise(image, embedded.architecture)).argmax())
    assert best in labels


@pytest.mark.parametrize(("photograph", "labels"), [("china.jpg", {BELL_COTE, PALACE}), ("flower.jpg", {DAISY})])
def test_the_larger_packaged_network_knows_them_too(photograph, labels):
    larger = load_source("efficientnet_lite1")
    image = torch.from_numpy(to_square(load_sample_image(photograph), larger.architecture.input_px))[None]
    with torch.no_grad():
        best = int(larger.architecture.network.eval()(normalise(image, larger.architecture)).argmax())
    assert best in labels


def test_the_embedded_source_has_prototypes_and_facts(embedded):
    assert embedded.prototypes.shape == (1000, 1280)
    assert embedded.prototypes.dtype == np.float32
    assert embedded.record.facts["n_source_classes"] == 1000
    assert len(embedded.source_id) == 32


def test_a_new_network_has_a_new_head_and_leaves_the_source_alone():
    source = tiny_source()
    before = {name: tensor.clone() for name, tensor in source.architecture.network.state_dict().items()}
    network = new_network(source, n_classes=7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert network.head.out_features == 7
    assert all(torch.equal(before[n], t) for n, t in source.architecture.network.state_dict().items())


def test_a_head_is_drawn_from_its_generator():
    first, again, other = (
        new_network(tiny_source(), n_classes=3, generator=torch.Generator().manual_seed(seed)).head.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.005 < float(first.detach().std()) < 0.015


def test_images_are_normalised_per_channel():
    source = tiny_source()
    images = torch.from_numpy(separable(2).images)
    expected = (images.double() - 127) / 64
    assert torch.allclose(normalise(images, source.architecture).double(), expected, atol=1e-6)


def test_weights_from_either_kind_of_file_are_the_same_source(small, tmp_path):
    state = small.network.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "wrapped.pt")
    ids = {
        load_source(small.name, weights=tmp_path / name).source_id for name in ("w.safetensors", "w.pth", "wrapped.pt")
    }
    assert ids == {source_of(small).source_id}


def test_other_weights_are_another_source(small, tmp_path):
    state = {
        name: tensor + 1 if tensor.is_floating_point() else tensor
        for name, tensor in small.network.state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    assert load_source(small.name, weights=tmp_path / "w.safetensors").source_id != source_of(small).source_id


def test_weights_may_have_their_own_number_of_classes(small, tmp_path):
    state = dict(small.network.state_dict())
    state |= {"fc.weight": torch.zeros(37, 1024), "fc.bias": torch.zeros(37)}
    save_file(state, tmp_path / "w.safetensors")
    assert load_source(small.name, weights=tmp_path / "w.safetensors").prototypes.shape == (37, 1024)
