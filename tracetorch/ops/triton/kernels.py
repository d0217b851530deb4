"""Template of the Triton kernels: executed once per neuron and variant, with the names of `names` put in first.

A program walks BLOCK units through the whole window with everything it carries in registers, so that each tensor is
read once and written once, which is what bounds the time. Arrays come as tuples; one that is not wanted is an empty
tuple. Loads run AHEAD steps before their use: a store may touch any address as far as the compiler knows, so it never
moves a load up by itself. The loader compiles every function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracetorch.ops.triton.names import (
        AHEAD,
        BLOCK,
        COUNTED,
        HISTORY,
        LAST,
        LINKED,
        RECORD,
        SENT,
        TRACED,
        F,
        P,
        S,
        fp64,
        step,
        tl,
    )


def typed(x: Any) -> Any:
    """Return a number of the scalar type: the language takes a constant that stands alone for a float32."""
    return (x * tl.full((), 1.0, F)).to(F)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds and `b` elsewhere."""
    return tl.where(condition, typed(a), typed(b))


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two."""
    return tl.where(a > b, typed(a), typed(b))


def absolute(x: Any) -> Any:
    """Return the absolute value."""
    return tl.abs(x)


def exp(x: Any) -> Any:
    """Return the exponential function."""
    return tl.exp(x)


def read(arrays: Any, count: Any, shift: Any, lane: Any, inside: Any) -> Any:
    """Load one place of each array, `shift` from its start."""
    found: Any = ()
    for i in tl.static_range(count):
        found += (tl.load(arrays[i] + shift + lane, mask=inside, other=0.0).to(F),)
    return found


def write(arrays: Any, values: Any, shift: Any, lane: Any, inside: Any) -> None:
    """Store one place of each array, `shift` from its start."""
    for i in tl.static_range(len(arrays)):
        tl.store(arrays[i] + shift + lane, values[i], mask=inside)


def parameters(arrays: Any, strides: Any, unit: Any, inside: Any) -> Any:
    """Load each unit's parameters."""
    found: Any = ()
    for i in tl.static_range(P):
        found += (tl.load(arrays[i] + unit * strides[i], mask=inside, other=0.0).to(F),)
    return found


def forwards(A: Any, x: Any, B: Any) -> Any:
    """Return `A x + B`."""
    y: Any = ()
    if S == 1:
        y = (A[0][0] * x[0] + B[0],)
    else:
        y = (A[0][0] * x[0] + A[0][1] * x[1] + B[0], A[1][0] * x[0] + A[1][1] * x[1] + B[1])
    return y


def backwards(A: Any, x: Any, D: Any, z: Any) -> Any:
    """Return `A^T x + D z`."""
    y: Any = ()
    if S == 1:
        y = (A[0][0] * x[0] + D[0] * z,)
    else:
        y = (A[0][0] * x[0] + A[1][0] * x[1] + D[0] * z, A[0][1] * x[0] + A[1][1] * x[1] + D[1] * z)
    return y


def dot(a: Any, b: Any) -> Any:
    """Return the inner product."""
    return a[0] * b[0] if S == 1 else a[0] * b[0] + a[1] * b[1]


