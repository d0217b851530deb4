"""Template of the fused CPU kernels: executed once per neuron and variant, with `names` and `cells` put in first.

Everything of one sample is walked in cache: the input's events, the membrane, the spikes, the traces. What belongs to
U units lies in one row of a work space, and a block of units has ROWS of them. Large arrays are read and written at
places that are counted out here, never by slices; see `raw`. The functions without a decorator are compiled by the
loader, under a name of their own for each neuron and variant.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from tracetorch.ops.fused.raw import LANES, add_rows, found, load, store

if TYPE_CHECKING:
    from tracetorch.ops.fused.cells import backwards, dot, forwards, get, params, put
    from tracetorch.ops.fused.names import (
        COUNTED,
        EVENTS,
        FAST,
        HISTORY,
        LINKED,
        RECORD,
        SENT,
        STATES,
        TRACED,
        F,
        P,
        S,
        U,
        step,
    )

CUR, COUNT, SUM, CHECK, STATE = 0, U, 2 * U, 3 * U, 6 * U
SIGNAL, LEVEL, TOTAL, BELOW = 3 * U, SUM, 4 * U, 5 * U
SIGMA = LAM = STATE + S * U
PARAM = SIGMA + S * U
ROWS = PARAM + P * U
KEPT = (S + COUNTED) * U


@njit(**FAST)
def take(w, at, array, place, size):
    """Copy from a place of an array into a row of the work space."""
    for j in range(size):
        store(w, at + j, load(array, place + j))


@njit(**FAST)
def give(w, at, array, place, size):
    """Copy from a row of the work space to a place of an array."""
    for j in range(size):
        store(array, place + j, load(w, at + j))


@njit(**FAST)
def take_states(w, at, array, place, size, apart):
    """Copy rows of states, which lie `apart` in the array."""
    for i in range(S):
        take(w, at + i * U, array, place + i * apart, size)


@njit(**FAST)
def give_states(w, at, array, place, size, apart):
    """Copy rows of states to where they lie `apart`."""
    for i in range(S):
        give(w, at + i * U, array, place + i * apart, size)


@njit(**FAST)
def take_params(w, at, p, n0, size, units):
    """Copy a block's parameters, `[P, N]`."""
    for i in range(P):
        take(w, at + i * U, p, i * units + n0, size)


@njit(**FAST)
def add_sums(sums, weights, b, t, x, row, index, count):
    """Add a step's events to the weighted sums of the inputs, `[R, B, K]`."""
    rows, batch, inputs = sums.shape
    steps = weights.shape[1]
    for i in range(rows):
        weight, at = load(weights, i * steps + t), (i * batch + b) * inputs
        for e in range(count):
            k = np.intp(load(index, e))
            store(sums, at + k, load(sums, at + k) + weight * load(x, row + k))


@njit(**FAST)
def advance(w, v, x, z, place, size, q):
    """Step a block of units; currents are in the work space where they come from events, else in `x`."""
    for j in range(size):
        counter = load(w, v + COUNT + j) if COUNTED else F(0)
        current = load(w, v + CUR + j) if EVENTS else load(x, place + j)
        new, counter, out, A, B, D, psi = step(get(w, v + STATE, j), counter, current, params(w, v + PARAM, j))
        put(w, v + STATE, j, new)
        if COUNTED:
            store(w, v + COUNT + j, counter)
        store(z, place + j, out)
        if EVENTS:
            store(w, v + CHECK + j, load(w, v + CHECK + j) + current * F(0))
        if TRACED:
            held = get(w, v + SIGMA, j)
            gain = psi + dot(D, held)
            put(w, v + SIGMA, j, forwards(A, held, B))
            store(w, v + SUM + j, q * load(w, v + SUM + j) + gain)


