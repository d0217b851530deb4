"""Template of the fused CPU kernels: executed once per neuron and variant, with `names` and `cells` put in first.

Everything of one sample is walked in cache: the input's events, the membrane, the spikes, the traces. What belongs to
U units lies in one row of `work`, at distances that the compiler knows, so that it can compute U units at once. The
functions without a decorator are compiled by the loader, under a name of their own for each neuron and variant.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

if TYPE_CHECKING:
    from tracetorch.ops.fused.cells import backwards, dot, events_of, forwards, get, put, stepped
    from tracetorch.ops.fused.names import EVENTS, FAST, HISTORY, LINKED, RECORD, SENT, STATES, TRACED, F, P, S, U

CUR, COUNT, OUT, SUM, CHECK, STATE = 0, 1, 2, 3, 4, 7
SIGNAL, LEVEL, COT, TOTAL, BELOW = 4, SUM, OUT, 5, 6
SIGMA = LAM = STATE + S
PARAM = SIGMA + S
ROWS = PARAM + P
AT = (STATE * U, COUNT * U, CUR * U, PARAM * U)


@njit(**FAST)
def take(w, at, row, n0):
    """Copy a stretch of a row of units into the work space."""
    part = row[n0 : n0 + U]
    for j in range(part.shape[0]):
        w[at + j] = part[j]


@njit(**FAST)
def give(w, at, row, n0):
    """Copy from the work space into a stretch of a row of units."""
    part = row[n0 : n0 + U]
    for j in range(part.shape[0]):
        part[j] = w[at + j]


@njit(**FAST)
def add_events(cur, x, index, count, wt):
    """Add the weights of a step's events to U currents, four events at a time."""
    e = 0
    while e + 4 <= count:
        k0, k1, k2, k3 = index[e], index[e + 1], index[e + 2], index[e + 3]
        x0, x1, x2, x3 = x[k0], x[k1], x[k2], x[k3]
        for j in range(U):
            cur[j] += (x0 * wt[k0, j] + x1 * wt[k1, j]) + (x2 * wt[k2, j] + x3 * wt[k3, j])
        e += 4
    while e < count:
        k0 = index[e]
        x0 = x[k0]
        for j in range(U):
            cur[j] += x0 * wt[k0, j]
        e += 1


def forward(x, wt, bias, s, c, p, z, before, c_before, drive, sigma, h, history, sums, weights, q, faults):
    """Step every sample through a window; see `tracetorch.ops.fused.run_forward` for the shapes."""
    steps, batch, units = z.shape
    chunks = (units + U - 1) // U
    for b in prange(batch):
        space = np.zeros((chunks, ROWS * U), F)
        index = np.empty(x.shape[2] + 1, np.uint32)
        for g in range(chunks):
            w, n0 = space[g], g * U
            take(w, COUNT * U, c[b], n0)
            for i in range(S):
                take(w, (STATE + i) * U, s[i, b], n0)
            for i in range(P):
                take(w, (PARAM + i) * U, p[i], n0)
            if TRACED:
                take(w, SUM * U, h[b], n0)
                for i in range(S):
                    take(w, (SIGMA + i) * U, sigma[i, b], n0)
        for t in range(steps):
            xt = x[t, b]
            count = 0
            if EVENTS:
                count = events_of(xt, index)
                for i in range(sums.shape[0]):
                    for e in range(count):
                        sums[i, b, index[e]] += weights[i, t] * xt[index[e]]
            for g in range(chunks):
                w, n0 = space[g], g * U
                if EVENTS:
                    take(w, CUR * U, bias, n0)
                    add_events(w[CUR * U : CUR * U + U], xt, index, count, wt[g])
                else:
                    take(w, CUR * U, xt, n0)
                if RECORD:
                    give(w, CUR * U, drive[t, b], n0)
                if STATES:
                    give(w, COUNT * U, c_before[t, b], n0)
                    for i in range(S):
                        give(w, (STATE + i) * U, before[i, t, b], n0)
                for j in range(U):
                    new, counter, out, A, B, D, psi = stepped(w, AT, j)
                    put(w, STATE * U, j, new)
                    w[COUNT * U + j] = counter
                    w[OUT * U + j] = out
                    if EVENTS:
                        w[CHECK * U + j] += w[CUR * U + j] * F(0)
                    if TRACED:
                        held = get(w, SIGMA * U, j)
                        gain = psi + dot(D, held)
                        put(w, SIGMA * U, j, forwards(A, held, B))
                        w[SUM * U + j] = q * w[SUM * U + j] + gain
                give(w, OUT * U, z[t, b], n0)
                if HISTORY:
                    give(w, SUM * U, history[t, b], n0)
        for g in range(chunks):
            w, n0 = space[g], g * U
            if EVENTS:
                for j in range(U):
                    faults[b] += w[CHECK * U + j] != F(0)
            give(w, COUNT * U, c[b], n0)
            for i in range(S):
                give(w, (STATE + i) * U, s[i, b], n0)
            if TRACED:
                give(w, SUM * U, h[b], n0)
                for i in range(S):
                    give(w, (SIGMA + i) * U, sigma[i, b], n0)


