"""Template of the kernels of pools whose windows lie side by side; executed once per scalar type.

`sizes` are height and width of a plane, those of what comes of it, and those of a window; planes are pieces of work.
`places` has, of each window, which of its values is the first maximum, row by row; a NaN counts as greatest, the last
of several, as torch has it.

A mean is the sum of a window, row by row from the left, divided by the number of its values, as torch has it.

The functions without a decorator are compiled by the loader; they serve the planes from `low` to `high`.
"""

import numpy as np

from tracetorch.backends.numba.raw import clear, load, store
from tracetorch.backends.numba.vectors import choose_eight, choose_four, put_eight, put_four


@jit
def one(sizes, x, at, out, places, to):
    """Write the maximum of one window."""
    _, width, _, _, rows, columns = sizes
    best, place = load(x, at), 0
    for i in range(rows):
        for j in range(columns):
            value = load(x, at + i * width + j)
            if value > best or value != value:
                best, place = value, i * columns + j
    store(out, to, best)
    store(places, to, place)


def maxima(sizes, x, out, places, low, high):
    """Write maxima `[planes, down, across]` of `[planes, height, width]`, and where they lie."""
    height, width, down, across, rows, columns = sizes
    square = rows == 2 and columns == 2
    for plane in range(low, high):
        for i in range(down):
            at, to = (plane * height + i * rows) * width, (plane * down + i) * across
            if square and across >= 8:
                for j in range(0, across - 7, 8):
                    choose_eight(x, at + 2 * j, width, out, places, to + j)
                choose_eight(x, at + 2 * (across - 8), width, out, places, to + across - 8)
            elif square and across >= 4:
                choose_four(x, at, width, out, places, to)
                choose_four(x, at + 2 * (across - 4), width, out, places, to + across - 4)
            else:
                for j in range(across):
                    one(sizes, x, at + j * columns, out, places, to + j)


def maxima_back(sizes, q, places, out, low, high):
    """Write the cotangents `[planes, height, width]` of what the maxima, whose cotangents are `q`, were taken of."""
    height, width, down, across, rows, columns = sizes
    square = rows == 2 and columns == 2 and across >= 4
    for plane in range(low, high):
        if not square or width % 2 or height % 2:
            clear(out, plane * height * width, height * width)
        for i in range(down):
            at, to = (plane * down + i) * across, (plane * height + i * rows) * width
            if square and across >= 8:
                for j in range(0, across - 7, 8):
                    put_eight(q, places, at + j, out, to + 2 * j, width)
                put_eight(q, places, at + across - 8, out, to + 2 * (across - 8), width)
            elif square:
                put_four(q, places, at, out, to, width)
                put_four(q, places, at + across - 4, out, to + 2 * (across - 4), width)
            else:
                for j in range(across):
                    row, column = divmod(load(places, at + j), columns)
                    store(out, to + row * width + j * columns + column, load(q, at + j))


@jit
def add_pairs(x, at, out, to, count):
    """Add to values of `out` the sums of `count` pairs of neighbours, one neighbour after the other."""
    for j in range(count):
        store(out, to + j, load(out, to + j) + load(x, at + 2 * j) + load(x, at + 2 * j + 1))


@jit
def put_pairs(w, out, to, count):
    """Write values of the work space to `count` pairs of neighbours."""
    for j in range(count):
        value = load(w, j)
        store(out, to + 2 * j, value)
        store(out, to + 2 * j + 1, value)


@jit
def areas(count, area):
    """Return a row of one number to divide by: a division by the number itself would be a product with its inverse."""
    out = np.empty(count, F)
    for j in range(count):
        store(out, j, area)
    return out


def means(sizes, x, out, low, high):
    """Write means `[planes, down, across]` of `[planes, height, width]`."""
    height, width, down, across, rows, columns = sizes
    w, area = np.empty(across, F), areas(across, rows * columns)
    for plane in range(low, high):
        for i in range(down):
            clear(w, 0, across)
            for r in range(rows):
                at = (plane * height + i * rows + r) * width
                if columns == 2:
                    add_pairs(x, at, w, 0, across)
                else:
                    for j in range(across):
                        for k in range(columns):
                            store(w, j, load(w, j) + load(x, at + j * columns + k))
            for j in range(across):
                store(out, (plane * down + i) * across + j, load(w, j) / load(area, j))


def means_back(sizes, q, out, low, high):
    """Write the cotangents `[planes, height, width]` of what the means, whose cotangents are `q`, were taken of."""
    height, width, down, across, rows, columns = sizes
    w, area = np.empty(across, F), areas(across, rows * columns)
    for plane in range(low, high):
        if down * rows < height or across * columns < width:
            clear(out, plane * height * width, height * width)
        for i in range(down):
            for j in range(across):
                store(w, j, load(q, (plane * down + i) * across + j) / load(area, j))
            for r in range(rows):
                to = (plane * height + i * rows + r) * width
                if columns == 2:
                    put_pairs(w, out, to, across)
                else:
                    for j in range(across):
                        for k in range(columns):
                            store(out, to + j * columns + k, load(w, j))