def forward(x: Any, start: Any, phi: Any, made: Any, steps: Any, sizes: Any, decay: fp64) -> None:
    """Step units through a window; see `tracetorch.ops.triton.run_forward` for the shapes.

    Args:
        x: currents.
        start: states; the counter; sensitivities; their decayed sum.
        phi: the parameters.
        made: outputs; what `start` becomes, one by one; states before each step; counters; sums after each step.
        steps: T.
        sizes: B N; N; the parameters' strides over units.
        decay: that of the sum.
    """
    states, counter, sigma, total = start
    outputs, states_after, counter_after, sigma_after, total_after, before, counted, history = made
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < sizes[0]
    row = tl.full((), 0, tl.int64) + sizes[0]
    p = parameters(phi, sizes[2], lane % sizes[1], inside)
    s = read(states, S, 0, lane, inside)
    c = tl.zeros((BLOCK,), F)
    if COUNTED:
        c = read(counter, 1, 0, lane, inside)[0]
    if TRACED:
        held = read(sigma, S, 0, lane, inside)
        level = read(total, 1, 0, lane, inside)[0]
        q = typed(decay)
    coming: Any = ()
    for i in tl.static_range(AHEAD):
        coming = coming + read((x,), 1, i * row, lane, lane < tl.where(i < steps, sizes[0], 0))
    at = tl.full((), 0, tl.int64)
    for t in tl.range(0, steps, loop_unroll_factor=AHEAD):
        drive = coming[0]
        within = lane < tl.where(t + AHEAD < steps, sizes[0], 0)
        coming = coming[1:] + read((x,), 1, at + AHEAD * row, lane, within)
        if RECORD:
            write(before, s, at, lane, inside)
            if COUNTED:
                write(counted, (c,), at, lane, inside)
        s, c, z, A, B, D, psi = step(s, c, drive, p)
        write(outputs, (z,), at, lane, inside)
        if TRACED:
            level = q * level + (psi + dot(D, held))
            held = forwards(A, held, B)
            if HISTORY:
                write(history, (level,), at, lane, inside)
        at = at + row
    write(states_after, s, 0, lane, inside)
    if COUNTED:
        write(counter_after, (c,), 0, lane, inside)
    if TRACED:
        write(sigma_after, held, 0, lane, inside)
        write(total_after, (level,), 0, lane, inside)


def past(arrays: Any, at: Any, lane: Any, within: Any, known: Any) -> Any:
    """Load what a step back needs: states, counter, current and the output's cotangent, zero where it has none."""
    before, counted, drive, signal = arrays
    found = read(before, S, at, lane, within)
    if COUNTED:
        found = found + read(counted, 1, at, lane, within)
    return found + read((drive,), 1, at, lane, within) + read((signal,), 1, at, lane, known)


def reverse(arrays: Any, start: Any, phi: Any, made: Any, steps: Any, sizes: Any, decay: fp64) -> None:
    """Carry cotangents back through a window; see `tracetorch.ops.triton.run_reverse` for the shapes.

    Args:
        arrays: states before each step; counters; currents; cotangents of the outputs.
        start: cotangents of the last states; of the filter.
        phi: the parameters.
        made: cotangents of the currents; what `start` becomes, one by one; the states' cotangents after each step; the
            filtered signal; what is sent below.
        steps: T.
        sizes: B N; N; the parameters' strides over units.
        decay: that of the filter.
    """
    first = (steps - 1) * LAST
    before, counted, drive, signal = arrays
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < sizes[0]
    row = tl.full((), 0, tl.int64) + sizes[0]
    p = parameters(phi, sizes[2], lane % sizes[1], inside)
    lam = read(start[0], S, 0, lane, inside)
    level = read(start[1], 1, 0, lane, inside)[0]
    kappa = typed(decay)
    shift = row * first
    arrays = (before, counted, drive, signal - shift)
    at = row * (steps - 1)
    coming: Any = ()
    for i in tl.static_range(AHEAD):
        t = steps - 1 - i
        within, known = lane < tl.where(t >= 0, sizes[0], 0), lane < tl.where(t >= first, sizes[0], 0)
        coming = coming + (past(arrays, at - i * row, lane, within, known),)  # noqa: RUF005
    c = tl.zeros((BLOCK,), F)
    for back in tl.range(0, steps, loop_unroll_factor=AHEAD):
        t = steps - 1 - back
        now = coming[0]
        within = lane < tl.where(t >= AHEAD, sizes[0], 0)
        known = lane < tl.where(t >= first + AHEAD, sizes[0], 0)
        coming = coming[1:] + (past(arrays, at - AHEAD * row, lane, within, known),)  # noqa: RUF005
        if COUNTED:
            c = now[S]
        cotangent = now[S + COUNTED + 1]
        _, _, _, A, B, D, psi = step(now, c, now[S + COUNTED], p)
        level = level + cotangent
        q = psi * level
        if HISTORY:
            write(made[3], lam, at, lane, inside)
            write(made[4], (level,), at, lane, inside)
        if LINKED:
            q = q + dot(B, lam)
            lam = backwards(A, lam, D, level)
        write(made[0], (q,), at, lane, inside)
        if SENT:
            write(made[5], (psi * cotangent,), at - shift, lane, lane < tl.where(t >= first, sizes[0], 0))
        level = kappa * level
        at = at - row
    write(made[1], lam, 0, lane, inside)
    write(made[2], (level,), 0, lane, inside)
