"""Template of the kernels that convolve by events; executed once per scalar type.

Output channels of a group lie side by side, PADDED of them with those that fill a vector up, so that an event adds rows
of the kernel to neighbouring positions in one run: `near`, `[G, positions, PADDED]`. Kernels are laid out as
`[inputs, kernel's rows, kernel's columns in the order of the runs, PADDED]`. `rows` has, for each row of the input, the
number of rows of the kernel that meet it and, of each, the row of the kernel and of the output; `columns` the number of
runs, and of each its first column of the kernel and of the output, and its length. See `convolution.py`.

The functions without a decorator are compiled by the loader; they serve the pieces of work from `low` to `high`.
"""

from typing import TYPE_CHECKING

import numpy as np

from tracetorch.backends.numba.raw import LANES, SQUARE, add_run, clear, found, load, store, turn

if TYPE_CHECKING:
    from tracetorch.backends.numba.names import F, jit


@jit
def add_events(sizes, x, at, index, count, rows, columns, near, taps, first, back):
    """Add a sample's events times rows of the kernel to the positions near them, or, `back`, the other way round."""
    channels, height, width, groups, _, padded, area, across, down, wide, row_size, column_size = sizes
    each, e = channels // groups, 0
    for c in range(channels):
        group = c // each * area
        for y in range(height):
            begin = (c * height + y) * width
            end, place = begin + width, y * row_size
            met = load(rows, place)
            while e < count and np.intp(load(index, e)) < end:
                k = np.intp(load(index, e))
                value, column = load(x, at + k), (k - begin) * column_size
                for i in range(met):
                    tap = first + (c * down + load(rows, place + 1 + 2 * i)) * wide
                    position = group + load(rows, place + 2 + 2 * i) * across
                    for r in range(load(columns, column)):
                        run = column + 1 + 3 * r
                        a, b = (position + load(columns, run + 1)) * padded, (tap + load(columns, run)) * padded
                        size = load(columns, run + 2) * padded
                        if back:
                            add_run(taps, b, near, a, size, value)
                        else:
                            add_run(near, a, taps, b, size, value)
                e += 1


def convolve(sizes, x, taps, bias, rows, columns, out, low, high):
    """Write the currents `[R, units, positions]` of inputs `[R, channels, height, width]`.

    `sizes` are channels, height, width, groups, units of a group, PADDED, positions, columns of the output, rows and
    columns of the kernel, and the lengths of an entry of `rows` and of `columns`; `bias` is `[G, PADDED]`.
    """
    channels, height, width, groups, units, padded, area = sizes[:7]
    size = channels * height * width
    near, index = np.empty(groups * area * padded, F), np.empty(size + LANES, np.uint32)
    for n in range(low, high):
        count = found(x, n * size, size, index, 0, size)
        for g in range(groups):
            for p in range(area):
                for o in range(padded):
                    store(near, (g * area + p) * padded + o, load(bias, g * padded + o))
        add_events(sizes, x, n * size, index, count, rows, columns, near, taps, 0, False)
        for g in range(groups):
            for o in range(0, units, SQUARE):
                to, known = ((n * groups + g) * units + o) * area, min(SQUARE, units - o)
                whole_squares = area // SQUARE * SQUARE
                for p in range(0, whole_squares, SQUARE):
                    turn(near, (g * area + p) * padded + o, padded, SQUARE, out, to + p, area, known)
                for p in range(whole_squares, area):
                    for j in range(known):
                        store(out, to + j * area + p, load(near, (g * area + p) * padded + o + j))


def convolve_back(sizes, shares, x, q, rows, columns, parts, low, high):
    """Write the kernel's gradient as a sum of `parts`, from currents' cotangents `q`, `[R, units, positions]`.

    `sizes` are as before; `shares` are R and the number of parts, of which each has samples that follow one another.
    """
    channels, height, width, groups, units, padded, area, _, down, wide = sizes[:10]
    total, number = shares
    size, taps = channels * height * width, channels * down * wide
    near, index = np.zeros(groups * area * padded, F), np.empty(size + LANES, np.uint32)
    for part in range(low, high):
        clear(parts, part * taps * padded, taps * padded)
        for n in range(part * total // number, (part + 1) * total // number):
            count = found(x, n * size, size, index, 0, size)
            if count == 0:
                continue
            for g in range(groups):
                for o in range(0, units, SQUARE):
                    at, known = ((n * groups + g) * units + o) * area, min(SQUARE, units - o)
                    whole_squares = area // SQUARE * SQUARE
                    for p in range(0, whole_squares, SQUARE):
                        turn(q, at + p, area, known, near, (g * area + p) * padded + o, padded, SQUARE)
                    for p in range(whole_squares, area):
                        for j in range(known):
                            store(near, (g * area + p) * padded + o + j, load(q, at + j * area + p))
            add_events(sizes, x, n * size, index, count, rows, columns, near, parts, part * taps, True)
