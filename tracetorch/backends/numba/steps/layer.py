"""Template of one layer's part of the step program: its values, its credit, and what it carries on.

Executed once per scalar type, as it knows no neuron: the neuron's kernel is called by its address and leaves outputs, next
states and Jacobian blocks beside the present states, and all else is formed from those. A forward writes nothing that
lasts; the next one begins by carrying states and traces on.
"""

from typing import TYPE_CHECKING

from tracetorch.backends.numba.steps.layout import (
    ADVANCE,
    AVERAGED,
    BACK,
    BATCH,
    BIAS,
    BUCKETS,
    CHECK,
    CHECKED,
    CHUNKS,
    COUNTERS,
    CURRENT,
    DONE,
    EVENTS,
    EVENTS_FED,
    FED,
    FILTERS,
    FORWARD,
    FRESH,
    FULL,
    GROUPS,
    HELD,
    IN_A,
    IN_B,
    IN_COUNT,
    IN_COUNT_NEXT,
    IN_CREDIT,
    IN_D,
    IN_LEVEL,
    IN_LEVEL_NEXT,
    IN_OWN,
    IN_PARAM,
    IN_PLAIN,
    IN_SEND,
    IN_SIGMA,
    IN_SIGMA_NEXT,
    IN_SIGNAL,
    IN_STATE,
    IN_STATE_NEXT,
    INPUTS,
    KIND,
    LARGE,
    LARGE_FED,
    LEARNED,
    NONE,
    NORMALIZED,
    NOT_FINITE,
    NOW,
    NUMBERS,
    OUT,
    PARAMETERS,
    PRE,
    PSI,
    RECURRENT,
    RECURRENT_BIAS,
    ROWS,
    SCRATCH,
    SENSITIVE,
    SMALL,
    SPACE,
    STATES,
    STEP,
    TO_BIAS,
    TO_LEARNED,
    TO_RECURRENT,
    TO_RECURRENT_BIAS,
    TO_WEIGHT,
    TRACE,
    TRACE_FED,
    TRACES,
    UNITS,
    VALUES,
    WEIGHT,
    WIDTH,
)

if TYPE_CHECKING:
    from tracetorch.backends.numba.steps.names import F, col, get, jit, put, run_units, set_col
    from tracetorch.backends.numba.steps.rows import (
        SPREAD,
        add,
        add_events,
        add_product,
        add_two,
        carry_filter,
        carry_one,
        copy,
        copy_normal,
        currents,
        fill,
        find,
        scale,
        unfinite,
    )

BYTES = F(0).itemsize


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
def locate(cell, block) -> None:
    """Set the addresses of the pieces of a block."""
    batch, units, inputs, fed = col(cell, BATCH), col(cell, UNITS), col(cell, INPUTS), col(cell, RECURRENT) != 0
    rows = col(cell, STATES) if col(cell, KIND) == PRE else col(cell, GROUPS)
    at = block
    set_col(cell, SPACE, at)
    at += batch * col(cell, CHUNKS) * col(cell, ROWS) * col(cell, WIDTH) * BYTES
    set_col(cell, TRACE, at)
    at += rows * batch * inputs * BYTES
    set_col(cell, TRACE_FED, at)
    at += rows * batch * units * BYTES if fed else 0
    set_col(cell, SMALL, at)
    at += (col(cell, FILTERS) + col(cell, GROUPS)) * batch * BYTES
    set_col(cell, NOW, at)
    at += numbers(cell) * BYTES
    set_col(cell, HELD, at)
    set_col(cell, FED, at + batch * inputs * BYTES)


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
def sense(cell, b, g) -> None:
    """Form what scales the signal that a block sends below, and carry sensitivities to the next step."""
    size, m, width = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH)
    send, sigma = of(cell, b, g, col(cell, IN_SEND)), of(cell, b, g, col(cell, IN_SIGMA))
    apart = width * BYTES
    copy(send, width, of(cell, b, g, PSI))
    if col(cell, SENSITIVE) == 0:
        return
    for i in range(size):
        add_product(send, width, of(cell, b, g, col(cell, IN_D) + i), sigma + i * apart)
        following = of(cell, b, g, col(cell, IN_SIGMA_NEXT) + i)
        copy(following, width, of(cell, b, g, col(cell, IN_B) + i))
        for k in range(size):
            add_product(following, width, of(cell, b, g, col(cell, IN_A) + i * size + k), sigma + k * apart)
    if col(cell, NORMALIZED) == 0:
        return
    level = of(cell, b, g, col(cell, IN_LEVEL))
    for i in range(m):
        following = of(cell, b, g, col(cell, IN_LEVEL_NEXT) + i)
        fill(following, width, F(0))
        add(following, width, b_at(cell, i), send)
        for k in range(m):
            add(following, width, a_at(cell, i, k), level + k * apart)
    scale(send, width, d_at(cell, m))
    for i in range(m):
        add(send, width, d_at(cell, i), level + i * apart)
    scale(send, width, F(1) / norm(cell, b))


