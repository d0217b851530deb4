"""Call the Triton kernels on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops.triton.load import Variant, interpreted, kernels
from tracetorch.ops.walked import Asked, Forward, Reverse, Step, Wants

FORWARD_AHEAD, REVERSE_AHEAD = 4, 2
"""Steps by which loads run ahead; a step back loads three to five arrays, a step forward one."""

LARGEST = 2**30
"""Number of units that 32-bit places count with room to spare."""


def launch_size(total: int) -> tuple[int, int]:
    """Return how many units a program walks and by how many warps.

    Threads for every multiprocessor come first, then wider loads: a thread takes a second and up to a fourth unit only
    where there are units enough for about 2^17 threads, half of what a large device holds at once.

    Args:
        total: number of units of all rows, B N.

    Returns:
        Units per program, a power of two, and warps.

    Example:
        >>> launch_size(64 * 256), launch_size(256 * 1024)
        ((32, 1), (256, 4))
    """
    each = 4 if total >= 2**19 else 2 if total >= 2**18 else 1
    warps = 4 if total >= 2**16 else 1
    return 32 * warps * each, warps


def _check(x: Tensor) -> None:
    if not x.is_cuda and not interpreted():
        raise RuntimeError(
            f"the Triton kernels serve CUDA devices, the layer is on {x.device}; move it there, "
            "or set TRITON_INTERPRET=1 before the first import to have them interpreted"
        )


def _device(x: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _params(params: Sequence[Tensor], like: Tensor, units: int) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return the parameters and the distances between those of neighbouring units: 0 for one that all share."""
    rows = [p.detach().to(like).expand(units) for p in params]
    rows = [p if units == 1 or p.stride(0) in (0, 1) else p.contiguous() for p in rows]
    return tuple(rows), tuple(0 if units == 1 else p.stride(0) for p in rows)


