"""Template of a network's step: its layers, the loss, and its layers back; executed once per scalar type."""

import numpy as np

from tracetorch.backends.numba.steps.layout import *

ROW = COLUMNS * 8


@jit
def cross_entropy(z, z_bar, units, target) -> F:
    """Write the cotangents of one row of outputs, and return its loss."""
    top = get(z, 0)
    for n in range(units):
        top = max(top, get(z, n))
    total = F(0)
    for n in range(units):
        put(z_bar, n, F(np.exp(get(z, n) - top)))
        total += get(z_bar, n)
    for n in range(units):
        put(z_bar, n, get(z_bar, n) / total)
    put(z_bar, target, get(z_bar, target) - F(1))
    return np.log(total) + top - get(z, target)


@jit
def squared(z, z_bar, units, target) -> F:
    """Write the cotangents of one row of outputs, and return the sum of its squares."""
    total = F(0)
    for n in range(units):
        gap = get(z, n) - get(target, n)
        put(z_bar, n, gap + gap)
        total += gap * gap
    return total


@jit
def loss(end, cell, target) -> int:
    """Form the loss of a step and the cotangents of the outputs; return how it ended."""
    kind, batch, units = col(end, LOSS), col(cell, BATCH), col(cell, UNITS)
    z, z_bar, size = col(cell, OUTPUT), col(cell, COTANGENT), units * BYTES
    total = 0.0
    for b in range(batch):
        if kind == CROSS_ENTROPY:
            label = col(target, b)
            if label < 0 or label >= units:
                return NO_CLASS
            total += cross_entropy(z + b * size, z_bar + b * size, units, label)
        else:
            total += squared(z + b * size, z_bar + b * size, units, target + b * size)
    share = F(1) / F(batch if kind == CROSS_ENTROPY else batch * units)
    for n in range(batch * units):
        put(z_bar, n, get(z_bar, n) * share)
    put64(col(end, VALUE), 0, total * share)
    return DONE if np.isfinite(total * share) else LOSS_NOT_FINITE


@jit
def given(cell, target) -> int:
    """Take the cotangents of the outputs as they are; return how it ended."""
    z_bar, total = col(cell, COTANGENT), F(0)
    for n in range(col(cell, BATCH) * col(cell, UNITS)):
        put(z_bar, n, get(target, n))
        total += get(target, n) * F(0)
    return DONE if total == F(0) else LOSS_NOT_FINITE


@jit
def forwards(table, layers, x, mode) -> int:
    """Run all layers; where one is not finite, those above it are but carried on."""
    end, status = table + layers * ROW, DONE
    for i in range(layers):
        cell = table + i * ROW
        bits = mode if status == DONE else mode & ~FORWARD
        found = run_begin(col(end, BEGIN), cell, col(cell, BLOCK), x, col(cell, OUTPUT), bits)
        status = found if status == DONE else status
        x = col(cell, OUTPUT)
    return status


def drive(table, layers, x, target, mode, rate) -> int:
    """Run the parts of a step of a network that `mode` names; return how it ended.

    `target` is the address of the loss's targets, or of the outputs' cotangents.
    """
    end, last = table + layers * ROW, table + (layers - 1) * ROW
    status = forwards(table, layers, x, mode & ~(LEARN | FRESH)) if mode & (FORWARD | ADVANCE) else DONE
    if status != DONE or not mode & LEARN:
        return status
    taken = col(end, LOSS) == GIVEN or not mode & FORWARD
    status = given(last, target) if taken else loss(end, last, target)
    if status != DONE:
        return status
    for r in range(layers):
        i = layers - 1 - r
        cell = table + i * ROW
        below = col(cell - ROW, COTANGENT) if i > 0 else 0
        run_give(col(end, GIVE), cell, col(cell, BLOCK), col(cell, COTANGENT), below, mode & FRESH, rate)
    return status
