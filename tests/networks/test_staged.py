"""Networks whose head takes what all stages give: where stages end, the same logits as before, copies and threads."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from small_networks import Tiny, tiny_source
from torch import nn

from scalepred.errors import UsageError
from scalepred.networks.architecture import build
from scalepred.networks.source import load_source, normalise
from scalepred.networks.staged import build_any, find_taps, staged
from scalepred.networks.timm_config import is_of_timm

ENDS = {
    "efficientnet_lite0": [("blocks.0", 16), ("blocks.1", 24), ("blocks.2", 40), ("blocks.4", 112)],
    "resnet27/32": [("conv1", 32), ("conv2", 32), ("conv3", 64), ("conv4", 128)],
    "timm/resnet18": [("bn1", 64), ("layer1", 64), ("layer2", 128), ("layer3", 256)],
    "timm/vit_tiny_patch16_224:img_size=64": [(f"blocks.{k}", 192) for k in (1, 4, 7, 9)],
    "timm/convnext_atto": [("stem", 40), ("stages.0", 40), ("stages.1", 80), ("stages.2", 160)],
    "torchvision/swin_t": [("features.1", 96), ("features.3", 192), ("features.5", 384), ("features.6", 768)],
}


def images(n=4, px=64):
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(0))


def taken_by(architecture, inputs):
    """Return what the head of a network takes."""
    taken = []
    head = architecture.network.get_submodule(architecture.head)
    hook = head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        architecture.network.eval()(inputs)
    hook.remove()
    return taken[0]


@pytest.mark.parametrize("name", ENDS)
def test_stages_end_with_whole_blocks(name):
    taps = find_taps(build(name, n_classes=2))
    assert [(tap.module, tap.n_channels) for tap in taps] == ENDS[name]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/vit_tiny_patch16_224:img_size=64", "torchvision/swin_t"])
@pytest.mark.parametrize("means_alone", [False, True])
def test_a_head_takes_what_blocks_give_pooled_before_the_penultimate_features(name, means_alone):
    plain = build(name, n_classes=3)
    own = staged(plain, means_alone=means_alone)
    outputs = {}
    for tap in find_taps(plain):
        plain.network.get_submodule(tap.module).register_forward_hook(
            lambda _, __, output, name=tap.module: outputs.update({name: output})
        )
    last = taken_by(plain, images())
    expected, sizes = [], []
    for (module, channels), output in zip(ENDS[name], outputs.values(), strict=True):
        places = output.flatten(2) if output.shape[1] == channels else output.flatten(1, -2).mT
        pooled = [places.mean(2), places.var(2, correction=0).sqrt(), places.amax(2)][: 1 if means_alone else 3]
        assert pooled[0].shape == (4, channels), module
        expected += pooled
        sizes += [channels] * len(pooled)
    torch.testing.assert_close(taken_by(own, images()), torch.cat([*expected, last], dim=1))
    assert own.parts == (*sizes, last.shape[1])
    assert own.embedding_size == plain.embedding_size == last.shape[1]


def test_a_staged_network_computes_what_it_did_and_leaves_the_other_as_it_was():
    source = load_source()
    before = copy.deepcopy(source.architecture.network.state_dict())
    own = staged(source.architecture)
    inputs = normalise(torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)), own)
    with torch.no_grad():
        expected = source.architecture.network.eval()(inputs)
        torch.testing.assert_close(own.network.eval()(inputs), expected)
        for parameter in own.network.parameters():
            parameter.zero_()
    after = source.architecture.network.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items())


def test_every_parameter_keeps_its_stage():
    plain = tiny_source().architecture
    own = staged(plain)
    assert own.stages.keys() == {name for name, _ in own.network.named_parameters()}
    assert own.stage_sizes[:5] == plain.stage_sizes[:5]
    assert own.stage_sizes[5] == sum(own.parts) * 4 + 4


def test_a_copy_takes_what_its_own_stages_give():
    own = staged(tiny_source().architecture)
    twin = replace(own, network=copy.deepcopy(own.network))
    with torch.no_grad():
        for parameter in twin.network.body.stages[0].parameters():
            parameter.mul_(3)
    assert not taken_by(twin, images(px=32)).equal(taken_by(own, images(px=32)))
    assert taken_by(own, images(px=32)).equal(taken_by(staged(tiny_source().architecture), images(px=32)))


def test_threads_that_share_a_network_do_not_see_each_others_images():
    network = staged(build("resnet27/16", n_classes=4)).network.eval()
    batches = [images(n=n, px=32) * n for n in range(1, 9)]
    with torch.no_grad():
        nn.init.normal_(network.head.weight)
        expected = [network(batch) for batch in batches]

    def run(batch):
        with torch.no_grad():
            return [network(batch) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for logits, wanted in zip(pool.map(run, batches), expected, strict=True):
            for each in logits:
                torch.testing.assert_close(each, wanted)


@pytest.mark.parametrize(("suffix", "means_alone"), [("+stages3", False), ("+stages", True)])
@pytest.mark.parametrize("name", ["resnet27/16", "efficientnet_lite0"])
def test_one_that_was_saved_is_built_from_its_name(name, suffix, means_alone):
    own = build_any(f"{name}{suffix}", n_classes=5)
    assert own.name == f"{name}{suffix}"
    assert own.parts == staged(build(name, n_classes=5), means_alone=means_alone).parts
    assert own.network.state_dict().keys() == staged(build(name, n_classes=5)).network.state_dict().keys()
    assert own.network.head.out_features == 5
    assert build_any(name, n_classes=5).name == name
    assert not is_of_timm(own.name)


def test_without_an_output_that_can_be_read_there_are_no_stages():
    class Pairs(Tiny):
        def forward(self, x):
            for stage in self.stages:
                x = stage(x)[0]
            return self.head(x.mean((2, 3)))

    class Pair(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x), x

    plain = tiny_source().architecture
    network = Pairs()
    network.stages = nn.Sequential(*(Pair(stage) for stage in network.stages))
    stages = {
        name: next(k for k in range(6) if name.startswith(f"stages.{k}." if k < 5 else "head."))
        for name, _ in network.named_parameters()
    }
    with pytest.raises(UsageError, match="tiny has no stage whose output can be read; use the network as it is"):
        staged(replace(plain, network=network, stages=stages))
