"""Template of online learning in one call: a layer's values, then all that follows it, then its credit and its update.

Executed once per layer of a network, from the last to the first, with `online_names` and `cells` put in; `rest` is
the next layer, or the loss. Nothing that lasts is written before the loss has been found finite: a forward leaves the
next states beside the present ones.
"""

from typing import TYPE_CHECKING

import numpy as np

from tracetorch.ops.fused.raw import LANES, found
from tracetorch.ops.fused.table import (
    ADVANCE,
    BACK,
    BATCH,
    BIAS,
    BUCKETS,
    DECAYS,
    FLAT,
    FORWARD,
    INPUTS,
    LARGE,
    LEARN,
    NOT_FINITE,
    NUMBERS,
    SMALL,
    SPACE,
    TRACE,
    UNITS,
    WEIGHT,
    rows,
)

if TYPE_CHECKING:
    from tracetorch.ops.fused.cells import dot, forwards, get, put, stepped
    from tracetorch.ops.fused.online_names import (
        FACTOR,
        FAST,
        FEEDBACK,
        FILTERED,
        FRESH,
        FULL,
        GAIN,
        LEVEL,
        PRE,
        SENDS,
        F,
        P,
        S,
        U,
        add,
        add_events,
        add_two,
        carry_one,
        carry_two,
        currents,
        decay,
        integers,
        njit,
        normal,
        reals,
        rest,
    )

AT = rows(S, P)
CUR, OUT, PSI, SIGNAL, SEND = AT.current * U, AT.output * U, AT.psi * U, AT.signal * U, AT.send * U
COUNT, COUNT_NEXT, H, H_NEXT, CHECK = AT.counter * U, AT.counter_next * U, AT.h * U, AT.h_next * U, AT.check * U
STATE, STATE_NEXT, SIGMA, SIGMA_NEXT = AT.state * U, AT.state_next * U, AT.sigma * U, AT.sigma_next * U
BY_STATE, DRIVE, TRANSITION, PARAM = AT.by_state * U, AT.drive * U, AT.transition * U, AT.parameter * U
EB, FILTERED_BIAS = AT.bias * U, AT.filtered * U
SIZE = AT.total * U
UNIT = (STATE, COUNT, CUR, PARAM)
A0, B0, DECAY0 = 1, 1 + S * S, 1 + S * S + S
SPREAD = 32


@njit(**FAST)
def neurons(w, q, h_weight):
    """Step the units of a block, leave what follows beside what is, and return whether all is finite."""
    for j in range(U):
        new, counter, out, A, B, D, psi = stepped(w, UNIT, j)
        put(w, STATE_NEXT, j, new)
        w[COUNT_NEXT + j] = counter
        w[OUT + j] = out
        w[PSI + j] = psi
        check = w[CUR + j] * F(0)
        for i in range(S):
            check += new[i] * F(0)
        w[CHECK + j] = check
        if PRE or FULL:
            put(w, BY_STATE, j, D)
        if FULL:
            put(w, DRIVE, j, B)
            for i in range(S):
                put(w, TRANSITION + i * S * U, j, A[i])
        w[SEND + j] = psi
        if GAIN or FACTOR:
            held = get(w, SIGMA, j)
            gain = psi + dot(D, held)
            put(w, SIGMA_NEXT, j, forwards(A, held, B))
            w[SEND + j] = gain
            if FACTOR:
                h = q * w[H + j] + gain
                w[H_NEXT + j] = h
                w[SEND + j] = h / h_weight
    bad = 0
    for j in range(U):
        bad += w[CHECK + j] != F(0)
    return bad == 0


