"""Template of kernels that know no neuron; executed once per scalar type.

To sum outer products over events, rows are taken in groups that stay in cache. The events of a group are sorted by
input, so that one row of the gradient meets all its events at once, four at a time.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

if TYPE_CHECKING:
    from tracetorch.ops.fused.names import FAST, F

GROUP, BLOCK, U = 128, 16, 64


@njit(**FAST)
def sort(x, low, high, starts, order):
    """Sort the events of rows `low..high` by input: `order[starts[k] : starts[k + 1]]` are the rows of input k."""
    inputs = x.shape[1]
    where = np.empty((high - low) * inputs + 1, np.int32)
    ends = np.empty(high - low, np.int64)
    starts[:] = 0
    count = 0
    for r in range(low, high):
        for k in range(inputs):
            where[count] = k
            count += x[r, k] != F(0)
        ends[r - low] = count
    for e in range(count):
        starts[where[e] + 1] += 1
    for k in range(inputs):
        starts[k + 1] += starts[k]
    at = starts.copy()
    e = 0
    for r in range(high - low):
        while e < ends[r]:
            k = where[e]
            order[at[k]] = low + r
            at[k] += 1
            e += 1


def weight_grad(x, q, out):
    """Add `x^T q` to the parts of `out`, `[parts, K, N]`, in time that grows with the events of `x`."""
    total, inputs = x.shape
    parts, units = out.shape[0], q.shape[1]
    groups = (total + GROUP - 1) // GROUP
    for part in prange(parts):
        starts = np.empty(inputs + 1, np.int64)
        order = np.empty(GROUP * inputs, np.int32)
        for g in range(part * groups // parts, (part + 1) * groups // parts):
            sort(x, g * GROUP, min(total, (g + 1) * GROUP), starts, order)
            for k in range(inputs):
                e, end = starts[k], starts[k + 1]
                while e + 4 <= end:
                    r0, r1, r2, r3 = order[e], order[e + 1], order[e + 2], order[e + 3]
                    x0, x1, x2, x3 = x[r0, k], x[r1, k], x[r2, k], x[r3, k]
                    for n in range(units):
                        out[part, k, n] += (x0 * q[r0, n] + x1 * q[r1, n]) + (x2 * q[r2, n] + x3 * q[r3, n])
                    e += 4
                while e < end:
                    r0 = order[e]
                    x0 = x[r0, k]
                    for n in range(units):
                        out[part, k, n] += x0 * q[r0, n]
                    e += 1


def filter_back(signal, decay, out, leaving):
    """Filter cotangents `[T, B, N]` backwards in time, with a decay per unit."""
    steps, batch, units = signal.shape
    for b in prange(batch):
        carried = np.zeros(units, F)
        for r in range(steps):
            t = steps - 1 - r
            now, given = out[t, b], signal[t, b]
            for n in range(units):
                carried[n] += given[n]
                now[n] = carried[n]
                carried[n] *= decay[n]
        leaving[b, :] = carried


def carry_full(x, q, start, trace):
    """Carry eligibilities `trace`, `[B, N, K]`, over a window: times `start`, `[B, N]`, plus the sum of `q` by `x`."""
    steps, batch, inputs = x.shape
    units = q.shape[2]
    for b in prange(batch):
        starts = np.empty(inputs + 1, np.int64)
        order = np.empty(steps * inputs, np.int32)
        sort(x[:, b], 0, steps, starts, order)
        total = np.empty((inputs, U), F)
        for n0 in range(0, units, U):
            width = min(U, units - n0)
            total[:] = F(0)
            for k in range(inputs):
                row = total[k]
                for e in range(starts[k], starts[k + 1]):
                    t = order[e]
                    value, qt = x[t, b, k], q[t, b, n0 : n0 + width]
                    for j in range(width):
                        row[j] += value * qt[j]
            for low in range(0, inputs, BLOCK):
                high = min(low + BLOCK, inputs)
                for j in range(width):
                    factor, row = start[b, n0 + j], trace[b, n0 + j]
                    for k in range(low, high):
                        row[k] = factor * row[k] + total[k, j]
