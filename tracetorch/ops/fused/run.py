"""Call the fused kernels on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops.fused.load import Variant, block, event_kernels, kernels
from tracetorch.ops.pool import pool
from tracetorch.ops.walked import Asked, Forward, Reverse, Step, Wants


def _rows(params: Sequence[Tensor], unit: int, like: Tensor) -> Tensor:
    if not params:
        return like.new_zeros(0, unit)
    return torch.stack([p.detach().to(like).expand(unit) for p in params])


def _by_input(weight: Tensor, width: int) -> Tensor:
    """Return a weight `[N, K]` as `[chunks, K, U]`: the rows of U units that an event of an input adds."""
    units, inputs = weight.shape
    out = pool().empty((-(-units // width), inputs, width), weight.dtype)
    event_kernels(weight.dtype).lay_out(weight.contiguous().numpy(), out.numpy())
    return out


def _threads() -> int:
    """Let the kernels use as many threads as torch does, and return their number.

    The first call starts Numba's threads, which sets the number of all threads that share an OpenMP runtime.
    """
    import numba

    wanted = torch.get_num_threads()
    count: int = min(wanted, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(count)
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
    return count


def run_forward(
    scalar: Step,
    x: Tensor,
    synapse: tuple[Tensor, Tensor | None] | None,
    *,
    s: Sequence[Tensor],
    params: Sequence[Tensor],
    **wanted: Any,
) -> Forward:
    """Step a neuron through a window in one kernel; see `tracetorch.ops.walk.forward`, which says it in full."""
    a = Asked(**wanted)
    steps, batch = x.shape[:2]
    units = x.shape[2] if synapse is None else synapse[0].shape[0]
    counted, events = len(s) > scalar.states, synapse is not None
    variant = Variant(events, counted, a.record and events, a.states, a.traced is not None, a.history)
    module = kernels(scalar, x.dtype, block(units), variant)
    now = torch.stack(list(s[: scalar.states]))
    counter = s[scalar.states].clone() if counted else x.new_zeros(batch, units)
    empty, flat = x.new_empty(0, 0, 0, 0), x.new_empty(0, 0, 0)
    new = pool().empty
    z = new((steps + a.room, batch, units), x.dtype)
    before = new((scalar.states, steps, batch, units), x.dtype) if a.states else empty
    c_before = new((steps, batch, units), x.dtype) if a.states and counted else flat
    drive = new((steps, batch, units), x.dtype) if a.record and synapse is not None else flat
    wt, bias = flat, x.new_empty(0)
    if synapse is not None:
        _threads()
        wt = _by_input(synapse[0].detach(), module.U)
        bias = x.new_zeros(units) if synapse[1] is None else synapse[1].detach()
    sigma, h, q = (
        (flat, x.new_empty(0, 0), 0.0) if a.traced is None else (a.traced[0].clone(), a.traced[1].clone(), a.traced[2])
    )
    kept = new((steps, batch, units), x.dtype) if a.history else flat
    weights, totals = (x.new_empty(0, steps), flat) if a.sums is None else (a.sums[0].contiguous(), a.sums[1].clone())
    faults = torch.zeros(batch, dtype=torch.int64)
    x = x.contiguous()
    arrays: tuple[Tensor, ...] = (
        x,
        wt,
        bias,
        now,
        counter,
        _rows(params, units, x),
        z[:steps],
        before,
        c_before,
        drive,
    )
    arrays += (sigma, h, kept, totals, weights)
    _threads()
    module.forward(*(a.numpy() for a in arrays), module.F(q), faults.numpy())
    last = (*now.unbind(0), *([counter] if counted else []))
    passed = (*before.unbind(0), *([c_before] if counted else [])) if a.states else ()
    if a.record and synapse is None:
        drive = x
    return Forward(z, last, passed, drive, sigma, h, kept, totals, not bool(faults.any()))


def run_reverse(
    scalar: Step,
    s: Sequence[Tensor],
    drive: Tensor,
    *,
    params: Sequence[Tensor],
    signal: Tensor,
    carry: tuple[Tensor, Tensor, float],
    **wanted: bool,
) -> Reverse:
    """Carry cotangents back through a window in one kernel; see `tracetorch.ops.walk.reverse`."""
    w = Wants(**wanted)
    steps, batch, units = drive.shape
    counted = len(s) > scalar.states
    variant = Variant(counted=counted, history=w.history, linked=w.linked, sent=w.sent)
    module = kernels(scalar, drive.dtype, block(units), variant)
    counter = s[scalar.states] if counted else drive.new_zeros(batch, units)
    lam, leaving = carry[0].clone(), carry[1].clone()
    new, shape = pool().empty, tuple(drive.shape)
    q, flat = new(shape, drive.dtype), drive.new_empty(0, 0, 0)
    kept = new((scalar.states, *shape), drive.dtype) if w.history else drive.new_empty(0, 0, 0, 0)
    filtered = new(shape, drive.dtype) if w.history else flat
    below = new(tuple(signal.shape), drive.dtype) if w.sent else flat
    _threads()
    module.reverse(
        torch.stack(list(s[: scalar.states])).numpy(),
        counter.contiguous().numpy(),
        drive.contiguous().numpy(),
        _rows(params, units, drive).numpy(),
        signal.contiguous().numpy(),
        steps - signal.shape[0],
        lam.numpy(),
        module.F(carry[2]),
        leaving.numpy(),
        q.numpy(),
        kept.numpy(),
        filtered.numpy(),
        below.numpy(),
    )
    return Reverse(q, kept, filtered, lam, leaving, below)


def run_weight_grad(x: Tensor, q: Tensor) -> Tensor:
    """Return `q^T x`, in time that grows with the events of `x`.

    Args:
        x: inputs, `[R, K]`.
        q: cotangents, `[R, N]`.

    Returns:
        The gradient, `[N, K]`.
    """
    new, inputs, units = pool().empty, x.shape[1], q.shape[1]
    parts, grad = new((_threads(), inputs, units), x.dtype), new((units, inputs), x.dtype)
    arrays = (x.contiguous(), q.contiguous(), parts, grad)
    event_kernels(x.dtype).weight_grad(*(a.numpy() for a in arrays))
    return grad


def run_credit_back(
    signal: Tensor, gain: tuple[Tensor, Tensor], weight: Tensor, bucket: Tensor, decay: Tensor, *, sent: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter the credit of a window backwards in time in one kernel; see `tracetorch.ops.walk.credit_back`.

    Args:
        signal: cotangents, `[T, B, N]`.
        gain: decayed sums of sensitivities, `[T, B, N]`, and of their weights, `[T, B]`.
        weight: decayed sums of the weights of inputs, `[T, G, B]`.
        bucket: each unit's G, `[N]`, or of no elements where there is one.
        decay: decay per step, `[N]`.
        sent: whether the credit itself is wanted.

    Returns:
        The filtered credit, `[T, B, N]`, what leaves the window at its start, `[B, N]`, and the credit.
    """
    new, like, shape = pool().empty, signal.dtype, tuple(signal.shape)
    credit = new(shape, like) if sent else signal.new_empty(0, 0, 0)
    out, leaving = new(shape, like), signal.new_empty(shape[1:])
    given = (signal, *gain, weight, bucket, decay)
    _threads()
    event_kernels(like).credit_back(
        *(a.contiguous().numpy() for a in given), *(a.numpy() for a in (credit, out, leaving))
    )
    return out, leaving, credit


def run_carry_full(x: Tensor, q: Tensor, start: Tensor, trace: Tensor) -> None:
    """Carry eligibilities over a window in place, in time that grows with the events of `x`.

    Args:
        x: inputs, `[T, B, K]`.
        q: what each step adds per unit, `[T, B, N]`.
        start: what the eligibility before the window is multiplied by, `[B, N]`.
        trace: the eligibilities, `[B, N, K]`, contiguous.
    """
    _threads()
    arrays = (x.contiguous(), q.contiguous(), start.contiguous(), trace)
    event_kernels(x.dtype).carry_full(*(a.numpy() for a in arrays))
