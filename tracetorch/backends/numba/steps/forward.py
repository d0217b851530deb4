"""Template of a layer's values and sensitivities; executed once per scalar type.

The neuron's kernel is called by its address and leaves outputs, next states and Jacobian blocks beside the present
states; nothing that lasts is written.
"""

from tracetorch.backends.numba.steps.layout import *


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
