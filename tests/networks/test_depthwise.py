"""Gradients tap by tap against the library's own."""

import itertools

import pytest
import torch
from torch import nn

from scalepred.networks.depthwise import SmallMapConv, _TapByTap, takes


def depthwise(channels=6, kernel=5, padding=2, **settings):
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False, **settings)


def gradients(module, maps):
    inputs = maps.clone().requires_grad_()
    output = module(inputs)
    weights = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    return output, *torch.autograd.grad((output * weights).sum(), (inputs, *module.parameters()))


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (5, 0), (3, 2), (7, 3), ((3, 5), (1, 2)), (1, 0)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (3, 5), (2, 8)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_librarys(kernel, padding, size, memory):
    conv = depthwise(kernel=kernel, padding=padding)
    if any(n + 2 * p < k for n, p, k in zip(size, conv.padding, conv.kernel_size, strict=True)):
        pytest.skip("the map is smaller than the kernel")
    maps = torch.randn(3, 6, *size).to(memory_format=memory)
    expected = gradients(conv, maps)
    inputs = maps.clone().requires_grad_()
    output = _TapByTap.apply(inputs, conv.weight, conv.padding)
    weights = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    actual = (output, *torch.autograd.grad((output * weights).sum(), (inputs, conv.weight)))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_differences_in_double_precision():
    maps = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, w: _TapByTap.apply(m, w, (1, 1)), (maps, weight))


@pytest.mark.parametrize(
    ("size", "kernel", "small"), [(2, 3, True), (2, 5, True), (4, 5, True), (4, 3, False), (8, 5, False)]
)
def test_only_small_maps_go_tap_by_tap(size, kernel, small):
    conv = depthwise(kernel=kernel, padding=kernel // 2)
    output = SmallMapConv(conv)(torch.randn(2, 6, size, size))
    assert ("TapByTap" in type(output.grad_fn).__name__) is small


def test_under_autocast_the_library_does_it():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = SmallMapConv(depthwise())(torch.randn(2, 6, 2, 2))
    assert "TapByTap" not in type(output.grad_fn).__name__


def test_it_shares_the_weights_of_the_convolution():
    conv = depthwise()
    assert next(SmallMapConv(conv).parameters()) is conv.weight


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.Conv2d(6, 12, 3, groups=6, bias=False),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(1, 1, 3, bias=False),
        depthwise(stride=2),
        depthwise(dilation=2),
        depthwise(padding_mode="reflect"),
        depthwise(padding="same"),
        nn.Linear(3, 3),
    ],
)
def test_other_layers_are_left_alone(other):
    assert not takes(other)


def test_plain_depthwise_convolutions_are_taken():
    assert all(takes(depthwise(kernel=k, padding=p)) for k, p in itertools.product((3, 5), (0, 1)))
