"""Template of one layer's part of the step program; executed once per scalar type, as it knows no neuron.

A forward writes nothing that lasts; the next one begins by carrying states and traces on.
"""

from tracetorch.backends.numba.steps.layout import *


@jit
def locate(cell, block) -> None:
    """Set the addresses of the pieces of a block."""
    batch, units, inputs, fed = col(cell, BATCH), col(cell, UNITS), col(cell, INPUTS), col(cell, RECURRENT) != 0
    kind, pairs = col(cell, KIND), col(cell, PAIRS)
    rows = col(cell, STATES) if kind == PRE else pairs if kind == PAIRED else col(cell, GROUPS)
    at = block
    set_col(cell, SPACE, at)
    at += batch * col(cell, CHUNKS) * col(cell, ROWS) * col(cell, WIDTH) * BYTES
    set_col(cell, ORDER, at)
    at += (PLACE + 2 * pairs) * 8 if pairs > 0 else 0
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
