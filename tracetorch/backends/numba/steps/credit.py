"""Template of a layer's credit: what it adds to weights, biases and parameters, and what it sends below."""

from tracetorch.backends.numba.steps.layout import *


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
def move(cell, fed, g, b, count) -> None:
    """Credit the weights of a block of units."""
    width, m, size = col(cell, WIDTH), col(cell, FILTERS), inputs_of(cell, fed)
    weighed, averaged = of(cell, b, g, col(cell, IN_CREDIT)), col(cell, KIND) == AVERAGED
    # Read here, as a compiler cannot know that what is written below does not change them.
    targets = col(cell, TO_RECURRENT if fed else TO_WEIGHT) + g * width * size * BYTES
    paired = col(cell, KIND) == PAIRED
    if WITH_PAIRS and paired:
        weigh_pairs(cell, b, g)
    means, buckets, apart = mean_row(cell, fed, 0, b), col(cell, BUCKETS), col(cell, BATCH) * size * BYTES
    for j in range(min(width, col(cell, UNITS) - g * width)):
        n, c = g * width + j, get(weighed, j)
        to = targets + j * size * BYTES
        if c == F(0):
            continue
        if averaged:
            add(to, size, c, means + col(buckets, n) * apart)
            continue
        add_eligibility(cell, fed, c * d_at(cell, m), b, n, to, count)
        if WITH_PAIRS and paired:
            add_pairs(cell, fed, b, j, to)
            continue
        for i in range(m):
            add(to, size, c * d_at(cell, i), filter_row(cell, fed, i, b, n))


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
    plain, weighed = of(cell, b, g, col(cell, IN_PLAIN)), of(cell, b, g, col(cell, IN_CREDIT))
    size = min(width, col(cell, UNITS) - g * width)
    fill(signal, width, F(0))
    fill(plain, width, F(0))
    add_product(signal, size, send, z_bar)
    add(plain, size, share, z_bar)
    fill(weighed, width, F(0))
    if col(cell, KIND) == AVERAGED:
        add(weighed, width, -rate, signal)
    else:
        copy(weighed, width, plain)


@jit
def send_below(cell, b, g, x_bar) -> None:
    """Add what a block sends below."""
    width, inputs, signal = col(cell, WIDTH), col(cell, INPUTS), of(cell, b, g, col(cell, IN_SIGNAL))
    back = col(cell, BACK) + g * width * inputs * BYTES
    for j in range(min(width, col(cell, UNITS) - g * width)):
        if get(signal, j) != F(0):
            add(x_bar, inputs, get(signal, j), back + j * inputs * BYTES)


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
        if col(cell, KIND) == AVERAGED:
            average(cell, fed)
        for b in range(batch if col(cell, KIND) != AVERAGED else 0):
            count = find(held(cell, fed, b), inputs_of(cell, fed), events_of(cell, fed, b))
            set_col(events_of(cell, fed, batch), b, count)
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
