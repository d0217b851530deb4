"""Template of where things are, and of what several parts form; executed once per scalar type."""

from tracetorch.backends.numba.steps.layout import *


@jit
def of(cell, b, g, i) -> int:
    """Return row `i` of a block of units of a sample."""
    block = (b * col(cell, CHUNKS) + g) * col(cell, ROWS) + i
    return col(cell, SPACE) + block * col(cell, WIDTH) * BYTES


@jit
def value(cell, b, g, i, j) -> F:
    """Return the value of a unit in row `i` of a block."""
    return get(of(cell, b, g, i), j)


@jit
def a_at(cell, i, k) -> F:
    """Return the filter's number a."""
    return get(col(cell, NOW), i * col(cell, FILTERS) + k)


@jit
def b_at(cell, i) -> F:
    """Return the filter's number b."""
    m = col(cell, FILTERS)
    return get(col(cell, NOW), m * m + i)


@jit
def d_at(cell, i) -> F:
    """Return the filter's number d; the one after the last is p."""
    m = col(cell, FILTERS)
    return get(col(cell, NOW), m * m + m + i)


@jit
def decay_at(cell, g) -> F:
    """Return the decay of a bucket."""
    m = col(cell, FILTERS)
    return get(col(cell, NOW), m * m + 2 * m + 1 + g)


@jit
def numbers(cell) -> int:
    """Return how many numbers a step has."""
    m = col(cell, FILTERS)
    return m * m + 2 * m + 1 + col(cell, GROUPS)


@jit
def small(cell, i) -> int:
    """Return a row of the sums per sample."""
    return col(cell, SMALL) + i * col(cell, BATCH) * BYTES


@jit
def inputs_of(cell, fed) -> int:
    """Return the number of inputs of the synapse, or of the recurrent one."""
    return col(cell, UNITS) if fed else col(cell, INPUTS)


@jit
def held(cell, fed, b) -> int:
    """Return the inputs of a sample at this step."""
    return col(cell, FED if fed else HELD) + b * inputs_of(cell, fed) * BYTES


@jit
def events_of(cell, fed, b) -> int:
    """Return where the list of a sample's events is."""
    return col(cell, EVENTS_FED if fed else EVENTS) + b * (inputs_of(cell, fed) + 1) * 4


@jit
def large_row(cell, fed, i, b, n) -> int:
    """Return a trace of a unit's weights."""
    width = inputs_of(cell, fed)
    return col(cell, LARGE_FED if fed else LARGE) + ((i * col(cell, BATCH) + b) * col(cell, UNITS) + n) * width * BYTES


@jit
def shared_row(cell, fed, i, b) -> int:
    """Return a trace of the inputs."""
    return col(cell, TRACE_FED if fed else TRACE) + (i * col(cell, BATCH) + b) * inputs_of(cell, fed) * BYTES


@jit
def state_row(cell, fed, i, b, n) -> int:
    """Return the trace of a state: of a unit's weights, or for all units of the inputs."""
    return large_row(cell, fed, i, b, n) if col(cell, KIND) == FULL else shared_row(cell, fed, i, b)


@jit
def filter_row(cell, fed, i, b, n) -> int:
    """Return the eligibility of a unit's weights behind the filter, by one of the filter's states."""
    return large_row(cell, fed, (col(cell, STATES) if col(cell, KIND) == FULL else 0) + i, b, n)


@jit
def mean_row(cell, fed, g, b) -> int:
    """Return where the average of a sample's inputs by a bucket's decay is written."""
    at = col(cell, GROUPS) * col(cell, BATCH) * col(cell, INPUTS) if fed else 0
    return col(cell, SCRATCH) + (col(cell, WIDTH) + at + (g * col(cell, BATCH) + b) * inputs_of(cell, fed)) * BYTES


@jit
def norm(cell, b) -> F:
    """Return the filter's response to ones at this step."""
    if col(cell, NORMALIZED) == 0:
        return F(1)
    m = col(cell, FILTERS)
    total = d_at(cell, m)
    for i in range(m):
        total += d_at(cell, i) * get(small(cell, i), b)
    return total


@jit
def effect(cell, b, g, i, out) -> None:
    """Write what a parameter does to the outputs, `e = Q + D E`, before the filter; the first is the bias."""
    size, width = col(cell, STATES), col(cell, WIDTH)
    copy(out, width, of(cell, b, g, PSI + i))
    if col(cell, KIND) == NONE:
        return
    own = col(cell, IN_OWN) + i * (size + col(cell, FILTERS))
    for k in range(size):
        add_product(out, width, of(cell, b, g, col(cell, IN_D) + k), of(cell, b, g, own + k))


@jit
def add_eligibility(cell, fed, c, b, n, to, count) -> None:
    """Add a multiple of what a unit's weights do to its output: by the input, and by its states."""
    g, j, x, inputs = n // col(cell, WIDTH), n % col(cell, WIDTH), held(cell, fed, b), inputs_of(cell, fed)
    direct, first = c * value(cell, b, g, PSI, j), 0
    stated = col(cell, KIND) == PRE or col(cell, KIND) == FULL
    if stated and count * SPREAD >= inputs:
        through, first = c * value(cell, b, g, col(cell, IN_D), j), 1
        add_two(to, inputs, direct, x, through, state_row(cell, fed, 0, b, n))
    elif count * SPREAD >= inputs:
        add(to, inputs, direct, x)
    else:
        add_events(to, direct, x, events_of(cell, fed, b), count)
    if stated:
        for i in range(first, col(cell, STATES)):
            add(to, inputs, c * value(cell, b, g, col(cell, IN_D) + i, j), state_row(cell, fed, i, b, n))


@jit
def carry_behind(cell, row, e, tmp) -> None:
    """Carry rows of a block of units on, by state and filter state: those of the states stand in `tmp` already."""
    size, m, width = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH)
    apart = width * BYTES
    for k in range(m):
        now = tmp + (size + k) * apart
        fill(now, width, F(0))
        add(now, width, b_at(cell, k), e)
        for h in range(m):
            add(now, width, a_at(cell, k, h), row + (size + h) * apart)
    copy_normal(row, (size + m) * width, tmp)
