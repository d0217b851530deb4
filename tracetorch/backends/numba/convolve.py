"""Template of the kernels that convolve by events; executed once per scalar type.

Output channels of a group lie side by side, PADDED of them with those that fill a vector up, so that an event adds rows
of the kernel to neighbouring positions in one run: `near`, `[G, positions, PADDED]`. Kernels are laid out as
`[inputs, kernel's rows, kernel's columns in the order of the runs, PADDED]`. The tables that say which events and which
rows of the kernel meet where are those of `meeting.py`.

The functions without a decorator are compiled by the loader; they serve the pieces of work from `low` to `high`.
"""

import numpy as np

from tracetorch.backends.numba.raw import LANES, clear, found, load, store, take
from tracetorch.backends.numba.vectors import SQUARE, add_run, gather_rows, turn


@jit
def scatter(sizes, x, at, index, count, rows, columns, near, taps):
    """Add a sample's events times rows of the kernel to the positions near them, event by event."""
    channels, height, width, groups, _, padded, area, across, down, wide, row_size, column_size = sizes[:12]
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
                    tap = (c * down + load(rows, place + 1 + 2 * i)) * wide
                    position = group + load(rows, place + 2 + 2 * i) * across
                    for r in range(load(columns, column)):
                        run = column + 1 + 3 * r
                        a, b = (position + load(columns, run + 1)) * padded, (tap + load(columns, run)) * padded
                        add_run(near, a, taps, b, load(columns, run + 2) * padded, value)
                e += 1


@jit
def sort(x, at, index, count, cells, places, ends, number, place, value):
    """Sort a sample's events by cell: `ends[i]` to `ends[i + 1]` are those of cell i, each with its place and value."""
    for i in range(number + 2):
        store(ends, i, 0)
    for e in range(count):
        cell = np.intp(load(cells, np.intp(load(index, e)))) + 2
        store(ends, cell, load(ends, cell) + 1)
    for i in range(2, number + 2):
        store(ends, i, load(ends, i) + load(ends, i - 1))
    for e in range(count):
        k = np.intp(load(index, e))
        cell = np.intp(load(cells, k)) + 1
        to = load(ends, cell)
        store(ends, cell, to + 1)
        store(place, to, load(places, k))
        store(value, to, load(x, at + k))


