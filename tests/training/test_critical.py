"""The critical rate of any network and optimizer: known answers, parity with second order, and nothing changed."""

import copy
import math

import numpy as np
import pytest
import torch
from small_networks import separable, tiny_source
from torch import nn
from torch.nn import functional

from scalepred.errors import StartError, UsageError
from scalepred.networks.source import normalise
from scalepred.training.critical import critical_rate

CURVATURES = torch.tensor([1.0, 2.0, 3.0, 4.0])


def bowl():
    """Return a linear layer whose loss is a parabola with known curvatures, and that loss."""
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, -0.5, 0.2, 0.7]]))
    return layer, lambda network, batch: 1 + 0.5 * (CURVATURES * network.weight[0] ** 2).sum()


OPTIMIZERS = {
    "sgd": (lambda parameters: torch.optim.SGD(parameters, lr=0.01), lambda g: g),
    "momentum": (lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9), lambda g: g),
    "adam": (lambda parameters: torch.optim.Adam(parameters, lr=0.01), torch.sign),
    "adamw": (lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0), torch.sign),
    "rmsprop": (lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, alpha=0.0), torch.sign),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_a_parabola_it_is_twice_slope_over_curvature_along_the_update(name):
    make, direction = OPTIMIZERS[name]
    layer, loss = bowl()
    gradient = (CURVATURES * layer.weight[0]).detach()
    update = direction(gradient)
    expected = float(2 * (gradient @ update) / (CURVATURES * update**2).sum()) / 0.01
    measured = critical_rate(layer, loss, [None], make(layer.parameters()))
    assert measured.factor == pytest.approx(expected, rel=0.06)
    assert measured.minimum == pytest.approx(expected / 2, rel=0.25)
    assert measured.loss == loss(layer, None).item()
    assert (measured.spread, len(measured.lines)) == (0.0, 1)


def test_groups_with_other_rates_make_another_direction_and_one_factor_for_all():
    layer = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    with torch.no_grad():
        for member in layer:
            member.weight.fill_(1.0)
    rates = (0.1, 0.4)
    groups = [{"params": member.parameters(), "lr": rate} for member, rate in zip(layer, rates, strict=True)]

    def loss(network, batch):
        return 0.5 * (network[0].weight ** 2 + 3 * network[1].weight ** 2).sum()

    measured = critical_rate(layer, loss, [None], torch.optim.SGD(groups))
    gradient, update = np.array([1.0, 3.0]), np.array([1.0, 3.0]) * rates
    expected = 2 * gradient @ update / (np.array([1.0, 3.0]) @ update**2)
    assert measured.factor == pytest.approx(expected, rel=0.06)


