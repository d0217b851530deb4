"""Walk a neuron through a window and back, by the kernels that serve a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from tracetorch.ops.reverse import reverse_filter
from tracetorch.ops.walked import Forward, Reverse

Backend = Literal["reference", "fused", "triton"]

SMALL = 2**14
"""Unit-steps of a window below which a compiled kernel is not worth its start."""


def backends() -> dict[str, str]:
    """Tell which backends can run here.

    Returns:
        Why each backend cannot run, by name; an empty text where it can.

    Example:
        >>> import tracetorch as tt
        >>> tt.backends()["reference"]
        ''
    """
    return {"reference": "", "fused": _module("fused").why_not(), "triton": _module("triton").why_not()}


def choose(asked: str, like: Tensor, work: int, *, step: Any) -> Backend:
    """Return the backend that serves a window.

    Args:
        asked: `auto`, or a backend's name.
        like: a tensor of the window's device and dtype.
        work: number of unit-steps in the window, T B N.
        step: the neuron's step on plain numbers, or None where it has none.

    Returns:
        The backend's name.

    Raises:
        RuntimeError: if the one asked for cannot serve.
    """
    if asked == "auto":
        if step is None or like.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling():
            return "reference"
        if like.is_cuda and not backends()["triton"] and not step.text:
            return "triton"
        return "fused" if like.device.type == "cpu" and work >= SMALL and not backends()["fused"] else "reference"
    why = backends()[asked]
    if asked == "fused" and like.device.type != "cpu":
        why = why or f"it serves CPUs, the layer is on {like.device}"
    if asked != "reference" and step is None:
        why = why or "the neuron has no step on plain numbers (Neuron.lowered gives the reason)"
    if asked == "triton" and step is not None and step.text:
        why = why or "its kernels take the library's own neurons alone"
    if asked != "reference" and like.dtype not in (torch.float32, torch.float64):
        why = why or f"it takes float32 and float64, not {like.dtype}"
    if why:
        raise RuntimeError(f"backend {asked!r} cannot serve this layer: {why}; tt.set_backend(net, 'auto') chooses")
    return asked  # type: ignore[return-value]


def _module(backend: str) -> Any:
    if backend == "triton":
        from tracetorch.ops import triton

        return triton
    from tracetorch.ops import fused

    return fused


def forward(
    backend: Backend,
    step: Any,
    x: Tensor,
    synapse: tuple[Tensor, Tensor | None] | None,
    *,
    s: Sequence[Tensor],
    params: Sequence[Tensor],
    **wanted: Any,
) -> Forward:
    r"""Step a neuron through a window.

    .. math:: (s_t, z_t) = \mathrm{step}(s_{t-1}, I_t), \quad
        g_t = \psi_t + D_t \sigma_{t-1}, \quad \sigma_t = A_t \sigma_{t-1} + B_t, \quad h_t = q h_{t-1} + g_t

    Args:
        backend: whose kernels.
        step: the neuron's step on plain numbers.
        x: inputs `[T, B, K]` where a synapse is given, currents `[T, B, N]` otherwise.
        synapse: weight `[N, K]` and bias, `[N]` or None, of a dense synapse that is walked by its input's events; None
            where `x` is the current. Only the fused CPU kernels take one.
        s: states, then the counter if the neuron has one, `[B, N]` each.
        params: values of the step's parameters, each broadcasting to `[N]`.
        **wanted: what is asked for, the fields of `Asked`.

    Returns:
        What the walk gave.
    """
    found: Forward = _module(backend).run_forward(step, x, synapse, s=s, params=params, **wanted)
    return found


def reverse(
    backend: Backend,
    step: Any,
    s: Sequence[Tensor],
    drive: Tensor,
    *,
    params: Sequence[Tensor],
    signal: Tensor,
    carry: tuple[Tensor, Tensor, float],
    **wanted: bool,
) -> Reverse:
    r"""Carry cotangents back through a window; states and blocks are formed anew from the currents.

    .. math:: \tilde L_t = L_t + \kappa \tilde L_{t+1}, \quad q_t = \psi_t \tilde L_t + B_t \cdot \lambda_t, \quad
        \lambda_{t-1} = D_t \tilde L_t + A_t^\top \lambda_t

    Args:
        backend: whose kernels.
        step: the neuron's step on plain numbers.
        s: states, then the counter if there is one, before the window, `[B, N]` each.
        drive: currents, `[T, B, N]`.
        params: values of the step's parameters, each broadcasting to `[N]`.
        signal: cotangents of the outputs, `[T, B, N]`, or `[1, B, N]` for the last alone.
        carry: cotangents of the last states `[S, B, N]` and of the filter `[B, N]`, and the filter's decay `kappa`.
        **wanted: what is wanted, the fields of `Wants`.

    Returns:
        What the walk gave.
    """
    found: Reverse = _module(backend).run_reverse(step, s, drive, params=params, signal=signal, carry=carry, **wanted)
    return found


def weight_grad(x: Tensor, q: Tensor) -> Tensor:
    """Return `q^T x` in time that grows with the events of `x`; CPU only.

    Args:
        x: inputs, `[R, K]`.
        q: cotangents, `[R, N]`.

    Returns:
        The gradient, `[N, K]`.
    """
    found: Tensor = _module("fused").run_weight_grad(x, q)
    return found


def carry_full(x: Tensor, q: Tensor, start: Tensor, trace: Tensor) -> None:
    r"""Carry full eligibilities over a window in place, in time that grows with the events of `x`; CPU only.

    .. math:: E \leftarrow \Pi \odot E + \sum_t q_t \otimes x_t

    Args:
        x: inputs, `[T, B, K]`.
        q: what each step adds per unit, `[T, B, N]`.
        start: the product of the window's transitions, `[B, N]`.
        trace: the eligibilities, `[B, N, K]`.
    """
    _module("fused").run_carry_full(x, q, start, trace)


def credit_back(
    backend: Backend,
    signal: Tensor,
    gain: tuple[Tensor, Tensor],
    weight: Tensor,
    bucket: Tensor,
    decay: Tensor,
    *,
    sent: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Filter the credit of a window with an event at every step backwards in time, from zero.

    .. math:: c_t = \frac{h_t}{w^h_t} \odot L_t, \quad f_t = \frac{c_t}{w^x_t} + a \odot f_{t+1}

    Args:
        backend: whose kernels; other than the fused ones leave it to the readable form.
        signal: cotangents of the outputs, `[T, B, *unit]`.
        gain: decayed sums of sensitivities, `[T, B, *unit]`, and of their weights, `[T, B]`.
        weight: decayed sums of the weights of inputs by bucket, `[T, G, B]`.
        bucket: each unit's bucket, `[*unit]` of int64; of no elements where there is one.
        decay: decay per step and bucket, `[G]`.
        sent: whether the credit is wanted too; the readable form gives it in any case.

    Returns:
        The filtered credit, `[T, B, *unit]`, what leaves the window at its start, `[B, *unit]`, and the credit.
    """
    unit = signal.shape[2:]
    place = bucket.reshape(-1)
    units = decay[place] if place.numel() else decay.expand(unit.numel())
    if backend == "fused":
        flat = (*signal.shape[:2], unit.numel())
        found, leaving, credit = _module("fused").run_credit_back(
            signal.reshape(flat), (gain[0].reshape(flat), gain[1]), weight, place, units, sent=sent
        )
        return found.view(signal.shape), leaving.view(signal.shape[1:]), credit.view(signal.shape) if sent else credit
    ones = [1] * len(unit)
    credit = gain[0] / gain[1].reshape(*gain[1].shape, *ones) * signal
    if place.numel():
        by_unit = weight.transpose(1, 2)[..., place].reshape(*signal.shape)
    else:
        by_unit = weight[:, 0].reshape(*signal.shape[:2], *ones)
    filtered, leaving = reverse_filter(credit / by_unit, units.reshape(unit), None)
    return filtered, leaving, credit
