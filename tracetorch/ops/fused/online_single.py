"""Template of one layer's step between two nodes of autograd; executed with the functions of `online` put in.

What a layer carries and what its credit needs lies in one block, piece by piece: units, traces per input, sums of
weights, inputs. A step works on a copy of the block before it, so that each step's backward finds its own. Traces per
weight lie apart and are carried on in place.
"""

from typing import TYPE_CHECKING

from tracetorch.ops.fused.table import (
    ADVANCE,
    BATCH,
    CHECK,
    DECAYS,
    FORWARD,
    INPUTS,
    SMALL,
    SPACE,
    TRACE,
    UNITS,
    WEIGHT,
)

if TYPE_CHECKING:
    from tracetorch.ops.fused.online import SIZE, advance, forward, learn
    from tracetorch.ops.fused.online_names import FACTOR, FAST, PRE, F, S, U, njit, reals

BYTES = F(0).itemsize


@njit(**FAST)
def place(cell, block):
    """Tell the layer's row where the pieces of a block lie, and return where its inputs do."""
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    cell[SPACE] = block
    at = block + batch * ((units + U - 1) // U) * SIZE * BYTES
    cell[TRACE] = at
    at += (cell[DECAYS] if FACTOR else S if PRE else 0) * batch * inputs * BYTES
    cell[SMALL] = at
    return at + (1 + cell[DECAYS] + S) * batch * BYTES


@njit(**FAST)
def finite(rows):
    """Tell whether all numbers of some rows are finite."""
    total = F(0)
    for b in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            total += rows[b, n] * F(0)
    return total == F(0)


def begin(cell, block, weight, bias, x_at, z_at, mode):
    """Carry the last step on and form the outputs of the next, by the bits of `mode`: ADVANCE, FORWARD, CHECK.

    Returns whether the inputs are finite, where that is checked; if they are not, nothing was written.
    """
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    x = reals(x_at, (batch if mode & FORWARD else 0, inputs))
    if mode & CHECK and not finite(x):
        return False
    held = reals(place(cell, block), (batch, inputs))
    if mode & ADVANCE:
        advance(cell, held)
    if mode & FORWARD:
        cell[WEIGHT] = weight
        held[:, :] = x
        forward(cell, held, reals(z_at, (batch, units)), reals(bias, (units if bias != 0 else 0,)))
    return True


def give(cell, block, z_bar_at, x_bar_at, weight_bar, bias_bar, mode):
    """Give credit for a step: write the gradients of weights and biases, and what is sent below.

    Returns whether the cotangents of the outputs are finite, where that is checked; if not, nothing was written.
    """
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    z_bar = reals(z_bar_at, (batch, units))
    if mode & CHECK and not finite(z_bar):
        return False
    held = reals(place(cell, block), (batch, inputs))
    cell[WEIGHT] = weight_bar
    x_bar = reals(x_bar_at, (batch if x_bar_at != 0 else 0, inputs))
    learn(cell, held, z_bar, x_bar, F(-1), reals(bias_bar, (units if bias_bar != 0 else 0,)))
    return True