class Attention(nn.Module):
    """A vision transformer of one block on patches of 8 pixels."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, images):
        return self.head(self.block(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


def networks():
    torch.manual_seed(0)
    return {"convolutional": tiny_source().architecture.network, "transformer": Attention()}


def images_and_labels(n=16, seed=0):
    split = separable(n, px=32, seed=seed)
    return normalise(torch.from_numpy(split.images), tiny_source().architecture), torch.from_numpy(split.labels)


def cross_entropy(network, batch):
    return functional.cross_entropy(network(batch[0]), batch[1])


@pytest.mark.parametrize("name", ["convolutional", "transformer"])
@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), torch.optim.AdamW])
def test_the_loss_is_back_where_it_started_at_the_factor_and_lower_before(name, make):
    network = networks()[name].train()
    optimizer = make(network.parameters())
    measured = critical_rate(network, cross_entropy, [images_and_labels()], optimizer)
    losses = dict(measured.curve)
    assert measured.curve[0] == (0.0, measured.loss)
    below = max(factor for factor in losses if factor < measured.factor)
    above = min(factor for factor in losses if factor > measured.factor)
    assert losses[below] <= measured.loss < losses[above]
    assert above / below < 1.5
    assert min(losses.values()) == pytest.approx(measured.loss * (1 - measured.depth))


def bytes_of(network, optimizer):
    state = [(name, tensor.numpy().tobytes()) for name, tensor in network.state_dict().items()]
    gradients = [None if p.grad is None else p.grad.numpy().tobytes() for p in network.parameters()]
    modes = [module.training for module in network.modules()]
    return state, gradients, modes, str(optimizer.state_dict()), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("name", ["convolutional", "transformer"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_everything_stays_as_it_was_to_the_byte(name, interrupted):
    network = networks()[name].train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    cross_entropy(network, images_and_labels(seed=1)).backward()
    optimizer.step()
    before = bytes_of(network, optimizer)
    looks = []

    def loss(network, batch):
        looks.append(batch)
        if interrupted and len(looks) == 4:
            raise KeyboardInterrupt
        return cross_entropy(network, batch)

    batches = [images_and_labels(seed=2), images_and_labels(seed=3)]
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            critical_rate(network, loss, batches, optimizer)
    else:
        critical_rate(network, loss, batches, optimizer)
    assert bytes_of(network, optimizer) == before


def test_an_optimizer_in_mid_training_is_measured_along_its_next_step():
    layer, loss = bowl()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss(layer, None).backward()
        optimizer.step()
    gradient = (CURVATURES * layer.weight[0]).detach()
    twin, own = copy.deepcopy((layer, optimizer))
    loss(twin, None).backward()
    twin.weight.grad.copy_(gradient[None])
    before = twin.weight.detach().clone()
    own.step()
    update = (before - twin.weight.detach())[0]
    expected = float(2 * (gradient @ update) / (CURVATURES * update**2).sum())
    for batches in ([None], [None, None]):  # a second batch begins from the same state
        assert critical_rate(layer, loss, batches, optimizer).factor == pytest.approx(expected, rel=0.06)


def test_batches_give_a_median_and_a_spread():
    layer, _ = bowl()

    def loss(network, curvature):
        return 1 + 0.5 * curvature * (network.weight**2).sum()

    measured = critical_rate(layer, loss, [1.0, 4.0, 2.0], torch.optim.SGD(layer.parameters(), lr=1.0))
    assert measured.factor == pytest.approx(2 / 2.0, rel=0.06)
    assert measured.spread == pytest.approx(2, abs=0.2)
    assert [line.critical for line in measured.lines] == pytest.approx([2, 0.5, 1], rel=0.06)


def test_weight_decay_is_part_of_the_update():
    layer, loss = bowl()
    plain, decayed = (
        critical_rate(layer, loss, [None], torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=decay)).factor
        for decay in (0.0, 50.0)
    )
    assert decayed < 0.2 * plain


def test_a_direction_without_end_and_one_that_climbs_are_values_of_their_own():
    layer, _ = bowl()
    sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
    assert critical_rate(layer, lambda n, b: (-n.weight.sum()).exp(), [0], sgd).factor == math.inf
    climbing = torch.optim.SGD(layer.parameters(), lr=1.0, maximize=True)
    measured = critical_rate(layer, lambda n, b: (n.weight**2).sum(), [0], climbing)
    assert (measured.factor, measured.depth) == (0, 0)


def frozen(network):
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "loss", "batches", "words"),
    [
        (frozen, cross_entropy, 1, "Nothing can be trained: every parameter of the optimizer is frozen."),
        (None, cross_entropy, 0, "There is no batch to measure a critical rate on: give at least one."),
        (None, lambda n, b: n(b[0]), 1, "The loss is no scalar tensor: return the mean over the batch."),
        (
            None,
            lambda n, b: torch.zeros(()),
            1,
            "The loss does not depend on what the optimizer trains: is the network",
        ),
        (None, lambda n, b: cross_entropy(n, b) * math.nan, 1, "The loss is nan at the start: check the images and"),
        (lambda n: n.half(), cross_entropy, 1, "The weights are float16, in which steps this small are lost: measure"),
    ],
)
def test_what_can_not_be_measured_says_why(change, loss, batches, words):
    network = networks()["convolutional"]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    if change:
        change(network)
    with pytest.raises(UsageError) as caught:
        critical_rate(network, loss, [images_and_labels()] * batches, optimizer)
    assert str(caught.value).startswith(words)


def test_an_optimizer_whose_rates_are_all_zero_is_refused():
    network = networks()["convolutional"]
    for rate in (0.0, torch.tensor(0.0)):
        with pytest.raises(StartError) as caught:
            critical_rate(
                network, cross_entropy, [images_and_labels()], torch.optim.AdamW(network.parameters(), lr=rate)
            )
        assert str(caught.value) == (
            "Nothing can be trained: the learning rate of the optimizer is 0, so it makes no update to stretch."
        )
    first, *others = network.parameters()
    groups = [{"params": [first], "lr": 0.0}, {"params": others}]
    assert critical_rate(network, cross_entropy, [images_and_labels()], torch.optim.SGD(groups, lr=0.1)).factor > 0


def test_an_optimizer_of_another_network_is_refused():
    network, other = networks()["convolutional"], networks()["transformer"]
    with pytest.raises(UsageError, match="The optimizer holds none of the network's parameters"):
        critical_rate(network, cross_entropy, [images_and_labels()], torch.optim.SGD(other.parameters(), lr=0.1))


@pytest.mark.parametrize("n", [1, 2])
def test_one_image_or_one_class_is_measured_all_the_same(n):
    network = networks()["transformer"].eval()
    images, labels = images_and_labels(2)
    measured = critical_rate(
        network, cross_entropy, [(images[:n], labels[:1].repeat(n))], torch.optim.SGD(network.parameters(), lr=0.1)
    )
    assert measured.factor > 0
