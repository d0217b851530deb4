"""Template of the kernels of maximum pools whose windows lie side by side; executed once per scalar type.

`sizes` are height and width of a plane, those of what comes of it, and those of a window; planes are pieces of work.
`places` has, of each window, which of its values is the first maximum, row by row; a NaN counts as greatest, the last
of several, as torch has it.

The functions without a decorator are compiled by the loader; they serve the planes from `low` to `high`.
"""

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
