"""Synapses that are transposed convolutions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.synapses.convolution import ConvolutionSynapse, Geometry, windows
from tracetorch.synapses.effective import effective_bias

_FUNCTIONS = {1: nn.functional.conv_transpose1d, 2: nn.functional.conv_transpose2d, 3: nn.functional.conv_transpose3d}


class ConvTransposeSynapse(ConvolutionSynapse):
    r"""Adapt `nn.ConvTranspose1d`, `nn.ConvTranspose2d` and `nn.ConvTranspose3d`.

    .. math:: I_{o,p} = b_o + \sum_{i,k} W_{i,o,k}\, x_{i,s} \quad \text{with}\quad p = s \cdot \mathrm{stride} -
        \mathrm{padding} + k \cdot \mathrm{dilation}

    It is a convolution, with the kernel turned round, of the input with `stride - 1` zeros put between its entries.
    """

    computed_by: ClassVar[tuple[str, ...]] = (*ConvolutionSynapse.computed_by, "_output_padding")
    module: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

    def geometry(self) -> Geometry:
        """Return the geometry."""
        m = self.module
        padding = [int(p) for p in m.padding]
        return Geometry(list(m.stride), padding, list(m.dilation), True, list(m.output_padding))

    def weight_shape(self) -> torch.Size:
        """Return `[in, out / groups, *kernel]`."""
        module = self.module
        return torch.Size((module.in_channels, module.out_channels // module.groups, *module.kernel_size))

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[N, out, *positions]`."""
        g, bias = self.geometry(), effective_bias(self.module)
        out: Tensor = _FUNCTIONS[len(g.stride)](
            x, self.weights()[0], bias, g.stride, g.padding, g.output_padding, self.module.groups, g.dilation
        )
        return out

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units, `[out, *positions]`."""
        g = self.geometry()
        sizes = [
            (n - 1) * g.stride[i] - 2 * g.padding[i] + g.dilation[i] * (k - 1) + g.output_padding[i] + 1
            for i, (n, k) in enumerate(zip(x.shape[2:], self.module.kernel_size, strict=True))
        ]
        return torch.Size((self.module.out_channels, *sizes))

    def patches(self, features: Tensor) -> Tensor:
        """Return what each position reads, `[N, groups, positions, in / groups * kernel]`, the kernel turned round."""
        g, kernel = self.geometry(), self.module.kernel_size
        between = features.new_zeros(
            *features.shape[:2], *[(n - 1) * s + 1 for n, s in zip(features.shape[2:], g.stride, strict=True)]
        )
        every = (slice(None), slice(None), *(slice(None, None, s) for s in g.stride))
        between[every] = features
        around: list[int] = []
        for i in reversed(range(len(kernel))):
            before = g.dilation[i] * (kernel[i] - 1) - g.padding[i]
            around += [before, before + g.output_padding[i]]
        padded = nn.functional.pad(between, around)
        return windows(padded, kernel, [1] * len(kernel), g.dilation, self.module.groups)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient `[G, O, K]` in the weight's shape, `[in, out / groups, *kernel]`."""
        kernel = self.module.kernel_size
        grad = grad.reshape(*grad.shape[:2], -1, *kernel).transpose(1, 2)
        return (grad.reshape(-1, *grad.shape[2:]).flip(list(range(2, 2 + len(kernel)))),)
