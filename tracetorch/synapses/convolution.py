"""What convolutions and transposed convolutions share: weights, units, and the backward of torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from tracetorch.synapses.base import Synapse
from tracetorch.synapses.effective import effective_bias, effective_weight

AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}
"""Names of the spatial dimensions, by their number."""


class Geometry(NamedTuple):
    """How a convolution reads its input, one number per spatial dimension.

    Args:
        stride: steps between positions.
        padding: zeros on both sides.
        dilation: steps between the entries of the kernel.
        transposed: whether it is the transpose of a convolution.
        output_padding: entries added to the output of a transposed convolution.
    """

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]


class ConvolutionSynapse(Synapse):
    """Base of the adapters of convolutions; a subclass says how they read their input."""

    module: _ConvNd

    @abstractmethod
    def geometry(self) -> Geometry:
        """Return the geometry of the convolution of the features."""

    @abstractmethod
    def weight_shape(self) -> torch.Size:
        """Return the shape of the weight, which computes no parametrization."""

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weight."""
        return (effective_weight(self.module),)

    def bias(self) -> Tensor | None:
        """Return the bias as `[out, 1, ...]`."""
        bias = effective_bias(self.module)
        return None if bias is None else bias.reshape(-1, *[1] * len(self.module.kernel_size))

    def feedback_weight(self) -> Tensor:
        """Return the weight."""
        return self.weights()[0].detach()

    def check(self, x: Tensor) -> None:
        """Raise ValueError where the channels or the number of dimensions do not fit."""
        size = len(self.module.kernel_size)
        if x.dim() != size + 2 or x.shape[1] != self.module.in_channels:
            raise ValueError(
                f"this layer takes inputs [batch, {self.module.in_channels}, {AXES[size]}] per time step, "
                f"got {list(x.shape)}; give one step at a time, or a whole sequence [time, batch, ...] to tt.scan"
            )

    def features(self, x: Tensor) -> Tensor:
        """Return the input itself: a convolution is linear in it."""
        return x

    def backward(self, q: Tensor, features: Tensor, weight: Tensor, mask: Sequence[bool]) -> Any:
        """Return the cotangents of features and weight, as `mask` asks for them."""
        return torch.ops.aten.convolution_backward(
            q, features, weight, None, *self.geometry(), self.module.groups, [*mask, False]
        )

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weight's gradient, summed over samples and positions."""
        shape_only = q.new_empty(1).expand(self.weight_shape())  # as torch.nn.grad does: no value of it is read
        return (self.backward(q, features.to(q.dtype), shape_only, (False, True))[1],)

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents, `[N, in, ...]`."""
        weight = self.weights()[0] if weight is None else weight
        out: Tensor = self.backward(q, x.to(q.dtype), weight.to(q.dtype), (True, False))[0]
        return out

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[N, groups, out / groups, positions]`."""
        groups = self.module.groups
        return q.reshape(q.shape[0], groups, self.module.out_channels // groups, -1)


def windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int) -> Tensor:
    """Return what each position of an unpadded convolution of `[N, C, *in]` reads, `[N, G, L, C / G * kernel]`."""
    size = len(kernel)
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
    x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    to_end = [0, 1, *range(3, 3 + size), 2, *range(3 + size, 3 + 2 * size)]
    return x.permute(to_end).reshape(x.shape[0], groups, x.shape[3 : 3 + size].numel(), -1)
