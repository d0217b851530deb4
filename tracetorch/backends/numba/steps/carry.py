"""Template of what a layer carries from step to step: states, sensitivities, eligibilities."""

from tracetorch.backends.numba.steps.layout import *


@jit
def carry_states(cell, fed, b, n, tmp) -> None:
    """Carry traces of the states on, `E <- A E + B x`, with the blocks of a unit."""
    size, g, j = col(cell, STATES), n // col(cell, WIDTH), n % col(cell, WIDTH)
    inputs, x, in_a, in_b = inputs_of(cell, fed), held(cell, fed, b), col(cell, IN_A), col(cell, IN_B)
    if size == 1:
        carry_one(state_row(cell, fed, 0, b, n), inputs, value(cell, b, g, in_a, j), value(cell, b, g, in_b, j), x)
        return
    for i in range(size):
        now = tmp + i * inputs * BYTES
        fill(now, inputs, F(0))
        add(now, inputs, value(cell, b, g, in_b + i, j), x)
        for k in range(size):
            add(now, inputs, value(cell, b, g, in_a + i * size + k, j), state_row(cell, fed, k, b, n))
    for i in range(size):
        copy_normal(state_row(cell, fed, i, b, n), inputs, tmp + i * inputs * BYTES)


@jit
def carry_filtered(cell, fed, b, n, count, tmp) -> None:
    """Carry eligibilities behind the filter on, `F <- a F + b e`, for the weights of a unit."""
    m, g, j = col(cell, FILTERS), n // col(cell, WIDTH), n % col(cell, WIDTH)
    inputs, x = inputs_of(cell, fed), held(cell, fed, b)
    if m == 1 and col(cell, STATES) == 1:
        c, d = b_at(cell, 0) * value(cell, b, g, PSI, j), b_at(cell, 0) * value(cell, b, g, col(cell, IN_D), j)
        past, e = filter_row(cell, fed, 0, b, n), state_row(cell, fed, 0, b, n)
        carry_filter(past, inputs, a_at(cell, 0, 0), c, x, d, e)
        return
    for i in range(m):
        now = tmp + i * inputs * BYTES
        fill(now, inputs, F(0))
        if b_at(cell, i) != F(0):
            add_eligibility(cell, fed, b_at(cell, i), b, n, now, count)
        for k in range(m):
            if a_at(cell, i, k) != F(0):
                add(now, inputs, a_at(cell, i, k), filter_row(cell, fed, k, b, n))
    for i in range(m):
        copy_normal(filter_row(cell, fed, i, b, n), inputs, tmp + i * inputs * BYTES)


@jit
def carry_inputs(cell, fed, b, tmp) -> None:
    """Carry on what is kept of one synapse's inputs: those behind the filter first, which read the others."""
    units, kind = col(cell, UNITS), col(cell, KIND)
    if kind == AVERAGED:
        for g in range(col(cell, GROUPS)):
            carry_one(shared_row(cell, fed, g, b), inputs_of(cell, fed), decay_at(cell, g), F(1), held(cell, fed, b))
    if kind in (PRE, FULL):
        if col(cell, FILTERS) > 0:
            count = find(held(cell, fed, b), inputs_of(cell, fed), events_of(cell, fed, b))
            for n in range(units):
                carry_filtered(cell, fed, b, n, count, tmp)
        for n in range(units if kind == FULL else 1):
            carry_states(cell, fed, b, n, tmp)


@jit
def carry_own(cell, b, g, i, e, tmp) -> None:
    """Carry the eligibility of a bias or a learned parameter on, by state and filter state."""
    size, m, width = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH)
    own, apart = of(cell, b, g, col(cell, IN_OWN) + i * (size + m)), col(cell, WIDTH) * BYTES
    effect(cell, b, g, i, e)
    for k in range(size):
        copy(tmp + k * apart, width, of(cell, b, g, col(cell, IN_B) + i * size + k))
        for h in range(size):
            add_product(tmp + k * apart, width, of(cell, b, g, col(cell, IN_A) + k * size + h), own + h * apart)
    carry_behind(cell, own, e, tmp)


@jit
def carry_sums(cell, b, tmp) -> None:
    """Carry the sums per sample on."""
    m = col(cell, FILTERS)
    if col(cell, NORMALIZED) != 0:
        for i in range(m):
            now = b_at(cell, i)
            for k in range(m):
                now += a_at(cell, i, k) * get(small(cell, k), b)
            put(tmp, i, now)
        for i in range(m):
            put(small(cell, i), b, get(tmp, i))
    for g in range(col(cell, GROUPS)):
        put(small(cell, m + g), b, F(1) + decay_at(cell, g) * get(small(cell, m + g), b))


@jit
def carry_block(cell, b, g) -> None:
    """Make what follows what is, in a block of units."""
    width, size, units = col(cell, WIDTH), col(cell, STATES), col(cell, UNITS)
    copy_normal(of(cell, b, g, col(cell, IN_STATE)), size * width, of(cell, b, g, col(cell, IN_STATE_NEXT)))
    counters = col(cell, COUNTERS) * width
    copy(of(cell, b, g, col(cell, IN_COUNT)), counters, of(cell, b, g, col(cell, IN_COUNT_NEXT)))
    if col(cell, RECURRENT) != 0:
        copy(held(cell, True, b) + g * width * BYTES, min(width, units - g * width), of(cell, b, g, OUT))
    if col(cell, SENSITIVE) != 0:
        copy_normal(of(cell, b, g, col(cell, IN_SIGMA)), size * width, of(cell, b, g, col(cell, IN_SIGMA_NEXT)))
        if col(cell, NORMALIZED) != 0:
            rows = col(cell, FILTERS) * width
            copy_normal(of(cell, b, g, col(cell, IN_LEVEL)), rows, of(cell, b, g, col(cell, IN_LEVEL_NEXT)))


@jit
def advance(cell, traces) -> None:
    """Make what follows what is, and carry traces on."""
    e = col(cell, SCRATCH)
    tmp = e + col(cell, WIDTH) * BYTES
    paired = traces and col(cell, KIND) == PAIRED
    if WITH_PAIRS and paired:
        plan(cell)
    for b in range(col(cell, BATCH)):
        if WITH_PAIRS and paired:
            carry_pairs(cell, b, e, tmp)
        if traces:
            for fed in range(2 if col(cell, RECURRENT) != 0 else 1):
                carry_inputs(cell, fed == 1, b, tmp)
        for g in range(col(cell, CHUNKS)):
            if traces and col(cell, KIND) != NONE:
                for i in range(1 if col(cell, KIND) == AVERAGED else 0, 1 + col(cell, LEARNED)):
                    carry_own(cell, b, g, i, e, tmp)
            carry_block(cell, b, g)
        if traces:
            carry_sums(cell, b, tmp)