@njit(**FAST)
def forward(cell, x, z, bias):
    """Form a layer's outputs and what follows for its units; return whether all is finite."""
    fine = True
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    chunks = (units + U - 1) // U
    weight = reals(cell[WEIGHT], (units, inputs))
    space = reals(cell[SPACE], (batch, chunks, SIZE))
    small = reals(cell[SMALL], (1 + cell[DECAYS] + S, batch))
    q = reals(cell[NUMBERS], (1,))[0]
    index = np.empty(inputs + LANES, np.uint32)
    for b in range(batch):
        count = found(x, b * inputs, inputs, index, 0, inputs)
        for g in range(chunks):
            w, n0, n1 = space[b, g], g * U, min(units, g * U + U)
            cur = w[CUR : CUR + U]
            currents(cur, weight[n0:n1], x[b], index[:count])
            for j in range(bias[n0:n1].shape[0]):
                cur[j] += bias[n0 + j]
            fine &= neurons(w, q, F(1) + q * small[0, b])
            part = z[b, n0:n1]
            for j in range(part.shape[0]):
                part[j] = w[OUT + j]
    return fine


@njit(**FAST)
def averages(means, cell, x):
    """Write the averages of a layer's inputs after the step, `[G, B, K]`."""
    groups, batch, inputs = means.shape
    sums = reals(cell[TRACE], (groups, batch, inputs))
    small = reals(cell[SMALL], (1 + groups + S, batch))
    decays = reals(cell[NUMBERS], (DECAY0 + groups,))[DECAY0:]
    for g in range(groups):
        a = decays[g]
        for b in range(batch):
            share = F(1) / (F(1) + a * small[1 + g, b])
            mean, held, now = means[g, b], sums[g, b], x[b]
            for k in range(inputs):
                mean[k] = (a * held[k] + now[k]) * share


@njit(**FAST)
def credit(w, cot, rate):
    """Write what a block sends below, and what times its slopes is its credit, from the cotangents of its outputs."""
    for j in range(U):
        w[SIGNAL + j] = F(0)
    for j in range(cot.shape[0]):
        w[SIGNAL + j] = cot[j]
    for j in range(U):
        level = w[SIGNAL + j]
        w[SIGNAL + j] = w[SEND + j] * level
        w[CUR + j] = -rate * (w[SIGNAL + j] if FACTOR else level)


@njit(**FAST)
def send(x_bar, weight, w):
    """Add what some units send below."""
    for j in range(weight.shape[0]):
        if w[SIGNAL + j] != F(0):
            add(x_bar, w[SIGNAL + j], weight[j])


@njit(**FAST)
def move_by_averages(weight, w, means, buckets, b):
    """Credit the weights of some units with the averages of the inputs of one sample, `[G, B, K]`."""
    for j in range(weight.shape[0]):
        if FRESH and b == 0:
            weight[j, :] = F(0)
        if w[CUR + j] != F(0):
            add(weight[j], w[CUR + j], means[buckets[j], b])


@njit(**FAST)
def add_eligibility(row, level, w, j, x, index, traces):
    """Add a multiple of a unit's eligibilities: what its weights do to its output, by the input and by its states."""
    e, f, _ = traces
    c, r = level * w[PSI + j], j if FULL else 0
    d = level * w[BY_STATE + j] if PRE or FULL else F(0)
    if c == F(0) and d == F(0):
        return
    if index.shape[0] * SPREAD < x.shape[0]:
        add_events(row, c, x, index)
        if PRE or FULL:
            add(row, d, e[r])
    elif PRE or FULL:
        add_two(row, c, x, d, e[r])
    else:
        add(row, c, x)
    if S == 2 and (PRE or FULL):
        add(row, level * w[BY_STATE + U + j], f[r])


@njit(**FAST)
def of_bias(w, j, ones):
    """Return what a unit's bias does to its output; `ones` are the traces of an input that is always one."""
    total = w[PSI + j]
    for i in range(S):
        if PRE:
            total += w[BY_STATE + i * U + j] * ones[i]
        if FULL:
            total += w[BY_STATE + i * U + j] * w[EB + i * U + j]
    return total


@njit(**FAST)
def move(weight, w, x, index, traces, q, b):
    """Credit the weights of some units with their eligibilities, and with what the filter holds of those before."""
    for j in range(weight.shape[0]):
        level, row = w[CUR + j], weight[j]
        if FRESH and b == 0:
            row[:] = F(0)
        add_eligibility(row, level, w, j, x, index, traces)
        if FILTERED and level != F(0):
            add(row, level * q, traces[2][j])


