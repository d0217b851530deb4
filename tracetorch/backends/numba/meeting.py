"""Which inputs, entries of the kernel and outputs of a convolution meet, as tables for the kernels of `convolve.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

SQUARE = 8
"""Channels of a vector; SQUARE in `vectors.py`."""
LIST = 16
"""Inputs of a column that meet one row of outputs, from which on their events are worth being sorted."""


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

    def order(self) -> tuple[int, ...]:
        """Return the kernel's entries in an order in which those that meet one place stand together, the last first."""
        return tuple(sorted(range(self.kernel), key=lambda k: (k * self.dilation % self.stride, -k)))

    def met(self, place: int) -> list[tuple[int, int]]:
        """Return the entries of the kernel that meet a place, which may be any, each with its output."""
        found = []
        for k in self.order():
            to, rest = divmod(place + self.padding - k * self.dilation, self.stride)
            if rest == 0:
                found.append((k, to))
        return sorted(found, key=lambda tap: tap[1])


ONE = Axis(1, 1, 1, 0, 1)
"""The rows of a convolution of one dimension."""


class Side(NamedTuple):
    """One dimension of a convolution, or of the way of credit back through it, as events of its input meet it.

    Args:
        size: extent of what has the events.
        out: extent of what they are added to.
        kernel: extent of the kernel.
        slope: how many entries of the kernel lie between neighbouring events that meet one output.
        order: the kernel's entries in the order in which they are laid out.
        taps: for each place of the events, entries of the kernel and the place that each adds to, the first first.
    """

    size: int
    out: int
    kernel: int
    slope: int
    order: tuple[int, ...]
    taps: tuple[tuple[tuple[int, int], ...], ...]

    @staticmethod
    def of(axis: Axis, *, back: bool) -> Side:
        """Return the dimension of a convolution, or `back`, from its outputs to its inputs."""
        taps = [[tap for tap in axis.met(place) if 0 <= tap[1] < axis.out] for place in range(axis.size)]
        if not back:
            return Side(axis.size, axis.out, axis.kernel, 1, axis.order(), tuple(map(tuple, taps)))
        turned: list[list[tuple[int, int]]] = [[] for _ in range(axis.out)]
        for place, row in enumerate(taps):
            for k, to in row:
                turned[to].append((k, place))
        order = tuple(range(axis.kernel))
        return Side(axis.out, axis.size, axis.kernel, -axis.stride, order, tuple(map(tuple, turned)))

    def runs(self) -> Tensor:
        """Return, for each place of the events, runs of entries and outputs that are neighbours; see `runs_of`."""
        return table([runs_of(row, self.order) for row in self.taps], 3)

    def ranges(self) -> list[list[int]]:
        """Return, for each output, ranges of places that meet it: bounds, and the entry that place 0 would meet."""
        found: list[list[int]] = [[] for _ in range(self.out)]
        for place, row in enumerate(self.taps):
            for k, to in row:
                first, known = k - self.slope * place, found[to]
                if known and known[-2] == place and known[-1] == first:
                    known[-2] = place + 1
                else:
                    known += [place, place + 1, first]
        return found