@jit
def read_parameters(cell, b, g) -> None:
    """Copy the values of the neuron's parameters into a block."""
    width, units = col(cell, WIDTH), col(cell, UNITS)
    for i in range(col(cell, PARAMETERS)):
        to, values = of(cell, b, g, col(cell, IN_PARAM) + i), col(col(cell, VALUES), 2 * i)
        stride = col(col(cell, VALUES), 2 * i + 1)
        for j in range(width):
            put(to, j, get(values, min(g * width + j, units - 1) * stride))


@jit
def receive(cell, fed, b, g, size, count) -> None:
    """Add to the currents of a block what a synapse brings from its events."""
    inputs = inputs_of(cell, fed)
    weight = col(cell, RECURRENT if fed else WEIGHT) + g * col(cell, WIDTH) * inputs * BYTES
    index = col(cell, EVENTS_FED if fed else EVENTS)
    currents(of(cell, b, g, CURRENT), size, weight, inputs, held(cell, fed, b), index, count)


@jit
def forward(cell, x_at, z_at) -> bool:
    """Form a layer's outputs and what follows for its units; return whether all is finite."""
    batch, units, inputs, width = col(cell, BATCH), col(cell, UNITS), col(cell, INPUTS), col(cell, WIDTH)
    fed = col(cell, RECURRENT) != 0
    copy(col(cell, HELD), batch * inputs, x_at)
    copy(col(cell, NOW), numbers(cell), col(cell, NUMBERS))
    for b in range(batch):
        count = find(held(cell, False, b), inputs, col(cell, EVENTS))
        returned = find(held(cell, True, b), units, col(cell, EVENTS_FED)) if fed else 0
        for g in range(col(cell, CHUNKS)):
            at, cur = g * width * BYTES, of(cell, b, g, CURRENT)
            size = min(width, units - g * width)
            fill(cur, width, F(0))
            if col(cell, BIAS) != 0:
                copy(cur, size, col(cell, BIAS) + at)
            if col(cell, RECURRENT_BIAS) != 0:
                add(cur, size, F(1), col(cell, RECURRENT_BIAS) + at)
            receive(cell, False, b, g, size, count)
            if fed:
                receive(cell, True, b, g, size, returned)
            read_parameters(cell, b, g)
    run_units(col(cell, STEP), col(cell, SPACE), batch * col(cell, CHUNKS), col(cell, ROWS) * width)
    bad = False
    for b in range(batch):
        for g in range(col(cell, CHUNKS)):
            size = min(width, units - g * width)
            copy(z_at + (b * units + g * width) * BYTES, size, of(cell, b, g, OUT))
            bad |= unfinite(of(cell, b, g, CHECKED), size)
            sense(cell, b, g)
    return not bad


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
def credit_own(cell, b, g, i, to, signal) -> None:
    """Credit a bias or a learned parameter of a block of units with its eligibility, behind the filter."""
    size, m, width, out = col(cell, STATES), col(cell, FILTERS), col(cell, WIDTH), col(cell, SCRATCH)
    effect(cell, b, g, i, out)
    if m > 0:
        scale(out, width, d_at(cell, m))
        for k in range(m):
            add(out, width, d_at(cell, k), of(cell, b, g, col(cell, IN_OWN) + i * (size + m) + size + k))
    add_product(to, min(width, col(cell, UNITS) - g * width), signal, out)


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
def add_eligibility(cell, fed, c, b, n, to, index, count) -> None:
    """Add a multiple of what a unit's weights do to its output: by the input, and by its states."""
    g, j, x, inputs = n // col(cell, WIDTH), n % col(cell, WIDTH), held(cell, fed, b), inputs_of(cell, fed)
    direct, first = c * value(cell, b, g, PSI, j), 0
    if col(cell, KIND) != NONE and count * SPREAD >= inputs:
        through, first = c * value(cell, b, g, col(cell, IN_D), j), 1
        add_two(to, inputs, direct, x, through, state_row(cell, fed, 0, b, n))
    elif count * SPREAD >= inputs:
        add(to, inputs, direct, x)
    else:
        add_events(to, direct, x, index, count)
    if col(cell, KIND) != NONE:
        for i in range(first, col(cell, STATES)):
            add(to, inputs, c * value(cell, b, g, col(cell, IN_D) + i, j), state_row(cell, fed, i, b, n))