@njit(**FAST)
def move_bias(bias, w, ones, q):
    """Credit the biases of some units as `move` does their weights."""
    for j in range(bias.shape[0]):
        total = F(1) if FACTOR else of_bias(w, j, ones)
        if FILTERED:
            total += q * w[FILTERED_BIAS + j]
        bias[j] += w[CUR + j] * total


@njit(**FAST)
def traces_of(cell, b, n0, n1):
    """Return a sample's traces of the first state and of the last, and the filter's of the eligibilities before.

    There is one row for each of some units, or for the states one row for all.
    """
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    each = reals(cell[LARGE], ((S if FULL else 0) + (1 if FILTERED else 0), batch, units, inputs))
    past = each[S if FULL else 0, b, n0:n1] if FILTERED else each[0, b, :0]
    if FULL:
        return each[0, b, n0:n1], each[S - 1, b, n0:n1], past
    shared = reals(cell[TRACE], (S if PRE else 0, batch, 1, inputs))
    return shared[0, b], shared[S - 1, b], past


@njit(**FAST)
def learn(cell, x, cot, x_bar, rate, bias):
    """Give credit to a layer's weights and biases, move them, and send credit below."""
    batch, units, inputs, groups = cell[BATCH], cell[UNITS], cell[INPUTS], cell[DECAYS]
    chunks = (units + U - 1) // U
    weight = reals(cell[WEIGHT], (units, inputs))
    back = reals(cell[BACK], (units if FEEDBACK else 0, inputs))
    space = reals(cell[SPACE], (batch, chunks, SIZE))
    small = reals(cell[SMALL], (1 + groups + S, batch))
    means = np.empty((groups if FACTOR else 0, batch, inputs), F)
    buckets, q = integers(cell[BUCKETS], (units,)), reals(cell[NUMBERS], (1,))[0]
    index, counts = np.empty((batch, LANES + (0 if FACTOR else inputs)), np.uint32), np.zeros(batch, np.int64)
    if FACTOR:
        averages(means, cell, x)
    for b in range(batch):
        if not FACTOR:
            counts[b] = found(x, b * inputs, inputs, index[b], 0, inputs)
        if SENDS and x_bar.shape[0] > 0:
            x_bar[b, :] = F(0)
    for r in range(chunks):
        g = chunks - 1 - r
        n0, n1 = g * U, min(units, g * U + U)
        part = weight[n0:n1]
        for b in range(batch):
            credit(space[b, g], cot[b, n0:n1], rate)
            if SENDS and x_bar.shape[0] > 0:
                send(x_bar[b], back[n0:n1] if FEEDBACK else part, space[b, g])
        for b in range(batch):
            w = space[b, g]
            if FACTOR:
                move_by_averages(part, w, means, buckets[n0:n1], b)
            else:
                move(part, w, x[b], index[b, : counts[b]], traces_of(cell, b, n0, n1), q, b)
            if FRESH and b == 0:
                bias[n0:n1] = F(0)
            move_bias(bias[n0:n1], w, small[1 + groups :, b], q)


@njit(**FAST)
def carry_traces(cell, x):
    """Carry on the traces that are kept per input."""
    batch, inputs, groups = cell[BATCH], cell[INPUTS], cell[DECAYS]
    numbers = reals(cell[NUMBERS], (DECAY0 + groups,))
    small = reals(cell[SMALL], (1 + groups + S, batch))
    for b in range(batch):
        if FACTOR:
            small[0, b] = F(1) + numbers[0] * small[0, b]
            sums = reals(cell[TRACE], (groups, batch, inputs))
            for g in range(groups):
                a = numbers[DECAY0 + g]
                carry_one(sums[g, b], a, F(1), x[b])
                small[1 + g, b] = F(1) + a * small[1 + g, b]
        if PRE:
            traces, A, B = reals(cell[TRACE], (S, batch, inputs)), numbers[A0:B0], numbers[B0:DECAY0]
            ones = small[1 + groups :, b]
            if S == 1:
                carry_one(traces[0, b], A[0], B[0], x[b])
                ones[0] = A[0] * ones[0] + B[0]
            else:
                carry_two(traces[0, b], traces[1, b], A, B, x[b])
                u, v = ones[0], ones[1]
                ones[0] = A[0] * u + A[1] * v + B[0]
                ones[1] = A[2] * u + A[3] * v + B[1]


