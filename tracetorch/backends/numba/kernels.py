"""Template of the CPU kernels: executed once per neuron and variant.

The loader puts in first, in capitals, the numbers and places of `cells.Sizes`, the switches of `compile.Forward` and
`compile.Reverse`, U for the width and the scalar type F; then the functions that `cells` has as text.

Everything of one sample is computed in cache: the input's events, the membrane, the spikes, the sensitivities. What
belongs to U units lies in one row of a work space `w`, and a block of units has ROWS values there. All arrays are flat;
they are read and written at places that are counted out here, never by slices; see `raw`. The two functions are
compiled by the loader, under their own name for each neuron and variant; they serve samples `low` to `high`.
"""

import numpy as np

from tracetorch.backends.numba.raw import LANES, add_rows, add_sums, clear, found, gather, load, store, take, take_rows

CARRIED = STATES + COUNTERS
SAVED = CARRIED * U
SENSED, LEVELS = STATES * CURRENTS, FILTERS * CURRENTS


def forward(
    sizes, x, places, values, begins, ends, wt, rt, bias, s, s_next, p, z_first, z, drive, sigma, sigma_next, level,
    level_next, history, f, sums, weights, faults, low, high,
):  # fmt: skip
    """Advance samples through a window.

    `x` are the currents, or the inputs. `sizes` are T, B, N, K; from which step on sensitivities
    are returned; R; whether currents are recorded; and whether events are, else those of a step take the place of
    the last.
    """
    steps, batch, units, inputs, first, totals, record, listed = sizes
    chunks, apart, several = (units + U - 1) // U, batch * units, batch * units * CURRENTS
    w = np.empty(chunks * ROWS, F)
    room = inputs * (steps if listed else 1) + LANES
    spikes, last = np.empty(units + LANES, np.int32), np.empty(units, F)
    for b in range(low, high):
        clear(w, 0, chunks * ROWS)
        end = b * room
        if RECURRENT:
            take(last, 0, z_first, b * units, units)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            take_rows(w, v + STATE, U, s, place, apart, CARRIED, size)
            take_rows(w, v + PARAM, U, p, n0, units, PARAMETERS, size)
            if TRACED:
                take_rows(w, v + LAM, U, sigma, place, apart, SENSED, size)
                take_rows(w, v + LEVEL, U, level, place, apart, LEVELS, size)
        for t in range(steps):
            e, spiking = end if listed else b * room, 0
            if EVENTS:
                row = (t * batch + b) * inputs
                end = found(x, row, inputs, places, e, batch * inputs)
                if listed:
                    gather(values, x, row, places, e, end)
                    store(begins, t * batch + b, e)
                    store(ends, t * batch + b, end)
                around = (totals, steps, batch * inputs)
                add_sums(sums, weights, x, around, (t, b * inputs), row, places, e, end)
            if RECURRENT:
                spiking = found(last, 0, units, spikes, 0, 0)
            for g in range(chunks):
                v, n0 = g * ROWS, g * U
                size, place = min(U, units - n0), (t * batch + b) * units + n0
                here = (t * batch + b) * CURRENTS * units + n0
                if EVENTS:
                    take(w, v + FIRST, bias, n0, size)
                    add_rows(w, v + FIRST, x, (t * batch + b) * inputs, 1, wt, g * inputs * U, U, U, places, e, end)
                elif RECURRENT:
                    for j in range(size):
                        store(w, v + FIRST + j, load(x, place + j) + load(bias, n0 + j))
                if RECURRENT:
                    add_rows(w, v + FIRST, last, 0, 1, rt, g * units * U, U, U, spikes, 0, spiking)
                if record:
                    take(drive, place, w, v + FIRST, size)
                advanced(w, v, x, z, here, place, units, size, f)
                if TRACED and t >= first:
                    for c in range(CURRENTS):
                        take(history, here + c * units - first * several, w, v + THIRD + c * U, size)
            if RECURRENT:
                take(last, 0, z, (t * batch + b) * units, units)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            if EVENTS:
                for j in range(size):
                    faults[b] += load(w, v + SECOND + j) != F(0)
            take_rows(s_next, place, apart, w, v + STATE, U, CARRIED, size)
            if TRACED:
                take_rows(sigma_next, place, apart, w, v + LAM, U, SENSED, size)
                take_rows(level_next, place, apart, w, v + LEVEL, U, LEVELS, size)


def reverse(
    sizes, s, drive, p, signal, raw, f, k, weight, fed, fed_next, lam, lam_next, level, level_next, q, grads, below,
    low, high,
):  # fmt: skip
    """Carry samples' cotangents back through a window.

    `sizes` are T, B, N and from which steps on there are cotangents behind the filter and before it. States before each
    step are formed again, `[T + 1, chunks, SAVED]` in `h`.
    """
    steps, batch, units, first, first_raw = sizes
    chunks, apart, several = (units + U - 1) // U, batch * units, batch * units * CURRENTS
    w, h = np.empty(chunks * ROWS, F), np.empty((steps + 1) * chunks * SAVED, F)
    index, arriving = np.empty(units + LANES, np.int32), np.empty(units, F)
    for b in range(low, high):
        clear(w, 0, chunks * ROWS)
        if FED:
            take(arriving, 0, fed, b * units, units)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            take_rows(w, v + LEVEL, U, level, place, apart, FILTERS, size)
            take_rows(w, v + PARAM, U, p, n0, units, PARAMETERS, size)
            take_rows(h, g * SAVED, U, s, place, apart, CARRIED, size)
            if LINKED:
                take_rows(w, v + LAM, U, lam, place, apart, STATES, size)
        for t in range(steps):
            for g in range(chunks):
                n0, at = g * U, (t * chunks + g) * SAVED
                here = (t * batch + b) * CURRENTS * units + n0
                again(w, g * ROWS, h, at, at + chunks * SAVED, drive, here, units, min(U, units - n0))
        for r in range(steps):
            t = steps - 1 - r
            for g in range(chunks):
                v, n0 = g * ROWS, g * U
                size, place = min(U, units - n0), (t * batch + b) * units + n0
                here = (t * batch + b) * CURRENTS * units + n0
                if t >= first:
                    take(w, v + FIRST, signal, place - first * apart, size)
                elif t == first - 1:
                    clear(w, v + FIRST, size)
                if EXTRA:
                    if t >= first_raw:
                        take(w, v + SECOND, raw, place - first_raw * apart, size)
                    else:
                        clear(w, v + SECOND, size)
                    if FED:
                        for j in range(size):
                            store(w, v + SECOND + j, load(w, v + SECOND + j) + load(arriving, n0 + j))
                credit(w, v, h, (t * chunks + g) * SAVED, drive, q, here, units, size, f, k)
                if BELOW and t >= first:
                    for c in range(CURRENTS):
                        take(below, here + c * units - first * several, w, v + THIRD + c * U, size)
            if FED:
                row = (t * batch + b) * units
                count = found(q, row, units, index, 0, 0)
                clear(arriving, 0, units)
                add_rows(arriving, 0, q, row, 1, weight, 0, units, units, index, 0, count)
        if FED:
            take(fed_next, b * units, arriving, 0, units)
        for g in range(chunks):
            v, n0 = g * ROWS, g * U
            size, place = min(U, units - n0), b * units + n0
            take_rows(level_next, place, apart, w, v + LEVEL, U, FILTERS, size)
            take_rows(grads, place, apart, w, v + GRAD, U, GRADIENTS, size)
            if LINKED:
                take_rows(lam_next, place, apart, w, v + LAM, U, STATES, size)