@jit
def events_of(cell, fed, b) -> int:
    """Return where the list of a sample's events is."""
    return col(cell, EVENTS_FED if fed else EVENTS) + b * (inputs_of(cell, fed) + 1) * 4


@jit
def move(cell, fed, g, b, count) -> None:
    """Credit the weights of a block of units."""
    width, m, size, index = col(cell, WIDTH), col(cell, FILTERS), inputs_of(cell, fed), events_of(cell, fed, b)
    credits, averaged = of(cell, b, g, col(cell, IN_CREDIT)), col(cell, KIND) == AVERAGED
    for j in range(min(width, col(cell, UNITS) - g * width)):
        n, c = g * width + j, get(credits, j)
        to = col(cell, TO_RECURRENT if fed else TO_WEIGHT) + n * size * BYTES
        if c == F(0):
            continue
        if averaged:
            add(to, size, c, mean_row(cell, fed, col(col(cell, BUCKETS), n), b))
            continue
        add_eligibility(cell, fed, c * d_at(cell, m), b, n, to, index, count)
        for i in range(m):
            add(to, size, c * d_at(cell, i), filter_row(cell, fed, i, b, n))


@jit
def mean_row(cell, fed, g, b) -> int:
    """Return where the average of a sample's inputs by a bucket's decay is written."""
    at = col(cell, GROUPS) * col(cell, BATCH) * col(cell, INPUTS) if fed else 0
    return col(cell, SCRATCH) + (col(cell, WIDTH) + at + (g * col(cell, BATCH) + b) * inputs_of(cell, fed)) * BYTES


@jit
def average(cell, fed) -> None:
    """Write the averages of a layer's inputs after the step."""
    size = inputs_of(cell, fed)
    for g in range(col(cell, GROUPS)):
        a = decay_at(cell, g)
        for b in range(col(cell, BATCH)):
            mean = mean_row(cell, fed, g, b)
            copy(mean, size, held(cell, fed, b))
            add(mean, size, a, shared_row(cell, fed, g, b))
            scale(mean, size, F(1) / (F(1) + a * get(small(cell, col(cell, FILTERS) + g), b)))


@jit
def credit(cell, b, g, z_bar, rate) -> None:
    """Write what a block sends below, and what is multiplied by its eligibilities, from its outputs' cotangents."""
    width, share = col(cell, WIDTH), -rate / norm(cell, b)
    signal, send = of(cell, b, g, col(cell, IN_SIGNAL)), of(cell, b, g, col(cell, IN_SEND))
    plain, credits = of(cell, b, g, col(cell, IN_PLAIN)), of(cell, b, g, col(cell, IN_CREDIT))
    size = min(width, col(cell, UNITS) - g * width)
    fill(signal, width, F(0))
    fill(plain, width, F(0))
    add_product(signal, size, send, z_bar)
    add(plain, size, share, z_bar)
    fill(credits, width, F(0))
    if col(cell, KIND) == AVERAGED:
        add(credits, width, -rate, signal)
    else:
        copy(credits, width, plain)


@jit
def send_below(cell, b, g, x_bar) -> None:
    """Add what a block sends below."""
    width, inputs, signal = col(cell, WIDTH), col(cell, INPUTS), of(cell, b, g, col(cell, IN_SIGNAL))
    for j in range(min(width, col(cell, UNITS) - g * width)):
        if get(signal, j) != F(0):
            add(x_bar, inputs, get(signal, j), col(cell, BACK) + (g * width + j) * inputs * BYTES)


@jit
def clear(cell) -> None:
    """Set to zero what credit is added to."""
    units = col(cell, UNITS)
    fill(col(cell, TO_WEIGHT), units * col(cell, INPUTS), F(0))
    fill(col(cell, TO_LEARNED), units * col(cell, LEARNED), F(0))
    if col(cell, BIAS) != 0:
        fill(col(cell, TO_BIAS), units, F(0))
    if col(cell, RECURRENT) != 0:
        fill(col(cell, TO_RECURRENT), units * units, F(0))
    if col(cell, RECURRENT_BIAS) != 0:
        fill(col(cell, TO_RECURRENT_BIAS), units, F(0))


@jit
def credit_biases(cell, b, g, to_at) -> None:
    """Credit the biases of a block of units."""
    width, signal = col(cell, WIDTH), of(cell, b, g, col(cell, IN_CREDIT))
    to = to_at + g * width * BYTES
    if col(cell, KIND) == AVERAGED:
        add(to, min(width, col(cell, UNITS) - g * width), F(1), signal)
    else:
        credit_own(cell, b, g, 0, to, signal)


