"""Steps of the neurons on plain numbers with their derivatives: text for the compilers of kernels.

A compiler executes this file anew for every neuron, with the names of `step_names` put in, and compiles what it needs:
one text serves all of them, so no expression may hang on what only one can do. A step takes the states (a tuple), the
counter, the current and the parameters (a tuple); it gives the next states, the counter, the output, and the blocks A
(rows), B, D and psi of `Blocks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracetorch.neurons.step_names import (
        DECAYED,
        GRADIENT,
        HARD,
        NORMALIZED,
        ONE,
        REFRACTORY,
        SCALE,
        SILENT,
        SOFT,
        VALUE,
        WIDTH,
        ZERO,
        absolute,
        exp,
        maximum,
        surrogate,
        where,
    )


def atan(x: Any) -> Any:
    """Return the arctangent's derivative; SCALE is half of alpha, WIDTH is alpha times half of pi."""
    bent = WIDTH * x
    return SCALE / (ONE + bent * bent)


def fast_sigmoid(x: Any) -> Any:
    """Return the fast sigmoid's derivative."""
    y = ONE + SCALE * absolute(x)
    return ONE / (y * y)


def sigmoid(x: Any) -> Any:
    """Return the logistic function's derivative."""
    y = ONE / (ONE + exp(-SCALE * x))
    return SCALE * y * (ONE - y)


def triangle(x: Any) -> Any:
    """Return the triangle."""
    return (SCALE / WIDTH) * maximum(ZERO, ONE - absolute(x) / WIDTH)


def straight_through(x: Any) -> Any:
    """Return the box."""
    return where(absolute(x) < WIDTH, SCALE, ZERO)


def gain_of(beta: Any) -> Any:
    """Return what scales a drive."""
    if NORMALIZED:
        gain = ONE - beta
    else:
        gain = ONE
    return gain


def integrate(held: Any, drive: Any, beta: Any) -> Any:
    """Return the membrane before it fires."""
    if DECAYED:
        v = beta * held + gain_of(beta) * drive
    else:
        v = held + gain_of(beta) * drive
    return v


def fire(distance: Any, c: Any) -> Any:
    """Return the spike and the surrogate from the distance to the threshold and the counter."""
    psi = surrogate(distance)
    z = where(distance > ZERO, ONE, ZERO)
    if REFRACTORY:
        free = where(c <= ZERO, ONE, ZERO)
        psi = psi * free
        z = z * free
    return z, psi


def counted(c: Any, z: Any) -> Any:
    """Return the counter of silent steps after a step."""
    if REFRACTORY:
        after = maximum(c - ONE, ZERO) + SILENT * z
    else:
        after = c
    return after


def reset(v: Any, z: Any, beta: Any, theta: Any) -> Any:
    """Return what the membrane carries on, and its direct derivatives by `v` and by the spike."""
    if DECAYED:
        hold = ONE
        base = v
    else:
        hold = beta
        base = beta * v
    if SOFT:
        carried = base - theta * z
        by_v = hold
        by_z = -theta
    elif HARD:
        carried = (ONE - z) * base + VALUE * z
        by_v = (ONE - z) * hold
        by_z = VALUE - base
    else:
        carried = base
        by_v = hold
        by_z = ZERO
    return carried, by_v, by_z


def leak_of(beta: Any) -> Any:
    """Return the derivative of the membrane by what it carried."""
    if DECAYED:
        leak = beta
    else:
        leak = ONE
    return leak


def membrane(v: Any, distance: Any, c: Any, beta: Any, theta: Any) -> Any:
    """Fire and reset: what is carried on, counter, spike, psi, total slope by `v`, direct slope by the spike."""
    z, psi = fire(distance, c)
    carried, by_v, by_z = reset(v, z, beta, theta)
    if GRADIENT:
        by_v = by_v + by_z * psi
    return carried, counted(c, z), z, psi, by_v, by_z


def lif(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Step `LIF`: states `v`; parameters `beta, threshold`."""
    beta, theta = p[0], p[1]
    leak, gain = leak_of(beta), gain_of(beta)
    v = integrate(s[0], i, beta)
    carried, counter, z, psi, by_v, _ = membrane(v, v - theta, c, beta, theta)
    return (carried,), counter, z, ((by_v * leak,),), (by_v * gain,), (psi * leak,), psi * gain


def alif(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Step `ALIF`: states `v, a`; parameters `beta, threshold, rho, adaptation`."""
    beta, theta, rho, strength = p[0], p[1], p[2], p[3]
    leak, gain = leak_of(beta), gain_of(beta)
    v = integrate(s[0], i, beta)
    carried, counter, z, psi, by_v, by_z = membrane(v, v - theta - strength * s[1], c, beta, theta)
    fired = -psi * strength
    if GRADIENT:
        by_a = by_z * fired
    else:
        by_a = ZERO * fired
    rows = ((by_v * leak, by_a), (psi * leak, rho + fired))
    return (carried, rho * s[1] + z), counter, z, rows, (by_v * gain, psi * gain), (psi * leak, fired), psi * gain


def synaptic(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Step `SynapticLIF`: states `i, v`; parameters `beta, threshold, alpha`."""
    beta, theta, alpha = p[0], p[1], p[2]
    leak, gain, entry = leak_of(beta), gain_of(beta), gain_of(alpha)
    current = alpha * s[0] + entry * i
    v = integrate(s[1], current, beta)
    carried, counter, z, psi, by_v, _ = membrane(v, v - theta, c, beta, theta)
    v_by_i, z_by_i = by_v * gain, psi * gain
    rows = ((alpha, ZERO * alpha), (v_by_i * alpha, by_v * leak))
    return (current, carried), counter, z, rows, (entry, v_by_i * entry), (z_by_i * alpha, psi * leak), z_by_i * entry


def li(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Step `LI`: state `v`; parameter `beta`."""
    beta = p[0]
    v = beta * s[0] + gain_of(beta) * i
    return (v,), c, v, ((beta,),), (gain_of(beta),), (beta,), gain_of(beta)


def mean(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Step `Mean`: state `total`, with the number of steps as the counter."""
    total, count = s[0] + i, c + ONE
    share = ONE / count
    return (total,), count, total * share, ((ONE + ZERO * share,),), (ONE + ZERO * share,), (share,), share