@njit(**FAST)
def retrace(space, history, drive, s, c, b):
    """Step one sample through a window again and keep the states before each step."""
    steps, chunks = history.shape[0], history.shape[1]
    for g in range(chunks):
        w, n0 = space[g], g * U
        take(w, COUNT * U, c[b], n0)
        for i in range(S):
            take(w, (STATE + i) * U, s[i, b], n0)
    for t in range(steps):
        for g in range(chunks):
            w, n0, kept = space[g], g * U, history[t, g]
            take(w, CUR * U, drive[t, b], n0)
            for j in range(S * U):
                kept[j] = w[STATE * U + j]
            for j in range(U):
                kept[S * U + j] = w[COUNT * U + j]
            for j in range(U):
                new, counter, out, A, B, D, psi = stepped(w, AT, j)
                put(w, STATE * U, j, new)
                w[COUNT * U + j] = counter


def reverse(s, c, drive, p, signal, first, lam, kappa, carried, q, history, filtered, below):
    """Carry cotangents back through a window; see `tracetorch.ops.fused.run_reverse` for the shapes."""
    steps, batch, units = drive.shape
    chunks = (units + U - 1) // U
    for b in prange(batch):
        space = np.zeros((chunks, ROWS * U), F)
        before = np.empty((steps, chunks, (S + 1) * U), F)
        for g in range(chunks):
            w, n0 = space[g], g * U
            take(w, LEVEL * U, carried[b], n0)
            for i in range(S):
                take(w, (LAM + i) * U, lam[i, b], n0)
            for i in range(P):
                take(w, (PARAM + i) * U, p[i], n0)
        retrace(space, before, drive, s, c, b)
        for r in range(steps):
            t = steps - 1 - r
            for g in range(chunks):
                w, n0, held_before = space[g], g * U, before[t, g]
                take(w, CUR * U, drive[t, b], n0)
                for j in range(U):
                    w[SIGNAL * U + j] = F(0)
                if t >= first:
                    take(w, SIGNAL * U, signal[t - first, b], n0)
                for j in range(S * U):
                    w[STATE * U + j] = held_before[j]
                for j in range(U):
                    w[COUNT * U + j] = held_before[S * U + j]
                if HISTORY:
                    for i in range(S):
                        give(w, (LAM + i) * U, history[i, t, b], n0)
                for j in range(U):
                    new, counter, out, A, B, D, psi = stepped(w, AT, j)
                    level = w[LEVEL * U + j] + w[SIGNAL * U + j]
                    w[COT * U + j] = psi * level
                    if LINKED:
                        held = get(w, LAM * U, j)
                        w[COT * U + j] += dot(B, held)
                        put(w, LAM * U, j, backwards(A, held, D, level))
                    w[TOTAL * U + j] = level
                    w[BELOW * U + j] = psi * w[SIGNAL * U + j]
                    w[LEVEL * U + j] = kappa * level
                give(w, COT * U, q[t, b], n0)
                if HISTORY:
                    give(w, TOTAL * U, filtered[t, b], n0)
                if SENT and t >= first:
                    give(w, BELOW * U, below[t - first, b], n0)
        for g in range(chunks):
            w, n0 = space[g], g * U
            give(w, LEVEL * U, carried[b], n0)
            for i in range(S):
                give(w, (LAM + i) * U, lam[i, b], n0)
