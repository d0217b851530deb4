"""Template of the loss at the end of a step of online learning; executed once per scalar type and number of layers."""

from typing import TYPE_CHECKING

import numpy as np

from tracetorch.ops.fused.table import (
    BATCH,
    CROSS_ENTROPY,
    DONE,
    FORWARD,
    GIVEN,
    LEARN,
    LOSS_NOT_FINITE,
    NO_CLASS,
    UNITS,
    WEIGHT,
)

if TYPE_CHECKING:
    from tracetorch.ops.fused.online_names import FAST, LEVEL, F, integers, njit, reals

KIND = WEIGHT


@njit(**FAST)
def cross_entropy(z, z_bar, target):
    """Write the cotangents of one row of outputs, and return its loss."""
    top = z[0]
    for n in range(z.shape[0]):
        top = max(top, z[n])
    total = F(0)
    for n in range(z.shape[0]):
        z_bar[n] = np.exp(z[n] - top)
        total += z_bar[n]
    for n in range(z.shape[0]):
        z_bar[n] /= total
    z_bar[target] -= F(1)
    return np.log(total) + top - z[target]


@njit(**FAST)
def squared(z, z_bar, target):
    """Write the cotangents of one row of outputs, and return the sum of its squares."""
    total = F(0)
    for n in range(z.shape[0]):
        gap = z[n] - target[n]
        z_bar[n] = gap + gap
        total += gap * gap
    return total


def loss(table, z_at, z_bar_at, target, mode, rate):
    """Form the loss of a step and its cotangents; see `online.run` for the arguments."""
    cell = table[LEVEL]
    kind, batch, units = cell[KIND], cell[BATCH], cell[UNITS]
    if not mode & LEARN:
        return DONE, 0.0
    z, z_bar = reals(z_at, (batch, units)), reals(z_bar_at, (batch, units))
    total = 0.0
    if kind == GIVEN or not mode & FORWARD:
        given = reals(target, (batch, units))
        for b in range(batch):
            for n in range(units):
                z_bar[b, n] = given[b, n]
                total += given[b, n] * F(0)
        return (DONE if total == 0 else LOSS_NOT_FINITE), 0.0
    share = F(1) / F(batch if kind == CROSS_ENTROPY else batch * units)
    for b in range(batch):
        if kind == CROSS_ENTROPY:
            label = integers(target, (batch,))[b]
            if label < 0 or label >= units:
                return NO_CLASS, 0.0
            total += cross_entropy(z[b], z_bar[b], label)
        else:
            total += squared(z[b], z_bar[b], reals(target, (batch, units))[b])
        for n in range(units):
            z_bar[b, n] *= share
    total *= share
    return (DONE if np.isfinite(total) else LOSS_NOT_FINITE), total
