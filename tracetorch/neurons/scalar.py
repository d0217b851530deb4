"""A neuron's step on plain numbers with its derivatives: what it brings to a kernel template."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracetorch.neurons.resets import HardReset, NoReset, Reset, SoftReset
from tracetorch.neurons.surrogates import ATan, FastSigmoid, Sigmoid, StraightThrough, Surrogate, Triangle


@dataclass(frozen=True)
class Scalar:
    """Describe a neuron's step on numbers, for kernels that take it as a parameter.

    Args:
        build: returns, for a float type and a compiler, the function `step(s, c, i, p)` of the states (a tuple), the
            counter, the current and the parameters (a tuple); it gives the next states, the counter, the output, and the
            blocks A (rows), B, D and psi.
        key: what tells this step from any other, for the cache of compiled kernels.
        states: S.
        parameters: names of the neuron's attributes that are given as `p`, in order.
    """

    build: Callable[[Any, Callable[..., Any]], Callable[..., Any]]
    key: str
    states: int
    parameters: tuple[str, ...]


def scalar_surrogate(surrogate: Surrogate, F: Any) -> Callable[[Any], Any] | None:  # noqa: N803
    """Return a surrogate's derivative on plain numbers of the type F, or None where it has none."""
    one, scale = F(1), F(getattr(surrogate, "scale", 1.0))
    if isinstance(surrogate, ATan):
        bend = F(math.pi / 2 * surrogate.scale)
        height = F(surrogate.scale / 2)

        def atan(x: Any) -> Any:
            return height / (one + (bend * x) * (bend * x))

        return atan
    if isinstance(surrogate, FastSigmoid):

        def fast(x: Any) -> Any:
            y = one + scale * abs(x)
            return one / (y * y)

        return fast
    if isinstance(surrogate, Sigmoid):

        def sigmoid(x: Any) -> Any:
            y = one / (one + F(math.exp(-scale * x)))
            return scale * y * (one - y)

        return sigmoid
    if isinstance(surrogate, Triangle):
        width = F(surrogate.width)
        top = F(surrogate.scale / surrogate.width)

        def triangle(x: Any) -> Any:
            return top * max(F(0), one - abs(x) / width)

        return triangle
    if isinstance(surrogate, StraightThrough):
        half = F(surrogate.width)

        def straight(x: Any) -> Any:
            return scale if abs(x) < half else F(0)

        return straight
    return None


def membrane(
    reset: Reset, *, refractory: int, normalized: bool, F: Any, derivative: Any  # noqa: N803
) -> Callable[..., Any] | None:
    """Return one membrane's step on plain numbers.

    The function takes what the membrane carried, the counter, its drive, the decay and the distance to be added to the
    threshold; it returns what it carries on, the counter, the spike, the surrogate, `dv / dv_{t-1}`, `dv / d drive`, and
    what it carries on by `v` and by the spike.

    Args:
        reset: the reset.
        refractory: number of silent steps after a spike.
        normalized: whether the drive is scaled by `1 - beta`.
        F: the float type.
        derivative: the surrogate's compiled derivative.

    Returns:
        The function, or None where the reset is of another kind.
    """
    if type(reset) not in (SoftReset, HardReset, NoReset):
        return None
    soft, hard = isinstance(reset, SoftReset), isinstance(reset, HardReset)
    decayed, gradient = reset.decayed, reset.gradient
    target = F(reset.value) if isinstance(reset, HardReset) else F(0)
    silent = F(refractory)
    zero, one = F(0), F(1)

    def step(held: Any, c: Any, drive: Any, beta: Any, theta: Any) -> Any:
        gain = one - beta if normalized else one
        leak = beta if decayed else one
        v = leak * held + gain * drive
        free = one
        if refractory > 0:
            free = one if c <= zero else zero
        distance = v - theta
        z = free if distance > zero else zero
        psi = derivative(distance) * free
        hold = one if decayed else beta
        base = hold * v
        by_v, by_z, carried = hold, zero, base
        if soft:
            carried = base - theta * z
            if gradient:
                by_z = -theta
        if hard:
            carried = (one - z) * base + target * z
            by_v = (one - z) * hold
            if gradient:
                by_z = target - base
        if gradient:
            by_v = by_v + by_z * psi
        counter = c
        if refractory > 0:
            counter = max(c - one, zero) + silent * z
        return carried, counter, z, psi, leak, gain, by_v, by_z

    return step


def lif_scalar(reset: Reset, surrogate: Surrogate, *, refractory: int, normalized: bool) -> Scalar | None:
    """Return the step of `LIF` on plain numbers, or None where a part of it has none."""

    def build(F: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N803
        derivative = compiled(scalar_surrogate(surrogate, F))
        inner = compiled(membrane(reset, refractory=refractory, normalized=normalized, F=F, derivative=derivative))

        def step(s: Any, c: Any, i: Any, p: Any) -> Any:
            carried, counter, z, psi, leak, gain, by_v, _ = inner(s[0], c, i, p[0], p[1])
            return (carried,), counter, z, ((by_v * leak,),), (by_v * gain,), (psi * leak,), psi * gain

        return compiled(step)

    if scalar_surrogate(surrogate, float) is None or type(reset) not in (SoftReset, HardReset, NoReset):
        return None
    return Scalar(build, f"lif {reset} {surrogate} {refractory} {normalized}", 1, ("beta", "threshold"))


def synaptic_scalar(reset: Reset, surrogate: Surrogate, *, refractory: int, normalized: bool) -> Scalar | None:
    """Return the step of `SynapticLIF` on plain numbers, or None where a part of it has none."""

    def build(F: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N803
        derivative = compiled(scalar_surrogate(surrogate, F))
        inner = compiled(membrane(reset, refractory=refractory, normalized=normalized, F=F, derivative=derivative))
        zero, one = F(0), F(1)

        def step(s: Any, c: Any, i: Any, p: Any) -> Any:
            alpha = p[2]
            entry = one - alpha if normalized else one
            current = alpha * s[0] + entry * i
            carried, counter, z, psi, leak, gain, by_v, _ = inner(s[1], c, current, p[0], p[1])
            v_by_i, z_by_i = by_v * gain, psi * gain
            rows = ((alpha, zero), (v_by_i * alpha, by_v * leak))
            return (
                (current, carried),
                counter,
                z,
                rows,
                (entry, v_by_i * entry),
                (z_by_i * alpha, psi * leak),
                z_by_i * entry,
            )

        return compiled(step)

    if scalar_surrogate(surrogate, float) is None or type(reset) not in (SoftReset, HardReset, NoReset):
        return None
    return Scalar(build, f"synaptic {reset} {surrogate} {refractory} {normalized}", 2, ("beta", "threshold", "alpha"))


def li_scalar(*, normalized: bool) -> Scalar:
    """Return the step of `LI` on plain numbers."""

    def build(F: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N803
        one = F(1)

        def step(s: Any, c: Any, i: Any, p: Any) -> Any:
            beta = p[0]
            gain = one - beta if normalized else one
            v = beta * s[0] + gain * i
            return (v,), c, v, ((beta,),), (gain,), (beta,), gain

        return compiled(step)

    return Scalar(build, f"li {normalized}", 1, ("beta",))
