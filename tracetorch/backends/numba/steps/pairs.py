"""Template of an eligibility in pairs: vectors of units times vectors of inputs, merged where they are too many."""

from tracetorch.backends.numba.steps.layout import *


@jit
def pair(cell, b, g, p) -> int:
    """Return the first row of a pair's units: what states, then the filter's, owe."""
    return of(cell, b, g, col(cell, IN_PAIR) + p * (col(cell, STATES) + col(cell, FILTERS)))


@jit
def plan(cell) -> None:
    """Write down where the pair of this step goes, and which two are merged: the shortest for their age."""
    order, slots = col(cell, ORDER), col(cell, PAIRS)
    lengths, count = PLACE + slots, col(order, COUNT)
    set_col(order, NEW, col(order, PLACE + count))
    set_col(order, lengths + count, 1)
    set_col(order, INTO, -1)
    count += 1
    if count == slots:
        age, best, least = 1, 0, float("inf")
        for r in range(count - 1):
            i = count - 2 - r
            together = col(order, lengths + i) + col(order, lengths + i + 1)
            if together / age < least:
                best, least = i, together / age
            age += col(order, lengths + i + 1)
        gone = col(order, PLACE + best + 1)
        set_col(order, INTO, col(order, PLACE + best))
        set_col(order, FROM, gone)
        set_col(order, lengths + best, col(order, lengths + best) + col(order, lengths + best + 1))
        count -= 1
        for i in range(best + 1, count):
            set_col(order, PLACE + i, col(order, PLACE + i + 1))
            set_col(order, lengths + i, col(order, lengths + i + 1))
        set_col(order, PLACE + count, gone)
    set_col(order, COUNT, count)


@jit
def carry_pair(cell, b, g, p, e, tmp) -> None:
    """Carry on what a pair's units owe: `f <- a f + b D h`, `h <- A h`."""
    size, width = col(cell, STATES), col(cell, WIDTH)
    owed, apart = pair(cell, b, g, p), width * BYTES
    fill(e, width, F(0))
    for k in range(size):
        add_product(e, width, of(cell, b, g, col(cell, IN_D) + k), owed + k * apart)
        fill(tmp + k * apart, width, F(0))
        for h in range(size):
            add_product(tmp + k * apart, width, of(cell, b, g, col(cell, IN_A) + k * size + h), owed + h * apart)
    carry_behind(cell, owed, e, tmp)


@jit
def begin_pair(cell, b, g, p) -> None:
    """Write what the units of this step owe: `B`, and `b psi` behind the filter."""
    size, m, width = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH)
    owed, apart = pair(cell, b, g, p), width * BYTES
    copy(owed, size * width, of(cell, b, g, col(cell, IN_B)))
    for k in range(m):
        copy(owed + (size + k) * apart, width, of(cell, b, g, PSI))
        scale(owed + (size + k) * apart, width, b_at(cell, k))


@jit
def weight(cell, b, p) -> F:
    """Return how much a pair weighs in a sample."""
    total, width = F(0), col(cell, WIDTH)
    for g in range(col(cell, CHUNKS)):
        for i in range(col(cell, STATES) + col(cell, FILTERS)):
            size = min(width, col(cell, UNITS) - g * width)
            total += magnitude(pair(cell, b, g, p) + i * width * BYTES, size)
    return max(total, TINIEST)


@jit
def merge(cell, b, p, q) -> None:
    """Add one pair to another in a sample: the sum of what units owe, the weighed mean of the inputs."""
    into, rest = weight(cell, b, p), weight(cell, b, q)
    rows = (col(cell, STATES) + col(cell, FILTERS)) * col(cell, WIDTH)
    for g in range(col(cell, CHUNKS)):
        add(pair(cell, b, g, p), rows, F(1), pair(cell, b, g, q))
        fill(pair(cell, b, g, q), rows, F(0))
    for f in range(2 if col(cell, RECURRENT) != 0 else 1):
        x, size = shared_row(cell, f == 1, p, b), inputs_of(cell, f == 1)
        scale(x, size, into / (into + rest))
        add(x, size, rest / (into + rest), shared_row(cell, f == 1, q, b))


@jit
def carry_pairs(cell, b, e, tmp) -> None:
    """Carry the pairs of a sample on, with one more for this step, as `plan` has written down."""
    order = col(cell, ORDER)
    new, into = col(order, NEW), col(order, INTO)
    for g in range(col(cell, CHUNKS)):
        for p in range(col(cell, PAIRS)):
            if p != new:
                carry_pair(cell, b, g, p, e, tmp)
        begin_pair(cell, b, g, new)
    for f in range(2 if col(cell, RECURRENT) != 0 else 1):
        copy(shared_row(cell, f == 1, new, b), inputs_of(cell, f == 1), held(cell, f == 1, b))
    if into >= 0:
        merge(cell, b, into, col(order, FROM))


@jit
def weigh_pairs(cell, b, g) -> None:
    """Write what each pair adds to the weights of a block of units: its output behind the filter times the credit."""
    size, m, width = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH)
    apart, e, weighed = width * BYTES, col(cell, SCRATCH), of(cell, b, g, col(cell, IN_CREDIT))
    for p in range(col(cell, PAIRS)):
        owed, out = pair(cell, b, g, p), e + (p + 1) * apart
        fill(e, width, F(0))
        for k in range(size):
            add_product(e, width, of(cell, b, g, col(cell, IN_D) + k), owed + k * apart)
        scale(e, width, d_at(cell, m))
        for k in range(m):
            add(e, width, d_at(cell, k), owed + (size + k) * apart)
        fill(out, width, F(0))
        add_product(out, width, e, weighed)


@jit
def add_pairs(cell, fed, b, j, to) -> None:
    """Add what the pairs give to the weights of a unit of the block that was weighed."""
    size, width, p = inputs_of(cell, fed), col(cell, WIDTH), 0
    weighed = col(cell, SCRATCH) + width * BYTES
    while p + 2 <= col(cell, PAIRS):
        c, d = get(weighed, p * width + j), get(weighed, (p + 1) * width + j)
        add_two(to, size, c, shared_row(cell, fed, p, b), d, shared_row(cell, fed, p + 1, b))
        p += 2
    if p < col(cell, PAIRS):
        add(to, size, get(weighed, p * width + j), shared_row(cell, fed, p, b))