def _each(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(t.detach().contiguous() for t in tensors)


def _launch(kernel: Any, arguments: Sequence[Any], x: Tensor, total: int) -> None:
    if total == 0:
        return
    if total > LARGEST:
        raise ValueError(f"the Triton kernels take up to {LARGEST} units of all rows, got {total}; split the batch")
    block, warps = launch_size(total)
    with _device(x):
        # Not fused, a spike is decided by the very numbers of the readable form; bytes bound the time, not operations.
        kernel[(-(-total // block),)](*arguments, num_warps=warps, enable_fp_fusion=False)


def run_forward(
    scalar: Step,
    x: Tensor,
    synapse: tuple[Tensor, Tensor | None] | None,
    *,
    s: Sequence[Tensor],
    params: Sequence[Tensor],
    **wanted: Any,
) -> Forward:
    """Step a neuron through a window in one kernel; see `tracetorch.ops.walk.forward`, which says it in full.

    Outputs are of the type of the currents, which may be bfloat16; states and traces are of the states' type.

    Args:
        scalar: the neuron's step on plain numbers.
        x: currents, `[T, B, N]`.
        synapse: None; the product of a dense synapse is taken before.
        s: states, then the counter if the neuron has one, `[B, N]` each, float32 or float64.
        params: values of the step's parameters, each broadcasting to `[N]`.
        **wanted: what is asked for, the fields of `Asked`; `sums` must be None.

    Returns:
        What the walk gave.

    Raises:
        ValueError: if something is asked for that these kernels do not give.
        RuntimeError: if the tensors are on a device that they do not serve.
    """
    asked = Asked(**wanted)
    traced, history = asked.traced, asked.history
    if synapse is not None or asked.sums is not None:
        raise ValueError("the Triton kernels take currents, not a synapse and not sums of inputs; pass None for both")
    if history and traced is None:
        raise ValueError("history=True keeps the sum of sensitivities, but there are none; pass traced=(sigma, h, q)")
    _check(x)
    size, like = scalar.states, s[0]
    steps, batch, units = x.shape
    x, s = x.detach().contiguous(), _each(s)
    counted = len(s) > size
    sigma, h, q = ((), None, 0.0) if traced is None else (traced[0].unbind(0), traced[1], float(traced[2]))
    carried = (s[:size], s[size:], _each(sigma), () if h is None else _each((h,)))
    z = x.new_empty(steps + asked.room, batch, units)
    empty, flat = like.new_empty(0, 0, 0), like.new_empty(0, 0)
    last = tuple(torch.empty_like(v) for v in s)
    sigma_after = like.new_empty(size, batch, units) if traced is not None else empty
    h_after = like.new_empty(batch, units) if traced is not None else flat
    after = (last[:size], last[size:], sigma_after.unbind(0), (h_after,) if traced is not None else ())
    before = tuple(like.new_empty(x.shape) for _ in s) if asked.states else ()
    kept = like.new_empty(x.shape) if history else empty
    rows, strides = _params(params, like, units)
    total = batch * units
    variant = Variant(launch_size(total)[0], FORWARD_AHEAD, counted, asked.states, traced is not None, history)
    made = ((z,), *after, before[:size], before[size:], (kept,) if history else ())
    arguments = (x, carried, rows, made, steps, (total, units, strides), q)
    _launch(kernels(scalar, like.dtype, variant).forward, arguments, x, total)
    return Forward(z, last, before, x if asked.record else empty, sigma_after, h_after, kept, empty, True)


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
    """Carry cotangents back through a window in one kernel; see `tracetorch.ops.walk.reverse`, which says it in full.

    Args:
        scalar: the neuron's step on plain numbers.
        s: states, then the counter if there is one, before the window, `[B, N]` each, float32 or float64.
        drive: currents, `[T, B, N]`; their cotangents are of their type, which may be bfloat16.
        params: values of the step's parameters, each broadcasting to `[N]`.
        signal: cotangents of the outputs, `[T, B, N]`, or `[1, B, N]` for the last alone.
        carry: cotangents of the last states `[S, B, N]` and of the filter `[B, N]`, and the filter's decay.
        **wanted: what is wanted, the fields of `Wants`.

    Returns:
        What the walk gave.

    Raises:
        ValueError: if the signal has another number of steps.
        RuntimeError: if the tensors are on a device that these kernels do not serve.
    """
    w = Wants(**wanted)
    steps, batch, units = drive.shape
    if signal.shape[0] not in (1, steps):
        raise ValueError(f"the signal has {signal.shape[0]} steps, expected {steps}, or 1 for the last alone")
    _check(drive)
    size, like = scalar.states, s[0]
    before = run_forward(scalar, drive, None, s=s, params=params, record=False, states=True).before
    drive, signal = drive.detach().contiguous(), signal.detach().contiguous()
    empty = like.new_empty(0, 0, 0)
    q = torch.empty_like(drive)
    start, leaving = like.new_empty(size, batch, units), like.new_empty(batch, units)
    kept = like.new_empty(size, *drive.shape) if w.history else like.new_empty(0, 0, 0, 0)
    filtered = like.new_empty(drive.shape) if w.history else empty
    below = torch.empty_like(signal) if w.sent else signal.new_empty(0, 0, 0)
    rows, strides = _params(params, like, units)
    total = batch * units
    switches = {"history": w.history, "linked": w.linked, "last": signal.shape[0] < steps, "sent": w.sent}
    variant = Variant(launch_size(total)[0], REVERSE_AHEAD, len(before) > size, **switches)
    arrays = (before[:size], before[size:], drive, signal)
    more = ((filtered,) if w.history else (), (below,) if w.sent else ())
    made = ((q,), start.unbind(0), (leaving,), kept.unbind(0), *more)
    carried = (_each(carry[0].unbind(0)), _each((carry[1],)))
    arguments = (arrays, carried, rows, made, steps, (total, units, strides), float(carry[2]))
    _launch(kernels(scalar, like.dtype, variant).reverse, arguments, drive, total)
    return Reverse(q, kept, filtered, start, leaving, below)
