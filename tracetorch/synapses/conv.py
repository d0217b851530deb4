"""Convolutional synapses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.synapses.base import Synapse


class ConvSynapse(Synapse):
    """Adapt `nn.Conv1d` and `nn.Conv2d`: stride, padding, dilation, groups."""

    module: nn.Conv1d | nn.Conv2d

    def __init__(self, module: nn.Conv1d | nn.Conv2d) -> None:
        if module.padding_mode != "zeros":
            raise ValueError(
                f"a traced convolution pads with zeros, got padding_mode={module.padding_mode!r}; "
                f"put the padding module (nn.CircularPad2d, ...) before the layer"
            )
        super().__init__(module)
        size = len(module.kernel_size)
        stride, dilation = list(module.stride), list(module.dilation)
        padding: list[int]
        if module.padding == "valid":
            padding = [0] * size
        elif module.padding == "same":
            wide = [d * (k - 1) for d, k in zip(dilation, module.kernel_size, strict=True)]
            if any(w % 2 for w in wide):
                raise ValueError(
                    f"a traced convolution with padding='same' needs an odd extent, got kernel_size="
                    f"{module.kernel_size} with dilation={module.dilation}; pad with nn.ZeroPad before the layer"
                )
            padding = [w // 2 for w in wide]
        else:
            padding = [int(p) for p in module.padding]
        self._geometry: tuple[list[int], list[int], list[int]] = (stride, padding, dilation)

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weight, `[out, in / groups, *kernel]`."""
        return (self.module.weight,)

    def bias(self) -> Tensor | None:
        """Return the bias as `[out, 1, ...]`."""
        bias = self.module.bias
        return None if bias is None else bias.reshape(-1, *[1] * len(self.module.kernel_size))

    def check(self, x: Tensor) -> None:
        """Raise ValueError where the channels or the number of dimensions do not fit."""
        rank = len(self.module.kernel_size) + 2
        if x.dim() != rank or x.shape[1] != self.module.in_channels:
            spatial = "height, width" if rank == 4 else "length"
            raise ValueError(
                f"this layer takes inputs [batch, {self.module.in_channels}, {spatial}] per time step, "
                f"got {list(x.shape)}; give one step at a time, or a whole sequence [time, batch, ...] to tt.scan"
            )

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[N, out, *positions]`."""
        out: Tensor = self.module._conv_forward(x, self.module.weight, self.module.bias)
        return out

    def features(self, x: Tensor) -> Tensor:
        """Return the input itself: a convolution is linear in it."""
        return x

    def _backward(self, q: Tensor, x: Tensor, weight: Tensor, mask: list[bool]) -> Any:
        stride, padding, dilation = self._geometry
        return torch.ops.aten.convolution_backward(
            q, x, weight, None, stride, padding, dilation, False, [0] * len(stride), self.module.groups, mask
        )

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weight's gradient, summed over samples and positions."""
        return (self._backward(q, features, self.module.weight.to(q.dtype), [False, True, False])[1],)

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents, `[N, in, ...]`."""
        out: Tensor = self._backward(q, x, self.module.weight if weight is None else weight, [True, False, False])[0]
        return out

    def patches(self, features: Tensor) -> Tensor:
        """Return the features unfolded, `[N, groups, positions, in / groups * kernel]`."""
        geometry: tuple[list[int], ...] = (list(self.module.kernel_size), *self._geometry)
        if len(geometry[0]) == 1:
            features = features.unsqueeze(2)
            geometry = tuple([first, *rest] for first, rest in zip((1, 1, 0, 1), geometry, strict=True))
        kernel, stride, padding, dilation = (tuple(g) for g in geometry)
        columns = nn.functional.unfold(features, kernel, dilation, padding, stride)
        return columns.reshape(columns.shape[0], self.module.groups, -1, columns.shape[-1]).transpose(2, 3)

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[N, groups, out / groups, positions]`."""
        groups = self.module.groups
        return q.reshape(q.shape[0], groups, self.module.out_channels // groups, -1)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient in the weight's shape."""
        return (grad.reshape(self.module.weight.shape),)