@jit
def learn_block(cell, b, g) -> None:
    """Add a block's credit in one sample to biases, learned parameters and weights."""
    units, width = col(cell, UNITS), col(cell, WIDTH)
    if col(cell, BIAS) != 0:
        credit_biases(cell, b, g, col(cell, TO_BIAS))
    if col(cell, RECURRENT_BIAS) != 0:
        credit_biases(cell, b, g, col(cell, TO_RECURRENT_BIAS))
    for i in range(col(cell, LEARNED)):
        to = col(cell, TO_LEARNED) + (i * units + g * width) * BYTES
        credit_own(cell, b, g, i + 1, to, of(cell, b, g, col(cell, IN_PLAIN)))
    for fed in range(2 if col(cell, RECURRENT) != 0 else 1):
        move(cell, fed == 1, g, b, col(events_of(cell, fed == 1, col(cell, BATCH)), b))


@jit
def learn(cell, z_bar_at, x_bar_at, rate) -> None:
    """Add credit to a layer's weights, biases and learned parameters, and send credit below."""
    batch, units, inputs, width = col(cell, BATCH), col(cell, UNITS), col(cell, INPUTS), col(cell, WIDTH)
    for f in range(2 if col(cell, RECURRENT) != 0 else 1):
        fed = f == 1
        for b in range(batch):
            count = find(held(cell, fed, b), inputs_of(cell, fed), events_of(cell, fed, b))
            set_col(events_of(cell, fed, batch), b, count)
        if col(cell, KIND) == AVERAGED:
            average(cell, fed)
    if x_bar_at != 0:
        fill(x_bar_at, batch * inputs, F(0))
    for r in range(col(cell, CHUNKS)):
        g = col(cell, CHUNKS) - 1 - r
        for b in range(batch):
            credit(cell, b, g, z_bar_at + (b * units + g * width) * BYTES, rate)
            if x_bar_at != 0:
                send_below(cell, b, g, x_bar_at + b * inputs * BYTES)
        for b in range(batch):
            learn_block(cell, b, g)


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
    inputs, x, index = inputs_of(cell, fed), held(cell, fed, b), events_of(cell, fed, 0)
    if m == 1 and col(cell, STATES) == 1:
        c, d = b_at(cell, 0) * value(cell, b, g, PSI, j), b_at(cell, 0) * value(cell, b, g, col(cell, IN_D), j)
        past, e = filter_row(cell, fed, 0, b, n), state_row(cell, fed, 0, b, n)
        carry_filter(past, inputs, a_at(cell, 0, 0), c, x, d, e)
        return
    for i in range(m):
        now = tmp + i * inputs * BYTES
        fill(now, inputs, F(0))
        if b_at(cell, i) != F(0):
            add_eligibility(cell, fed, b_at(cell, i), b, n, now, index, count)
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
    if kind == PRE or kind == FULL:
        if col(cell, FILTERS) > 0:
            count = find(held(cell, fed, b), inputs_of(cell, fed), events_of(cell, fed, 0))
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
    for k in range(m):
        now = tmp + (size + k) * apart
        fill(now, width, F(0))
        add(now, width, b_at(cell, k), e)
        for h in range(m):
            add(now, width, a_at(cell, k, h), own + (size + h) * apart)
    copy_normal(own, (size + m) * width, tmp)


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
    for b in range(col(cell, BATCH)):
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


def begin(cell, block, x_at, z_at, mode) -> int:
    """Carry the last step on and form the outputs of the next, by the bits of `mode`: ADVANCE, TRACES, FORWARD, CHECK.

    Returns NOT_FINITE where something is not; where the inputs are not, and CHECK is set, nothing was written.
    """
    if mode & FORWARD and mode & CHECK and unfinite(x_at, col(cell, BATCH) * col(cell, INPUTS)):
        return NOT_FINITE
    locate(cell, block)
    if mode & ADVANCE:
        advance(cell, mode & TRACES != 0)
    if mode & FORWARD and not forward(cell, x_at, z_at) and not mode & CHECK:
        return NOT_FINITE
    return DONE


def give(cell, block, z_bar_at, x_bar_at, mode, rate) -> int:
    """Credit a step: add `-rate` times its gradients to what they are for, and write what is sent below.

    Returns NOT_FINITE where CHECK is set and a cotangent of the outputs is not finite; nothing was written then.
    """
    if mode & CHECK and unfinite(z_bar_at, col(cell, BATCH) * col(cell, UNITS)):
        return NOT_FINITE
    locate(cell, block)
    if mode & FRESH:
        clear(cell)
    learn(cell, z_bar_at, x_bar_at, F(rate))
    return DONE
