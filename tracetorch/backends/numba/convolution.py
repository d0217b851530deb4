"""Convolutions that are formed from events: currents, the kernel's gradient, and credit that goes below."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.backends.numba.arrays import empty
from tracetorch.backends.numba.compile import event_kernel
from tracetorch.backends.numba.meeting import ONE, Axis, Plan, as_weight, laid_out, plan, plan_back, size_of
from tracetorch.backends.numba.tuning import Tuning
from tracetorch.backends.numba.workers import Workers
from tracetorch.synapses import ConvSynapse

_PARTS = 16
"""Parts of which a kernel's gradient is summed, at most: the order of summation is the same for any threads."""
_LARGEST = 2**22
"""Numbers of all parts together, from which on there are fewer of them."""


@dataclass(frozen=True)
class EventConvolution:
    """The products of a convolution of one or two spatial dimensions, in time that grows with events.

    Args:
        synapse: the convolution.
        workers: threads.
        tuning: sizes that decide how credit goes below; None for by events always.
        eventful: whether currents and the kernel's gradient are formed from events, and not by the synapse.
    """

    synapse: ConvSynapse
    workers: Workers
    tuning: Tuning | None = None
    eventful: bool = True

    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[R, out, *positions]` of inputs `[R, in, *in]`."""
        if not self.eventful:
            return self.synapse.current(x)
        x = self.synapse.features(x.detach())
        channels, groups, units, axes = self._shape(x)
        forwards = plan(channels, groups, units, axes)
        bias = self.synapse.bias()
        flat = x.new_zeros(units * groups) if bias is None else bias.detach().flatten()
        out = self._added(forwards, x, laid_out(forwards, self.synapse.weights()[0].detach(), back=False), flat)
        return out.view(x.shape[0], -1, *(axis.out for axis in axes[-(x.dim() - 2) :]))

    def weight_grad(self, x: Tensor, q: Tensor) -> Tensor:
        """Return the kernel's gradient from inputs as the synapse convolves them and currents' cotangents."""
        if not self.eventful:
            return self.synapse.weight_grad(x, q)[0]
        *of, axes = self._shape(x)
        forwards, (sizes, tables) = plan(*of, axes), plan_back((of[0], of[1], of[2]), axes)
        taps = size_of(forwards)
        parts = max(1, min(_PARTS, x.shape[0], _LARGEST // taps))
        sums = empty((parts, taps), x)
        shares = (x.shape[0], parts)
        kernel = event_kernel(x.dtype, "convolve_back", "convolve")
        kernel(self.workers, parts, sizes, shares, x.contiguous(), q.contiguous(), *tables, sums)
        total = sums[0]
        for part in sums[1:]:
            total = total + part
        return as_weight(forwards, total).view(self.synapse.weight_shape())

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents from currents' cotangents, through the weights or a feedback in their shape."""
        q = q.contiguous()
        if q.dtype != x.dtype or self.synapse.features(x) is not x or not self._sends(q):
            return self.synapse.input_grad(q, x, weight)
        weight = self.synapse.weights()[0].detach() if weight is None else weight
        channels, groups, units, axes = self._shape(x)
        back = plan(units * groups, groups, channels // groups, axes, back=True)
        out = self._added(back, q, laid_out(back, weight.to(q.dtype), back=True), q.new_zeros(channels))
        return out.view(x.shape)

    def _sends(self, q: Tensor) -> bool:
        """Return whether credit goes below by those cotangents alone that are not zero."""
        if self.tuning is None:
            return True
        return q.shape[0] >= self.tuning.few and share(q, self.tuning.sample) <= self.tuning.convolution

    def _added(self, by: Plan, x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        """Return what events add to a bias, `[R, G units, positions]`."""
        sizes, tables = by.forward
        out = empty((x.shape[0], by.groups * by.units, by.rows.out * by.columns.out), x)
        kernel, start = event_kernel(x.dtype, "convolve", "convolve"), by.padded(bias.view(by.groups, by.units))
        kernel(self.workers, x.shape[0], sizes, x.contiguous(), taps, start, *tables, out)
        return out

    def _shape(self, x: Tensor) -> tuple[int, int, int, tuple[Axis, Axis]]:
        """Return channels, groups, units of a group, and the spatial dimensions, of which there are always two."""
        geometry, shape = self.synapse.geometry(), self.synapse.weight_shape()
        groups = self.synapse.module.groups
        sizes = zip(x.shape[2:], shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
        axes = [Axis(*axis) for axis in sizes]
        return x.shape[1], groups, shape[0] // groups, (axes[0] if len(axes) == 2 else ONE, axes[-1])


def serves(synapse: object, x: Tensor) -> bool:
    """Return whether the products of a synapse with inputs `[T, B, *in]` can be formed from events."""
    return type(synapse) is ConvSynapse and x.dim() in (4, 5)


def share(x: Tensor, sample: int) -> float:
    """Return which share of values is not zero, by a sample of about so many: of all, since the first may be silent."""
    some = x.reshape(-1)[:: (x.numel() // sample) | 1]
    return int(torch.count_nonzero(some)) / max(1, some.numel())


def run_of(synapse: ConvSynapse) -> float:
    """Return how many values an event adds at a time, on average: channels times neighbouring positions."""
    geometry, shape = synapse.geometry(), synapse.weight_shape()
    neighbours = 1.0 if geometry.dilation[-1] > 1 else max(1.0, shape[-1] / geometry.stride[-1])
    return neighbours * shape[0] / synapse.module.groups