def forward(x, wt, bias, s, c, p, z, before, c_before, drive, sigma, h, history, sums, weights, q, faults):
    """Step every sample through a window; see `tracetorch.ops.fused.run_forward` for the shapes."""
    steps, batch, units = z.shape
    inputs = x.shape[2]
    chunks, apart, all_steps = (units + U - 1) // U, batch * units, steps * batch * units
    for b in prange(batch):
        w = np.zeros(chunks * ROWS, F)
        index = np.empty(inputs + LANES, np.uint32)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            take(w, v + COUNT, c, place, size)
            take_states(w, v + STATE, s, place, size, apart)
            take_params(w, v + PARAM, p, n0, size, units)
            if TRACED:
                take(w, v + SUM, h, place, size)
                take_states(w, v + SIGMA, sigma, place, size, apart)
        for t in range(steps):
            row, count = (t * batch + b) * inputs, 0
            if EVENTS:
                count = found(x, row, inputs, index, 0, batch * inputs)
                add_sums(sums, weights, b, t, x, row, index, count)
            for g in range(chunks):
                v, n0 = g * ROWS, g * U
                size, place = min(U, units - n0), (t * batch + b) * units + n0
                if EVENTS:
                    take(w, v + CUR, bias, n0, size)
                    add_rows(w, v + CUR, x, row, 1, wt, g * inputs * U, U, U, index, 0, count)
                if RECORD:
                    give(w, v + CUR, drive, place, size)
                if STATES:
                    give_states(w, v + STATE, before, place, size, all_steps)
                    if COUNTED:
                        give(w, v + COUNT, c_before, place, size)
                advance(w, v, x, z, place, size, q)
                if HISTORY:
                    give(w, v + SUM, history, place, size)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            if EVENTS:
                for j in range(size):
                    faults[b] += load(w, v + CHECK + j) != F(0)
            give(w, v + COUNT, c, place, size)
            give_states(w, v + STATE, s, place, size, apart)
            if TRACED:
                give(w, v + SUM, h, place, size)
                give_states(w, v + SIGMA, sigma, place, size, apart)


@njit(**FAST)
def again(before, at, j, current, p):
    """Return a unit's step from the states and the counter that were kept at a place."""
    counter = load(before, at + S * U + j) if COUNTED else F(0)
    return step(get(before, at, j), counter, current, p)


@njit(**FAST)
def retrace(w, before, drive, b):
    """Step one sample through a window again and keep the states before each step, `[T + 1, chunks, KEPT]`."""
    steps, batch, units = drive.shape
    chunks = (units + U - 1) // U
    for t in range(steps):
        for g in range(chunks):
            v, n0, at = g * ROWS, g * U, (t * chunks + g) * KEPT
            place, after = (t * batch + b) * units + n0, at + chunks * KEPT
            for j in range(min(U, units - n0)):
                p = params(w, v + PARAM, j)
                new, counter, out, A, B, D, psi = again(before, at, j, load(drive, place + j), p)
                put(before, after, j, new)
                if COUNTED:
                    store(before, after + S * U + j, counter)


@njit(**FAST)
def credit(w, v, before, at, drive, q, place, size, kappa):
    """Carry a block's cotangents over one step, back in time."""
    for j in range(size):
        new, counter, out, A, B, D, psi = again(before, at, j, load(drive, place + j), params(w, v + PARAM, j))
        signal = load(w, v + SIGNAL + j)
        level = load(w, v + LEVEL + j) + signal
        cotangent = psi * level
        if LINKED:
            held = get(w, v + LAM, j)
            cotangent += dot(B, held)
            put(w, v + LAM, j, backwards(A, held, D, level))
        if HISTORY:
            store(w, v + TOTAL + j, level)
        if SENT:
            store(w, v + BELOW + j, psi * signal)
        store(w, v + LEVEL + j, kappa * level)
        store(q, place + j, cotangent)


def reverse(s, c, drive, p, signal, first, lam, kappa, carried, q, history, filtered, below):
    """Carry cotangents back through a window; see `tracetorch.ops.fused.run_reverse` for the shapes."""
    steps, batch, units = drive.shape
    chunks, apart, all_steps = (units + U - 1) // U, batch * units, steps * batch * units
    for b in prange(batch):
        w = np.zeros(chunks * ROWS, F)
        before = np.empty((steps + 1) * chunks * KEPT, F)
        for g in range(chunks):
            v, n0, at = g * ROWS, g * U, g * KEPT
            size, place = min(U, units - n0), b * units + n0
            take(w, v + LEVEL, carried, place, size)
            take_states(w, v + LAM, lam, place, size, apart)
            take_params(w, v + PARAM, p, n0, size, units)
            take_states(before, at, s, place, size, apart)
            if COUNTED:
                take(before, at + S * U, c, place, size)
        retrace(w, before, drive, b)
        for r in range(steps):
            t = steps - 1 - r
            for g in range(chunks):
                v, n0 = g * ROWS, g * U
                size, place = min(U, units - n0), (t * batch + b) * units + n0
                given = ((t - first) * batch + b) * units + n0
                if t >= first:
                    take(w, v + SIGNAL, signal, given, size)
                elif t == first - 1:
                    for j in range(size):
                        store(w, v + SIGNAL + j, F(0))
                if HISTORY:
                    give_states(w, v + LAM, history, place, size, all_steps)
                credit(w, v, before, (t * chunks + g) * KEPT, drive, q, place, size, kappa)
                if HISTORY:
                    give(w, v + TOTAL, filtered, place, size)
                if SENT and t >= first:
                    give(w, v + BELOW, below, given, size)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            give(w, v + LEVEL, carried, place, size)
            give_states(w, v + LAM, lam, place, size, apart)
