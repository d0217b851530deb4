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


@dataclass(frozen=True, eq=False)
class Packed:
    """Inputs `[T, B, K]` by their events; see `tracetorch.backends.interface.Events`.

    Each 32 rows have room for all of their inputs, of which memory is used as far as there are events.

    Args:
        shape: `[T, B, K]`.
        places: the input of each event, of int32.
        values: its value.
        begins: where the events of each row begin, `[T B]` of int64.
        ends: where they end.
        workers: the threads.
    """

    shape: torch.Size
    places: Tensor
    values: Tensor
    begins: Tensor
    ends: Tensor
    workers: Workers

    @staticmethod
    def pack(xs: Tensor, workers: Workers) -> Packed:
        """Return the events of inputs, `[T, B, K]`."""
        xs = xs.detach().contiguous()
        rows, inputs = xs.shape[0] * xs.shape[1], xs.shape[2]
        pieces = -(-rows // PIECE)
        room = (pieces * (PIECE * inputs + LANES),)
        places, values = empty(room, xs, torch.int32), empty(room, xs)
        begins, ends = torch.empty(2, rows, dtype=torch.int64).unbind(0)
        event_kernel(xs.dtype, "pack")(workers, pieces, (rows, inputs), xs, places, values, begins, ends)
        return Packed(xs.shape, places, values, begins, ends, workers)

    @property
    def arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arrays that kernels take."""
        return self.places, self.values, self.begins, self.ends

    def dense(self) -> Tensor:
        """Return the inputs."""
        out = empty(self.shape, self.values)
        rows, inputs = self.begins.shape[0], self.shape[2]
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
