"""The events of a window's inputs, in the order of the rows: for each its place in the row and its value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.backends.numba.arrays import empty
from tracetorch.backends.numba.compile import event_kernel
from tracetorch.backends.numba.workers import Workers

FLOATS = (torch.float32, torch.float64)
"""Scalar types for which kernels are compiled."""
BLOCK = 64
"""Inputs that a piece of work of the event kernels has; BLOCK in `events.py`."""
PIECE, LANES = 32, 16
"""Rows that are packed one after another, and room beyond their number; PIECE in `events.py`, LANES in `raw.py`."""


Lists = tuple[Tensor, Tensor, Tensor, Tensor]


def new_lists(xs: Tensor, room: int) -> Lists:
    """Return room for the lists of so many events of inputs `[T, B, K]`."""
    begins, ends = torch.empty(2, xs.shape[0] * xs.shape[1], dtype=torch.int64).unbind(0)
    return empty((room,), xs, torch.int32), empty((room,), xs), begins, ends


@dataclass(frozen=True, eq=False)
class Packed:
    """Inputs `[T, B, K]` by their events; see `tracetorch.backends.interface.Events`.

    There is room for all inputs, of which memory is used as far as there are events. `x` are the inputs themselves
    before a scan has written down their events, else a tensor of their type; `lists` has the input of each event, of
    int32, its value, and where the events of each row begin and end, `[T B]` of int64, and is None before.
    """

    shape: torch.Size
    x: Tensor
    lists: Lists | None
    workers: Workers

    @staticmethod
    def pack(xs: Tensor, workers: Workers) -> Packed:
        """Return inputs, `[T, B, K]`, with their events written down."""
        xs = xs.detach().contiguous()
        rows, inputs = xs.shape[0] * xs.shape[1], xs.shape[2]
        pieces = -(-rows // PIECE)
        lists = new_lists(xs, pieces * (PIECE * inputs + LANES))
        event_kernel(xs.dtype, "pack")(workers, pieces, (rows, inputs), xs, *lists)
        return Packed(xs.shape, xs.new_empty(0), lists, workers)

    @property
    def arrays(self) -> Lists:
        """The arrays that kernels take."""
        return self.pack(self.x, self.workers).arrays if self.lists is None else self.lists

    def dense(self) -> Tensor:
        """Return the inputs."""
        if self.lists is None:
            return self.x
        out = empty(self.shape, self.x)
        rows, inputs = self.shape[0] * self.shape[1], self.shape[2]
        event_kernel(out.dtype, "unpack")(self.workers, -(-rows // PIECE), (rows, inputs), *self.arrays, out)
        return out

    def outer_sum(self, q: Tensor) -> Tensor:
        """Return the sum of outer products with gradients `[T B, N]`."""
        q = q.detach().contiguous()
        (rows, units), inputs = q.shape, self.shape[2]
        shares = self.workers.count(rows)
        parts, grad = empty((shares, inputs, units), q), empty((units, inputs), q)
        sizes = (rows, inputs, units, shares)
        event_kernel(q.dtype, "outer_parts")(self.workers, shares, sizes, *self.arrays, q, parts)
        event_kernel(q.dtype, "outer_sum")(self.workers, -(-inputs // BLOCK), sizes, parts, grad)
        return grad

    def advance_full(self, q: Tensor, start: Tensor, trace: Tensor) -> None:
        """Advance full eligibilities in place; where they are not contiguous, a copy is made and written back."""
        target = trace if trace.is_contiguous() else trace.contiguous()
        arrays = (*self.arrays, q.detach().contiguous(), start.detach().contiguous(), target)
        sizes = (*self.shape, q.shape[2])
        event_kernel(q.dtype, "advance_full")(self.workers, self.shape[1], sizes, *arrays)
        if target is not trace:
            trace.copy_(target)
