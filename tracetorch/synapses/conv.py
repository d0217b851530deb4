"""Convolutional synapses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.synapses.convolution import ConvolutionSynapse, Geometry, windows
from tracetorch.synapses.effective import effective_bias


class ConvSynapse(ConvolutionSynapse):
    """Adapt `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`: stride, padding of every mode, dilation, groups.

    Where zeros on both sides alike do not say the padding (another mode, or 'same' with an even extent), the padded
    input is the features, and the convolution of these has no padding.
    """

    computed_by: ClassVar[tuple[str, ...]] = (*ConvolutionSynapse.computed_by, "_conv_forward")
    module: nn.Conv1d | nn.Conv2d | nn.Conv3d

    @property
    def _around(self) -> list[int]:
        """The padding of each side, last dimension first, as `nn.functional.pad` takes it."""
        module = self.module
        if module.padding == "valid":
            return [0, 0] * len(module.kernel_size)
        found: list[int] = []
        for axis in reversed(range(len(module.kernel_size))):
            if isinstance(module.padding, str):
                total = module.dilation[axis] * (module.kernel_size[axis] - 1)
                found += [total // 2, total - total // 2]
            else:
                found += [module.padding[axis]] * 2
        return found

    @property
    def _padded_before(self) -> bool:
        if self.module.padding_mode != "zeros" or not isinstance(self.module.padding, str):
            return self.module.padding_mode != "zeros"
        around = self._around
        return around[::2] != around[1::2]

    def geometry(self) -> Geometry:
        """Return the geometry of the convolution of the features."""
        module = self.module
        padding = [0] * len(module.kernel_size) if self._padded_before else self._around[::2][::-1]
        return Geometry(list(module.stride), padding, list(module.dilation), False, [0] * len(padding))

    def _pad(self, x: Tensor) -> Tensor:
        mode = self.module.padding_mode
        return nn.functional.pad(x, self._around, mode="constant" if mode == "zeros" else mode)

    def weight_shape(self) -> torch.Size:
        """Return `[out, in / groups, *kernel]`."""
        module = self.module
        return torch.Size((module.out_channels, module.in_channels // module.groups, *module.kernel_size))

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[N, out, *positions]`."""
        out: Tensor = self.module._conv_forward(x, self.weights()[0], effective_bias(self.module))
        return out

    def features(self, x: Tensor) -> Tensor:
        """Return the input, padded where the convolution itself does not pad it."""
        return self._pad(x) if self._padded_before else x

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units, `[out, *positions]`."""
        g, around = self.geometry(), self._around[::-1]
        sizes = [
            (n + around[2 * i] + around[2 * i + 1] - g.dilation[i] * (k - 1) - 1) // g.stride[i] + 1
            for i, (n, k) in enumerate(zip(x.shape[2:], self.module.kernel_size, strict=True))
        ]
        return torch.Size((self.module.out_channels, *sizes))

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents, `[N, in, ...]`."""
        if not self._padded_before:
            return super().input_grad(q, x, weight)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            padded = self._pad(leaf)
        inner = super().input_grad(q, padded.detach(), weight)
        return torch.autograd.grad(padded, leaf, inner)[0]

    def patches(self, features: Tensor) -> Tensor:
        """Return the features unfolded, `[N, groups, positions, in / groups * kernel]`."""
        g = self.geometry()
        if any(g.padding):
            features = nn.functional.pad(features, [n for p in reversed(g.padding) for n in (p, p)])
        return windows(features, self.module.kernel_size, g.stride, g.dilation, self.module.groups)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient in the weight's shape, `[out, in / groups, *kernel]`."""
        return (grad.reshape(self.weight_shape()),)
