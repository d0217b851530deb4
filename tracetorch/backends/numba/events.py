"""Template of kernels that know no neuron; executed once per scalar type.

The functions without a decorator are compiled by the loader; they serve the pieces of work from `low` to `high`.

To sum outer products over events, rows are taken in groups that stay in cache. The events of a group are sorted by
input, so that one row of the gradient meets all its events at once, four at a time.
"""

import numpy as np

from tracetorch.backends.numba.raw import LANES, add_chosen, backwards, clear, found, gather, load, store, take

GROUP, BLOCK, TILE, U, PIECE = 128, 64, 128, 64, 32


def pack(sizes, x, places, values, begins, ends, low, high):
    """Write down the events of rows `[R, K]`: place and value of each, and where those of each row begin and end.

    Each `PIECE` rows begin at a place of their own. `sizes` are R and K.
    """
    total, inputs = sizes
    for piece in range(low, high):
        count = piece * (PIECE * inputs + LANES)
        for r in range(piece * PIECE, min((piece + 1) * PIECE, total)):
            store(begins, r, count)
            end = found(x, r * inputs, inputs, places, count, inputs)
            gather(values, x, r * inputs, places, count, end)
            store(ends, r, end)
            count = end


def unpack(sizes, places, values, begins, ends, x, low, high):
    """Write the rows of which these are the events; `sizes` are R and K."""
    total, inputs = sizes
    for r in range(low * PIECE, min(high * PIECE, total)):
        for k in range(inputs):
            store(x, r * inputs + k, F(0))
        for e in range(load(begins, r), load(ends, r)):
            store(x, r * inputs + np.intp(load(places, e)), load(values, e))


@jit
def sort(places, values, begins, ends, first, rows, jump, starts, order, chosen):
    """Sort the events of rows, each `jump` after the last, by input.

    `order[starts[k] : starts[k + 1]]` are the rows of input k, counted from 0; their values are `chosen`.
    """
    inputs = starts.shape[0] - 1
    starts[:] = 0
    for r in range(rows):
        for e in range(load(begins, first + r * jump), load(ends, first + r * jump)):
            k = np.intp(load(places, e)) + 1
            store(starts, k, load(starts, k) + 1)
    for k in range(inputs):
        store(starts, k + 1, load(starts, k + 1) + load(starts, k))
    for r in range(rows):
        for e in range(load(begins, first + r * jump), load(ends, first + r * jump)):
            k = np.intp(load(places, e))
            to = load(starts, k)
            store(order, to, r)
            store(chosen, to, load(values, e))
            store(starts, k, to + 1)
    for i in range(inputs):
        k = inputs - i
        store(starts, k, load(starts, k - 1))
    starts[0] = 0


@jit
def lists(rows, inputs):
    """Return the work space of `sort`."""
    return np.empty(inputs + 1, np.intp), np.empty(rows * inputs, np.int32), np.empty(rows * inputs, F)


def outer_parts(sizes, places, values, begins, ends, q, parts, low, high):
    """Write `q^T x`, in time that grows with the events of `x`, as a sum of `parts`, `[P, K, N]`.

    `sizes` are the number of rows, K, N and P.
    """
    total, inputs, units, shares = sizes
    groups = (total + GROUP - 1) // GROUP
    for part in range(low, high):
        starts, order, chosen = lists(GROUP, inputs)
        for i in range(part * inputs * units, (part + 1) * inputs * units):
            store(parts, i, F(0))
        for g in range(part * groups // shares, (part + 1) * groups // shares):
            top = g * GROUP
            sort(places, values, begins, ends, top, min(GROUP, total - top), 1, starts, order, chosen)
            for k in range(inputs):
                e, end, to = load(starts, k), load(starts, k + 1), (part * inputs + k) * units
                add_chosen(parts, to, chosen, q, top * units, units, units, order, e, end)


def outer_sum(sizes, parts, grad, low, high):
    """Sum parts `[P, K, N]` for blocks of inputs, and write them as columns of `grad`, `[N, K]`; `sizes` as before."""
    _, inputs, units, shares = sizes
    apart = inputs * units
    for block in range(low, high):
        for n in range(units):
            for k in range(block * BLOCK, min((block + 1) * BLOCK, inputs)):
                total, at = F(0), k * units + n
                for part in range(shares):
                    total += load(parts, part * apart + at)
                store(grad, n * inputs + k, total)


def lay_out(sizes, weight, out, low, high):
    """Lay a weight `[N, K]` out as `[chunks, K, width]`: the rows of some units that an event of an input adds.

    `sizes` are N, K and the width.
    """
    units, inputs, width = sizes
    blocks = (inputs + BLOCK - 1) // BLOCK
    for block in range(low, high):
        g, first = block // blocks, block % blocks * BLOCK
        for j in range(width):
            n = g * width + j
            for k in range(first, min(first + BLOCK, inputs)):
                store(out, (g * inputs + k) * width + j, load(weight, n * inputs + k) if n < units else F(0))


def credit_back(sizes, signal, gain, level, weight, bucket, decay, sent, out, leaving, low, high):
    """Filter cotangents `[T, B, N]` backwards in time; see `Numba.credit_back`.

    `sizes` are T, B, N, the number of buckets, and whether what is not filtered is returned too.
    """
    steps, batch, units, groups, direct = sizes
    carried, order = np.empty(units, F), backwards(steps)
    for b in range(low, high):
        clear(carried, 0, units)
        for r in range(steps):
            t = load(order, r)
            at, first = (t * batch + b) * units, t * groups * batch + b
            share = F(1) / load(level, t * batch + b)
            factor = share / load(weight, first)
            for n in range(units):
                if groups > 1:
                    factor = share / load(weight, first + np.intp(load(bucket, n)) * batch)
                store(out, at + n, load(gain, at + n) * load(signal, at + n) * factor)
            for n in range(units):
                now = load(carried, n) + load(out, at + n)
                store(out, at + n, now)
                store(carried, n, now * load(decay, n))
            if direct:
                for n in range(units):
                    store(sent, at + n, load(gain, at + n) * load(signal, at + n) * share)
        take(leaving, b * units, carried, 0, units)


@jit
def advance_block(total, width, inputs, start, s_at, trace, t_at):
    """Multiply eligibilities of some units by `start` and add a total, `[K, U]`, in tiles that stay in cache."""
    for low in range(0, inputs, TILE):
        for j in range(width):
            factor, row = load(start, s_at + j), t_at + j * inputs
            for k in range(low, min(low + TILE, inputs)):
                store(trace, row + k, factor * load(trace, row + k) + load(total, k * U + j))


def advance_full(sizes, places, values, begins, ends, q, start, trace, low, high):
    """Multiply eligibilities `trace`, `[B, N, K]`, by `start`, `[B, N]`, and add the sum of `q` by `x`.

    `sizes` are T, B, K and N.
    """
    steps, batch, inputs, units = sizes
    for b in range(low, high):
        starts, order, chosen = lists(steps, inputs)
        sort(places, values, begins, ends, b, steps, batch, starts, order, chosen)
        total = np.empty(inputs * U, F)
        for n0 in range(0, units, U):
            width, at = min(U, units - n0), b * units + n0
            total[:] = F(0)
            for k in range(inputs):
                e, end = load(starts, k), load(starts, k + 1)
                add_chosen(total, k * U, chosen, q, at, batch * units, width, order, e, end)
            advance_block(total, width, inputs, start, at, trace, at * inputs)
