"""Template of what the step program does to rows of numbers, which it knows by address; executed once per scalar type.

All arguments are integers and numbers: an array has seven fields, and each function that takes one costs the compiler
several times as long.
"""

BYTES = F(0).itemsize
DENSE, SPREAD = 8, 32


@jit
def normal(x) -> F:
    """Return a number, or zero where it is nearly zero."""
    return F(0) if abs(x) <= TINY else x


@reassociated
def product(a, b, size) -> F:
    """Return the inner product of two rows."""
    total = F(0)
    for k in range(size):
        total += get(a, k) * get(b, k)
    return total


@jit
def fill(row, size, value) -> None:
    """Set all of a row to a value."""
    for k in range(size):
        put(row, k, value)


@jit
def copy(row, size, x) -> None:
    """Copy a row."""
    for k in range(size):
        put(row, k, get(x, k))


@jit
def copy_normal(row, size, x) -> None:
    """Copy a row, with zero for numbers that are nearly zero."""
    for k in range(size):
        put(row, k, normal(get(x, k)))


@jit
def scale(row, size, c) -> None:
    """Multiply a row by a number."""
    for k in range(size):
        put(row, k, get(row, k) * c)


@jit
def add(row, size, c, x) -> None:
    """Add a multiple of a row to a row."""
    for k in range(size):
        put(row, k, get(row, k) + c * get(x, k))


@jit
def add_two(row, size, c, x, d, y) -> None:
    """Add multiples of two rows to a row."""
    for k in range(size):
        put(row, k, get(row, k) + (c * get(x, k) + d * get(y, k)))


@jit
def add_product(row, size, x, y) -> None:
    """Add the product of two rows, element by element, to a row."""
    for k in range(size):
        put(row, k, get(row, k) + get(x, k) * get(y, k))


@jit
def add_events(row, c, x, index, count) -> None:
    """Add a multiple of a row's events to a row."""
    for e in range(count):
        k = place(index, e)
        put(row, k, get(row, k) + c * get(x, k))


@jit
def carry_one(e, size, a, c, x) -> None:
    """Carry a trace of one state on: `e <- a e + c x`."""
    for k in range(size):
        put(e, k, normal(a * get(e, k) + c * get(x, k)))


@jit
def carry_filter(f, size, a, c, x, d, e) -> None:
    """Carry a filtered trace of one state on: `f <- a f + c x + d e`."""
    for k in range(size):
        put(f, k, normal(a * get(f, k) + (c * get(x, k) + d * get(e, k))))


@reassociated
def magnitude(row, size) -> F:
    """Return the sum of the magnitudes of a row."""
    total = F(0)
    for k in range(size):
        total += abs(get(row, k))
    return total


@jit
def find(x, size, index) -> int:
    """Write down which values of a row are not zero; return their number. There is no branch in it."""
    count = 0
    for k in range(size):
        put_place(index, count, k)
        count += get(x, k) != F(0)
    return count


@jit
def four(cur, weight, apart, x, index, count) -> None:
    """Add to the currents of four units what events bring; their rows of weights lie `apart`."""
    a0, a1, a2, a3 = F(0), F(0), F(0), F(0)
    for e in range(count):
        k = place(index, e)
        v = get(x, k)
        a0 += v * get(weight, k)
        a1 += v * get(weight + apart, k)
        a2 += v * get(weight + 2 * apart, k)
        a3 += v * get(weight + 3 * apart, k)
    put(cur, 0, get(cur, 0) + a0)
    put(cur, 1, get(cur, 1) + a1)
    put(cur, 2, get(cur, 2) + a2)
    put(cur, 3, get(cur, 3) + a3)


@jit
def one(weight, x, index, count) -> F:
    """Return what events bring to a unit."""
    total = F(0)
    for e in range(count):
        k = place(index, e)
        total += get(x, k) * get(weight, k)
    return total


@jit
def currents(cur, units, weight, inputs, x, index, count) -> None:
    """Add what a synapse brings to the currents of some units: by events, or by products where events are many."""
    apart = inputs * BYTES
    j = 0
    if count * DENSE < inputs:
        while j + 4 <= units:
            four(cur + j * BYTES, weight + j * apart, apart, x, index, count)
            j += 4
    while j < units:
        row = weight + j * apart
        if count * DENSE < inputs:
            put(cur, j, get(cur, j) + one(row, x, index, count))
        else:
            put(cur, j, get(cur, j) + product(row, x, inputs))
        j += 1


@jit
def unfinite(row, size) -> bool:
    """Return whether a number of a row is not finite."""
    total = F(0)
    for k in range(size):
        total += get(row, k) * F(0)
    return total != F(0)
