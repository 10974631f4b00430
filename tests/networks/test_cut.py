"""Networks in two parts: what is frozen in front, what is trained behind, and the same logits as the whole."""

import gc
import linecache

import pytest
import torch
from small_networks import Tiny, tiny_source
from torch import fx, nn
from torch.nn import functional

from scalepred.networks.architecture import build
from scalepred.networks.cut import WHOLE, cut
from scalepred.networks.source import normalise
from scalepred.recipe import RECIPES
from scalepred.training.optimizer import set_mode


class Wrapped(Tiny):
    """A tiny network with something in its way."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(self, x)


def is_conv1(name):
    return name.startswith("stages.0.")


def images(n=4, px=32):
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(0))


def cut_of(network, is_frozen=is_conv1):
    network.train()
    network.stages[0].eval()
    return cut(network, is_frozen, sample=images())


def test_the_front_ends_where_the_first_trained_stage_begins():
    network = Tiny()
    parts = cut_of(network)
    front, rest = parts.front_of(network), parts.rest_of(network)
    assert {name for name, _ in front.named_parameters()} == {n for n, _ in network.named_parameters() if is_conv1(n)}
    assert {name for name, _ in rest.named_parameters()} == {
        n for n, _ in network.named_parameters() if not is_conv1(n)
    }
    torch.testing.assert_close(rest(front(images())), network(images()))


def test_with_all_but_the_head_frozen_the_front_gives_embeddings():
    network = Tiny().eval()
    parts = cut(network, lambda name: not name.startswith("head"), sample=images())
    embedded = parts.front_of(network)(images())
    assert embedded.shape == (4, 8)
    torch.testing.assert_close(parts.rest_of(network)(embedded), network(images()))


def test_a_cut_serves_every_copy_of_the_network_and_shares_its_modules():
    parts, other = cut_of(Tiny()), Tiny().eval()
    rest = parts.rest_of(other)
    assert dict(rest.named_parameters())["head.weight"] is other.head.weight
    torch.testing.assert_close(rest(parts.front_of(other)(images())), other(images()))


def test_where_nothing_is_frozen_there_is_no_front():
    network = Tiny()
    parts = cut_of(network, lambda name: False)
    assert parts.front_of(network) is None
    torch.testing.assert_close(parts.rest_of(network.eval())(images()), network(images()))


def dropping(network, x):
    return plain(network, functional.dropout(x, 0.5))


def plain(network, x):
    for stage in network.stages:
        x = stage(x)
    return network.head(x.mean((2, 3)))


def branching(network, x):
    return plain(network, x) if float(x.sum()) > 0 else plain(network, -x)


def skipping(network, x):
    first = network.stages[0](x)
    second = network.stages[1](first)
    for stage in network.stages[2:]:
        second = stage(second)
    return network.head(second.mean((2, 3))) + first.mean()


def only_in_training(network, x):
    return plain(network, x * 2 if network.training else x)


@pytest.mark.parametrize(
    ("what", "has_front", "has_rest"),
    [
        (plain, True, True),
        (dropping, False, True),  # what is drawn anew can't be computed once
        (skipping, False, True),  # two tensors cross the cut
        (branching, False, False),  # its code depends on the images
        (only_in_training, False, False),  # tracing sees one of two ways only
    ],
)
def test_what_cannot_be_cut_is_left_whole(what, has_front, has_rest):
    parts = cut_of(Wrapped(what))
    assert (parts.front is not None, parts.rest is not None) == (has_front, has_rest)


def test_dropout_in_a_frozen_stage_is_not_computed_once():
    network = Tiny()
    network.stages[0].append(nn.Dropout(0.5))
    parts = cut_of(network)
    assert "stages.0.3" not in dict(parts.front_of(network).named_modules())


def test_cutting_changes_nothing_of_the_network():
    network = Tiny()
    network.train()
    network.stages[0].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    cut(network, is_conv1, sample=images())
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_parts_that_are_gone_leave_nothing_behind():
    network = Tiny()
    halves = cut_of(network)

    def sources():
        gc.collect()
        return set(fx.graph_module._loader.eval_cache), {name for name in linecache.cache if "eval_with_key" in name}

    before = sources()
    parts = [part for _ in range(5) for part in (halves.front_of(network), halves.rest_of(network))]
    assert [len(now) - len(then) for now, then in zip(sources(), before, strict=True)] == [10, 10]
    parts.clear()
    assert sources() == before


def test_the_whole_is_the_cut_of_what_cannot_be_traced():
    network = Tiny()
    assert WHOLE.rest_of(network) is network
    assert WHOLE.front_of(network) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["efficientnet_lite0", "torchvision/resnet18", "torchvision/mobilenet_v3_small", "timm/resnet18"],
)
def test_real_networks_are_cut_and_give_the_same_logits(name):
    architecture = build(name, n_classes=5)
    network, recipe = architecture.network, RECIPES["graduated"]
    set_mode(network, architecture, recipe)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    sample = normalise(images, architecture)
    parts = cut(network, lambda n: recipe.multipliers[architecture.stages[n]] == 0, sample=sample)
    assert parts.rest is not None
    assert parts.front is not None
    network.eval()
    front, rest = parts.front_of(network), parts.rest_of(network)
    torch.testing.assert_close(rest(front(sample)), network(sample), rtol=1e-3, atol=1e-4)


def test_the_tiny_source_of_other_tests_is_cut():
    network = tiny_source().architecture.network
    assert cut_of(network).front is not None