@dataclass(frozen=True)
class Plan:
    """A convolution, or the backward pass through it, as the kernels see it.

    Args:
        channels: channels of what has the events.
        groups: G.
        units: channels of a group of what they are added to.
        rows: the first dimension.
        columns: the second.
    """

    channels: int
    groups: int
    units: int
    rows: Side
    columns: Side

    @property
    def width(self) -> int:
        """Units of a group with those that fill a vector up."""
        return -(-self.units // SQUARE) * SQUARE

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers that both kernels take, but for the lengths of the tables' entries and the number of cells."""
        rows, columns = self.rows, self.columns
        extents = (self.channels, rows.size, columns.size, self.groups, self.units, self.width)
        return (*extents, rows.out * columns.out, columns.out, rows.kernel, columns.kernel)

    def padded(self, values: Tensor) -> Tensor:
        """Return values `[..., units]` with zeros for the units that fill a vector up."""
        count = self.width - self.units
        return (torch.nn.functional.pad(values, (0, count)) if count else values).contiguous()

    @cached_property
    def forward(self) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
        """All sizes and the tables of `convolve`: events are sorted where a list of them is long enough."""
        ranges = self.rows.ranges()
        lengths = [high - low for row in ranges for low, high in zip(row[::3], row[1::3], strict=True)]
        columns, height = self.columns.runs(), self.rows.size
        if sum(lengths) * self.channels < LIST * self.groups * len(lengths):
            none = torch.empty(0, dtype=torch.int32)
            rows = table([[n for tap in row for n in tap] for row in self.rows.taps], 2)
            return (*self.sizes, rows.shape[1], columns.shape[1], 0), (rows, columns, none, none)
        rows, wide = table(ranges, 3), self.columns.kernel * self.width
        c, y, x = self._places()
        cells = (c // (self.channels // self.groups) * self.columns.size + x) * height + y
        places = (c * self.rows.kernel + self.rows.slope * y) * wide
        number = self.groups * self.columns.size * height
        sizes = (*self.sizes, rows.shape[1], columns.shape[1], number)
        return sizes, (rows, columns, cells.int().flatten(), places.int().flatten())

    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return channel, row and column of each input, `[channels, height, width]` when broadcast."""
        shape = (self.channels, self.rows.size, self.columns.size)
        grids = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
        return grids[0], grids[1], grids[2]

    def backward(self, down: Axis, across: Axis) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
        """Return all sizes and the tables of `convolve_back`."""
        height, wide = -(-down.size // down.stride), -(-across.size // across.stride)
        rows = []
        for k in range(down.kernel):
            phase = (k * down.dilation - down.padding) % down.stride
            to = (phase + down.padding - k * down.dilation) // down.stride
            low = min(max(0, -to), height)
            rows.append([phase, low, max(low, min(height, down.out - to)), to])
        met = [across.met(phase) for phase in range(across.stride)]
        margin = max(0, *(-to for row in met for _, to in row))
        stride = margin + max(across.out, *(wide + to for row in met for _, to in row))
        columns = table([runs_of([(k, to + margin) for k, to in row], across.order()) for row in met], 3)
        c, y, x = self._places()
        phases = (c * down.stride + y % down.stride) * across.stride + x % across.stride
        group = c // (self.channels // self.groups) * down.out
        places = ((group + y // down.stride) * stride + x // across.stride) * self.width
        number = self.channels * down.stride * across.stride * height
        sizes = (*self.sizes, 4, columns.shape[1], number, margin, stride, down.stride, across.stride)
        cells = (phases * height + y // down.stride).int().flatten()
        return sizes, (torch.tensor(rows), columns, cells, places.int().flatten())


@lru_cache(64)
def plan(channels: int, groups: int, units: int, axes: tuple[Axis, Axis], *, back: bool = False) -> Plan:
    """Return the plan of a convolution, or `back`, from its outputs to its inputs."""
    rows, columns = (Side.of(axis, back=back) for axis in axes)
    return Plan(channels, groups, units, rows, columns)


@lru_cache(64)
def plan_back(of: tuple[int, int, int], axes: tuple[Axis, Axis]) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    """Return sizes and tables of the kernel's gradient for channels, groups and units."""
    return plan(*of, axes).backward(*axes)


def runs_of(taps: list[tuple[int, int]] | tuple[tuple[int, int], ...], order: tuple[int, ...]) -> list[int]:
    """Return runs of taps that are neighbours in the kernel's order and in the output: both beginnings, the length."""
    found: list[list[int]] = []
    for k, to in taps:
        at = order.index(k)
        if found and found[-1][0] + found[-1][2] == at and found[-1][1] + found[-1][2] == to:
            found[-1][2] += 1
        else:
            found.append([at, to, 1])
    return [n for run in found for n in run]


def table(rows: list[list[int]], size: int) -> Tensor:
    """Return rows of equal length: the number of entries, `size` numbers each, the entries, zeros."""
    longest = max(map(len, rows))
    full = [[len(row) // size, *row, *[0] * (longest - len(row))] for row in rows]
    return torch.tensor(full, dtype=torch.int64)


def laid_out(plan: Plan, weight: Tensor, *, back: bool) -> Tensor:
    """Return a weight `[out, in / G, *kernel]` as `[channels, rows, columns in their order, width]`."""
    down, across = plan.rows.kernel, plan.columns.kernel
    split = weight.reshape(plan.groups, -1, plan.units if back else plan.channels // plan.groups, down, across)
    split = split[..., list(plan.columns.order)]
    last = split.permute(0, 1, 3, 4, 2) if back else split.permute(0, 2, 3, 4, 1)
    return plan.padded(last.reshape(plan.channels, down, across, plan.units))


def as_weight(plan: Plan, values: Tensor) -> Tensor:
    """Return values in the layout of `laid_out` as `[out, in / G, rows, columns]`."""
    down, across = plan.rows.kernel, plan.columns.kernel
    split = values.view(plan.groups, -1, down, across, plan.width)[..., : plan.units]
    back = sorted(range(across), key=plan.columns.order.__getitem__)
    return split[..., back, :].permute(0, 4, 1, 2, 3).reshape(-1, plan.channels // plan.groups, down, across)


def size_of(plan: Plan) -> int:
    """Return the number of values of a kernel that is laid out."""
    return plan.channels * plan.width * math.prod((plan.rows.kernel, plan.columns.kernel))
