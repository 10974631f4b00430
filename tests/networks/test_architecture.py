"""Networks are built by name with their stages, head and preprocessing, or refused."""

import pytest
import torch

from scalepred.errors import UsageError
from scalepred.networks.architecture import build, check_takes
from scalepred.networks.names import family_of
from scalepred.networks.stages import assign_stages
from scalepred.recipe import STAGES

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


META = torch.device("meta")


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


def test_options_build_a_network_for_small_images_whatever_their_order():
    small = build("timm/vit_tiny_patch16_224:patch_size=8,img_size=64,depth=5,embed_dim=64,num_heads=2", n_classes=3)
    assert small.name == "timm/vit_tiny_patch16_224:depth=5,embed_dim=64,img_size=64,num_heads=2,patch_size=8"
    assert small.input_px == 64
    assert small.network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert family_of(small.name) == "vit"


def test_options_of_one_number_per_stage_are_given_with_dashes():
    small = build("timm/convnext_atto:dims=8-16-24-32,depths=1-1-2-1")
    assert [stage["num_chs"] for stage in small.network.feature_info] == [8, 16, 24, 32]
    assert [len(stage.blocks) for stage in small.network.stages] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            "",
            "'' is none of block_config, depth, depths, dims, embed_dim, growth_rate, img_size, num_heads, patch_size",
        ),
        ("drop_rate=1", "'drop_rate' is none of block_config"),
        ("depth=3,depth=4", "depth is given twice"),
        ("depth=0", "depth must be a number of 1 to 48, not '0'"),
        ("depth=1000000", "depth must be a number of 1 to 48, not '1000000'"),
        ("img_size=64-64", "img_size must be a number of 16 to 1024, not '64-64'"),
        ("dims=8-x", "dims must be numbers of 8 to 1024 with dashes between, not '8-x'"),
        ("depth=３", "depth must be a number of 1 to 48, not '３'"),
        ("num_heads=5", "can't be built with num_heads=5: dim should be divisible by num_heads"),
        ("dims=8-16", "can't be built with dims=8-16: "),
    ],
)
def test_options_that_no_network_or_not_this_one_takes_are_refused(options, words):
    with pytest.raises(UsageError) as caught:
        build(f"timm/test_vit:{options}")
    assert words in str(caught.value)


def test_a_size_that_the_network_can_not_take_is_refused():
    with pytest.raises(UsageError, match=r"can't take images of 64 px .* it was made for 224: give --image-px"):
        check_takes(build("timm/vit_tiny_patch16_224"), image_px=64)
