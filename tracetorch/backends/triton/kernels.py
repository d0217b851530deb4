"""Template of the Triton kernels: executed once per neuron and variant, with the constants of `compile` put in first.

CARRIED is the number of values per unit that a kernel reads before the first step and carries from step to step, SAVED
that of states and counters, COEFFICIENTS that of the filter, then of constant blocks.

A program scans BLOCK units through the whole window with everything that it carries in registers, so that each tensor
is read once and written once, which is what bounds the time. Arrays come as tuples; one that is not used is an empty
tuple. Loads run AHEAD steps before their use: a store may touch any address as far as the compiler knows, so it never
moves a load up by itself. What happens to the units in one step, `advanced` and `credited`, is the text of `cells`. The
loader compiles every function.
"""

from __future__ import annotations

from typing import Any


def full(x: Any) -> Any:
    """Return a value for each unit of what may be one number for all."""
    return tl.broadcast_to(x, (BLOCK,))


def read(arrays: Any, count: Any, shift: Any, lane: Any, inside: Any) -> Any:
    """Load one place of each array, `shift` from its start."""
    values: Any = ()
    for i in tl.static_range(count):
        values += (tl.load(arrays[i] + shift + lane, mask=inside, other=0.0).to(F),)
    return values


def write(arrays: Any, values: Any, shift: Any, lane: Any, inside: Any) -> None:
    """Store one place of each array, `shift` from its start."""
    for i in tl.static_range(len(arrays)):
        tl.store(arrays[i] + shift + lane, values[i], mask=inside)


def zeros(count: Any) -> Any:
    """Return so many values of zero per unit."""
    values: Any = ()
    for _ in tl.static_range(count):
        values += (tl.zeros((BLOCK,), F),)
    return values


def parameters(arrays: Any, strides: Any, unit: Any, inside: Any) -> Any:
    """Load each unit's parameters."""
    values: Any = ()
    for i in tl.static_range(PARAMETERS):
        values += (tl.load(arrays[i] + unit * strides[i], mask=inside, other=0.0).to(F),)
    return values


def numbers(array: Any) -> Any:
    """Load the coefficients, which all units share."""
    values: Any = ()
    for i in tl.static_range(COEFFICIENTS):
        values += (tl.load(array + i),)
    return values


def forward(
    drive: Any, start: Any, phi: Any, coefficients: Any, results: Any, steps: Any, first: Any, sizes: Any
) -> None:
    """Advance units through a window.

    Args:
        drive: currents, `[T, B, N]`.
        start: states, counters, then sensitivities and the filter's states, `[B, N]` each.
        phi: the parameters.
        coefficients: those of the filter.
        results: outputs; sensitivities of the outputs; states and counters before each step; what `start` becomes.
        steps: T.
        first: the step from which on sensitivities of the outputs are written.
        sizes: B N; N; the parameters' strides over units.
    """
    outputs, history, before, after = results
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < sizes[0]
    row = tl.full((), 0, tl.int64) + sizes[0]
    p = parameters(phi, sizes[2], lane % sizes[1], inside)
    k = numbers(coefficients)
    v = read(start, CARRIED, 0, lane, inside)
    coming: Any = ()
    for i in tl.static_range(AHEAD):
        coming = coming + read((drive,), 1, i * row, lane, lane < tl.where(i < steps, sizes[0], 0))
    at = tl.full((), 0, tl.int64)
    shift = row * first
    for t in tl.range(0, steps, loop_unroll_factor=AHEAD):
        now = coming[0]
        within = lane < tl.where(t + AHEAD < steps, sizes[0], 0)
        coming = coming[1:] + read((drive,), 1, at + AHEAD * row, lane, within)
        if RECORD:
            write(before, v, at, lane, inside)
        v, z, gain = advanced(v, now, p, k)
        write(outputs, (z,), at, lane, inside)
        if TRACED:
            write(history, (gain,), at - shift, lane, lane < tl.where(t >= first, sizes[0], 0))
        at = at + row
    write(after, v, 0, lane, inside)


def past(arrays: Any, at: Any, lane: Any, within: Any, masks: Any) -> Any:
    """Load what a step back needs: states, counters, current and cotangents, zero where there are none."""
    before, drive, signal, raw = arrays
    values = read(before, SAVED, at, lane, within) + read((drive,), 1, at, lane, within)
    values = values + read((signal,), 1, at, lane, masks[0])
    if EXTRA:
        values = values + read(raw, 1, at, lane, masks[1])
    return values


def known(t: Any, first: Any, first_raw: Any, lane: Any, total: Any) -> Any:
    """Return where a step has cotangents behind the filter, and before it."""
    return lane < tl.where(t >= first, total, 0), lane < tl.where(t >= first_raw, total, 0)


def reverse(
    arrays: Any,
    start: Any,
    phi: Any,
    coefficients: Any,
    results: Any,
    steps: Any,
    first: Any,
    first_raw: Any,
    sizes: Any,
) -> None:
    """Carry cotangents of units back through a window.

    Args:
        arrays: states and counters before each step; currents; cotangents of the outputs behind the filter and, or
            empty, before it.
        start: cotangents of the last states, where they are linked, and of the filter's, `[B, N]` each.
        phi: the parameters.
        coefficients: those of the filter, then those of constant blocks.
        results: cotangents of the currents; `psi L`; what `start` becomes, then the parameters' gradients.
        steps: T.
        first: the step from which on there are cotangents behind the filter.
        first_raw: the step from which on there are cotangents before it.
        sizes: B N; N; the parameters' strides over units.
    """
    before, drive, signal, raw = arrays
    current, below, after = results
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < sizes[0]
    row = tl.full((), 0, tl.int64) + sizes[0]
    p = parameters(phi, sizes[2], lane % sizes[1], inside)
    k = numbers(coefficients)
    w: Any = ()
    if LINKED:
        w = read(start, CARRIED, 0, lane, inside) + zeros(GRADIENTS)
    else:
        w = zeros(STATES) + read(start, CARRIED, 0, lane, inside) + zeros(GRADIENTS)
    shift = row * first
    later: Any = ()
    if EXTRA:
        later = (raw[0] - row * first_raw,)
    arrays = (before, drive, signal - shift, later)
    at = row * (steps - 1)
    coming: Any = ()
    for i in tl.static_range(AHEAD):
        t = steps - 1 - i
        within = lane < tl.where(t >= 0, sizes[0], 0)
        masks = known(t, first, first_raw, lane, sizes[0])
        coming = coming + (past(arrays, at - i * row, lane, within, masks),)  # noqa: RUF005
    for back in tl.range(0, steps, loop_unroll_factor=AHEAD):
        t = steps - 1 - back
        now = coming[0]
        within = lane < tl.where(t >= AHEAD, sizes[0], 0)
        masks = known(t - AHEAD, first, first_raw, lane, sizes[0])
        coming = coming[1:] + (past(arrays, at - AHEAD * row, lane, within, masks),)  # noqa: RUF005
        w, q, sent = credited(w, now, p, k)
        write(current, (q,), at, lane, inside)
        if BELOW:
            write(below, (sent,), at - shift, lane, lane < tl.where(t >= first, sizes[0], 0))
        at = at - row
    write(after, w, 0, lane, inside)