@jit
def gather(sizes, ranges, columns, near, taps, ends, place, value):
    """Add a sample's events times rows of the kernel to the positions near them, position by position.

    Cells are `[G, columns of the input, rows of the input]`. `ranges` has, for each row of the output, the number of
    ranges of the input's rows that meet it and, of each, its bounds and which row of the kernel row 0 would meet.
    """
    _, height, width, groups, _, padded, area, across, _, wide, range_size, column_size = sizes[:12]
    for g in range(groups):
        for y in range(area // across):
            to, table = g * area + y * across, y * range_size
            for i in range(load(ranges, table)):
                low, high = load(ranges, table + 1 + 3 * i), load(ranges, table + 2 + 3 * i)
                tap = load(ranges, table + 3 + 3 * i) * wide
                for c in range(width):
                    cell, column = (g * width + c) * height, c * column_size
                    e, end = load(ends, cell + low), load(ends, cell + high)
                    if e < end:
                        for r in range(load(columns, column)):
                            run = column + 1 + 3 * r
                            a, b = (to + load(columns, run + 1)) * padded, (tap + load(columns, run)) * padded
                            gather_rows(near, a, load(columns, run + 2) * padded, taps, b, place, value, e, end)


@jit
def begin(sizes, bias, near):
    """Write the bias to all positions: to one, then from as many as have it to as many more."""
    groups, padded, area = sizes[3], sizes[5], sizes[6]
    for g in range(groups):
        at, done = g * area * padded, padded
        take(near, at, bias, g * padded, padded)
        while done < area * padded:
            size = min(done, area * padded - done)
            take(near, at + done, near, at, size)
            done += size


def convolve(sizes, x, taps, bias, rows, columns, cells, places, out, low, high):
    """Write the currents `[R, units, positions]` of inputs `[R, channels, height, width]`.

    `sizes` are channels, height, width, groups, units of a group, PADDED, positions, columns of the output, rows and
    columns of the kernel, the lengths of an entry of `rows` and of `columns`, and the number of cells, zero where
    events are scattered one by one. `rows` are what the function chosen takes. `bias` is `[G, PADDED]`. `cells` and
    `places` have the cell of each input, and where the kernel's rows for it begin.
    """
    channels, height, width, groups, units, padded, area = sizes[:7]
    size, number = channels * height * width, sizes[12]
    near, index = np.empty(groups * area * padded, F), np.empty(size + LANES, np.uint32)
    ends, place = np.empty(number + 2, np.intp), np.empty(size, np.int32)
    value = np.empty(size, F)
    for n in range(low, high):
        count = found(x, n * size, size, index, 0, size)
        begin(sizes, bias, near)
        if number:
            sort(x, n * size, index, count, cells, places, ends, number, place, value)
            gather(sizes, rows, columns, near, taps, ends, place, value)
        else:
            scatter(sizes, x, n * size, index, count, rows, columns, near, taps)
        for g in range(groups):
            for o in range(0, units, SQUARE):
                to, known = ((n * groups + g) * units + o) * area, min(SQUARE, units - o)
                whole_squares = area // SQUARE * SQUARE
                for p in range(0, whole_squares, SQUARE):
                    turn(near, (g * area + p) * padded + o, padded, SQUARE, out, to + p, area, known)
                for p in range(whole_squares, area):
                    for j in range(known):
                        store(out, to + j * area + p, load(near, (g * area + p) * padded + o + j))


@jit
def spread(sizes, q, n, near):
    """Write a sample's cotangents to `[G, rows, margin + columns + margin, PADDED]`."""
    groups, units, padded, area, across = sizes[3], sizes[4], sizes[5], sizes[6], sizes[7]
    margin, stride = sizes[13], sizes[14]
    for g in range(groups):
        for o in range(0, units, SQUARE):
            known = min(SQUARE, units - o)
            for y in range(area // across):
                at = ((n * groups + g) * units + o) * area + y * across
                to = ((g * (area // across) + y) * stride + margin) * padded + o
                if across >= SQUARE:
                    for p in range(0, across - SQUARE + 1, SQUARE):
                        turn(q, at + p, area, known, near, to + p * padded, padded, SQUARE)
                    last = across - SQUARE
                    turn(q, at + last, area, known, near, to + last * padded, padded, SQUARE)
                else:
                    for p in range(across):
                        for j in range(known):
                            store(near, to + p * padded + j, load(q, at + j * area + p))


def convolve_back(sizes, shares, x, q, rows, columns, cells, places, parts, low, high):
    """Write the kernel's gradient as a sum of `parts`, from currents' cotangents `q`, `[R, units, positions]`.

    `sizes` are as before, then the margin of a row of cotangents, its length, and the strides of rows and columns;
    cells are `[channels, row's phase, column's phase, row over stride]`. `rows` has, for each row of the kernel, the
    phase of the input's rows that meet it, the range of these, and which row of the output row 0 of the phase would
    meet; `columns` has, for each phase, the number of runs, and of each its first column of the kernel, of the
    cotangents, and its length. `shares` are R and the number of parts, whose samples follow one another.
    """
    channels, height, width, groups, _, padded, area, across, down, wide, _, column_size = sizes[:12]
    number, _, stride, row_stride, column_stride = sizes[12:]
    total, split = shares
    size, taps, of_phase = channels * height * width, channels * down * wide, -(-height // row_stride)
    near, index = np.zeros(groups * (area // across) * stride * padded, F), np.empty(size + LANES, np.uint32)
    ends, place, value = np.empty(number + 2, np.intp), np.empty(size, np.int32), np.empty(size, F)
    for part in range(low, high):
        clear(parts, part * taps * padded, taps * padded)
        for n in range(part * total // split, (part + 1) * total // split):
            count = found(x, n * size, size, index, 0, size)
            if count == 0:
                continue
            sort(x, n * size, index, count, cells, places, ends, number, place, value)
            spread(sizes, q, n, near)
            for c in range(channels):
                for k in range(down):
                    tap, first = part * taps + (c * down + k) * wide, load(rows, 4 * k + 3) * stride
                    for phase in range(column_stride):
                        cell = ((c * row_stride + load(rows, 4 * k)) * column_stride + phase) * of_phase
                        e, end = load(ends, cell + load(rows, 4 * k + 1)), load(ends, cell + load(rows, 4 * k + 2))
                        if e < end:
                            for r in range(load(columns, phase * column_size)):
                                run = phase * column_size + 1 + 3 * r
                                to, at = tap + load(columns, run), first + load(columns, run + 1)
                                width_of = load(columns, run + 2) * padded
                                gather_rows(parts, to * padded, width_of, near, at * padded, place, value, e, end)
