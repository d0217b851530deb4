"""Convolutions that are formed from the events of their inputs: currents, and the kernel's gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from tracetorch.backends.numba.arrays import empty
from tracetorch.backends.numba.compile import event_kernel
from tracetorch.backends.numba.workers import Workers
from tracetorch.synapses import ConvSynapse

_SQUARE = 8
"""Channels of a vector; SQUARE in `raw.py`."""
_PARTS = 16
"""Parts of which a kernel's gradient is summed, at most: the order of summation is the same for any threads."""
_LARGEST = 2**22
"""Numbers of all parts together, from which on there are fewer of them."""

Taps = list[tuple[int, int]]
"""Of one place of the input: entries of the kernel that meet it, and the place of the output to which each belongs."""


class Axis(NamedTuple):
    """One spatial dimension of a convolution.

    Args:
        size: extent of the input.
        kernel: extent of the kernel.
        stride: steps between positions.
        padding: zeros on both sides.
        dilation: steps between the entries of the kernel.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def out(self) -> int:
        """Extent of the output."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def taps(self, place: int) -> Taps:
        """Return the entries of the kernel that meet a place of the input, by the place of the output."""
        found = []
        for k in reversed(range(self.kernel)):
            to, rest = divmod(place + self.padding - k * self.dilation, self.stride)
            if rest == 0 and 0 <= to < self.out:
                found.append((k, to))
        return found

    def order(self) -> list[int]:
        """Return the kernel's entries in an order in which those that meet one place stand together, the last first."""
        return sorted(range(self.kernel), key=lambda k: (k * self.dilation % self.stride, -k))