@njit(**FAST)
def carry_full(w, j, e, f, x):
    """Carry on a unit's traces of weights, by state, and of its bias."""
    if S == 1:
        carry_one(e, w[TRANSITION + j], w[DRIVE + j], x)
        w[EB + j] = w[TRANSITION + j] * w[EB + j] + w[DRIVE + j]
    else:
        A = (w[TRANSITION + j], w[TRANSITION + U + j], w[TRANSITION + 2 * U + j], w[TRANSITION + 3 * U + j])
        B = (w[DRIVE + j], w[DRIVE + U + j])
        carry_two(e, f, A, B, x)
        u, v = w[EB + j], w[EB + U + j]
        w[EB + j] = A[0] * u + A[1] * v + B[0]
        w[EB + U + j] = A[2] * u + A[3] * v + B[1]


@njit(**FAST)
def carry_filtered(w, x, index, traces, ones, q):
    """Carry on what the filter holds of the eligibilities of some units."""
    past = traces[2]
    for j in range(past.shape[0]):
        decay(past[j], q)
        add_eligibility(past[j], F(1), w, j, x, index, traces)
        w[FILTERED_BIAS + j] = normal(q * w[FILTERED_BIAS + j] + of_bias(w, j, ones))


@njit(**FAST)
def advance(cell, x):
    """Make what follows what is, and carry traces on: those behind the filter first, which read the others."""
    batch, units, inputs, groups = cell[BATCH], cell[UNITS], cell[INPUTS], cell[DECAYS]
    chunks = (units + U - 1) // U
    space = reals(cell[SPACE], (batch, chunks, SIZE))
    small = reals(cell[SMALL], (1 + groups + S, batch))
    q = reals(cell[NUMBERS], (1,))[0]
    index = np.empty(LANES + (inputs if FILTERED else 0), np.uint32)
    for b in range(batch):
        count = found(x, b * inputs, inputs, index, 0, inputs) if FILTERED else 0
        for g in range(chunks):
            w, n0, n1 = space[b, g], g * U, min(units, g * U + U)
            traces = traces_of(cell, b, n0, n1)
            if FILTERED:
                carry_filtered(w, x[b], index[:count], traces, small[1 + groups :, b], q)
            if FULL:
                for j in range(n1 - n0):
                    carry_full(w, j, traces[0][j], traces[1][j], x[b])
            for j in range(U):
                w[COUNT + j] = w[COUNT_NEXT + j]
                for i in range(S):
                    w[STATE + i * U + j] = normal(w[STATE_NEXT + i * U + j])
                    if GAIN or FACTOR:
                        w[SIGMA + i * U + j] = normal(w[SIGMA_NEXT + i * U + j])
                if FACTOR:
                    w[H + j] = normal(w[H_NEXT + j])
    carry_traces(cell, x)


def run(table, x_at, x_bar_at, target, mode, rate):
    """Run the parts of a step that `mode` names, FORWARD, LEARN and ADVANCE added up, from this layer on.

    `x_at` is the address of the inputs, `[B, K]`, `x_bar_at` that of their cotangents or 0, `target` that of the loss's
    targets or of the outputs' cotangents. Returns how it ended, and the loss.
    """
    cell = table[LEVEL]
    batch, units, inputs = cell[BATCH], cell[UNITS], cell[INPUTS]
    x = reals(x_at, (batch, inputs))
    flat = reals(cell[FLAT], (2, batch, units))
    bias = reals(cell[BIAS], (units if cell[BIAS] != 0 else 0,))
    if mode & FORWARD and not forward(cell, x, flat[0], bias):
        return NOT_FINITE, 0.0
    status, loss = rest(table, cell[FLAT], cell[FLAT] + batch * units * flat.itemsize, target, mode, rate)
    if status != 0:
        return status, loss
    if mode & LEARN:
        learn(cell, x, flat[1], reals(x_bar_at, (batch if SENDS else 0, inputs)), F(rate), bias)
    if mode & ADVANCE:
        advance(cell, x)
    return status, loss
