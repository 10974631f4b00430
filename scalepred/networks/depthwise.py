"""Depthwise convolutions on small maps, with gradients many times faster than those of the CPU libraries."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL_PIXELS = 16

TINY_PIXELS = 4


class SmallMapConv(nn.Module):
    """Computes what a depthwise convolution does, and its gradients tap by tap where maps are small.

    Gradients differ from the library's in rounding only. It shares the convolution's weights. Which maps count as
    small was measured: see the log of 2026-11-24.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, maps: Tensor) -> Tensor:
        """Return the convolution of maps (n, c, h, w)."""
        pixels = maps.shape[2] * maps.shape[3]
        large_kernel = self.conv.weight.shape[2] * self.conv.weight.shape[3] >= 25
        small = pixels <= TINY_PIXELS or (pixels <= SMALL_PIXELS and large_kernel)
        if small and maps.device.type == "cpu" and maps.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            return _TapByTap.apply(maps, self.conv.weight, self.conv.padding)  # type: ignore[no-any-return]  # torch has left it untyped
        return self.conv(maps)  # type: ignore[no-any-return]  # modules are typed to return Any


def takes(module: nn.Module) -> bool:
    """Say whether a module is a depthwise convolution of the plain kind: stride 1, zeros around, no bias."""
    return (
        type(module) is nn.Conv2d
        and module.groups == module.in_channels == module.out_channels > 1
        and module.stride == module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.bias is None
    )


class _TapByTap(torch.autograd.Function):
    """A depthwise convolution whose gradients are sums over the kernel's taps, each a product of shifted maps."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.padding = padding
        return functional.conv2d(maps, weight, padding=padding, groups=maps.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, weight = ctx.saved_tensors
        channels, _, kernel_height, kernel_width = weight.shape
        # channels last, so that every product runs over contiguous channels
        inputs, grad = maps.permute(0, 2, 3, 1), grads[0].permute(0, 2, 3, 1).contiguous()
        taps = weight.view(channels, -1).t().contiguous()
        grad_inputs, grad_taps = torch.zeros_like(inputs), torch.zeros_like(taps)
        for row in range(kernel_height):
            out_rows, in_rows = _overlap(row - ctx.padding[0], grad.shape[1], inputs.shape[1])
            for column in range(kernel_width):
                out_columns, in_columns = _overlap(column - ctx.padding[1], grad.shape[2], inputs.shape[2])
                tap = row * kernel_width + column
                part = grad[:, out_rows, out_columns]
                grad_taps[tap] = (part * inputs[:, in_rows, in_columns]).sum(dim=(0, 1, 2))
                grad_inputs[:, in_rows, in_columns].addcmul_(part, taps[tap])
        return grad_inputs.permute(0, 3, 1, 2), grad_taps.t().reshape(weight.shape), None


def _overlap(shift: int, n_out: int, n_in: int) -> tuple[slice, slice]:
    """Return which outputs a tap shifted by so many pixels contributes to, and which inputs it takes them from."""
    low, high = max(0, -shift), max(0, -shift, min(n_out, n_in - shift))
    return slice(low, high), slice(low + shift, high + shift)