@dataclass(frozen=True)
class EventConvolution:
    """The products of a convolution of one or two spatial dimensions, in time that grows with its inputs' events.

    Args:
        synapse: the convolution.
        workers: threads.
    """

    synapse: ConvSynapse
    workers: Workers

    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[R, out, *positions]` of inputs `[R, in, *in]`."""
        layout = self._layout(x := self.synapse.features(x.detach()))
        bias = self.synapse.bias()
        flat = x.new_zeros(layout.units * layout.groups) if bias is None else bias.detach().flatten()
        out = empty((x.shape[0], layout.groups * layout.units, *layout.positions), x)
        kernel = event_kernel(x.dtype, "convolve", "convolve")
        arrays = (layout.laid_out(self.synapse.weights()[0].detach()), layout.padded(flat), *layout.tables, out)
        kernel(self.workers, x.shape[0], layout.sizes, x.contiguous(), *arrays)
        return out

    def weight_grad(self, x: Tensor, q: Tensor) -> Tensor:
        """Return the kernel's gradient from inputs as the synapse convolves them and currents' cotangents."""
        layout = self._layout(x)
        taps = layout.channels * math.prod(layout.kernel) * layout.width
        parts = max(1, min(_PARTS, x.shape[0], _LARGEST // taps))
        sums = empty((parts, taps), x)
        shares = (x.shape[0], parts)
        kernel = event_kernel(x.dtype, "convolve_back", "convolve")
        kernel(self.workers, parts, layout.sizes, shares, x.contiguous(), q.contiguous(), *layout.tables, sums)
        total = sums[0]
        for part in sums[1:]:
            total = total + part
        return layout.as_weight(total).view(self.synapse.weight_shape())

    def _layout(self, x: Tensor) -> Layout:
        geometry, shape = self.synapse.geometry(), self.synapse.weight_shape()
        groups = self.synapse.module.groups
        sizes = zip(x.shape[2:], shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
        return Layout(x.shape[1], groups, shape[0] // groups, tuple(Axis(*axis) for axis in sizes))


def serves(synapse: object, x: Tensor) -> bool:
    """Return whether the products of a synapse with inputs `[T, B, *in]` can be formed from events."""
    return type(synapse) is ConvSynapse and x.dim() in (4, 5)


def run_of(synapse: ConvSynapse) -> float:
    """Return how many values an event adds at a time, on average: channels times neighbouring positions."""
    geometry, shape = synapse.geometry(), synapse.weight_shape()
    neighbours = 1.0 if geometry.dilation[-1] > 1 else max(1.0, shape[-1] / geometry.stride[-1])
    return neighbours * shape[0] / synapse.module.groups


class Layout(NamedTuple):
    """How the kernels see a convolution.

    Args:
        channels: channels of the input.
        groups: G.
        units: output channels of a group.
        axes: the spatial dimensions.
    """

    channels: int
    groups: int
    units: int
    axes: tuple[Axis, ...]

    @property
    def width(self) -> int:
        """Output channels of a group with those that fill a vector up."""
        return -(-self.units // _SQUARE) * _SQUARE

    @property
    def positions(self) -> tuple[int, ...]:
        """Extents of the output."""
        return tuple(axis.out for axis in self.axes)

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the kernel."""
        return (1 if len(self.axes) == 1 else self.axes[0].kernel), self.axes[-1].kernel

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers that the kernels take; see `convolve.py`."""
        height = 1 if len(self.axes) == 1 else self.axes[0].size
        row, column = self.tables
        extents = (self.channels, height, self.axes[-1].size, self.groups, self.units, self.width)
        across = self.positions[-1]
        ends = (row.numel() // height, column.numel() // self.axes[-1].size)
        return (*extents, math.prod(self.positions), across, *self.kernel, *ends)

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """For each row and each column of the input what meets it; see `convolve.py`."""
        return _tables(self.axes)

    def padded(self, values: Tensor) -> Tensor:
        """Return values per output channel as `[G, width]`."""
        return _filled(values.view(self.groups, self.units), self.width - self.units).contiguous()

    def laid_out(self, weight: Tensor) -> Tensor:
        """Return a weight `[out, in / G, *kernel]` as `[in, rows, columns, width]`, columns by runs."""
        down, across = self.kernel
        split = weight.reshape(self.groups, self.units, -1, down, across)[..., self.axes[-1].order()]
        last = split.permute(0, 2, 3, 4, 1)
        return _filled(last.reshape(self.channels, down, across, self.units), self.width - self.units).contiguous()

    def as_weight(self, values: Tensor) -> Tensor:
        """Return values in the layout of `laid_out` as `[out, in / G, rows, columns]`."""
        down, across = self.kernel
        split = values.view(self.groups, -1, down, across, self.width)[..., : self.units]
        order = self.axes[-1].order()
        back = sorted(range(across), key=order.__getitem__)
        return split[..., back, :].permute(0, 4, 1, 2, 3).reshape(-1, self.channels // self.groups, down, across)


def _filled(values: Tensor, count: int) -> Tensor:
    """Return values with zeros behind the last dimension."""
    return torch.nn.functional.pad(values, (0, count)) if count else values


@lru_cache(64)
def _tables(axes: tuple[Axis, ...]) -> tuple[Tensor, Tensor]:
    rows = [[(0, 0)]] if len(axes) == 1 else [axes[0].taps(y) for y in range(axes[0].size)]
    order = axes[-1].order()
    columns = [_runs(axes[-1].taps(x), order) for x in range(axes[-1].size)]
    return _table([[n for tap in taps for n in tap] for taps in rows], 2), _table(columns, 3)


def _runs(taps: Taps, order: list[int]) -> list[int]:
    """Return runs of taps that are neighbours in kernel and output: where each begins in both, and its length."""
    found: list[list[int]] = []
    for k, to in sorted(taps, key=lambda tap: tap[1]):
        at = order.index(k)
        if found and found[-1][0] + found[-1][2] == at and found[-1][1] + found[-1][2] == to:
            found[-1][2] += 1
        else:
            found.append([at, to, 1])
    return [n for run in found for n in run]


def _table(rows: list[list[int]], size: int) -> Tensor:
    """Return rows of equal length: the number of entries, `size` numbers each, the entries, zeros."""
    longest = max(map(len, rows))
    full = [[len(row) // size, *row, *[0] * (longest - len(row))] for row in rows]
    return torch.tensor(full, dtype=torch.int64)
